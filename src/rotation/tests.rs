//! The modes of the files, rotation and removal.

use std::os::unix::fs::symlink;

use super::*;

const LINE: &[u8] = b"123456789\n";

struct Case {
    folder: tempfile::TempDir,
    path: PathBuf,
    rules: Rules,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            path: folder.path().join("chats.jsonl"),
            folder,
            rules: Rules {
                readers: Readers::Owner,
                rotation: Rotation {
                    max_file_bytes: 100 << 20,
                    every: Every::Day,
                },
                retention: Retention {
                    age: Some(30 * 24 * HOUR),
                    files: 100,
                },
            },
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn try_open(&self) -> io::Result<Files> {
        Files::open(&self.path, self.rules)
    }

    fn open(&self) -> Files {
        self.try_open().unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Creates a full file of this age.
    fn full(&self, ago: Duration) -> String {
        let time = Timestamp::try_from(SystemTime::now() - ago).unwrap();
        let name = Name::of(self.path()).unwrap().full(time);
        fs::write(self.folder.path().join(&name), LINE).unwrap();
        name
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o777
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn only_the_owner_may_read_files_and_created_folders() {
    let mut case = Case::new();
    let below = case.folder.path().join("a/b");
    case.path = below.join("chats.jsonl");
    case.rules.rotation.max_file_bytes = 10;
    let mut files = case.open();
    for _ in 0..2 {
        files.append(LINE, SystemTime::now()).unwrap();
    }
    let all = all(case.path()).unwrap();
    assert_eq!(all.len(), 2);
    for path in &all {
        assert_eq!(mode(path), 0o600, "{path:?}");
    }
    assert_eq!(mode(&below), 0o700);
    assert_eq!(mode(below.parent().unwrap()), 0o700);
}

#[test]
fn an_existing_file_becomes_private_and_keeps_its_lines() {
    let case = Case::new();
    fs::write(case.path(), "old\n").unwrap();
    fs::set_permissions(case.path(), Permissions::from_mode(0o644)).unwrap();
    case.open().append(LINE, SystemTime::now()).unwrap();
    assert_eq!(mode(case.path()), 0o600);
    assert_eq!(case.text(), "old\n123456789\n");
}

#[test]
fn what_is_not_a_regular_file_is_not_written_to() {
    let case = Case::new();
    let elsewhere = case.folder.path().join("elsewhere");
    fs::write(&elsewhere, "").unwrap();
    symlink(&elsewhere, case.path()).unwrap();
    assert!(case.try_open().is_err());
    fs::remove_file(case.path()).unwrap();
    fs::create_dir(case.path()).unwrap();
    assert!(case.try_open().is_err());
    let case = Case {
        path: PathBuf::from("/dev/full"),
        ..case
    };
    let error = case.try_open().err().unwrap();
    assert_eq!(error.to_string(), "it is not a file");
}

#[test]
fn a_line_that_would_exceed_the_size_starts_a_new_file() {
    let mut case = Case::new();
    case.rules.rotation.max_file_bytes = 20;
    let mut files = case.open();
    for _ in 0..5 {
        files.append(LINE, SystemTime::now()).unwrap();
    }
    let lengths = all(case.path()).unwrap();
    let lengths: Vec<_> = lengths
        .iter()
        .map(|p| p.metadata().unwrap().len())
        .collect();
    assert_eq!(lengths, [20, 20, 10]);
    // One that is larger by itself has a file by itself.
    files.append(&[b'x'; 30], SystemTime::now()).unwrap();
    assert_eq!(case.text().len(), 30);
}

#[test]
fn lines_of_another_day_or_hour_are_in_another_file() {
    for every in [Every::Day, Every::Hour] {
        let mut case = Case::new();
        case.rules.rotation.every = every;
        let mut files = case.open();
        files.append(LINE, SystemTime::now()).unwrap();
        let length = if every == Every::Day { 24 * HOUR } else { HOUR };
        let before = SystemTime::now() - length;
        File::open(case.path())
            .unwrap()
            .set_modified(before)
            .unwrap();
        files.append(b"new\n", SystemTime::now()).unwrap();
        assert_eq!(case.text(), "new\n");
        let name = Name::of(case.path()).unwrap();
        let name = name.full(Timestamp::try_from(before).unwrap());
        assert_eq!(case.names(), [name, "chats.jsonl".to_owned()]);
    }
}

#[test]
fn files_are_rotated_and_removed_by_time_without_a_line() {
    let case = Case::new();
    let mut files = case.open();
    files.append(LINE, SystemTime::now()).unwrap();
    let later = SystemTime::now() + 24 * HOUR;
    files.maintain(later).unwrap();
    assert_eq!(case.text(), "");
    assert_eq!(case.names().len(), 2);
    // An empty file is not rotated.
    files.maintain(later + 24 * HOUR).unwrap();
    assert_eq!(case.names().len(), 2);
    files.maintain(later + 31 * 24 * HOUR).unwrap();
    assert_eq!(case.names(), ["chats.jsonl"]);
}

#[test]
fn only_files_above_the_age_are_removed() {
    let mut case = Case::new();
    case.rules.retention.age = Some(10 * HOUR);
    let young = case.full(9 * HOUR);
    let old = case.full(11 * HOUR);
    let others = [
        format!("x{old}"),
        old.replace("jsonl", "json"),
        old.replace("chats-", "chats-1"),
        old.replace('Z', "0Z"),
        "chats-.jsonl".to_owned(),
        "chats-notes.jsonl".to_owned(),
    ];
    for other in &others {
        fs::write(case.folder.path().join(other), "").unwrap();
    }
    case.open();
    let names = case.names();
    assert!(names.contains(&young) && !names.contains(&old), "{names:?}");
    for other in &others {
        assert!(names.contains(other), "{other} is not in {names:?}");
    }
}

#[test]
fn the_oldest_files_above_the_number_are_removed() {
    let mut case = Case::new();
    case.rules.retention.files = 2;
    case.rules.retention.age = None;
    let [first, second, third] = [3, 1, 2].map(|days| case.full(days * 24 * HOUR));
    let mut files = case.open();
    assert_eq!(
        case.names(),
        [third, second.clone(), "chats.jsonl".to_owned()]
    );
    case.rules.rotation.max_file_bytes = 10;
    files.rules = case.rules;
    files.append(LINE, SystemTime::now()).unwrap();
    files.append(LINE, SystemTime::now()).unwrap();
    let names = case.names();
    assert!(
        !names.contains(&first) && names.contains(&second),
        "{names:?}"
    );
    assert_eq!(names.len(), 3);
}

#[test]
fn a_moved_or_removed_file_is_created_again() {
    let case = Case::new();
    let mut files = case.open();
    files.append(LINE, SystemTime::now()).unwrap();
    let moved = case.folder.path().join("moved");
    fs::rename(case.path(), &moved).unwrap();
    files.append(b"2\n", SystemTime::now()).unwrap();
    assert_eq!(case.text(), "2\n");
    assert_eq!(fs::read(moved).unwrap(), LINE);
    fs::remove_file(case.path()).unwrap();
    files.append(b"3\n", SystemTime::now()).unwrap();
    assert_eq!(case.text(), "3\n");
}

#[test]
fn a_torn_line_does_not_damage_the_next() {
    let case = Case::new();
    fs::write(case.path(), "{\"id\":\"re").unwrap();
    let mut files = case.open();
    files.append(LINE, SystemTime::now()).unwrap();
    files.append(LINE, SystemTime::now()).unwrap();
    assert_eq!(case.text(), "{\"id\":\"re\n123456789\n123456789\n");
}

#[test]
fn a_failure_is_an_error_and_the_next_line_is_tried_again() {
    let case = Case::new();
    let mut files = case.open();
    // A file that is open for reading alone stands for a disk that is full.
    files.current.as_mut().unwrap().file = File::open(case.path()).unwrap();
    assert!(files.append(LINE, SystemTime::now()).is_err());
    files.append(LINE, SystemTime::now()).unwrap();
    assert_eq!(case.text().len(), LINE.len());
    // Its folder becomes a file, and a folder again.
    fs::remove_dir_all(case.folder.path()).unwrap();
    fs::write(case.folder.path(), "").unwrap();
    assert!(files.append(LINE, SystemTime::now()).is_err());
    fs::remove_file(case.folder.path()).unwrap();
    files.append(b"again\n", SystemTime::now()).unwrap();
    assert_eq!(case.text(), "again\n");
}

#[test]
fn no_name_is_taken_twice() {
    let mut case = Case::new();
    case.rules.rotation.max_file_bytes = 10;
    let mut files = case.open();
    let time = SystemTime::now();
    for _ in 0..4 {
        files.append(LINE, time).unwrap();
        File::open(case.path()).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(case.names().len(), 4);
}

#[test]
fn two_writers_lose_no_line_and_rotate_once_for_each_full_file() {
    const LINES: usize = 3000;
    let mut case = Case::new();
    case.rules.rotation.max_file_bytes = 1000;
    case.rules.retention.files = 100_000;
    std::thread::scope(|threads| {
        for writer in 0..2 {
            let mut files = case.open();
            threads.spawn(move || {
                for count in 0..LINES {
                    let line = format!("{writer} {count:06}\n");
                    files.append(line.as_bytes(), SystemTime::now()).unwrap();
                }
            });
        }
    });
    let paths = all(case.path()).unwrap();
    let texts: Vec<String> = paths
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut lines: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
    assert_eq!(lines.len(), 2 * LINES);
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 2 * LINES, "each line is there once");
    let full = &texts[..texts.len() - 1];
    assert!(full.len() > 10, "{}", full.len());
    for text in full {
        // A file that was renamed although it had room was renamed for the reason of the one before.
        assert!(text.len() > 1000 - 9, "{} bytes", text.len());
    }
}

#[test]
fn two_writers_rotate_once_at_the_end_of_a_day() {
    for _ in 0..20 {
        let case = Case::new();
        let mut writers = [case.open(), case.open()];
        writers[0].append(LINE, SystemTime::now()).unwrap();
        let before = SystemTime::now() - 24 * HOUR;
        let file = File::open(case.path()).unwrap();
        file.set_modified(before).unwrap();
        std::thread::scope(|threads| {
            for files in &mut writers {
                threads.spawn(|| files.append(LINE, SystemTime::now()).unwrap());
            }
        });
        for files in &mut writers {
            files.append(LINE, SystemTime::now()).unwrap();
        }
        let paths = all(case.path()).unwrap();
        assert_eq!(paths.len(), 2, "{paths:?}");
        let lines = paths.iter().map(|path| path.metadata().unwrap().len() / 10);
        assert_eq!(lines.sum::<u64>(), 5);
    }
}

#[test]
fn what_is_locked_by_another_is_written_to_and_not_renamed() {
    let mut case = Case::new();
    case.rules.rotation.max_file_bytes = 10;
    let mut files = case.open();
    files.append(LINE, SystemTime::now()).unwrap();
    let other = File::open(case.path()).unwrap();
    flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
    files.append(LINE, SystemTime::now()).unwrap();
    assert_eq!(case.names(), ["chats.jsonl"]);
    drop(other);
    files.append(LINE, SystemTime::now()).unwrap();
    assert_eq!(case.names().len(), 2);
    assert_eq!(case.text().len(), LINE.len());
}

#[test]
fn what_was_not_written_is_told_in_bytes() {
    /// Takes so many bytes, and no more.
    struct Narrow(usize);
    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match bytes.len().min(self.0) {
                0 => Err(ErrorKind::StorageFull.into()),
                written => {
                    self.0 -= written;
                    Ok(written)
                }
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let unwritten = write_whole(&mut Narrow(12), &LINE.repeat(3)).unwrap_err();
    assert_eq!(unwritten.bytes, 18);
    assert_eq!(unwritten.error.kind(), ErrorKind::StorageFull);
    write_whole(&mut Narrow(30), &LINE.repeat(3)).unwrap();
}

#[test]
fn a_group_may_read_what_is_not_private() {
    let mut case = Case::new();
    case.rules.readers = Readers::Group;
    case.path = case.folder.path().join("a/info.log");
    case.open();
    // The process' umask may take more.
    assert_eq!(mode(case.path()) & !0o640, 0);
    assert_eq!(mode(case.path().parent().unwrap()) & !0o750, 0);
    assert_eq!(mode(case.path()) & 0o600, 0o600);
}
