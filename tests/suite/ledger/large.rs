//! A gateway that starts with a long journal, as after days without its database.

use std::time::{Duration, Instant, SystemTime};

use tollgate::ledger::journal::{Journal, Options, Position};
use tollgate::ledger::{Record, Source, Tokens};

use super::refused_starts::segment;
use super::rows::{assert_sound, count};
use super::{ask_as, assert_exhausted, capped, stop, used, with_ledger};
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::Upstream;

const RECORDS: u64 = 100_000;
/// What each of them has used.
const TOKENS: u64 = 10;

/// Writes a journal into the folder of a ledger, and gives its size in bytes.
fn write(ledger: &Folder) -> u64 {
    let folder = ledger.0.join("journal");
    let (journal, _) = Journal::open(&folder, Options::default(), Position::default()).unwrap();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let now_ms = i64::try_from(now.as_millis()).unwrap();
    // As long as records are with the names of most configurations.
    let (model, served_model) = ("m".repeat(60), "s".repeat(60));
    for number in 0..RECORDS {
        let record = Record {
            id: u128::from(number) + 1,
            at_ms: now_ms - i64::try_from(RECORDS - number).unwrap(),
            tenant: "one",
            key: "a-key",
            endpoint: "chat_completions",
            rule: "a-rule",
            model: &model,
            served_model: &served_model,
            upstream: "an-upstream",
            status: 200,
            outcome: "ok",
            attempts: 1,
            tokens: Tokens {
                input: TOKENS,
                ..Tokens::default()
            },
            source: Source::Upstream,
            // Of a quota that does not end.
            period: Some(0),
            ..Record::default()
        };
        journal.append(&record).unwrap();
    }
    journal.health().bytes
}

#[tokio::test]
#[allow(
    clippy::print_stdout,
    reason = "how long it takes is measured, not asserted"
)]
async fn a_long_journal_is_loaded_before_the_first_request_and_balances_are_right() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.json("200 OK", &used(100)).await;
        reply
    })
    .await;
    let ledger = Folder::new();
    let bytes = write(&ledger);
    assert!(
        bytes > Options::default().segment_bytes,
        "{bytes} bytes are one segment"
    );
    let quota = format!("{{ tokens: {}, per: total }}", RECORDS * TOKENS + 100);
    let yaml = with_ledger(upstream.address, &ledger, &capped("one", &quota));
    let started = Instant::now();
    let mut gateway = Gateway::start_quietly(&yaml);
    let took: Duration = started.elapsed();
    println!("{RECORDS} records of {bytes} bytes: it listens after {took:?}");
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    assert_exhausted(&ask_as("one", &gateway).await);
    stop(&mut gateway);
    assert_eq!(count(&ledger), RECORDS + 1);
    assert!(!segment(&ledger).exists(), "what is loaded is removed");
    assert_sound(&ledger);
}
