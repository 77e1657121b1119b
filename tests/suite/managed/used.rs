//! A key from its making to its end.

use serde_json::{Value, json};

use super::{ask, assert_unknown, chat_with, make_key, status_with, taken, upstream, with_ledger};
use crate::support::gateway::{Folder, Gateway};
use crate::support::soon;

#[tokio::test]
async fn a_key_is_made_used_changed_disabled_rotated_and_revoked() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let gateway = Gateway::start(&with_ledger(upstream.address, &ledger));
    let tenant = json!({ "id": "team-a", "name": "Team A", "models": ["gpt-4o", "same-*"], "quota": 100_000 });
    let made = taken(&ask(&gateway, "POST", "/admin/tenants", tenant).await, 201);
    assert_eq!(
        (&made["source"], &made["quota"]["per"]),
        (&json!("runtime"), &json!("month"))
    );
    let (id, key) = make_key(&gateway, "team-a", "ci").await;
    assert!(key.starts_with("tg_") && key.len() > 40);
    assert_eq!(status_with(&gateway, &key).await, 200);
    let line = gateway.access_line("tenant=team-a");
    assert!(line.contains("key=ci"), "{line}");

    // What is shown has no text of it, and no hash.
    let path = format!("/admin/keys/{id}");
    let shown = taken(&ask(&gateway, "GET", &path, Value::Null).await, 200);
    assert_eq!(shown["hint"], format!("tg_…{}", &key[key.len() - 4..]));
    assert!(shown.get("key").is_none() && shown.get("hash").is_none());

    // Narrowed to some of its tenant's models.
    let patch = json!({ "models": ["same-*"], "labels": { "team": "search" } });
    taken(&ask(&gateway, "PATCH", &path, patch).await, 200);
    let refused = chat_with(&gateway, &key, "gpt-4o").await;
    assert_eq!(refused.status, 404, "{refused:?}");
    assert_eq!(chat_with(&gateway, &key, "same-x").await.status, 200);
    assert_eq!(chat_with(&gateway, &key, "forbidden").await.status, 404);

    // Limits of its own.
    let patch = json!({ "models": null, "limits": { "requests_per_day": 1 } });
    taken(&ask(&gateway, "PATCH", &path, patch).await, 200);
    assert_eq!(status_with(&gateway, &key).await, 200);
    assert_eq!(status_with(&gateway, &key).await, 429);
    taken(
        &ask(
            &gateway,
            "PATCH",
            &path,
            json!({ "limits": null, "enabled": false }),
        )
        .await,
        200,
    );
    assert_unknown(&chat_with(&gateway, &key, "gpt-4o").await);
    gateway
        .output()
        .wait_for("the key ci of tenant team-a is disabled");
    taken(
        &ask(&gateway, "PATCH", &path, json!({ "enabled": true })).await,
        200,
    );
    assert_eq!(status_with(&gateway, &key).await, 200);

    // Both texts hold for the overlap, and one after it.
    let rotate = format!("{path}/rotate");
    let rotated = taken(
        &ask(&gateway, "POST", &rotate, json!({ "overlap": "1s" })).await,
        200,
    );
    let second = rotated["key"].as_str().unwrap();
    assert_eq!(rotated["id"], id.as_str());
    assert!(rotated["previous_until"].is_string());
    assert_eq!(status_with(&gateway, second).await, 200);
    let ended = async {
        while status_with(&gateway, &key).await != 401 {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the overlap", ended).await;
    assert_eq!(status_with(&gateway, second).await, 200);

    let gone = taken(&ask(&gateway, "DELETE", &path, Value::Null).await, 200);
    assert_eq!(gone["revoked"], true);
    assert_unknown(&chat_with(&gateway, second, "gpt-4o").await);
    assert_eq!(ask(&gateway, "GET", &path, Value::Null).await.status, 404);

    // Each change has a line, with what was before and is since, and nothing of a secret.
    let audit = taken(
        &ask(&gateway, "GET", "/admin/audit?limit=50", Value::Null).await,
        200,
    );
    let lines = audit["data"].as_array().unwrap();
    let actions: Vec<&str> = lines
        .iter()
        .rev()
        .map(|line| line["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "tenant.create",
            "key.create",
            "key.change",
            "key.change",
            "key.change",
            "key.change",
            "key.rotate",
            "key.revoke"
        ]
    );
    assert_eq!(lines[0]["actor"], "op@test");
    assert_eq!(
        (&lines[0]["credential"], &lines[0]["source"]),
        (&json!("admin_token"), &json!("127.0.0.1"))
    );
    assert_eq!(lines[5]["after"]["models"], json!(["same-*"]));
    let said = format!("{audit}{}", gateway.output().text());
    assert!(!said.contains(&key) && !said.contains(second));
    gateway.output().wait_for("audit key.revoke tenant=team-a");
}

#[tokio::test]
async fn what_was_made_survives_a_restart_and_a_reload_of_the_file() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let yaml = with_ledger(upstream.address, &ledger);
    let mut gateway = Gateway::start(&yaml);
    taken(
        &ask(
            &gateway,
            "POST",
            "/admin/tenants",
            json!({ "id": "made", "key_prefix": "m_" }),
        )
        .await,
        201,
    );
    let (_, key) = make_key(&gateway, "made", "ci").await;
    let (id, of_file) = make_key(&gateway, "tester", "ci").await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());

    let gateway = Gateway::start(&yaml);
    assert_eq!(status_with(&gateway, &key).await, 200);
    assert_eq!(status_with(&gateway, &of_file).await, 200);
    // A reload keeps it, and what a reload brings does not lose it.
    let file = gateway.folder().write(
        "tollgate.yaml",
        yaml.replace("prefix: same- }", "prefix: other- }"),
    );
    taken(
        &ask(&gateway, "POST", "/admin/reload", Value::Null).await,
        200,
    );
    assert_eq!(chat_with(&gateway, &key, "other-x").await.status, 200);
    taken(
        &ask(
            &gateway,
            "DELETE",
            &format!("/admin/keys/{id}"),
            Value::Null,
        )
        .await,
        200,
    );
    assert_eq!(status_with(&gateway, &of_file).await, 401);
    assert_eq!(status_with(&gateway, &key).await, 200);
    drop(file);
}

