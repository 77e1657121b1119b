//! Journals of processes that ended while another one served: their records are loaded once, and quotas count them.

use super::rows::{assert_sound, rows_become};
use super::{ask_as, assert_exhausted, capped, kill, stop, used, with_ledger};
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::Upstream;

/// Where a second process records.
const SECOND: &str = "journal-2";

/// An upstream whose answers use 400 tokens each.
async fn using_400() -> Upstream {
    Upstream::start(|_, mut reply| async move {
        reply.json("200 OK", &used(400)).await;
        reply
    })
    .await
}

fn yaml(upstream: &Upstream, ledger: &Folder) -> String {
    with_ledger(upstream.address, ledger, &capped("one", "800"))
}

/// A ledger's folder with nothing but the journal of a process that was killed after two requests.
async fn left(upstream: &Upstream) -> Folder {
    let ledger = Folder::new();
    let mut gateway = Gateway::start(&yaml(upstream, &ledger));
    for _ in 0..2 {
        assert_eq!(ask_as("one", &gateway).await.status, 200);
    }
    kill(&mut gateway);
    for entry in std::fs::read_dir(&ledger.0).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    ledger
}

#[tokio::test]
async fn what_a_killed_process_has_left_counts_before_the_first_request_of_the_next_one() {
    let upstream = using_400().await;
    let ledger = left(&upstream).await;
    std::fs::rename(ledger.0.join("journal"), ledger.0.join(SECOND)).unwrap();
    let mut gateway = Gateway::start(&yaml(&upstream, &ledger));
    assert_exhausted(&ask_as("one", &gateway).await);
    rows_become(&ledger, 2).await;
    stop(&mut gateway);
    assert_sound(&ledger);
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn what_a_killed_process_has_left_is_loaded_by_the_one_that_serves() {
    let upstream = using_400().await;
    let other = left(&upstream).await;
    let ledger = Folder::new();
    let mut gateway = Gateway::start(&yaml(&upstream, &ledger));
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    std::fs::rename(other.0.join("journal"), ledger.0.join(SECOND)).unwrap();
    rows_become(&ledger, 3).await;
    kill(&mut gateway);
    let mut gateway = Gateway::start(&yaml(&upstream, &ledger));
    assert_exhausted(&ask_as("one", &gateway).await);
    stop(&mut gateway);
    let rows = rows_become(&ledger, 3).await;
    assert!(rows.iter().all(|row| row.tenant == "one"), "{rows:?}");
    assert_sound(&ledger);
}
