//! Another configuration is put in force while the gateway serves.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use super::{FILE, order};
use crate::support::client::{Client, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{DONE, chat, delta, soon, streamed_chat};

const ANSWER: &str = r#"{"object":"chat.completion","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;

/// The configuration of the tests, which is read again only where that is asked for.
pub fn plain(upstream: &Upstream) -> String {
    config(upstream.address, "", "").replace("server:\n", "server:\n  reload_on_change: false\n")
}

/// The same, read again when it has changed, as is the default.
fn watched(yaml: &str) -> String {
    yaml.replace("  reload_on_change: false\n", "")
}

/// The configuration of the tests, with one more model.
fn with_model(upstream: &Upstream, name: &str) -> String {
    plain(upstream)
        .replace(
            "tenants:",
            &format!("  - {{ match: {name}, targets: [{{ upstream: far }}] }}\ntenants:"),
        )
        .replace("models: [gpt-4o,", &format!("models: [gpt-4o, {name},"))
}

async fn status_of(gateway: &Gateway, model: &str) -> u16 {
    gateway
        .post("/v1/chat/completions", &chat(model))
        .await
        .status
}

/// Waits until a model is served.
async fn is_served(gateway: &Gateway, model: &str) {
    soon(&format!("{model} is served"), async {
        while status_of(gateway, model).await != 200 {}
    })
    .await;
}

/// The status of a request to the listener on this address.
async fn status_at(gateway: &Gateway, ip: &str) -> u16 {
    let said = gateway
        .output()
        .wait_for(&format!("listening on http://{ip}:"));
    let (_, rest) = said.split_once(&format!("http://{ip}:")).unwrap();
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let mut client = Client::connect(format!("{ip}:{port}").parse().unwrap()).await;
    client.get("/v1/models").await.status
}

#[tokio::test]
async fn what_holds_for_a_listener_follows_its_address_and_one_that_waits_for_a_restart_is_as_it_was()
 {
    let upstream = Upstream::answering(ANSWER).await;
    let (strict, open) = (
        "{ address: '127.0.0.1:0', redirect: https }",
        "'127.0.0.2:0'",
    );
    let with = |listeners: [&str; 2], model: &str| {
        let listeners = listeners.join(", ");
        with_model(&upstream, model).replacen(
            "listen: ['127.0.0.1:0']",
            &format!("listen: [{listeners}]"),
            1,
        )
    };
    let gateway = Gateway::start(&with([strict, open], "first"));
    for (listeners, model) in [
        ([strict, open], "first"),
        (["", open], "second"),
        ([open, strict], "third"),
        ([strict, open], "fourth"),
    ] {
        let yaml = with(listeners, model).replace("[, ", "[");
        gateway.folder().write(FILE, yaml);
        assert_eq!(
            order(&gateway, "/admin/reload").await.status,
            200,
            "{model}"
        );
        assert_eq!(status_at(&gateway, "127.0.0.1").await, 308, "{model}");
        assert_eq!(status_at(&gateway, "127.0.0.2").await, 200, "{model}");
    }
}

#[tokio::test]
async fn an_order_puts_the_new_file_in_force_and_lists_what_changed() {
    let upstream = Upstream::answering(ANSWER).await;
    let gateway = Gateway::start(&plain(&upstream));
    assert_eq!(status_of(&gateway, "new-model").await, 404);
    gateway
        .folder()
        .write(FILE, with_model(&upstream, "new-model"));
    let answer = order(&gateway, "/admin/reload").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let changed = answer["changed"].as_array().unwrap();
    let names = |wanted: &str| changed.iter().any(|c| c.as_str().unwrap().contains(wanted));
    assert!(
        names("models.new-model") && names("tenants.tester"),
        "{answer}"
    );
    assert_eq!(changed.len(), 2, "{answer}");
    assert_eq!(answer["needs_restart"].as_array().unwrap().len(), 0);
    assert_eq!(status_of(&gateway, "new-model").await, 200);
    let again = order(&gateway, "/admin/reload").await.json();
    assert_eq!(again["changed"].as_array().unwrap().len(), 0, "{again}");
}

#[tokio::test]
async fn a_hang_up_does_the_same() {
    let upstream = Upstream::answering(ANSWER).await;
    let gateway = Gateway::start(&plain(&upstream));
    gateway
        .folder()
        .write(FILE, with_model(&upstream, "new-model"));
    gateway.signal("HUP");
    is_served(&gateway, "new-model").await;
    gateway
        .output()
        .wait_for("reload (SIGHUP): the new configuration is in force");
}

#[tokio::test]
async fn a_change_of_the_file_is_enough() {
    let upstream = Upstream::answering(ANSWER).await;
    let gateway = Gateway::before(&upstream);
    gateway
        .folder()
        .write(FILE, watched(&with_model(&upstream, "new-model")));
    is_served(&gateway, "new-model").await;
    gateway.output().wait_for("reload (a file has changed)");
}

#[tokio::test]
async fn another_target_of_a_link_is_a_change() {
    let upstream = Upstream::answering(ANSWER).await;
    let gateway = Gateway::before(&upstream);
    let folder = gateway.folder();
    folder.write("next.yaml", watched(&with_model(&upstream, "new-model")));
    symlink(folder.0.join("next.yaml"), folder.0.join("link")).unwrap();
    fs::rename(folder.0.join("link"), folder.0.join(FILE)).unwrap();
    is_served(&gateway, "new-model").await;
}

#[tokio::test]
async fn a_variable_of_dot_env_is_read_anew() {
    let upstream = Upstream::answering(ANSWER).await;
    let yaml = config(upstream.address, "", "").replace(
        "  - { match: gpt-4o,",
        "  - { match: '${EXTRA:-nothing}', targets: [{ upstream: far }] }\n  - { match: gpt-4o,",
    );
    let yaml = yaml.replace("models: [gpt-4o,", "models: [gpt-4o, from-env,");
    let gateway = Gateway::start(&yaml);
    assert_eq!(status_of(&gateway, "from-env").await, 404);
    gateway.folder().write(".env", "EXTRA=from-env\n");
    assert_eq!(order(&gateway, "/admin/reload").await.status, 200);
    assert_eq!(status_of(&gateway, "from-env").await, 200);
    gateway.folder().write(".env", "EXTRA=another\n");
    soon("the rule is gone", async {
        while status_of(&gateway, "from-env").await != 404 {}
    })
    .await;
}

#[tokio::test]
async fn a_list_of_models_is_of_the_file_as_it_is_now() {
    let upstream = Upstream::answering(ANSWER).await;
    let on = |yaml: String| yaml.replace("server:\n", "server:\n  reload_on_models: true\n");
    let gateway = Gateway::start(&on(plain(&upstream)));
    let listed = async |model: &str| gateway.get("/v1/models").await.text().contains(model);
    assert!(!listed("new-model").await);
    gateway
        .folder()
        .write(FILE, on(with_model(&upstream, "new-model")));
    soon("the model is listed", async {
        while !listed("new-model").await {}
    })
    .await;
}

#[tokio::test]
async fn a_stream_in_flight_ends_on_what_it_began_with() {
    let step = Arc::new(Semaphore::new(0));
    let old = {
        let step = Arc::clone(&step);
        Upstream::start(move |_, mut reply| {
            let step = Arc::clone(&step);
            async move {
                reply.begin_stream().await;
                reply.chunk(&delta("one")).await;
                step.acquire().await.unwrap().forget();
                reply.chunk(&[&delta("two"), DONE].concat()).await;
                reply.end_stream().await;
                reply
            }
        })
        .await
    };
    let new = Upstream::answering(ANSWER).await;
    let gateway = Gateway::start(&plain(&old));
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    client.head().await;
    client.chunk().await.unwrap();
    gateway.folder().write(FILE, plain(&new));
    let answer = order(&gateway, "/admin/reload").await.json();
    let changed = answer["changed"][0].as_str().unwrap();
    assert!(
        changed.contains("upstreams.far") && changed.contains("base_url"),
        "{answer}"
    );
    assert_eq!(status_of(&gateway, "gpt-4o").await, 200);
    assert_eq!(new.requests(), 1);
    step.add_permits(1);
    assert_eq!(client.chunk().await, Some([&delta("two"), DONE].concat()));
    assert_eq!(client.chunk().await.as_deref(), Some(""));
}

#[tokio::test]
async fn what_is_counted_and_learnt_survives_by_name() {
    let refuses = Arc::new(AtomicBool::new(true));
    let upstream = {
        let refuses = Arc::clone(&refuses);
        Upstream::start(move |_, mut reply| {
            let refuses = Arc::clone(&refuses);
            async move {
                match refuses.load(Ordering::SeqCst) {
                    true => {
                        let body = r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;
                        reply.json_with("429 Too Many Requests", "retry-after: 600\r\n", body).await;
                    }
                    false => reply.json("200 OK", ANSWER).await,
                }
                reply
            }
        })
        .await
    };
    let limited = |yaml: String| {
        yaml.replace(
            "{ id: tester,",
            "{ id: tester, limits: { requests_per_day: 3 },",
        )
    };
    let gateway = Gateway::start(&limited(plain(&upstream)));
    assert_eq!(status_of(&gateway, "gpt-4o").await, 429);
    let asked = upstream.requests();
    gateway
        .folder()
        .write(FILE, limited(with_model(&upstream, "new-model")));
    assert_eq!(order(&gateway, "/admin/reload").await.status, 200);
    refuses.store(false, Ordering::SeqCst);
    // The key still cools down.
    assert_eq!(status_of(&gateway, "gpt-4o").await, 429);
    assert_eq!(upstream.requests(), asked);
    let total = r#"tollgate_requests_total{endpoint="chat_completions",rule="gpt-4o",status="4xx",upstream="far"}"#;
    assert!(gateway.metric(total).await >= 1.0);
}

#[tokio::test]
async fn a_rate_limit_counts_on_after_a_reload() {
    let upstream = Upstream::answering(ANSWER).await;
    let limited = |yaml: String| {
        yaml.replace(
            "{ id: tester,",
            "{ id: tester, limits: { requests_per_day: 2 },",
        )
    };
    let gateway = Gateway::start(&limited(plain(&upstream)));
    assert_eq!(status_of(&gateway, "gpt-4o").await, 200);
    gateway
        .folder()
        .write(FILE, limited(with_model(&upstream, "new-model")));
    assert_eq!(order(&gateway, "/admin/reload").await.status, 200);
    assert_eq!(status_of(&gateway, "new-model").await, 200);
    assert_eq!(status_of(&gateway, "new-model").await, 429);
}

#[tokio::test]
async fn what_needs_a_restart_is_told_and_the_rest_is_in_force() {
    let upstream = Upstream::answering(ANSWER).await;
    let gateway = Gateway::start(&plain(&upstream));
    let yaml = with_model(&upstream, "new-model").replace("server:\n", "server:\n  threads: 3\n");
    gateway.folder().write(FILE, &yaml);
    for _ in 0..2 {
        let answer = order(&gateway, "/admin/reload").await.json();
        let needs = answer["needs_restart"].as_array().unwrap();
        assert_eq!(needs.len(), 1, "{answer}");
        assert!(
            needs[0].as_str().unwrap().contains("server.threads"),
            "{answer}"
        );
    }
    assert_eq!(status_of(&gateway, "new-model").await, 200);
}

#[tokio::test]
async fn a_ledger_and_a_quota_may_come_with_a_reload() {
    const USES_A_HUNDRED: &str = r#"{"object":"chat.completion","choices":[],"usage":{"prompt_tokens":50,"completion_tokens":50,"total_tokens":100}}"#;
    let upstream = Upstream::answering(USES_A_HUNDRED).await;
    let gateway = Gateway::start(&plain(&upstream));
    let yaml = format!("{}\nledger: {{ path: ledger }}", plain(&upstream)).replace(
        "{ id: tester,",
        "{ id: tester, quota: { tokens: 100, per: month },",
    );
    gateway.folder().write(FILE, &yaml);
    let answer = order(&gateway, "/admin/reload").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["needs_restart"].as_array().unwrap().len(), 0);
    let body = r#"{"model":"gpt-4o","max_tokens":1,"messages":[{"role":"user","content":""}]}"#;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(gateway.post("/v1/chat/completions", body).await.status);
    }
    assert_eq!(statuses, [200, 429]);
    let recorded = r#"tollgate_ledger_records_total{outcome="recorded"}"#;
    assert!(gateway.metric(recorded).await >= 1.0);
}
