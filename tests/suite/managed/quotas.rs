//! Keys that are made at run time with a quota of their own.

use serde_json::{Value, json};

use super::{ask, assert_refused, chat_with, status_with, taken, with_ledger};
use crate::support::client::Response;
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::Upstream;

/// An answer that has used 60 tokens.
const USED: &str = r#"{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":60,"completion_tokens":0,"total_tokens":60}}"#;

/// A dime for each request.
fn with_prices(upstream: &Upstream, ledger: &Folder) -> String {
    let yaml = with_ledger(upstream.address, ledger);
    format!("{yaml}prices: [{{ model: '*', request: 0.10 }}]\n")
}

/// Makes a key `ci` of the tenant `tester` with a quota: what is told of it.
async fn make(gateway: &Gateway, quota: Value) -> Value {
    let body = json!({ "tenant": "tester", "name": "ci", "quota": quota });
    taken(&ask(gateway, "POST", "/admin/keys", body).await, 201)
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_exhausted(response: &Response) {
    response.assert_error(429, "insufficient_quota", Some("insufficient_quota"), None);
    assert!(
        response.text().contains("for key `ci`"),
        "{}",
        response.text()
    );
}

#[tokio::test]
async fn a_key_has_a_quota_that_its_rotation_keeps_and_a_change_raises_or_removes() {
    let upstream = Upstream::answering(USED).await;
    let ledger = Folder::new();
    let yaml = with_prices(&upstream, &ledger);
    let mut gateway = Gateway::start(&yaml);
    let made = make(&gateway, json!({ "usd": 0.2, "per": "total" })).await;
    let quota = json!({ "usd": "0.2", "per": "total", "timezone": "UTC", "warn_at": [80] });
    assert_eq!(made["quota"], quota);
    let (path, key) = (
        format!("/admin/keys/{}", text(&made, "id")),
        text(&made, "key"),
    );
    assert_eq!(status_with(&gateway, &key).await, 200);
    let shown = taken(&ask(&gateway, "GET", &path, Value::Null).await, 200);
    assert_eq!(
        (&shown["quota"], &shown["usage"]["usd"]),
        (
            &quota,
            &json!({ "limit": 0.2, "used": 0.1, "reserved": 0.0 })
        )
    );

    // Both texts of a key that was rotated count in one quota, also after a restart.
    let rotate = format!("{path}/rotate");
    let rotated = taken(
        &ask(&gateway, "POST", &rotate, json!({ "overlap": "1h" })).await,
        200,
    );
    let second = text(&rotated, "key");
    assert_eq!(status_with(&gateway, &second).await, 200);
    for key in [&key, &second] {
        assert_exhausted(&chat_with(&gateway, key, "gpt-4o").await);
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let mut gateway = Gateway::start(&yaml);
    for key in [&key, &second] {
        assert_exhausted(&chat_with(&gateway, key, "gpt-4o").await);
    }

    // Raised: what was used stays used. Removed: nothing is in the way.
    let patch = json!({ "quota": { "usd": 0.3 } });
    taken(&ask(&gateway, "PATCH", &path, patch).await, 200);
    assert_eq!(status_with(&gateway, &key).await, 200);
    assert_exhausted(&chat_with(&gateway, &second, "gpt-4o").await);
    let removed = taken(
        &ask(&gateway, "PATCH", &path, json!({ "quota": null })).await,
        200,
    );
    assert_eq!(removed["quota"], Value::Null);
    assert_eq!(status_with(&gateway, &key).await, 200);

    // A key of the same name goes on where the one before it was.
    taken(&ask(&gateway, "DELETE", &path, Value::Null).await, 200);
    gateway.signal("KILL");
    gateway.wait();
    let gateway = Gateway::start(&yaml);
    let made = make(&gateway, json!({ "usd": 0.3, "per": "total" })).await;
    assert_exhausted(&chat_with(&gateway, &text(&made, "key"), "gpt-4o").await);
    let path = format!("/admin/keys/{}", text(&made, "id"));
    let renamed = json!({ "name": "renamed" });
    taken(&ask(&gateway, "PATCH", &path, renamed).await, 200);
    assert_eq!(status_with(&gateway, &text(&made, "key")).await, 200);
}

#[tokio::test]
async fn a_quota_that_makes_no_sense_is_refused_with_its_field() {
    let upstream = Upstream::answering(USED).await;
    let ledger = Folder::new();
    let gateway = Gateway::start(&with_ledger(upstream.address, &ledger));
    for (quota, field, told) in [
        (json!(0), "quota", "must be above 0"),
        (
            json!({ "per": "day" }),
            "quota",
            "neither `tokens` nor `usd` is written",
        ),
        (
            json!({ "usd": 5 }),
            "quota",
            "a quota in dollars needs prices",
        ),
        (
            json!({ "tokens": 5, "per": "hour" }),
            "quota.per",
            "no period is called `hour`",
        ),
        (
            json!({ "tokens": 5, "webhook": "https://a" }),
            "quota.webhook",
            "unknown key",
        ),
    ] {
        let body = json!({ "tenant": "tester", "name": "ci", "quota": quota });
        let refused = ask(&gateway, "POST", "/admin/keys", body).await;
        assert_refused(&refused, 400, "invalid_definition", Some(field), told);
    }
    let made = make(&gateway, json!(500_000)).await;
    let path = format!("/admin/keys/{}", text(&made, "id"));
    let refused = ask(&gateway, "PATCH", &path, json!({ "quota": { "usd": 5 } })).await;
    let told = "a quota in dollars needs prices";
    assert_refused(&refused, 400, "invalid_definition", Some("quota"), told);
}

#[tokio::test]
async fn an_imported_key_may_have_a_quota() {
    let upstream = Upstream::answering(USED).await;
    let ledger = Folder::new();
    let gateway = Gateway::start(&with_prices(&upstream, &ledger));
    let line = json!({
        "tenant": "tester", "name": "ci", "key": "brought-along-0123456789", "quota": { "usd": 0.1, "per": "total" }
    });
    let import = Value::String(line.to_string());
    taken(
        &ask(&gateway, "POST", "/admin/keys/import", import).await,
        200,
    );
    assert_eq!(status_with(&gateway, "brought-along-0123456789").await, 200);
    assert_exhausted(&chat_with(&gateway, "brought-along-0123456789", "gpt-4o").await);
}
