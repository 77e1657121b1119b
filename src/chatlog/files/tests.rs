//! The modes of the files, rotation and removal.

use std::os::unix::fs::symlink;

use super::*;
use crate::chatlog::tests::config;

const LINE: &[u8] = b"123456789\n";

struct Case {
    folder: tempfile::TempDir,
    config: ChatLog,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path().join("chats.jsonl").to_str().unwrap());
        Self { folder, config }
    }

    fn path(&self) -> &Path {
        &self.config.path.value
    }

    fn open(&self) -> Files {
        Files::open(&self.config).unwrap()
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
    case.config.path.value = below.join("chats.jsonl");
    case.config.rotation.max_file_bytes = 10;
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
    assert!(Files::open(&case.config).is_err());
    fs::remove_file(case.path()).unwrap();
    fs::create_dir(case.path()).unwrap();
    assert!(Files::open(&case.config).is_err());
    let case = Case {
        config: config("/dev/full"),
        ..case
    };
    let error = Files::open(&case.config).err().unwrap();
    assert_eq!(error.to_string(), "it is not a file");
}

#[test]
fn a_line_that_would_exceed_the_size_starts_a_new_file() {
    let mut case = Case::new();
    case.config.rotation.max_file_bytes = 20;
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
        case.config.rotation.every = every;
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
    case.config.retention.age = Some(10 * HOUR);
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
    case.config.retention.files = 2;
    case.config.retention.age = None;
    let [first, second, third] = [3, 1, 2].map(|days| case.full(days * 24 * HOUR));
    let mut files = case.open();
    assert_eq!(
        case.names(),
        [third, second.clone(), "chats.jsonl".to_owned()]
    );
    case.config.rotation.max_file_bytes = 10;
    files.rotation = case.config.rotation;
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
    case.config.rotation.max_file_bytes = 10;
    let mut files = case.open();
    let time = SystemTime::now();
    for _ in 0..4 {
        files.append(LINE, time).unwrap();
        File::open(case.path()).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(case.names().len(), 4);
}
