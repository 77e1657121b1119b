//! What a crash, a disk or an operator does to the files.

use super::*;
use fastrand::Rng;

/// A journal of one segment with so many records; where each begins, and where the last one ends.
fn written(folder: &Path, records: u128) -> Vec<u64> {
    let (journal, _) = open(folder, Options::default());
    let mut starts: Vec<u64> = append(&journal, 0..records)
        .iter()
        .map(|position| position.offset)
        .collect();
    starts.push(journal.end().offset);
    starts
}

#[test]
fn a_tail_that_is_torn_at_any_byte_costs_no_whole_record() {
    let whole = tempfile::tempdir().unwrap();
    let bounds = written(whole.path(), 6);
    let bytes = fs::read(whole.path().join(segment_name(1))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(segment_name(1));
    for cut in usize::try_from(bounds[4]).unwrap()..bytes.len() {
        for with_zeros in [false, true] {
            let mut torn = bytes[..cut].to_vec();
            if with_zeros {
                torn.resize(bytes.len() + 100, 0);
            }
            // Zeros may be what was cut off.
            let same = bytes.iter().zip(&torn).take_while(|(a, b)| a == b).count();
            let complete = bounds.partition_point(|&bound| bound <= same as u64) - 1;
            let is_torn = bounds[complete] < torn.len() as u64;
            fs::write(&path, torn).unwrap();
            let (journal, recovered) = open(folder.path(), Options::default());
            assert_eq!(recovered.records, complete as u64, "cut at {cut}");
            assert_eq!(
                recovered.warnings.len(),
                usize::from(is_torn),
                "cut at {cut}"
            );
            append(&journal, 100..101);
            assert_eq!(fs::metadata(&path).unwrap().len(), journal.end().offset);
            let mut expected: Vec<u128> = (0..complete as u128).collect();
            expected.push(100);
            assert_eq!(read_from(&journal, Position::default()), (expected, 0));
        }
    }
}

#[test]
fn damaged_bytes_cost_the_records_that_they_are_in_and_no_other() {
    let whole = tempfile::tempdir().unwrap();
    let bounds = written(whole.path(), 400);
    let bytes = fs::read(whole.path().join(segment_name(1))).unwrap();
    for seed in 0..60 {
        let mut random = Rng::with_seed(seed);
        let mut damaged = bytes.clone();
        let mut hit = std::collections::BTreeSet::new();
        for _ in 0..random.usize(1..20) {
            let at = random.usize(usize::try_from(HEADER_BYTES).unwrap()..bytes.len());
            damaged[at] ^= random.u8(1..);
            hit.insert(bounds.partition_point(|&bound| bound <= at as u64) - 1);
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(segment_name(1)), &damaged).unwrap();
        // Two flips of one byte may have put it right again: ask the bytes.
        let is_hit = |record: usize| {
            let range = usize::try_from(bounds[record]).unwrap()
                ..usize::try_from(bounds[record + 1]).unwrap();
            hit.contains(&record) && bytes[range.clone()] != damaged[range]
        };
        let (journal, recovered) = open(folder.path(), Options::default());
        append(&journal, 1000..1001);
        let mut expected: Vec<u128> = (0..400)
            .filter(|&record| !is_hit(record))
            .map(|record| record as u128)
            .collect();
        assert_eq!(recovered.records, expected.len() as u64, "seed {seed}");
        let lost: u64 = (0..400)
            .filter(|&record| is_hit(record))
            .map(|record| bounds[record + 1] - bounds[record])
            .sum();
        assert_eq!(recovered.unreadable_bytes, lost, "seed {seed}");
        expected.push(1000);
        assert_eq!(read_all(&journal), expected, "seed {seed}");
    }
}

#[test]
fn a_damaged_segment_is_kept_when_its_records_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = written(folder.path(), 10);
    let path = folder.path().join(segment_name(1));
    let mut bytes = fs::read(&path).unwrap();
    bytes[usize::try_from(bounds[4]).unwrap() + 20] ^= 0x40;
    fs::write(&path, &bytes).unwrap();
    let (journal, recovered) = open(folder.path(), Options::default());
    assert_eq!(recovered.warnings.len(), 1, "{:?}", recovered.warnings);
    let lost = bounds[5] - bounds[4];
    assert!(recovered.warnings[0].starts_with(&format!("{lost} bytes of ")));
    append(&journal, 10..11);
    let (ids, unreadable) = read_from(&journal, Position::default());
    assert_eq!(ids, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]);
    assert_eq!(unreadable, lost);
    journal.remove_before(journal.end());
    let aside = folder.path().join("00000000000000000001.corrupt");
    assert_eq!(fs::read(aside).unwrap(), bytes);
    assert!(!path.exists());
}

#[test]
fn damage_that_a_reader_finds_later_is_told_and_kept_too() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), small_segments());
    append(&journal, 0..100);
    let path = folder.path().join(segment_name(1));
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (ids, unreadable) = read_from(&journal, Position::default());
    assert_eq!(ids.len(), 99);
    assert!(unreadable > 0);
    journal.remove_before(journal.end());
    assert!(folder.path().join("00000000000000000001.corrupt").exists());
}

