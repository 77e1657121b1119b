//! PostgreSQL that is away: at the start, and later. Whoever has a quota waits only while balances are not known.

use std::collections::HashSet;

use super::{CHAT, ask_as, assert_exhausted, capped, kill, used, with_ledger};
use crate::support::client::Response;
use crate::support::gateway::{Folder, Gateway};
use crate::support::postgres::Postgres;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon, until};

/// The requests that the database has, in the form of `x-request-id`.
fn loaded(postgres: &Postgres) -> Vec<String> {
    let has_tables = postgres.query("SELECT to_regclass('tollgate.requests') IS NOT NULL");
    if has_tables != "t" {
        return Vec::new();
    }
    let ids = postgres.query("SELECT id FROM tollgate.requests");
    ids.lines()
        .map(|id| format!("req_{}", id.replace('-', "")))
        .collect()
}

/// Waits until these requests are there, each once.
async fn assert_loaded(postgres: &Postgres, answered: &HashSet<String>) {
    until("all requests in the database", || {
        loaded(postgres).len() >= answered.len()
    })
    .await;
    let loaded = loaded(postgres);
    assert_eq!(loaded.len(), answered.len(), "{loaded:?}");
    assert_eq!(&loaded.into_iter().collect::<HashSet<String>>(), answered);
}

#[track_caller]
fn note(answered: &mut HashSet<String>, response: &Response) {
    assert_eq!(response.status, 200, "{response:?}");
    answered.insert(response.header("x-request-id").unwrap().to_owned());
}

#[tokio::test]
async fn a_gateway_starts_without_its_database_and_loads_everything_once_it_is_back() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.json("200 OK", &used(400)).await;
        reply
    })
    .await;
    let ledger = Folder::new();
    let yaml = with_ledger(upstream.address, &ledger, &capped("one", "1000"));
    let yaml = yaml.replace(
        "ledger: {",
        &format!("ledger: {{ postgres: '{}',", postgres.url()),
    );
    let mut answered = HashSet::new();

    postgres.stop();
    let mut gateway = Gateway::start(&yaml);
    gateway.output().wait_for("it starts without its database");
    note(&mut answered, &gateway.post(CHAT, &chat("gpt-4o")).await);
    let refused = ask_as("one", &gateway).await;
    refused.assert_error(503, "server_error", Some("quota_unavailable"), None);
    assert_eq!(
        gateway.get_admin("/health").await.json()["status"],
        "degraded"
    );
    postgres.resume();
    assert_loaded(&postgres, &answered).await;
    let asking = async {
        loop {
            let response = ask_as("one", &gateway).await;
            if response.status != 503 {
                return response;
            }
        }
    };
    note(&mut answered, &soon("balances", asking).await);
    assert_loaded(&postgres, &answered).await;
    assert_eq!(gateway.get_admin("/health").await.json()["status"], "ok");

    // Away again: balances are known, and the journal keeps what is used.
    postgres.stop();
    note(&mut answered, &ask_as("one", &gateway).await);
    note(&mut answered, &ask_as("one", &gateway).await);
    assert_exhausted(&ask_as("one", &gateway).await);
    kill(&mut gateway);
    postgres.resume();
    let gateway = Gateway::start(&yaml);
    assert_loaded(&postgres, &answered).await;
    assert_exhausted(&ask_as("one", &gateway).await);
}
