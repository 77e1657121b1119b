//! A journal that is read while another process writes it.

use std::os::unix::fs::FileExt;

use super::super::segment::segments;
use super::*;

/// The ids of all records that are there to be read.
fn read(tail: &mut Tail) -> Vec<u128> {
    let mut ids = Vec::new();
    while let Some(batch) = tail.read(1).unwrap() {
        ids.extend(batch.records().map(|(_, record)| record.id));
    }
    ids
}

fn tail(folder: &Path) -> Tail {
    Tail::new(folder.to_owned(), Position::default())
}

#[test]
fn each_record_is_read_once_while_more_are_written_and_segments_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), small_segments());
    let mut tail = tail(folder.path());
    assert!(tail.hold().unwrap());
    let writer = thread::spawn(move || {
        append(&journal, 0..2_000);
        journal
    });
    let (mut ids, start) = (Vec::new(), Instant::now());
    while ids.len() < 2_000 && start.elapsed() < PATIENCE {
        ids.extend(read(&mut tail));
    }
    let journal = writer.join().unwrap();
    assert_eq!(ids, (0..2_000).collect::<Vec<u128>>());
    assert!(segments(folder.path()).unwrap().len() > 10);
    append(&journal, 2_000..2_001);
    assert_eq!(read(&mut tail), [2_000]);
    assert_eq!(read(&mut tail), []);
}

#[test]
fn what_is_read_and_all_behind_it_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), small_segments());
    append(&journal, 0..200);
    let before = segments(folder.path()).unwrap();
    let mut tail = tail(folder.path());
    assert!(tail.hold().unwrap());
    journal.remove_before(journal.end());
    assert_eq!(segments(folder.path()).unwrap(), before);
    assert_eq!(read(&mut tail).len(), 200);
    journal.remove_before(journal.end());
    assert_eq!(segments(folder.path()).unwrap(), before[before.len() - 1..]);
}

#[test]
fn it_is_told_that_a_segment_was_removed_before_it_could_be_held() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), small_segments());
    let at = append(&journal, 0..200);
    journal.remove_before(journal.end());
    let mut late = Tail::new(folder.path().to_owned(), at[1]);
    assert!(!late.hold().unwrap());
    let mut right = Tail::new(folder.path().to_owned(), at[199]);
    assert!(right.hold().unwrap());
    assert_eq!(read(&mut right), [199]);
}

#[test]
fn a_record_of_which_a_part_is_there_is_read_when_all_of_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), Options::default());
    let at = append(&journal, 0..3);
    drop(journal);
    let path = folder.path().join(segment_name(1));
    let whole = fs::read(&path).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    let mut tail = tail(folder.path());
    let second = usize::try_from(at[1].offset).unwrap();
    let third = usize::try_from(at[2].offset).unwrap();
    // As far as any byte of the second record.
    for end in second + 1..third {
        file.set_len(0).unwrap();
        file.write_all_at(&whole[..end], 0).unwrap();
        let expected: &[u128] = if end == second + 1 { &[0] } else { &[] };
        assert_eq!(read(&mut tail), expected, "{end}");
    }
    file.write_all_at(&whole, 0).unwrap();
    assert_eq!(read(&mut tail), [1, 2]);
}

#[test]
fn a_write_that_was_cut_off_is_followed_by_what_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), Options::default());
    let at = append(&journal, 0..3);
    let mut tail = tail(folder.path());
    assert_eq!(read(&mut tail), [0, 1, 2]);
    drop(journal);
    let path = folder.path().join(segment_name(1));
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(at[2].offset).unwrap();
    assert_eq!(read(&mut tail), []);
    let (journal, _) = open(folder.path(), Options::default());
    append(&journal, 7..9);
    assert_eq!(read(&mut tail), [7, 8]);
}

#[test]
fn damage_is_waited_at_in_the_last_segment_and_skipped_in_one_that_has_a_successor() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), small_segments());
    let at = append(&journal, 0..4);
    let path = folder.path().join(segment_name(1));
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"damage", at[1].offset).unwrap();
    let mut tail = tail(folder.path());
    assert_eq!(read(&mut tail), [0]);
    assert_eq!(read(&mut tail), []);
    append(&journal, 4..100);
    let rest: Vec<u128> = (2..100).collect();
    assert_eq!(read(&mut tail), rest);
}

#[test]
fn a_journal_that_does_not_exist_yet_is_read_from_its_first_record_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later");
    let mut tail = tail(&path);
    assert!(tail.hold().unwrap());
    assert_eq!(read(&mut tail), []);
    let (journal, _) = open(&path, small_segments());
    append(&journal, 0..100);
    assert_eq!(read(&mut tail), (0..100).collect::<Vec<u128>>());
}

#[test]
fn a_journal_that_goes_on_after_another_process_is_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), small_segments());
    append(&journal, 0..100);
    let mut tail = tail(folder.path());
    assert_eq!(read(&mut tail).len(), 100);
    drop(journal);
    let (journal, _) = open(folder.path(), small_segments());
    append(&journal, 100..200);
    assert_eq!(read(&mut tail), (100..200).collect::<Vec<u128>>());
}
