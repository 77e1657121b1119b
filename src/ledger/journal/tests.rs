//! What is promised of the journal as a whole: what was appended is read back, whatever happens to the files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::frame::MAX_RECORD_BYTES;
use super::segment::{HEADER_BYTES, VERSION, segment_name};
use super::*;

mod damage;
mod full_disk;
mod tail;

/// How long a test waits for what a thread does.
const PATIENCE: Duration = Duration::from_secs(30);

fn small_segments() -> Options {
    Options {
        segment_bytes: 4096,
        ..Options::default()
    }
}

fn open(folder: &Path, options: Options) -> (Journal, Recovered) {
    try_open(folder, options).unwrap()
}

fn try_open(folder: &Path, options: Options) -> Result<(Journal, Recovered), JournalError> {
    let start = Instant::now();
    loop {
        match Journal::open(folder, options.clone(), Position::default()) {
            // A child of another test has our descriptors until it is the program that it is to be.
            Err(JournalError::InUse(_)) if start.elapsed() < PATIENCE => thread::yield_now(),
            opened => return opened,
        }
    }
}

fn record(id: u128) -> Record<'static> {
    Record {
        id,
        at_ms: 1_764_000_000_000,
        tenant: "acme",
        key: "production",
        endpoint: "chat",
        model: "gpt-5",
        served_model: "gpt-5-2026-08-07",
        upstream: "openai",
        status: 200,
        outcome: "ok",
        ..Record::default()
    }
}

/// Appends records with these ids, and returns where each begins.
fn append(journal: &Journal, ids: std::ops::Range<u128>) -> Vec<Position> {
    ids.map(|id| journal.append(&record(id)).unwrap()).collect()
}

/// The ids of all records from a position on, and how many bytes could not be read.
fn read_from(journal: &Journal, mut from: Position) -> (Vec<u128>, u64) {
    let (mut ids, mut unreadable) = (Vec::new(), 0);
    while from < journal.end() {
        let batch = journal.read(from, 1).unwrap();
        ids.extend(batch.records().map(|(_, record)| record.id));
        unreadable += batch.unreadable_bytes();
        assert!(batch.next() > from, "no progress at {from:?}");
        from = batch.next();
    }
    (ids, unreadable)
}

fn read_all(journal: &Journal) -> Vec<u128> {
    read_from(journal, Position::default()).0
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::yield_now();
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_was_appended_is_read_back_in_order_with_its_positions() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, recovered) = open(folder.path(), small_segments());
    assert_eq!((recovered.records, recovered.warnings.len()), (0, 0));
    let positions = append(&journal, 0..200);
    assert!(journal.end().segment > 3, "the segments follow each other");
    assert_eq!(read_all(&journal), (0..200).collect::<Vec<_>>());
    for (id, position) in (0..).zip(positions) {
        let batch = journal.read(position, 1).unwrap();
        let (at, first) = batch.records().next().unwrap();
        assert_eq!((at, first), (position, record(id)));
    }
}

#[test]
fn a_journal_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let (journal, recovered) = open(folder.path(), small_segments());
        assert_eq!(recovered.records, round * 33);
        assert_eq!(recovered.warnings, Vec::<String>::new());
        assert_eq!(recovered.end, journal.end());
        append(&journal, u128::from(round) * 33..u128::from(round + 1) * 33);
    }
    let (journal, _) = open(folder.path(), small_segments());
    assert_eq!(read_all(&journal), (0..165).collect::<Vec<_>>());
}

#[test]
fn a_batch_is_empty_at_the_end_and_an_error_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), Options::default());
    append(&journal, 0..1);
    let end = journal.end();
    let batch = journal.read(end, 1).unwrap();
    assert_eq!((batch.len(), batch.next()), (0, end));
    let behind = Position {
        offset: end.offset + 1,
        ..end
    };
    assert!(matches!(journal.read(behind, 1), Err(ReadError::BehindEnd(found)) if found == end));
}

#[test]
fn loaded_segments_are_removed_and_the_current_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), small_segments());
    append(&journal, 0..100);
    let half = Position {
        segment: 3,
        offset: HEADER_BYTES,
    };
    journal.remove_before(half);
    assert!(!folder.path().join(segment_name(2)).exists());
    let (left, unreadable) = read_from(&journal, Position::default());
    assert!(left.len() < 100 && left.ends_with(&[98, 99]));
    assert_eq!(unreadable, 0);
    journal.remove_before(Position {
        segment: u64::MAX,
        offset: 0,
    });
    let current = journal.end().segment;
    assert_eq!(journal.shared.folder.segments().unwrap(), [current]);
    append(&journal, 100..101);
    assert_eq!(read_all(&journal).last(), Some(&100));
}

#[test]
fn eight_threads_append_while_one_reads_and_each_record_comes_once_and_in_order() {
    const EACH: u128 = 10_000;
    for queue_bytes in [1, Options::default().queue_bytes] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            segment_bytes: 256 * 1024,
            // At the bound a thread waits: a bound of one byte lets each wait for all others.
            queue_bytes,
            ..Options::default()
        };
        let (journal, _) = open(folder.path(), options);
        let mut seen: BTreeMap<u128, u128> = BTreeMap::new();
        thread::scope(|scope| {
            for thread in 0..8_u128 {
                let journal = &journal;
                scope.spawn(move || append(journal, thread << 64..(thread << 64) + EACH));
            }
            let (mut from, mut count) = (Position::default(), 0);
            while count < 8 * EACH {
                let batch = journal.read(from, 1 << 20).unwrap();
                for (_, record) in batch.records() {
                    let next = seen.entry(record.id >> 64).or_default();
                    assert_eq!(record.id & u128::from(u64::MAX), *next);
                    *next += 1;
                    count += 1;
                }
                assert_eq!(batch.unreadable_bytes(), 0);
                from = batch.next();
                if batch.is_empty() {
                    thread::yield_now();
                }
            }
            assert_eq!(from, journal.end());
        });
        assert_eq!(seen, (0..8).map(|thread| (thread, EACH)).collect());
        assert!(journal.shared.unsynced.lock().len() <= writer::MAX_UNSYNCED);
        // A record has more than 100 bytes, and memory that grows is doubled.
        let queue_bytes_used = journal.shared.writer.lock().spare.capacity();
        assert!(
            queue_bytes_used <= queue_bytes.max(300),
            "{queue_bytes_used}"
        );
    }
}

