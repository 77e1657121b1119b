//! The models that a tenant may ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROVIDER_KEY, soon};

#[tokio::test]
async fn a_tenant_sees_the_exact_names_that_it_may_ask_for() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let list = gateway.get("/v1/models").await;
    let body = list.json();
    assert_eq!((list.status, &body["object"]), (200, &"list".into()));
    let ids: Vec<&str> = body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["gpt-4o"], "`forbidden` is not for this tenant");
    let model = &body["data"][0];
    assert_eq!(model["object"], "model");
    assert!(model["created"].is_i64() && model["owned_by"].is_string());
}

#[tokio::test]
async fn a_model_is_told_of_by_its_id_slashes_and_escapes_included() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    for (path, id) in [
        ("/v1/models/gpt-4o", "gpt-4o"),
        ("/v1/models/same-org/name", "same-org/name"),
        ("/v1/models/same-org%2Fname", "same-org/name"),
    ] {
        let model = gateway.get(path).await;
        assert_eq!(
            (model.status, &model.json()["id"]),
            (200, &id.into()),
            "{path}"
        );
    }
    for path in ["/v1/models/forbidden", "/v1/models/unheard-of"] {
        let error = gateway.get(path).await;
        error.assert_error(
            404,
            "invalid_request_error",
            Some("model_not_found"),
            Some("model"),
        );
    }
}

#[tokio::test]
async fn the_list_is_not_for_everybody() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send("GET /v1/models HTTP/1.1\r\nhost: g\r\n\r\n")
        .await;
    client
        .response()
        .await
        .assert_error(401, "invalid_request_error", None, None);
}

/// An upstream that lists these models, until it is told to break.
async fn listing(ids: &'static [&'static str], broken: Arc<AtomicBool>) -> Upstream {
    Upstream::start(move |request, mut reply| {
        let is_broken = broken.load(Ordering::SeqCst);
        async move {
            let entry = |id: &&str| format!(r#"{{"id":"{id}","created":7,"owned_by":"them"}}"#);
            let data: Vec<String> = ids.iter().map(entry).collect();
            let body = format!(r#"{{"object":"list","data":[{}]}}"#, data.join(","));
            match request.path.as_str() {
                "/v1/models" if is_broken => reply.json("500 Broken", "{}").await,
                "/v1/models" => reply.json("200 OK", &body).await,
                _ => reply.json("404 Not Found", "{}").await,
            }
            reply
        }
    })
    .await
}

fn gathering(near: &Upstream, far: &Upstream, ttl: &str) -> String {
    format!(
        "server: {{ listen: ['127.0.0.1:0'], admin: '127.0.0.1:0', models_ttl: {ttl} }}
upstreams:
  near: {{ base_url: 'http://{}', keys: ['{PROVIDER_KEY}-near'] }}
  far: {{ base_url: 'http://{}', keys: ['{PROVIDER_KEY}-far'] }}
  unlisted: {{ base_url: 'http://{}', keys: ['{PROVIDER_KEY}'] }}
models:
  - {{ match: own-name, targets: [{{ upstream: far, model: x }}] }}
  - {{ match: {{ prefix: near- }}, targets: [{{ upstream: near }}] }}
  - {{ match: {{ keyword: far }}, targets: [{{ upstream: far }}] }}
  - {{ match: {{ prefix: renamed- }}, targets: [{{ upstream: unlisted, model: y }}] }}
tenants:
  - {{ id: all, keys: ['{CLIENT_KEY}'] }}
  - {{ id: some, keys: ['{CLIENT_KEY}-2'], models: ['near-*'] }}
",
        near.address, far.address, far.address
    )
}

fn ids(list: &Response) -> Vec<String> {
    let body = list.json();
    let data = body["data"].as_array().unwrap();
    let ids = data.iter().map(|m| m["id"].as_str().unwrap().to_owned());
    ids.collect()
}

#[tokio::test]
async fn lists_are_gathered_each_with_its_own_key_and_filtered() {
    let works = Arc::new(AtomicBool::new(false));
    let near = listing(
        &["near-1", "near-org/2", "other", "near-far"],
        Arc::clone(&works),
    )
    .await;
    let far = listing(&["far-1", "own-name", "near-9", "x"], works).await;
    let gateway = Gateway::start(&gathering(&near, &far, "1h"));
    for _ in 0..3 {
        let list = gateway.get("/v1/models").await;
        // The rule that a name leads to decides whose it is: `near-far` is near's by its prefix.
        let expected = ["own-name", "near-1", "near-org/2", "near-far", "far-1"];
        assert_eq!(ids(&list), expected);
        assert_eq!(list.json()["data"][1]["created"], 7);
        assert_eq!(list.json()["data"][1]["owned_by"], "them");
    }
    assert_eq!((near.requests(), far.requests()), (1, 1), "a list is kept");
    for (upstream, key) in [(&near, "near"), (&far, "far")] {
        let asked = upstream.request().await;
        let expected = format!("Bearer {PROVIDER_KEY}-{key}");
        assert_eq!(asked.header("authorization"), [expected]);
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("GET", "/v1/models")
        );
    }
    let mut client = gateway.connect().await;
    client
        .send(format!(
            "GET /v1/models HTTP/1.1\r\nhost: g\r\napi-key: {CLIENT_KEY}-2\r\n\r\n"
        ))
        .await;
    let expected = ["near-1", "near-org/2", "near-far"];
    assert_eq!(ids(&client.response().await), expected, "of this tenant");
    for (path, status) in [
        ("/v1/models/near-org/2", 200),
        ("/v1/models/near-org%2F2", 200),
        ("/v1/models/near-unheard-of", 404),
        ("/v1/models/own-name", 200),
        ("/v1/models/renamed-anything", 200),
        ("/v1/models/other", 404),
    ] {
        assert_eq!(gateway.get(path).await.status, status, "{path}");
    }
    let told = gateway.get("/v1/models/near-org/2").await.json();
    assert_eq!(
        (&told["id"], &told["created"]),
        (&"near-org/2".into(), &7.into())
    );
}

#[tokio::test]
async fn an_upstream_that_is_down_takes_only_its_own_names_away() {
    let broken = Arc::new(AtomicBool::new(true));
    let near = listing(&["near-1"], Arc::new(AtomicBool::new(false))).await;
    let far = listing(&["far-1"], broken).await;
    let gateway = Gateway::start(&gathering(&near, &far, "1ms"));
    for _ in 0..3 {
        let list = gateway.get("/v1/models").await;
        assert_eq!(
            (list.status, ids(&list)),
            (200, vec!["own-name".to_owned(), "near-1".to_owned()])
        );
    }
    assert_eq!(far.requests(), 1, "it is left in peace for a while");
    gateway
        .output()
        .wait_for("upstream far: its models are unknown: it answered with status 500");
    let unheard = gateway.get("/v1/models/far-1").await;
    assert_eq!(
        unheard.status, 200,
        "who has never been heard has not said no"
    );
}

#[tokio::test]
async fn what_an_upstream_said_last_stays_when_it_fails() {
    let broken = Arc::new(AtomicBool::new(false));
    let near = listing(&["near-1"], Arc::clone(&broken)).await;
    let far = listing(&["far-1"], Arc::clone(&broken)).await;
    let gateway = Gateway::start(&gathering(&near, &far, "1ms"));
    let expected = ["own-name", "near-1", "far-1"];
    assert_eq!(ids(&gateway.get("/v1/models").await), expected);
    broken.store(true, Ordering::SeqCst);
    let both_have_failed = async {
        let failed = "its models are unknown";
        while gateway.output().text().matches(failed).count() < 2 {
            assert_eq!(ids(&gateway.get("/v1/models").await), expected);
        }
    };
    soon("a failure of both upstreams", both_have_failed).await;
    assert_eq!(ids(&gateway.get("/v1/models").await), expected);
}

#[tokio::test]
async fn many_who_ask_at_once_make_one_question_of_it() {
    let works = Arc::new(AtomicBool::new(false));
    let near = listing(&["near-1"], Arc::clone(&works)).await;
    let far = listing(&["far-1"], works).await;
    let gateway = Arc::new(Gateway::start(&gathering(&near, &far, "1h")));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let gateway = Arc::clone(&gateway);
        asking.spawn(async move { ids(&gateway.get("/v1/models").await) });
    }
    for list in asking.join_all().await {
        assert_eq!(list, ["own-name", "near-1", "far-1"]);
    }
    assert_eq!((near.requests(), far.requests()), (1, 1));
}