#[test]
fn damage_that_is_longer_than_what_is_read_at_once_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = written(folder.path(), 30_000);
    let path = folder.path().join(segment_name(1));
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 2 << 20);
    let (from, to) = (usize::try_from(bounds[100]).unwrap(), bytes.len() - 1000);
    Rng::with_seed(7).fill(&mut bytes[from + 3..to]);
    fs::write(&path, &bytes).unwrap();
    let (journal, recovered) = open(folder.path(), Options::default());
    let (ids, unreadable) = read_from(&journal, Position::default());
    assert_eq!(ids[..100], (0..100).collect::<Vec<_>>());
    assert!(ids.len() > 100 && ids.ends_with(&[29_998, 29_999]));
    assert_eq!(recovered.records, ids.len() as u64);
    assert_eq!(recovered.unreadable_bytes, unreadable);
}

#[test]
fn a_header_is_read_by_either_copy_and_without_both_the_segment_is_kept() {
    let whole = tempfile::tempdir().unwrap();
    written(whole.path(), 10);
    for damaged in [vec![12], vec![44], vec![12, 44]] {
        let folder = tempfile::tempdir().unwrap();
        copy(whole.path(), folder.path());
        let path = folder.path().join(segment_name(1));
        let mut bytes = fs::read(&path).unwrap();
        for at in &damaged {
            bytes[*at] ^= 1;
        }
        fs::write(&path, &bytes).unwrap();
        let (journal, recovered) = open(folder.path(), Options::default());
        append(&journal, 10..11);
        let is_readable = damaged.len() == 1;
        assert_eq!(recovered.records, if is_readable { 10 } else { 0 });
        assert_eq!(recovered.warnings.is_empty(), is_readable);
        assert_eq!(read_all(&journal).last(), Some(&10));
        journal.remove_before(journal.end());
        let aside = folder.path().join("00000000000000000001.corrupt");
        assert_eq!(aside.exists(), !is_readable);
    }
}

#[test]
fn a_segment_of_a_newer_version_is_refused_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = written(folder.path(), 3);
    let newer = folder.path().join(segment_name(2));
    let mut bytes = fs::read(folder.path().join(segment_name(1))).unwrap();
    let version = VERSION + 1;
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&newer, &bytes).unwrap();
    // A tail that would be cut off.
    let path = folder.path().join(segment_name(1));
    let torn = fs::read(&path).unwrap()[..usize::try_from(bounds[3]).unwrap() - 1].to_vec();
    fs::write(&path, &torn).unwrap();
    fs::write(folder.path().join("00000000000000000003.prepared"), "").unwrap();
    let opened = try_open(folder.path(), Options::default());
    let error = opened.err().unwrap();
    assert!(
        matches!(&error, JournalError::Version { path, version: found } if *path == newer && *found == version)
    );
    assert!(
        error
            .to_string()
            .contains(&format!("is of version {version},"))
    );
    assert_eq!(fs::read(&path).unwrap(), torn);
    assert_eq!(fs::read(&newer).unwrap(), bytes);
    let prepared = folder.path().join("00000000000000000003.prepared");
    assert!(prepared.exists());
    fs::remove_file(newer).unwrap();
    let (_, recovered) = open(folder.path(), Options::default());
    assert_eq!(recovered.records, 2);
    assert!(!prepared.exists());
}

#[test]
fn a_missing_segment_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), small_segments());
    append(&journal, 0..100);
    drop(journal);
    fs::remove_file(folder.path().join(segment_name(2))).unwrap();
    let (_, recovered) = open(folder.path(), small_segments());
    assert_eq!(recovered.warnings.len(), 1);
    assert!(recovered.warnings[0].contains(&segment_name(3)));
}

#[test]
fn files_that_are_no_segments_are_left_alone_and_warnings_are_few() {
    let folder = tempfile::tempdir().unwrap();
    for other in [
        "1.journal",
        "notes.txt",
        "x.journal",
        "18446744073709551615.journal",
    ] {
        fs::write(folder.path().join(other), "mine").unwrap();
    }
    for number in 1..=70 {
        fs::write(folder.path().join(segment_name(number)), "no header").unwrap();
    }
    let (journal, recovered) = open(folder.path(), Options::default());
    assert_eq!((recovered.warnings.len(), recovered.more_warnings), (64, 6));
    assert_eq!(recovered.unreadable_bytes, 70 * 9);
    append(&journal, 0..1);
    assert_eq!(read_all(&journal), [0]);
    assert_eq!(fs::read(folder.path().join("1.journal")).unwrap(), b"mine");
}

#[test]
fn a_segment_that_is_a_link_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "mine").unwrap();
    std::os::unix::fs::symlink(&target, folder.path().join(segment_name(1))).unwrap();
    let opened = Journal::open(folder.path(), Options::default(), Position::default());
    assert!(matches!(opened, Err(JournalError::Io(_, _))));
    assert_eq!(fs::read(&target).unwrap(), b"mine");
}
