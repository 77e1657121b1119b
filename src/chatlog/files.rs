//! The files of the log: the one that is written to, and those beside it that are full.
//!
//! Owns their names, whom they may be read by, when a new one is begun and an old one removed.
//! `chats.jsonl` becomes `chats-2026-11-21T08-02-35.506Z.jsonl`, by the time of its last line; no
//! file with another name is ever removed. Refuses to know what a line is. Fails as the system
//! does; what has failed is tried anew with the next line.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

use crate::config::{ChatLog, Every, Retention, Rotation};

/// For the owner alone.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Names that are taken are passed over, a millisecond each, up to so many.
const MAX_TAKEN: i64 = 1000;

/// The files of one log.
pub struct Files {
    path: PathBuf,
    rotation: Rotation,
    retention: Retention,
    /// `None` after a failure, until the next line.
    current: Option<Current>,
}

/// The file that is written to.
struct Current {
    file: File,
    identity: (u64, u64),
    /// Whether it ends in the middle of a line: a write failed, or the process ended there.
    is_torn: bool,
}

impl Files {
    /// Opens the file, which is made if it is not there, with its folder; and removes what is old.
    ///
    /// # Errors
    /// The file cannot be written, or is none; or the folder cannot be read.
    pub fn open(config: &ChatLog) -> io::Result<Self> {
        let mut files = Self {
            path: config.path.value.clone(),
            rotation: config.rotation,
            retention: config.retention,
            current: None,
        };
        files.current = Some(open(&files.path)?);
        files.tend(SystemTime::now())?;
        Ok(files)
    }

    /// Writes a line, which ends in a line break, at the end; before it begins a new file where it
    /// is time to.
    ///
    /// # Errors
    /// The line is not written, or not whole.
    pub fn append(&mut self, line: &[u8], now: SystemTime) -> io::Result<()> {
        let written = self.try_append(line, now);
        if written.is_err() {
            self.current = None;
        }
        written
    }

    fn try_append(&mut self, line: &[u8], now: SystemTime) -> io::Result<()> {
        let found = self.reopen()?;
        let is_full = found.len() + line.len() as u64 > self.rotation.max_file_bytes;
        if found.len() > 0 && (is_full || self.is_of_before(&found, now)?) {
            self.rotate(&found)?;
            self.remove_old(now)?;
        }
        let Some(current) = &mut self.current else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if current.is_torn {
            current.file.write_all(b"\n")?;
            current.is_torn = false;
        }
        // In one piece: other processes may write to the file, too.
        current.file.write_all(line)
    }

    /// Does what time asks for, whether or not anything is written.
    ///
    /// # Errors
    /// Something was not done, and will be tried again.
    pub fn tend(&mut self, now: SystemTime) -> io::Result<()> {
        let found = self.reopen()?;
        if found.len() > 0 && self.is_of_before(&found, now)? {
            self.rotate(&found)?;
        }
        self.remove_old(now)
    }

    /// Sees that what is open is what stands at the path, which somebody may have moved or removed.
    fn reopen(&mut self) -> io::Result<Metadata> {
        match (&self.current, self.path.symlink_metadata()) {
            (Some(current), Ok(found)) if current.identity == (found.dev(), found.ino()) => {
                Ok(found)
            }
            _ => {
                let current = open(&self.path)?;
                let found = current.file.metadata();
                self.current = Some(current);
                found
            }
        }
    }

    /// Whether a file's last line is of an earlier day, or hour, than now.
    fn is_of_before(&self, found: &Metadata, now: SystemTime) -> io::Result<bool> {
        let length = match self.rotation.every {
            Every::Hour => 3600,
            Every::Day => 86_400,
        };
        let of = |time: SystemTime| match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => since.as_secs() / length,
            Err(_) => 0,
        };
        Ok(of(found.modified()?) < of(now))
    }

    /// Moves the file out of the way, and begins a new one.
    fn rotate(&mut self, found: &Metadata) -> io::Result<()> {
        let last = Timestamp::try_from(found.modified()?).map_err(io::Error::other)?;
        let names = (0..MAX_TAKEN).filter_map(|later| {
            let time = last.checked_add(Duration::from_millis(later.unsigned_abs()));
            Some(
                self.path
                    .with_file_name(Name::of(&self.path)?.full(time.ok()?)),
            )
        });
        let free = names
            .into_iter()
            .find(|name| name.symlink_metadata().is_err());
        let free = free.ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
        self.current = None;
        fs::rename(&self.path, free)?;
        self.current = Some(open(&self.path)?);
        Ok(())
    }

    fn remove_old(&self, now: SystemTime) -> io::Result<()> {
        let oldest = self.retention.age.and_then(|age| now.checked_sub(age));
        let oldest = oldest.and_then(|time| Timestamp::try_from(time).ok());
        let full = full(&self.path)?;
        let spare = full.len().saturating_sub(self.retention.files);
        let mut outcome = Ok(());
        for (position, (time, path)) in full.iter().enumerate() {
            if position >= spare && oldest.is_none_or(|oldest| *time >= oldest) {
                break;
            }
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => outcome = Err(e),
                _ => {}
            }
        }
        outcome
    }
}

