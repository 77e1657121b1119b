//! Loading a journal that grows, and a database that comes and goes.

use std::path::Path;

use super::*;
use crate::config::{Located, OnFailure, Place};
use crate::ledger::journal::Options;

const PATIENCE: Duration = Duration::from_secs(20);

fn config(folder: &Path) -> config::Ledger {
    config::Ledger {
        path: Located {
            value: folder.to_owned(),
            place: Place::default(),
        },
        postgres: None,
        node: "one".to_owned(),
        on_failure: OnFailure::Serve,
        archive: None,
        retention: None,
        is_implied: false,
    }
}

fn journal(folder: &Path) -> Arc<Journal> {
    let options = Options {
        segment_bytes: 256 << 10,
        ..Options::default()
    };
    let opened = Journal::open(&folder.join("journal"), options, Position::default());
    Arc::new(opened.unwrap().0)
}

fn append(journal: &Journal, ids: std::ops::Range<u128>) {
    for id in ids {
        let record = Record {
            id,
            at_ms: 1_793_872_800_000,
            tenant: "acme",
            period: Some(5),
            charge_nanos: 1,
            ..Record::default()
        };
        journal.append(&record).unwrap();
    }
}

/// How many nano-dollars the database has.
fn charged(config: &config::Ledger) -> u64 {
    let mut store = Database::of(config).open(config).unwrap();
    let balances = store.balances(&[5]).unwrap();
    balances.iter().map(|balance| balance.charge_nanos).sum()
}

#[test]
fn what_is_in_the_journal_is_loaded_once_and_its_segments_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let journal = journal(folder.path());
    append(&journal, 0..10_000);
    let before = journal.health().bytes;
    let loader = Loader::start(Arc::clone(&journal), &config, None, None).unwrap();
    assert!(loader.wait(PATIENCE));
    assert_eq!(loader.lag(), Lag::default());
    assert_eq!(charged(&config), 10_000);
    append(&journal, 10_000..10_001);
    assert!(loader.stop(PATIENCE));
    assert_eq!(charged(&config), 10_001);
    assert!(
        journal.health().bytes < before,
        "{} of {before}",
        journal.health().bytes
    );
    // The next one goes on where this one was.
    let loader = Loader::start(Arc::clone(&journal), &config, None, None).unwrap();
    assert!(loader.stop(PATIENCE));
    assert_eq!(charged(&config), 10_001);
}

#[test]
fn one_transaction_has_records_of_one_month() {
    let record = |at_ms| Record {
        at_ms,
        ..Record::default()
    };
    let (november, december) = (1_793_872_800_000, 1_796_472_000_000);
    let records: Vec<_> = [november, november, december, november].map(record).into();
    assert_eq!(batch(&records), 2);
    assert_eq!(batch(&records[2..]), 1);
    assert_eq!(batch(&vec![record(november); 1_001]), BATCH_RECORDS);
    assert_eq!(batch(&[]), 0);
}

#[test]
fn a_database_that_cannot_be_opened_is_tried_again_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let journal = journal(folder.path());
    append(&journal, 0..100);
    // A folder where a file should be.
    let in_the_way = folder.path().join("ledger-carried.db");
    std::fs::create_dir(&in_the_way).unwrap();
    let loader = Loader::start(Arc::clone(&journal), &config, None, None).unwrap();
    assert!(!loader.wait(PATIENCE));
    assert!(!loader.has_caught_up());
    let failure = loader.failure().unwrap();
    assert!(failure.contains("ledger-carried.db"), "{failure}");
    let lag = loader.lag();
    assert!(lag.bytes > 0 && lag.age > Duration::ZERO, "{lag:?}");
    std::fs::remove_dir(&in_the_way).unwrap();
    let state = Arc::clone(&loader.state);
    let deadline = Instant::now() + PATIENCE;
    while !state.has_caught_up() && Instant::now() < deadline {
        state.pause(Duration::from_millis(5));
    }
    assert!(loader.stop(PATIENCE));
    assert_eq!(charged(&config), 100);
}

#[test]
fn a_loader_that_has_no_time_left_ends_and_the_rest_is_loaded_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let journal = journal(folder.path());
    append(&journal, 0..5_000);
    let loader = Loader::start(Arc::clone(&journal), &config, None, None).unwrap();
    let _ = loader.stop(Duration::ZERO);
    // It has no more time, and ends.
    let _ = loader.stop(PATIENCE);
    let loader = Loader::start(Arc::clone(&journal), &config, None, None).unwrap();
    assert!(loader.stop(PATIENCE));
    assert_eq!(charged(&config), 5_000);
}

#[test]
fn a_database_that_is_ahead_of_the_journal_gets_all_of_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let journal = journal(folder.path());
    append(&journal, 0..10);
    let mut store = Database::of(&config).open(&config).unwrap();
    let ahead = Position {
        segment: 900,
        offset: 0,
    };
    let record = Record {
        id: 3,
        at_ms: 1_793_872_800_000,
        tenant: "acme",
        period: Some(5),
        charge_nanos: 1,
        ..Record::default()
    };
    store.load(&[record], ahead).unwrap();
    let loader = Loader::start(Arc::clone(&journal), &config, Some(store), None).unwrap();
    assert!(loader.stop(PATIENCE));
    assert_eq!(charged(&config), 10);
}
