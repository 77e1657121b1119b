//! Quotas of single keys: exact beside those of their tenants, told apart from them, and changed while the gateway runs.

use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::quotas::{ask_at_once, next};
use super::{ANSWER, Setup, ask, ask_as, assert_exhausted, chat_up_to, gated, number};
use crate::support::chat;
use crate::support::client::Response;
use crate::support::gateway::{BINARY, Folder, Gateway};
use crate::support::tools::run;
use crate::support::upstream::Upstream;

/// A dime for each request.
const DIME: &str = "prices: [{ model: '*', request: 0.10 }]\n";
/// Another key of the tenant.
const SECOND: &str = "a-second-key-of-it";

/// A configuration whose tenant has a second key, without a quota.
fn with_second_key(setup: &Setup<'_>, upstream: &Upstream) -> String {
    let yaml = setup.yaml(upstream.address);
    yaml.replace("keys: [{ key", &format!("keys: [{SECOND}, {{ key"))
}

fn message(refused: &Response) -> String {
    assert_exhausted(refused);
    refused.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Puts another configuration in force.
async fn reload(gateway: &Gateway, yaml: &str) {
    gateway.folder().write("tollgate.yaml", yaml);
    let mut client = gateway.connect_admin().await;
    let order = "POST /admin/reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    client.send(order.to_owned()).await;
    let answer = client.response().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// What `/status` says of the tests' key.
async fn shown(gateway: &Gateway) -> Value {
    let status = gateway.get_admin("/status").await.json();
    let keys = status["keys"].as_array().unwrap().iter();
    let mut keys = keys.filter(|key| key["name"] == "ci");
    keys.next().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_requests_at_once_with_a_key_as_many_pass_as_its_quota_is_for() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let setup = Setup {
        key: ", quota: { usd: 1, per: total }",
        more: DIME,
        ..Setup::default()
    };
    let gateway = Gateway::start_quietly(&with_second_key(&setup, &upstream));
    let mut asking = ask_at_once(&gateway, 100, &chat("gpt-4o"));
    for _ in 0..90 {
        assert_exhausted(&next(&mut asking).await);
    }
    gate.add_permits(1000);
    for _ in 0..10 {
        assert_eq!(next(&mut asking).await.status, 200);
    }
    assert_exhausted(&ask(&gateway, &chat("gpt-4o")).await);
    assert_eq!(upstream.requests(), 10);
    // Another key of the tenant is free.
    assert_eq!(ask_as(&gateway, SECOND, &chat("gpt-4o")).await.status, 200);
}

#[tokio::test]
async fn whichever_quota_is_used_up_refuses_and_the_answer_says_whose_it_is() {
    for (tenant, key, is_of_key) in [("0.50", "0.20", true), ("0.20", "0.50", false)] {
        let upstream = Upstream::answering(ANSWER).await;
        let setup = Setup {
            tenant: &format!(", quota: {{ usd: {tenant}, per: total }}"),
            key: &format!(", quota: {{ usd: {key}, per: total }}"),
            more: DIME,
            ..Setup::default()
        };
        let gateway = Gateway::start(&with_second_key(&setup, &upstream));
        for _ in 0..2 {
            assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
        }
        let told = message(&ask(&gateway, &chat("gpt-4o")).await);
        let expected = match is_of_key {
            true => "You exceeded your current quota of $0.2 for key `ci`, please check your plan",
            false => "You exceeded your current quota of $0.2, please check your plan",
        };
        assert!(told.starts_with(expected), "{told}");
        let scope = if is_of_key { "key" } else { "tenant" };
        let series = format!(r#"tollgate_limited_total{{limit="quota.usd",scope="{scope}"}}"#);
        assert!((gateway.metric(&series).await - 1.0).abs() < 0.1, "{scope}");
        // What a key's quota has refused, the tenant has still.
        for left in [true, true, true, false] {
            let status = ask_as(&gateway, SECOND, &chat("gpt-4o")).await.status;
            assert_eq!(status, if left && is_of_key { 200 } else { 429 });
        }
        assert_eq!(upstream.requests(), if is_of_key { 5 } else { 2 });
    }
}

#[tokio::test]
async fn a_key_s_quota_has_a_calendar_and_forms_of_its_own() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        tenant: ", quota: { tokens: 100000, per: total }",
        key: ", quota: { tokens: 200, per: day, timezone: Asia/Tokyo }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let body = chat_up_to("gpt-4o", 100);
    assert_eq!(ask(&gateway, &body).await.status, 200);
    let refused = ask(&gateway, &chat_up_to("gpt-4o", 172)).await;
    assert!(message(&refused).contains("quota of 200 tokens for key `ci`"));
    assert!(number(&refused, "retry-after") <= 86_400);
    let key = shown(&gateway).await;
    let tokens = json!({ "limit": 200, "used": 10, "reserved": 0 });
    assert_eq!(
        (&key["tenant"], &key["quota"]["tokens"]),
        (&json!("tester"), &tokens)
    );
    let start = key["quota"]["period_start"].as_str().unwrap();
    assert!(start.ends_with("T15:00:00Z"), "midnight in Tokyo: {start}");
    // A number alone is tokens a month.
    let setup = Setup {
        key: ", quota: 150",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    assert_eq!(ask(&gateway, &body).await.status, 200);
    let refused = ask(&gateway, &chat_up_to("gpt-4o", 140)).await;
    assert!(message(&refused).contains("quota of 150 tokens for key `ci`"));
}

#[tokio::test]
async fn the_thresholds_of_a_key_s_quota_are_told_once_with_its_name_and_to_its_tenant_s_webhook() {
    let upstream = Upstream::answering(ANSWER).await;
    let receiver = Upstream::answering("{}").await;
    let webhook = format!(
        ", webhook: {{ url: 'http://{}/hook', events: [threshold, exhausted] }}",
        receiver.address
    );
    let setup = Setup {
        tenant: &webhook,
        key: ", quota: { usd: 0.50, warn_at: [40%] }",
        more: DIME,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    for _ in 0..5 {
        assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    }
    assert_exhausted(&ask(&gateway, &chat("gpt-4o")).await);
    for said in ["40 % of its quota of $0.5", "its quota of $0.5 is used up"] {
        let told = format!("key `ci` of tenant `tester`: {said}");
        gateway.output().wait_for(&told);
        assert_eq!(gateway.output().text().matches(&told).count(), 1, "{told}");
    }
    for (kind, percent) in [("quota.threshold", 40), ("quota.exhausted", 100)] {
        let told: Value = serde_json::from_slice(&receiver.request().await.body).unwrap();
        let data = &told["data"];
        assert_eq!(
            (&told["type"], &data["percent"]),
            (&json!(kind), &json!(percent))
        );
        assert_eq!(
            (&data["scope"], &data["tenant"], &data["key"]),
            (&json!("key"), &json!("tester"), &json!("ci"))
        );
    }
}

#[tokio::test]
async fn a_key_s_quota_is_added_raised_lowered_and_removed_while_the_gateway_runs() {
    let upstream = Upstream::answering(ANSWER).await;
    let yaml = |key: &str| {
        let setup = Setup {
            key,
            more: "prices: [{ model: '*', request: 0.10 }]\nledger: { path: ledger }\n",
            server: ", reload_on_change: false",
            ..Setup::default()
        };
        setup.yaml(upstream.address)
    };
    let quota = |usd: &str| yaml(&format!(", quota: {{ usd: {usd}, per: total }}"));
    let statuses = async |gateway: &Gateway, times| {
        let mut statuses = Vec::new();
        for _ in 0..times {
            statuses.push(ask(gateway, &chat("gpt-4o")).await.status);
        }
        statuses
    };
    let gateway = Gateway::start(&yaml(""));
    // What is used without a quota counts in none that comes later.
    assert_eq!(statuses(&gateway, 3).await, [200, 200, 200]);
    reload(&gateway, &quota("0.20")).await;
    assert_eq!(statuses(&gateway, 3).await, [200, 200, 429]);
    reload(&gateway, &quota("0.30")).await;
    assert_eq!(statuses(&gateway, 2).await, [200, 429]);
    reload(&gateway, &quota("0.10")).await;
    assert_eq!(statuses(&gateway, 1).await, [429]);
    reload(&gateway, &yaml("")).await;
    assert_eq!(statuses(&gateway, 1).await, [200]);
    assert_eq!(shown(&gateway).await, Value::Null);
    // Another name is another quota.
    let renamed = quota("0.10").replace("name: ci", "name: renamed");
    reload(&gateway, &renamed).await;
    assert_eq!(statuses(&gateway, 2).await, [200, 429]);
}

#[test]
fn the_tables_of_check_have_the_quotas_of_keys() {
    let setup = Setup {
        key: ", quota: { tokens: 5000, usd: 1.5, per: week, timezone: Asia/Tokyo }",
        more: DIME,
        ..Setup::default()
    };
    let folder = Folder::new();
    let file = folder.write("tollgate.yaml", setup.yaml(([127, 0, 0, 1], 9).into()));
    let printed = run(Command::new(BINARY)
        .args(["check", "-c"])
        .arg(file)
        .current_dir(&folder.0));
    let mut lines = printed
        .lines()
        .skip_while(|line| !line.starts_with("QUOTA OF"));
    let words = |line: Option<&str>| {
        line.unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(words(lines.next()), "QUOTA OF QUOTA");
    let expected = "key ci of tester 5000 tokens and 1.5 USD per week, Asia/Tokyo";
    assert_eq!(words(lines.next()), expected);
}