#[tokio::test]
async fn an_empty_list_of_tenants_serves_none_until_one_is_made() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let yaml = with_ledger(upstream.address, &ledger);
    let from = yaml.find("tenants:\n").unwrap();
    let to = yaml.find("ledger:").unwrap();
    let yaml = format!("{}tenants: []\n{}", &yaml[..from], &yaml[to..]);
    let gateway = Gateway::start(&yaml);
    assert_eq!(status_with(&gateway, "anything").await, 401);
    taken(
        &ask(&gateway, "POST", "/admin/tenants", json!({ "id": "first" })).await,
        201,
    );
    let (_, key) = make_key(&gateway, "first", "ci").await;
    assert_eq!(status_with(&gateway, &key).await, 200);
    let deleted = taken(
        &ask(&gateway, "DELETE", "/admin/tenants/first", Value::Null).await,
        200,
    );
    assert_eq!(deleted["revoked_keys"], 1);
    assert_eq!(status_with(&gateway, &key).await, 401);
}

#[tokio::test]
async fn a_quota_of_a_tenant_that_was_made_is_kept_and_counts_what_was_used() {
    let used = r#"{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":60,"completion_tokens":0,"total_tokens":60}}"#;
    let upstream = crate::support::upstream::Upstream::answering(used).await;
    let ledger = Folder::new();
    let yaml = with_ledger(upstream.address, &ledger);
    let mut gateway = Gateway::start(&yaml);
    taken(
        &ask(
            &gateway,
            "POST",
            "/admin/tenants",
            json!({ "id": "capped" }),
        )
        .await,
        201,
    );
    let (_, key) = make_key(&gateway, "capped", "ci").await;
    assert_eq!(status_with(&gateway, &key).await, 200);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let gateway = Gateway::start(&yaml);
    // What it has used already is part of a quota that it gets later.
    let patch = json!({ "quota": { "tokens": 50, "per": "day" } });
    taken(
        &ask(&gateway, "PATCH", "/admin/tenants/capped", patch).await,
        200,
    );
    let refused = chat_with(&gateway, &key, "gpt-4o").await;
    refused.assert_error(429, "insufficient_quota", Some("insufficient_quota"), None);
    taken(
        &ask(
            &gateway,
            "PATCH",
            "/admin/tenants/capped",
            json!({ "quota": { "tokens": 100_000 } }),
        )
        .await,
        200,
    );
    assert_eq!(status_with(&gateway, &key).await, 200);
}
