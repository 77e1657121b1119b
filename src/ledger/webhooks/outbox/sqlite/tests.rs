//! The outbox: batches, bounds, and what survives.

use std::collections::BTreeSet;

use super::*;

mod sharing;

const NOW_MS: i64 = 1_800_000_000_000;

struct Fixture {
    outbox: Sqlite,
    /// The numbers of `a` and `b`.
    a: i64,
    b: i64,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(bounds: Bounds) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = Sqlite::open(&folder.path().join("outbox.db"), bounds, NOW_MS).unwrap();
        let (numbers, _) = outbox.set_receivers(&["a", "b"]).unwrap();
        Self {
            outbox,
            a: numbers[0],
            b: numbers[1],
            folder,
        }
    }

    fn reopened(self) -> Self {
        drop(self.outbox);
        let path = self.folder.path().join("outbox.db");
        let mut outbox = Sqlite::open(&path, Bounds::default(), NOW_MS).unwrap();
        let (numbers, dropped) = outbox.set_receivers(&["a", "b"]).unwrap();
        assert_eq!((numbers, dropped), (vec![self.a, self.b], 0));
        Self { outbox, ..self }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("outbox.db")
    }

    /// The records in the messages of a receiver, which are removed.
    fn drain(&mut self, receiver: i64) -> BTreeSet<u128> {
        let mut found = BTreeSet::new();
        while let Some(message) = self.outbox.due(receiver, NOW_MS + 10_000).unwrap() {
            let body: serde_json::Value = serde_json::from_str(&message.body).unwrap();
            for event in body["data"]["events"].as_array().unwrap() {
                found.insert(u128::from(event["n"].as_u64().unwrap()));
            }
            assert!(self.outbox.delivered(message.id).unwrap());
        }
        found
    }
}

fn usage(receiver: i64, records: impl IntoIterator<Item = u128>) -> Vec<Added> {
    let event = |record| Added {
        receiver,
        record: Some(record),
        kind: Kind::Usage,
        json: format!(r#"{{"n":{record}}}"#).into(),
    };
    records.into_iter().map(event).collect()
}

fn quota(receiver: i64) -> Added {
    Added {
        receiver,
        record: None,
        kind: Kind::Threshold,
        json: r#"{"percent":80}"#.into(),
    }
}

fn of_events(events: u64) -> Bounds {
    Bounds {
        events,
        ..Bounds::default()
    }
}

#[test]
fn usage_is_one_message_a_second() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.a, [1]), NOW_MS).unwrap();
    f.outbox.add(&usage(f.a, [2]), NOW_MS + 999).unwrap();
    assert!(f.outbox.due(f.a, NOW_MS + 999).unwrap().is_none());
    let waiting = f.outbox.waiting();
    assert_eq!(waiting, [(f.a, NOW_MS + 1_000)]);
    let message = f.outbox.due(f.a, NOW_MS + 1_000).unwrap().unwrap();
    assert_eq!((message.events, message.attempts), (2, 0));
    assert!(
        message
            .body
            .ends_with(r#""data":{"events":[{"n":1},{"n":2}]}}"#)
    );
}

#[test]
fn a_message_that_was_sent_takes_no_more_events() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.a, [1]), NOW_MS).unwrap();
    let first = f.outbox.due(f.a, NOW_MS + 1_000).unwrap().unwrap();
    f.outbox.add(&usage(f.a, [2]), NOW_MS + 1_000).unwrap();
    f.outbox.failed(first.id, NOW_MS + 1_500).unwrap();
    let again = f.outbox.due(f.a, NOW_MS + 1_500).unwrap().unwrap();
    assert_eq!((&again.name, &again.body), (&first.name, &first.body));
    assert_eq!(again.attempts, 1);
    assert!(f.outbox.delivered(again.id).unwrap());
    assert_eq!(f.drain(f.a), BTreeSet::from([2]));
}

#[test]
fn a_message_takes_events_for_as_long_as_it_is_not_sent() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.a, [1]), NOW_MS).unwrap();
    f.outbox.add(&usage(f.a, [2]), NOW_MS + 60_000).unwrap();
    assert_eq!(
        f.outbox.due(f.a, NOW_MS + 60_000).unwrap().unwrap().events,
        2
    );
}

#[test]
fn a_hundred_events_are_due_at_once() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.a, 0..101), NOW_MS).unwrap();
    let first = f.outbox.due(f.a, NOW_MS).unwrap().unwrap();
    assert_eq!(first.events, 100);
    f.outbox.delivered(first.id).unwrap();
    assert!(f.outbox.due(f.a, NOW_MS).unwrap().is_none());
    let rest = f.outbox.due(f.a, NOW_MS + 1_000).unwrap().unwrap();
    assert_eq!(rest.events, 1);
}

#[test]
fn large_events_are_due_at_once() {
    let mut f = Fixture::new(Bounds::default());
    let mut events = usage(f.a, 0..2);
    for event in &mut events {
        event.json = format!("\"{}\"", "x".repeat(200 * 1024)).into();
    }
    f.outbox.add(&events, NOW_MS).unwrap();
    assert_eq!(f.outbox.due(f.a, NOW_MS).unwrap().unwrap().events, 2);
}

