//! What has been used of a key's quota outlives the process, and stays with the key's name.

use std::net::SocketAddr;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::rows::{assert_sound, files, rows_become};
use super::upgraded::{Successor, using_400};
use super::{ask_as, assert_exhausted, kill, stop, with_ledger};
use crate::support::CLIENT_KEY;
use crate::support::gateway::{Folder, Gateway};

/// A tenant `shop` with a quota, and two keys of these names with quotas. `texts` are what the keys end with.
fn shop(tenant: &str, keys: [(&str, &str, &str); 2]) -> String {
    let keys = keys.map(|(name, text, quota)| {
        format!("{{ key: '{CLIENT_KEY}-{text}', name: {name}, quota: {quota} }}")
    });
    let keys = keys.join(", ");
    format!("  - {{ id: shop, keys: [{keys}], quota: {tenant} }}\n")
}

/// Two keys for 800 tokens each of a tenant with more.
fn usual(upstream: SocketAddr, ledger: &Folder) -> String {
    let quota = "{ tokens: 800, per: total }";
    let keys = [("ci", "one", quota), ("web", "two", quota)];
    with_ledger(
        upstream,
        ledger,
        &shop("{ tokens: 100000, per: month }", keys),
    )
}

/// The ledger's sums of periods: tenant, key, tokens.
fn periods(folder: &Folder) -> Vec<(String, String, i64)> {
    let mut found = Vec::new();
    for file in files(folder) {
        let connection = Connection::open(&file).unwrap();
        let sql = "SELECT tenants.name, coalesce(keys.name, ''), tokens FROM periods \
                   JOIN names tenants ON tenants.id = tenant LEFT JOIN names keys ON keys.id = key \
                   ORDER BY 1, 2";
        let mut select = connection.prepare(sql).unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        found.extend(rows.unwrap().map(Result::unwrap));
    }
    found
}

#[tokio::test]
async fn what_was_used_with_a_key_before_the_process_ended_is_used_after_it() {
    let step = Arc::new(Semaphore::new(0));
    let (upstream, ledger) = (using_400(&step).await, Folder::new());
    let yaml = usual(upstream.address, &ledger);
    let mut gateway = Gateway::start(&yaml);
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    // Killed at once: nothing of it may be in the database yet.
    kill(&mut gateway);
    let mut gateway = Gateway::start(&yaml);
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    assert_eq!(ask_as("two", &gateway).await.status, 200);
    assert_exhausted(&ask_as("one", &gateway).await);
    stop(&mut gateway);
    let gateway = Gateway::start(&yaml);
    assert_exhausted(&ask_as("one", &gateway).await);
    // The other key has lost nothing but what it has used.
    assert_eq!(ask_as("two", &gateway).await.status, 200);
    assert_exhausted(&ask_as("two", &gateway).await);
    rows_become(&ledger, 4).await;
    let of = |key: &str, tokens| ("shop".to_owned(), key.to_owned(), tokens);
    assert_eq!(
        periods(&ledger),
        [of("", 1_600), of("ci", 800), of("web", 800)]
    );
    assert_sound(&ledger);
}

#[tokio::test]
async fn a_key_s_quota_is_spent_once_however_often_the_process_is_killed() {
    let step = Arc::new(Semaphore::new(0));
    let (upstream, ledger) = (using_400(&step).await, Folder::new());
    let yaml = usual(upstream.address, &ledger).replacen("tokens: 800", "tokens: 3200", 1);
    for _ in 0..4 {
        let mut gateway = Gateway::start(&yaml);
        for _ in 0..2 {
            assert_eq!(ask_as("one", &gateway).await.status, 200);
        }
        kill(&mut gateway);
    }
    let gateway = Gateway::start(&yaml);
    assert_exhausted(&ask_as("one", &gateway).await);
    assert_eq!(upstream.requests(), 8);
}

#[tokio::test]
async fn another_text_of_a_key_keeps_its_quota_and_another_name_begins_anew() {
    let step = Arc::new(Semaphore::new(0));
    let (upstream, ledger) = (using_400(&step).await, Folder::new());
    let quota = "{ tokens: 400, per: month }";
    let tenant = "{ tokens: 1200, per: month }";
    let with = |keys| with_ledger(upstream.address, &ledger, &shop(tenant, keys));
    let mut gateway = Gateway::start(&with([("ci", "one", quota), ("web", "two", quota)]));
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    assert_exhausted(&ask_as("one", &gateway).await);
    stop(&mut gateway);
    let mut gateway = Gateway::start(&with([("ci", "new", quota), ("web", "two", quota)]));
    assert_exhausted(&ask_as("new", &gateway).await);
    stop(&mut gateway);
    let mut gateway = Gateway::start(&with([("other", "new", quota), ("web", "two", quota)]));
    assert_eq!(ask_as("new", &gateway).await.status, 200);
    assert_exhausted(&ask_as("new", &gateway).await);
    stop(&mut gateway);
    // The name that it had before has used what it had, and names do not get around the tenant's quota.
    let gateway = Gateway::start(&with([("ci", "new", quota), ("third", "two", quota)]));
    assert_exhausted(&ask_as("new", &gateway).await);
    assert_eq!(ask_as("two", &gateway).await.status, 200);
    assert_exhausted(&ask_as("two", &gateway).await);
    assert_eq!(upstream.requests(), 3);
}

#[tokio::test]
async fn a_successor_counts_what_its_predecessor_still_uses_with_a_key() {
    let step = Arc::new(Semaphore::new(0));
    let (upstream, ledger) = (using_400(&step).await, Folder::new());
    let yaml = usual(upstream.address, &ledger);
    let mut gateway = Gateway::start(&yaml);
    let mut stream = super::upgraded::open_stream(&gateway).await;
    let _successor = Successor::of(&gateway);
    gateway.output().wait_for("handed over");
    step.add_permits(1);
    while stream.chunk().await.is_some_and(|chunk| !chunk.is_empty()) {}
    gateway.wait();
    let counted = async {
        loop {
            let status = gateway.get_admin("/status").await.json();
            if status["keys"][0]["quota"]["tokens"]["used"] == 400 {
                return;
            }
        }
    };
    crate::support::soon("what the predecessor has used is counted", counted).await;
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    assert_exhausted(&ask_as("one", &gateway).await);
}
