//! What a gateway tells its receivers: the rows of its ledger, and of its quotas.

use std::process::Command;

use serde_json::Value;

use crate::support::gateway::{BINARY, Gateway, config};
use crate::support::tools::run;
use crate::support::upstream::{Received, Upstream};

const CHAT: &str = "/v1/chat/completions";
const REQUEST: &str =
    r#"{"model":"gpt-4o","max_tokens":30,"messages":[{"role":"user","content":"hi"}]}"#;
const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":30,"total_tokens":40}}"#;

/// A gateway that tells of all usage, and a tenant of its quota.
fn told(upstream: &Upstream, everybody: &Upstream, tenant: &Upstream) -> Gateway {
    let of_tenant = format!(
        "missing], quota: {{ tokens: 100, per: month, warn_at: [40%] }}, webhook: {{ url: \
         'http://{}/hook?token=s3cret-in-a-url', events: [threshold, exhausted] }} }}",
        tenant.address
    );
    let more = format!(
        "webhook:
  {{ url: 'http://{}/all', secret: s3cret-0123456789, events: [usage] }}
ledger: {{ path: usage }}",
        everybody.address
    );
    let yaml = config(upstream.address, "", &more);
    Gateway::start(&yaml.replace("missing] }", &of_tenant))
}

fn json(message: &Received) -> Value {
    serde_json::from_slice(&message.body).unwrap()
}

#[tokio::test]
async fn usage_is_told_as_the_ledger_has_it_and_a_quota_when_it_is_reached() {
    let upstream = Upstream::answering(ANSWER).await;
    let everybody = Upstream::answering("{}").await;
    let tenant = Upstream::answering("{}").await;
    let mut gateway = told(&upstream, &everybody, &tenant);
    let mut events = Vec::new();
    gateway.post(CHAT, REQUEST).await;
    let first = everybody.request().await;
    assert!(first.header("webhook-signature")[0].starts_with("v1,"));
    let message = json(&first);
    assert_eq!(message["type"], "usage.recorded");
    events.extend(message["data"]["events"].as_array().unwrap().clone());
    let threshold = json(&tenant.request().await);
    assert_eq!(threshold["type"], "quota.threshold");
    assert_eq!(threshold["data"]["percent"], 40);
    assert_eq!(threshold["data"]["spent"], 40);

    // As many as it takes until one is refused.
    while gateway.post(CHAT, REQUEST).await.status == 200 {}
    let exhausted = json(&tenant.request().await);
    assert_eq!(exhausted["type"], "quota.exhausted");
    assert_eq!(exhausted["data"]["tenant"], "tester");
    while events.len() < upstream.requests() {
        let message = json(&everybody.request().await);
        events.extend(message["data"]["events"].as_array().unwrap().clone());
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let folder = &gateway.folder().0;
    let mut export = Command::new(BINARY);
    export
        .args(["ledger", "export", "--format", "jsonl", "-c"])
        .arg(folder.join("tollgate.yaml"))
        .current_dir(folder);
    let exported: Vec<Value> = run(&mut export)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let served = |event: &&Value| event["status"] == 200;
    let by_id = |events: &[Value]| {
        let mut served: Vec<Value> = events.iter().filter(served).cloned().collect();
        served.sort_by_key(|event| event["id"].to_string());
        served
    };
    assert_eq!(by_id(&events), by_id(&exported));
    let output = gateway.output().text();
    assert!(!output.contains("s3cret"), "{output}");
}
