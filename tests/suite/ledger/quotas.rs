//! What a quota has left outlives the process.

use super::rows::{assert_sound, rows_become};
use super::{ask_as, assert_exhausted, capped, kill, used, with_ledger};
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::Upstream;

/// An upstream whose answers use 400 tokens each.
async fn using_400() -> Upstream {
    Upstream::start(|_, mut reply| async move {
        reply.json("200 OK", &used(400)).await;
        reply
    })
    .await
}

#[tokio::test]
async fn what_was_spent_before_the_process_was_killed_is_spent_after_it() {
    let (upstream, ledger) = (using_400().await, Folder::new());
    let tenants = [capped("one", "1000"), capped("two", "1000")].concat();
    let yaml = with_ledger(upstream.address, &ledger, &tenants);
    let mut gateway = Gateway::start(&yaml);
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    // Killed at once: nothing of it may be in the database yet.
    kill(&mut gateway);
    let mut gateway = Gateway::start(&yaml);
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    assert_exhausted(&ask_as("one", &gateway).await);
    kill(&mut gateway);
    let gateway = Gateway::start(&yaml);
    assert_exhausted(&ask_as("one", &gateway).await);
    // The others have lost nothing.
    assert_eq!(ask_as("two", &gateway).await.status, 200);
    let rows = rows_become(&ledger, 4).await;
    assert!(rows.iter().all(|row| row.period.is_some()), "{rows:?}");
    assert_sound(&ledger);
}

#[tokio::test]
async fn a_quota_is_spent_once_however_often_the_process_is_killed() {
    let (upstream, ledger) = (using_400().await, Folder::new());
    let yaml = with_ledger(upstream.address, &ledger, &capped("one", "4000"));
    for _ in 0..5 {
        let mut gateway = Gateway::start(&yaml);
        for _ in 0..2 {
            assert_eq!(ask_as("one", &gateway).await.status, 200);
        }
        kill(&mut gateway);
    }
    let gateway = Gateway::start(&yaml);
    assert_exhausted(&ask_as("one", &gateway).await);
    assert_eq!(upstream.requests(), 10);
}

#[tokio::test]
async fn a_tenant_that_is_added_later_has_all_of_its_quota_and_outlives_the_process_as_well() {
    let (upstream, ledger) = (using_400().await, Folder::new());
    let first = with_ledger(upstream.address, &ledger, &capped("one", "400"));
    let mut gateway = Gateway::start(&first);
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    assert_exhausted(&ask_as("one", &gateway).await);
    kill(&mut gateway);
    let tenants = [capped("later", "400"), capped("one", "400")].concat();
    let second = with_ledger(upstream.address, &ledger, &tenants);
    let mut gateway = Gateway::start(&second);
    assert_eq!(ask_as("later", &gateway).await.status, 200);
    for _ in 0..2 {
        assert_exhausted(&ask_as("later", &gateway).await);
        assert_exhausted(&ask_as("one", &gateway).await);
        kill(&mut gateway);
        gateway = Gateway::start(&second);
    }
}

#[tokio::test]
async fn a_quota_of_another_size_counts_what_was_spent_under_the_old_one() {
    let (upstream, ledger) = (using_400().await, Folder::new());
    let quota = |tokens| with_ledger(upstream.address, &ledger, &capped("one", tokens));
    let mut gateway = Gateway::start(&quota("400"));
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    assert_exhausted(&ask_as("one", &gateway).await);
    kill(&mut gateway);
    let mut gateway = Gateway::start(&quota("800"));
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    assert_exhausted(&ask_as("one", &gateway).await);
    kill(&mut gateway);
    let gateway = Gateway::start(&quota("700"));
    assert_exhausted(&ask_as("one", &gateway).await);
}

#[tokio::test]
async fn money_outlives_the_process_as_tokens_do() {
    let (upstream, ledger) = (using_400().await, Folder::new());
    // An answer costs 0.0004 dollars.
    let prices = "prices: [{ model: '*', input: 1 }]\n";
    let more = [&capped("one", "{ usd: 0.0008, per: total }"), prices].concat();
    let yaml = with_ledger(upstream.address, &ledger, &more);
    let mut gateway = Gateway::start(&yaml);
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    kill(&mut gateway);
    let mut gateway = Gateway::start(&yaml);
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    kill(&mut gateway);
    let gateway = Gateway::start(&yaml);
    assert_exhausted(&ask_as("one", &gateway).await);
    let rows = rows_become(&ledger, 2).await;
    assert!(rows.iter().all(|row| row.cost_nanos == 400_000), "{rows:?}");
}
