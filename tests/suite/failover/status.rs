//! The operator sees how everything does that is asked: `GET /status`, and the same as gauges.

use serde_json::{Value, json};

use super::{CHAT, GENEROUS, TIERS, assert_whole, at, error, gateway, healthy, rule};
use crate::support::chat;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Listener, Upstream};

async fn status(front: &Gateway) -> Value {
    let response = front.get_admin("/status").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    response.json()
}

#[tokio::test]
async fn a_key_that_is_cooling_down_is_shown_by_its_fingerprint_and_for_how_long() {
    let dry = Upstream::start(|_, mut reply| async move {
        let told = error("slow down", "requests", Some("rate_limit_exceeded"));
        reply
            .json_with("429 Too Many Requests", "retry-after: 600\r\n", &told)
            .await;
        reply
    })
    .await;
    let second = healthy("second").await;
    let upstreams = [
        at("first", dry.address, ", max_concurrent: 3"),
        at("second", second.address, ""),
    ];
    let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", TIERS, "")]);
    let before = status(&front).await;
    assert_eq!(before["upstreams"][0]["keys"][0]["state"], "ready");
    assert_whole(&front.post(CHAT, &chat("gpt-4o")).await, "second");

    let shown = status(&front).await;
    let first = &shown["upstreams"][0];
    assert_eq!(first["name"], "first");
    assert_eq!(first["keys"][0]["state"], "ready");
    let model = &first["keys"][0]["models"]["gpt-4o"];
    assert_eq!(model["state"], "cooling_down");
    assert_eq!(model["tenant"], "tester");
    let seconds = model["for_seconds"].as_f64().unwrap();
    assert!((200.0..=300.0).contains(&seconds), "{seconds}");
    assert_eq!(first["keys"][0]["fingerprint"].as_str().unwrap().len(), 8);
    assert_eq!(
        first["concurrency"],
        json!({ "limit": 3, "active": 0, "queued": 0 })
    );
    assert_eq!(first["servers"][0]["up"], true);
    assert_eq!(first["servers"][0]["breaker"]["state"], "closed");
    assert_eq!(shown["upstreams"][1]["concurrency"], Value::Null);
    assert_eq!(shown["models"][0]["match"], "gpt-4o");
    assert_eq!(shown["models"][0]["targets"][1]["upstream"], "second");
    assert_eq!(shown["models"][0]["targets"][1]["priority"], 1);
    for line in [
        r#"tollgate_keys{state="ready",upstream="first"} 1"#,
        r#"tollgate_key_models{state="cooling_down",upstream="first"} 1"#,
        r#"tollgate_keys{state="ready",upstream="second"} 1"#,
        r#"tollgate_upstream_concurrency{state="active",upstream="first"} 0"#,
        r#"tollgate_target_ejected{model="the same",rule="gpt-4o",upstream="first"} 0"#,
    ] {
        let metrics = front.get_admin("/metrics").await;
        assert!(metrics.text().contains(line), "{line}");
    }
}

#[tokio::test]
async fn a_target_that_is_left_out_is_shown_with_what_is_left_of_its_time() {
    let nobody = Listener::bind().await.address;
    let second = healthy("second").await;
    let more = ", ejection: { consecutive: 1, base: 60s, longest: 60s }";
    let upstreams = [at("first", nobody, more), at("second", second.address, "")];
    let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", TIERS, "")]);
    assert_whole(&front.post(CHAT, &chat("gpt-4o")).await, "second");
    let shown = status(&front).await;
    let breaker = &shown["models"][0]["targets"][0]["breaker"];
    assert_eq!(breaker["state"], "ejected");
    assert_eq!(breaker["ejections"], 1);
    assert!(breaker["for_seconds"].as_f64().unwrap() > 30.0);
    let metrics = front.get_admin("/metrics").await;
    let line = r#"tollgate_target_ejected{model="the same",rule="gpt-4o",upstream="first"} 1"#;
    assert!(metrics.text().contains(line));
}