#[test]
fn full_segments_that_wait_for_a_sync_are_few() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        sync_every: Duration::from_secs(3600),
        ..small_segments()
    };
    let (journal, _) = open(folder.path(), options);
    append(&journal, 0..400);
    assert!(journal.end().segment > 2 * writer::MAX_UNSYNCED as u64);
    assert_eq!(journal.shared.unsynced.lock().len(), writer::MAX_UNSYNCED);
    journal.sync().unwrap();
    assert_eq!(journal.shared.unsynced.lock().len(), 0);
}

#[test]
fn records_go_to_another_segment_when_one_could_not_be_synced() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), Options::default());
    append(&journal, 0..1);
    // What a failed sync does; a disk that fails to sync cannot be had.
    journal.shared.writer.lock().retire();
    append(&journal, 1..3);
    assert_eq!(journal.end().segment, 2);
    assert_eq!(read_all(&journal), [0, 1, 2]);
}

#[test]
fn what_is_written_is_synced_without_being_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), Options::default());
    append(&journal, 0..1);
    wait_until("synced", || !journal.shared.signal.is_dirty());
}

#[test]
fn the_next_segment_is_prepared_when_the_current_one_is_half_full() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        sync_every: Duration::from_millis(1),
        ..small_segments()
    };
    let (journal, _) = open(folder.path(), options);
    while journal.end().offset <= 2048 {
        append(&journal, 0..1);
    }
    let prepared = folder.path().join("00000000000000000002.prepared");
    wait_until("prepared", || prepared.exists());
    let (_, ready) = fs::metadata(&prepared)
        .map(|found| ((), found.len()))
        .unwrap();
    assert!(ready <= HEADER_BYTES, "its room stands behind its end");
    while journal.end().segment == 1 {
        append(&journal, 0..1);
    }
    assert!(!prepared.exists());
}

#[test]
fn a_journal_at_its_bound_refuses_records_until_segments_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: 4 * 4096,
        ..small_segments()
    };
    let (journal, _) = open(folder.path(), options);
    let mut written = 0;
    let refused = loop {
        match journal.append(&record(written)) {
            Ok(_) => written += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, AppendError::Full(16384)), "{refused}");
    let health = journal.health();
    assert!(health.is_failing && health.bytes <= 16384, "{health:?}");
    assert!(health.last_error.unwrap().contains("16384"));
    assert_eq!(read_all(&journal), (0..written).collect::<Vec<_>>());
    journal.remove_before(journal.end());
    append(&journal, written..written + 1);
    assert!(!journal.is_failing());
    assert_eq!(read_all(&journal).last(), Some(&written));
}

#[test]
fn a_journal_that_had_no_room_works_again_without_an_append() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: 2 * 4096,
        ..small_segments()
    };
    let (journal, _) = open(folder.path(), options);
    while journal.append(&record(1)).is_ok() {}
    assert!(journal.is_failing());
    wait_until("told of the room", || journal.health().is_short_of_room);
    journal.remove_before(journal.end());
    wait_until("works again", || {
        let health = journal.health();
        !health.is_failing && !health.is_short_of_room && health.last_error.is_none()
    });
}

#[test]
fn a_record_that_is_too_large_is_refused_and_the_largest_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), small_segments());
    let with_name = |length: usize| {
        let name = "x".repeat(length);
        journal.append(&Record {
            tenant: &name,
            ..record(1)
        })
    };
    let refused = with_name(MAX_RECORD_BYTES);
    assert!(matches!(refused, Err(AppendError::TooLarge)));
    assert!(!journal.is_failing(), "it is the record's fault");
    with_name(MAX_RECORD_BYTES - 200).unwrap();
    append(&journal, 2..3);
    assert_eq!(read_all(&journal), [1, 2]);
}

#[test]
fn one_process_at_a_time_has_it_open() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), Options::default());
    let second = Journal::open(folder.path(), Options::default(), Position::default());
    assert!(matches!(second, Err(JournalError::InUse(_))));
    drop(journal);
    open(folder.path(), Options::default());
}

#[test]
fn only_the_owner_reads_it() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("a/journal");
    let (_journal, _) = open(&folder, Options::default());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("lock")), 0o600);
    assert_eq!(mode(&folder.join(segment_name(1))), 0o600);
}

#[test]
fn numbers_go_on_behind_what_is_loaded_when_the_folder_was_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = Position {
        segment: 57,
        offset: 1000,
    };
    let (journal, recovered) = Journal::open(folder.path(), Options::default(), loaded).unwrap();
    assert_eq!(recovered.warnings.len(), 1);
    assert_eq!(journal.end().segment, 58);
    append(&journal, 0..1);
    assert_eq!(read_from(&journal, loaded).0, [0]);
}