#[test]
fn the_event_of_a_quota_is_a_message_of_its_own_and_due_at_once() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.a, [1]), NOW_MS).unwrap();
    f.outbox.add(&[quota(f.a)], NOW_MS).unwrap();
    let message = f.outbox.due(f.a, NOW_MS).unwrap().unwrap();
    assert!(message.body.ends_with(r#""data":{"percent":80}}"#));
    f.outbox.delivered(message.id).unwrap();
    assert_eq!(f.drain(f.a), BTreeSet::from([1]));
}

#[test]
fn a_record_that_waits_is_not_added_again() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.a, [1, 2]), NOW_MS).unwrap();
    f.outbox.due(f.a, NOW_MS + 1_000).unwrap().unwrap();
    f.outbox.add(&usage(f.a, [1, 2]), NOW_MS + 1_000).unwrap();
    assert_eq!(f.outbox.events(), 2);
    // Another receiver is another matter.
    f.outbox.add(&usage(f.b, [1]), NOW_MS).unwrap();
    assert_eq!(f.outbox.events(), 3);
    assert_eq!(f.drain(f.a), BTreeSet::from([1, 2]));
    assert_eq!(f.outbox.waiting().len(), 1);
}

#[test]
fn beyond_the_bound_of_a_receiver_its_oldest_messages_are_dropped() {
    let mut f = Fixture::new(of_events(300));
    f.outbox.add(&usage(f.b, 0..50), NOW_MS).unwrap();
    f.outbox.add(&[quota(f.a)], NOW_MS).unwrap();
    let dropped = f.outbox.add(&usage(f.a, 0..299), NOW_MS).unwrap();
    assert!(dropped.is_empty(), "{dropped:?}");
    let dropped = f.outbox.add(&usage(f.a, 299..301), NOW_MS).unwrap();
    assert_eq!(dropped, Dropped::from_iter([(f.a, 100)]));
    assert_eq!(f.outbox.events(), 50 + 1 + 201);
    let message = f.outbox.due(f.a, NOW_MS).unwrap().unwrap();
    assert!(
        message.body.contains("percent"),
        "a quota's event is not dropped"
    );
    f.outbox.delivered(message.id).unwrap();
    assert_eq!(f.drain(f.a), (100..301).collect());
    assert_eq!(f.drain(f.b).len(), 50);
}

#[test]
fn the_bytes_of_a_receiver_are_bounded() {
    // Each is a message of its own.
    let json = "1".repeat(300 * 1024);
    let bounds = Bounds {
        bytes: 3 * (300 * 1024 + 256),
        ..Bounds::default()
    };
    let mut f = Fixture::new(bounds);
    let mut dropped = 0;
    for record in 0..5 {
        let mut event = usage(f.a, [record]);
        event[0].json = json.as_str().into();
        dropped += f.outbox.add(&event, NOW_MS).unwrap().values().sum::<u64>();
    }
    assert_eq!((dropped, f.outbox.events()), (2, 3));
}

#[test]
fn beyond_the_bound_of_all_receivers_the_oldest_messages_of_any_are_dropped() {
    let bounds = Bounds {
        all_bytes: 200 * 300,
        ..Bounds::default()
    };
    let mut f = Fixture::new(bounds);
    f.outbox.add(&usage(f.b, 0..100), NOW_MS).unwrap();
    let dropped = f.outbox.add(&usage(f.a, 0..200), NOW_MS).unwrap();
    assert_eq!(dropped, Dropped::from_iter([(f.b, 100)]));
    assert_eq!(f.outbox.events(), 200);
}

#[test]
fn where_nothing_can_be_dropped_the_new_event_is() {
    let mut f = Fixture::new(of_events(2));
    f.outbox.add(&[quota(f.a), quota(f.a)], NOW_MS).unwrap();
    let dropped = f.outbox.add(&[quota(f.a)], NOW_MS).unwrap();
    assert_eq!(dropped, Dropped::from_iter([(f.a, 1)]));
    assert_eq!(f.outbox.events(), 2);
}

#[test]
fn a_message_that_was_dropped_while_it_was_sent_is_neither_delivered_nor_another_one() {
    let mut f = Fixture::new(of_events(1));
    f.outbox.add(&usage(f.a, [1]), NOW_MS).unwrap();
    let sent = f.outbox.due(f.a, NOW_MS + 1_000).unwrap().unwrap();
    f.outbox.add(&usage(f.a, [2]), NOW_MS + 1_000).unwrap();
    assert!(!f.outbox.delivered(sent.id).unwrap());
    assert_eq!(f.drain(f.a), BTreeSet::from([2]));
}

