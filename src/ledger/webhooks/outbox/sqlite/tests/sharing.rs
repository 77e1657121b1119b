//! Two processes that write to one outbox.

use super::*;

/// A fixture, and the outbox of another process, which does not send.
fn with_other(bounds: Bounds) -> (Fixture, Sqlite) {
    let f = Fixture::new(bounds);
    let mut other = Sqlite::open(&f.path(), bounds, NOW_MS).unwrap();
    other.set_sending(false).unwrap();
    let (numbers, _) = other.set_receivers(&["a", "b"]).unwrap();
    assert_eq!(numbers, [f.a, f.b]);
    (f, other)
}

#[test]
fn a_record_that_waits_already_is_not_added_by_another_process() {
    let (mut f, mut other) = with_other(Bounds::default());
    f.outbox.add(&usage(f.a, [1, 2]), NOW_MS).unwrap();
    other.add(&usage(f.a, [2, 3]), NOW_MS).unwrap();
    f.outbox.look().unwrap();
    assert_eq!(f.outbox.events(), 3);
    assert_eq!(f.drain(f.a), BTreeSet::from([1, 2, 3]));
}

#[test]
fn a_process_that_does_not_send_adds_to_no_message_that_may_have_been_sent() {
    let (mut f, mut other) = with_other(Bounds::default());
    other.add(&usage(f.a, [1]), NOW_MS).unwrap();
    f.outbox.look().unwrap();
    assert_eq!(f.drain(f.a), BTreeSet::from([1]));
    other.add(&usage(f.a, [2]), NOW_MS).unwrap();
    f.outbox.look().unwrap();
    assert_eq!(f.drain(f.a), BTreeSet::from([2]));
}

#[test]
fn a_message_stays_open_while_another_process_writes() {
    let (mut f, mut other) = with_other(Bounds::default());
    f.outbox.add(&usage(f.a, [1]), NOW_MS).unwrap();
    other.add(&usage(f.a, [2]), NOW_MS).unwrap();
    f.outbox.add(&usage(f.a, [3]), NOW_MS).unwrap();
    let first = f.outbox.due(f.a, NOW_MS + 1_000).unwrap().unwrap();
    assert!(
        first.body.contains(r#"[{"n":1},{"n":3}]"#),
        "{}",
        first.body
    );
}

#[test]
fn a_process_that_sends_no_more_closes_its_message() {
    let (mut f, mut other) = with_other(Bounds::default());
    f.outbox.add(&usage(f.a, [1]), NOW_MS).unwrap();
    f.outbox.set_sending(false).unwrap();
    other.set_sending(true).unwrap();
    let first = other.due(f.a, NOW_MS + 1_000).unwrap().unwrap();
    f.outbox.add(&usage(f.a, [2]), NOW_MS + 1_000).unwrap();
    assert!(other.delivered(first.id).unwrap());
    let second = other.due(f.a, NOW_MS + 2_000).unwrap().unwrap();
    assert!(second.body.contains(r#"[{"n":2}]"#), "{}", second.body);
}

#[test]
fn what_another_process_has_added_counts_at_the_bound() {
    let (mut f, mut other) = with_other(of_events(3));
    other.add(&usage(f.a, [1, 2, 3]), NOW_MS).unwrap();
    let dropped = f.outbox.add(&usage(f.a, [4]), NOW_MS).unwrap();
    assert_eq!(dropped.get(&f.a), Some(&3));
    assert_eq!(f.drain(f.a), BTreeSet::from([4]));
}

#[test]
fn an_open_message_that_another_process_has_dropped_is_begun_again() {
    let (mut f, mut other) = with_other(of_events(3));
    f.outbox.add(&usage(f.a, [1]), NOW_MS).unwrap();
    let dropped = other.add(&usage(f.a, [2, 3, 4]), NOW_MS).unwrap();
    assert_eq!(dropped.get(&f.a), Some(&1));
    let mut events = usage(f.b, [7]);
    events.extend(usage(f.a, [5]));
    f.outbox.add(&events, NOW_MS).unwrap();
    assert_eq!(f.drain(f.a), BTreeSet::from([5]));
    assert_eq!(f.drain(f.b), BTreeSet::from([7]));
}

#[test]
fn receivers_of_another_process_stay_until_this_one_sends() {
    let (mut f, mut other) = with_other(Bounds::default());
    f.outbox.add(&usage(f.b, [1]), NOW_MS).unwrap();
    let (numbers, dropped) = other.set_receivers(&["a", "c"]).unwrap();
    assert_eq!((numbers[0], dropped), (f.a, 0));
    f.outbox.set_sending(false).unwrap();
    other.set_sending(true).unwrap();
    let (_, dropped) = other.set_receivers(&["a", "c"]).unwrap();
    assert_eq!(dropped, 1);
    // Nobody would send it.
    f.outbox.add(&usage(f.b, [2]), NOW_MS).unwrap();
    other.look().unwrap();
    assert_eq!(other.events(), 0);
}
