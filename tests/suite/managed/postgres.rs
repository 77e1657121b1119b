//! Two nodes with one PostgreSQL: what is changed at one holds at both within a second.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ask, assert_refused, make_key, status_with, taken, upstream, with_ledger};
use crate::support::gateway::{Folder, Gateway};
use crate::support::postgres::Postgres;
use crate::support::soon;

/// What is promised of a change at another node.
const EVERYWHERE: Duration = Duration::from_secs(1);

async fn becomes(gateway: &Gateway, key: &str, status: u16) -> Duration {
    let begun = Instant::now();
    let asking = async {
        while status_with(gateway, key).await != status {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(&format!("the status {status}"), asking).await;
    begun.elapsed()
}

struct Node {
    _folder: Folder,
    yaml: String,
}

fn node(upstream: std::net::SocketAddr, postgres: &Postgres, name: &str) -> Node {
    let folder = Folder::new();
    let with_database = format!("ledger: {{ postgres: '{}',", postgres.url());
    let yaml = with_ledger(upstream, &folder).replace("ledger: {", &with_database);
    let yaml = yaml.replacen("server:\n", &format!("server:\n  node: {name}\n"), 1);
    Node {
        _folder: folder,
        yaml,
    }
}

#[tokio::test]
async fn what_one_node_changes_holds_at_the_other_within_a_second() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let upstream = upstream().await;
    let (a, b) = (
        node(upstream.address, &postgres, "a"),
        node(upstream.address, &postgres, "b"),
    );
    let (one, other) = (
        Gateway::start_quietly(&a.yaml),
        Gateway::start_quietly(&b.yaml),
    );
    taken(
        &ask(
            &one,
            "POST",
            "/admin/tenants",
            json!({ "id": "shared", "quota": 1_000_000 }),
        )
        .await,
        201,
    );
    let mut slowest = Duration::ZERO;
    for n in 0..10 {
        let (id, key) = make_key(&one, "shared", &format!("k{n}")).await;
        // At the node that was asked, it holds at once.
        assert_eq!(status_with(&one, &key).await, 200);
        slowest = slowest.max(becomes(&other, &key, 200).await);
        let begun = Instant::now();
        taken(
            &ask(&other, "DELETE", &format!("/admin/keys/{id}"), Value::Null).await,
            200,
        );
        assert_eq!(status_with(&other, &key).await, 401);
        becomes(&one, &key, 401).await;
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < EVERYWHERE, "{slowest:?}");
    let rows = postgres.query("SELECT count(*), count(DISTINCT key) FROM tollgate.managed_audit WHERE action LIKE 'key.%'");
    assert_eq!(rows, "20|10");
    let stored = postgres.query("SELECT string_agg(m::text, ' ') FROM tollgate.managed_keys m");
    assert!(
        !stored.contains("tg_0") && stored.contains("tg_…"),
        "{stored}"
    );
    // Both check against what the other has made.
    make_key(&one, "shared", "same").await;
    let again = ask(
        &other,
        "POST",
        "/admin/keys",
        json!({ "tenant": "shared", "name": "same" }),
    )
    .await;
    assert_eq!(again.status, 409, "{}", again.text());
    // What one has refused keeps nothing from the other.
    let (id, key) = make_key(&one, "shared", "last").await;
    becomes(&other, &key, 200).await;
    let path = format!("/admin/keys/{id}");
    let revoked = ask(&one, "DELETE", &path, Value::Null);
    taken(&soon("a change at the first", revoked).await, 200);
    becomes(&other, &key, 401).await;
}

#[tokio::test]
async fn while_the_database_is_away_what_is_known_holds_and_then_changes_are_seen_again() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let upstream = upstream().await;
    let (a, b) = (
        node(upstream.address, &postgres, "a"),
        node(upstream.address, &postgres, "b"),
    );
    let (one, other) = (Gateway::start(&a.yaml), Gateway::start(&b.yaml));
    let (id, key) = make_key(&one, "tester", "ci").await;
    becomes(&other, &key, 200).await;
    postgres.stop();
    other
        .output()
        .wait_for("changes of keys by other processes are not seen");
    assert_eq!(status_with(&other, &key).await, 200);
    let refused = ask(&one, "DELETE", &format!("/admin/keys/{id}"), Value::Null).await;
    let away = "cannot be used at the moment";
    assert_refused(&refused, 503, "database_unavailable", None, away);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(
        other.get_admin("/health").await.json()["status"],
        "degraded"
    );
    postgres.resume();
    let asking = async {
        let path = format!("/admin/keys/{id}");
        while ask(&one, "DELETE", &path, Value::Null).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the database is back", asking).await;
    becomes(&other, &key, 401).await;
    other.output().wait_for("changes of keys are seen again");
    // By notices again, and not by looking.
    let (id, key) = make_key(&one, "tester", "next").await;
    becomes(&other, &key, 200).await;
    taken(
        &ask(&one, "DELETE", &format!("/admin/keys/{id}"), Value::Null).await,
        200,
    );
    let seen = becomes(&other, &key, 401).await;
    assert!(seen < EVERYWHERE, "{seen:?}");
}

#[tokio::test]
async fn keys_that_are_not_known_yet_are_no_reason_to_give_up() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let upstream = upstream().await;
    let a = node(upstream.address, &postgres, "a");
    let mut gateway = Gateway::start(&a.yaml);
    let (_, key) = make_key(&gateway, "tester", "ci").await;
    gateway.signal("TERM");
    gateway.wait();
    postgres.stop();
    let gateway = Gateway::start(&a.yaml);
    gateway
        .output()
        .wait_for("keys that were made at run time are not known until their database is there");
    let refused = super::chat_with(&gateway, &key, "gpt-4o").await;
    refused.assert_error(503, "server_error", Some("keys_unavailable"), None);
    assert_eq!(refused.header("retry-after"), Some("1"));
    // What the file defines is known.
    assert_eq!(status_with(&gateway, crate::support::CLIENT_KEY).await, 200);
    let health = gateway.get_admin("/health").await.json();
    assert_eq!(health["status"], "degraded");
    postgres.resume();
    becomes(&gateway, &key, 200).await;
    assert_eq!(status_with(&gateway, "unknown-key").await, 401);
}