#[test]
fn a_restart_keeps_what_waits() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.a, 0..150), NOW_MS).unwrap();
    f.outbox.add(&[quota(f.b)], NOW_MS).unwrap();
    let before = f.outbox.due(f.a, NOW_MS).unwrap().unwrap();
    f.outbox.failed(before.id, NOW_MS + 5_000).unwrap();
    let mut f = f.reopened();
    assert_eq!(f.outbox.events(), 151);
    assert_eq!(f.outbox.waiting().len(), 2);
    // The open message is complete, and due as before.
    let rest = f.outbox.due(f.a, NOW_MS + 1_000).unwrap().unwrap();
    assert_eq!(rest.events, 50);
    f.outbox.delivered(rest.id).unwrap();
    let after = f.outbox.due(f.a, NOW_MS + 5_000).unwrap().unwrap();
    assert_eq!((after.name, after.body), (before.name, before.body));
    assert_eq!(after.attempts, 1);
}

#[test]
fn a_message_that_a_wrong_clock_has_put_off_for_years_is_due() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.a, [1]), 10 * NOW_MS).unwrap();
    let mut f = f.reopened();
    assert_eq!(f.drain(f.a), BTreeSet::from([1]));
}

#[test]
fn messages_of_a_webhook_that_is_gone_are_dropped_and_its_number_is_not_given_again() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.b, 0..7), NOW_MS).unwrap();
    let (numbers, dropped) = f.outbox.set_receivers(&["a"]).unwrap();
    assert_eq!((numbers, dropped), (vec![f.a], 7));
    let (numbers, dropped) = f.outbox.set_receivers(&["a", "c"]).unwrap();
    assert_eq!((numbers[0], dropped), (f.a, 0));
    assert!(numbers[1] > f.b);
    // The loader may still have the old number.
    f.outbox.add(&usage(f.b, [9]), NOW_MS).unwrap();
    assert_eq!(f.outbox.events(), 0);
}

#[test]
fn old_messages_are_given_up_a_hundred_at_a_time() {
    let mut f = Fixture::new(Bounds::default());
    let old: Vec<Added> = (0..150).map(|_| quota(f.a)).collect();
    f.outbox.add(&old, NOW_MS).unwrap();
    f.outbox.add(&usage(f.b, [1]), NOW_MS + 1).unwrap();
    let mut step = || f.outbox.expire(NOW_MS + 1).unwrap();
    assert_eq!(step(), Dropped::from_iter([(f.a, 100)]));
    assert_eq!(step(), Dropped::from_iter([(f.a, 50)]));
    assert!(step().is_empty());
    assert_eq!(f.outbox.events(), 1);
}

#[test]
fn what_cannot_be_added_completely_is_not_added() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.a, [1]), NOW_MS).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.json = '{\"n\":3}' \
                  BEGIN SELECT RAISE(ABORT, 'no'); END";
    f.outbox.connection.execute_batch(refuse).unwrap();
    assert!(f.outbox.add(&usage(f.a, [2, 3]), NOW_MS).is_err());
    assert_eq!(f.outbox.events(), 1);
    f.outbox
        .connection
        .execute_batch("DROP TRIGGER refuse")
        .unwrap();
    f.outbox.add(&usage(f.a, [2, 3]), NOW_MS).unwrap();
    assert_eq!(f.drain(f.a), BTreeSet::from([1, 2, 3]));
}

#[test]
fn a_damaged_file_is_moved_aside_and_an_empty_one_takes_its_place() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.a, [1]), NOW_MS).unwrap();
    let path = f.path();
    let Fixture { outbox, folder, .. } = f;
    drop(outbox);
    std::fs::write(
        &path,
        "no database at all, but long enough to be looked at".repeat(100),
    )
    .unwrap();
    let mut outbox = Sqlite::open(&path, Bounds::default(), NOW_MS).unwrap();
    assert_eq!(outbox.events(), 0);
    let (numbers, _) = outbox.set_receivers(&["a"]).unwrap();
    outbox.add(&usage(numbers[0], [2]), NOW_MS).unwrap();
    assert!(folder.path().join("outbox.db.damaged").exists());
}

#[test]
fn damage_that_is_found_later_costs_what_waits_and_nothing_else() {
    let mut f = Fixture::new(Bounds::default());
    f.outbox.add(&usage(f.a, [1]), NOW_MS).unwrap();
    let damage: Result<(), StoreError> = f.outbox.attempt(|_| {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Err(rusqlite::Error::SqliteFailure(code, None))
    });
    assert!(damage.is_err());
    assert_eq!(f.outbox.events(), 0);
    f.outbox.add(&usage(f.a, [2]), NOW_MS).unwrap();
    assert_eq!(f.drain(f.a), BTreeSet::from([2]));
    let f = f.reopened();
    assert!(f.folder.path().join("outbox.db.damaged").exists());
}

#[test]
fn a_file_of_a_newer_release_is_left_alone() {
    let f = Fixture::new(Bounds::default());
    let newer = "UPDATE schema_version SET version = 99";
    f.outbox.connection.execute_batch(newer).unwrap();
    let path = f.path();
    drop(f.outbox);
    let error = Sqlite::open(&path, Bounds::default(), NOW_MS)
        .err()
        .unwrap();
    assert!(
        matches!(error, StoreError::Newer { found: 99, .. }),
        "{error}"
    );
}