#[tokio::test]
async fn a_list_that_does_not_come_is_not_waited_for_for_long() {
    let near = listing(&["near-1"], Arc::new(AtomicBool::new(false))).await;
    let far = Upstream::start(|_, mut reply| async move {
        reply.wait_for_close().await;
        reply
    })
    .await;
    let gateway = Gateway::start(&gathering(&near, &far, "1h"));
    let list = gateway.get("/v1/models").await;
    assert_eq!(
        (list.status, ids(&list)),
        (200, vec!["own-name".to_owned(), "near-1".to_owned()])
    );
    far.closed().await;
    gateway
        .output()
        .wait_for("upstream far: its models are unknown: no answer within 3s");
}

#[tokio::test]
async fn what_is_a_model_is_taken_from_a_list_of_any_shape() {
    for (list, expected) in [
        (
            r#"[{"id":"m-1","type":"chat"},{"id":"m-2"}]"#,
            &["m-1", "m-2"][..],
        ),
        (
            r#"{"data":[{"id":"m-1"},{"object":"model"},{"id":7},{"id":"m-2","created":"2025-01-01T00:00:00Z","owned_by":{}}]}"#,
            &["m-1", "m-2"],
        ),
        (r#"{"models":[{"name":"m-1"},"m-2"]}"#, &["m-1", "m-2"]),
        (r#"{"object":"list","data":null}"#, &[]),
        ("<html>", &[]),
    ] {
        let upstream = Upstream::answering(list).await;
        let gateway = Gateway::start(&format!(
            "server: {{ listen: ['127.0.0.1:0'] }}
upstreams: {{ far: {{ base_url: 'http://{}/v1', keys: ['{PROVIDER_KEY}'] }} }}
models:
  - {{ match: own, targets: [{{ upstream: far, model: m-1 }}] }}
  - {{ match: '*', targets: [{{ upstream: far }}] }}
tenants: [{{ id: all, keys: ['{CLIENT_KEY}'] }}]
",
            upstream.address
        ));
        let listed = gateway.get("/v1/models").await;
        assert_eq!(listed.status, 200, "{list}");
        assert_eq!(ids(&listed), [&["own"], expected].concat(), "{list}");
        let models = listed.json();
        for model in models["data"].as_array().unwrap() {
            assert!(model["created"].is_i64() && model["owned_by"].is_string());
        }
    }
}