/// Every file of the log at a path that is there, in the order in which they were written.
///
/// # Errors
/// Their folder cannot be read.
pub fn all(path: &Path) -> io::Result<Vec<PathBuf>> {
    let full = full(path)?.into_iter().map(|(_, path)| path);
    let current = path.exists().then(|| path.to_owned());
    Ok(full.chain(current).collect())
}

/// Those that are full, the oldest first, with the time of the last line of each.
fn full(path: &Path) -> io::Result<Vec<(Timestamp, PathBuf)>> {
    let Some(name) = Name::of(path) else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for entry in folder_of(path).read_dir()? {
        let entry = entry?;
        let time = entry
            .file_name()
            .to_str()
            .and_then(|found| name.time(found));
        if let Some(time) = time
            && entry.file_type()?.is_file()
        {
            files.push((time, path.with_file_name(entry.file_name())));
        }
    }
    files.sort();
    Ok(files)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn open(path: &Path) -> io::Result<Current> {
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder_of(path))?;
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(FILE_MODE);
    let mut file = File::from(rustix::fs::open(path, flags | OFlags::CLOEXEC, mode)?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    // It may have been there before, with whatever mode.
    if found.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    let mut last = *b"\n";
    if found.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok(Current {
        identity: (found.dev(), found.ino()),
        is_torn: last != *b"\n",
        file,
    })
}

/// How the files of a log are called.
struct Name<'p> {
    stem: &'p str,
    extension: Option<&'p str>,
}

impl<'p> Name<'p> {
    /// `None` for a name that is not UTF-8.
    fn of(path: &'p Path) -> Option<Self> {
        Some(Self {
            stem: path.file_stem()?.to_str()?,
            extension: match path.extension() {
                Some(extension) => Some(extension.to_str()?),
                None => None,
            },
        })
    }

    /// The name of a file whose last line is of this time. No colons: not every system takes them.
    fn full(&self, time: Timestamp) -> String {
        let time = format!("{time:.3}").replace(':', "-");
        match self.extension {
            Some(extension) => format!("{}-{time}.{extension}", self.stem),
            None => format!("{}-{time}", self.stem),
        }
    }

    /// The time in such a name; `None` for any other.
    fn time(&self, found: &str) -> Option<Timestamp> {
        let rest = found.strip_prefix(self.stem)?.strip_prefix('-')?;
        let rest = match self.extension {
            Some(extension) => rest.strip_suffix(extension)?.strip_suffix('.')?,
            None => rest,
        };
        let (date, of_day) = rest.split_once('T')?;
        let time: Timestamp = format!("{date}T{}", of_day.replace('-', ":"))
            .parse()
            .ok()?;
        (self.full(time) == found).then_some(time)
    }
}

#[cfg(test)]
mod tests {
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

        /// Makes a file that was full some time ago.
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
    fn files_and_the_folders_made_for_them_are_for_the_owner_alone() {
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
    fn a_file_that_was_there_becomes_its_owners_and_keeps_its_lines() {
        let case = Case::new();
        fs::write(case.path(), "old\n").unwrap();
        fs::set_permissions(case.path(), Permissions::from_mode(0o644)).unwrap();
        case.open().append(LINE, SystemTime::now()).unwrap();
        assert_eq!(mode(case.path()), 0o600);
        assert_eq!(case.text(), "old\n123456789\n");
    }

    #[test]
    fn what_is_no_file_is_not_written_to() {
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
    fn a_line_that_would_make_a_file_too_large_begins_a_new_one() {
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
    fn the_lines_of_another_day_or_hour_are_in_another_file() {
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
    fn time_is_looked_at_when_nothing_is_written_too() {
        let case = Case::new();
        let mut files = case.open();
        files.append(LINE, SystemTime::now()).unwrap();
        let later = SystemTime::now() + 24 * HOUR;
        files.tend(later).unwrap();
        assert_eq!(case.text(), "");
        assert_eq!(case.names().len(), 2);
        // An empty file is not rotated.
        files.tend(later + 24 * HOUR).unwrap();
        assert_eq!(case.names().len(), 2);
        files.tend(later + 31 * 24 * HOUR).unwrap();
        assert_eq!(case.names(), ["chats.jsonl"]);
    }

    #[test]
    fn what_is_older_than_its_age_is_removed_and_nothing_else() {
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
    fn of_more_files_than_are_kept_the_oldest_are_removed() {
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
    fn a_file_that_somebody_moved_or_removed_is_made_anew() {
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
    fn a_line_that_was_torn_spoils_no_other() {
        let case = Case::new();
        fs::write(case.path(), "{\"id\":\"re").unwrap();
        let mut files = case.open();
        files.append(LINE, SystemTime::now()).unwrap();
        files.append(LINE, SystemTime::now()).unwrap();
        assert_eq!(case.text(), "{\"id\":\"re\n123456789\n123456789\n");
    }

    #[test]
    fn a_failure_is_told_and_the_next_line_is_tried_anew() {
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
}
