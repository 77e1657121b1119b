//! The files of the log: the current one, and the full ones beside it.
//!
//! Owns their names and modes, rotation and removal. `chats.jsonl` is renamed to
//! `chats-2026-11-21T08-02-35.506Z.jsonl`, by the time of its last line; a file with another name is
//! never removed. Does not handle the content of lines (see `entry`). Fails with the system's error,
//! and tries again with the next line.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

use crate::clock;
use crate::config::{ChatLog, Every, Retention, Rotation};

/// For the owner alone.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// How many names, a millisecond apart, are tried for a full file.
const MAX_NAMES: i64 = 1000;

/// The files of one log.
pub struct Files {
    path: PathBuf,
    rotation: Rotation,
    retention: Retention,
    /// `None` after a failure, until the next line.
    current: Option<Current>,
}

/// The open file.
struct Current {
    file: File,
    identity: (u64, u64),
    /// Whether it ends within a line, because a write failed or the process ended.
    is_torn: bool,
}

impl Files {
    /// Opens the file, and creates it and its folder if they are missing. Removes old files.
    ///
    /// # Errors
    /// The file cannot be opened or is not a regular file, or the folder cannot be read.
    pub fn open(config: &ChatLog) -> io::Result<Self> {
        let mut files = Self {
            path: config.path.value.clone(),
            rotation: config.rotation,
            retention: config.retention,
            current: None,
        };
        files.current = Some(open(&files.path)?);
        files.maintain(clock::now())?;
        Ok(files)
    }

    /// Appends a line, which ends in a line break. Rotates first where a new file is due.
    ///
    /// # Errors
    /// The line was not written, or only a part of it.
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
        if found.len() > 0 && (is_full || self.is_of_earlier_period(&found, now)?) {
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
        // In one write: other processes may write to the file, too.
        current.file.write_all(line)
    }

    /// Rotates and removes by time, without a line to write.
    ///
    /// # Errors
    /// Something failed, and is tried again the next time.
    pub fn maintain(&mut self, now: SystemTime) -> io::Result<()> {
        let found = self.reopen()?;
        if found.len() > 0 && self.is_of_earlier_period(&found, now)? {
            self.rotate(&found)?;
        }
        self.remove_old(now)
    }

    /// Opens the file again if the one at the path is not the open one: it may have been moved or removed.
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

    /// Whether a file's last line is of an earlier day or hour than now.
    fn is_of_earlier_period(&self, found: &Metadata, now: SystemTime) -> io::Result<bool> {
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

    /// Renames the full file, and creates a new one.
    fn rotate(&mut self, found: &Metadata) -> io::Result<()> {
        let last = Timestamp::try_from(found.modified()?).map_err(io::Error::other)?;
        let names = (0..MAX_NAMES).filter_map(|later| {
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

/// All existing files of the log at a path, in the order in which they were written.
///
/// # Errors
/// Their folder cannot be read.
pub fn all(path: &Path) -> io::Result<Vec<PathBuf>> {
    let full = full(path)?.into_iter().map(|(_, path)| path);
    let current = path.exists().then(|| path.to_owned());
    Ok(full.chain(current).collect())
}

/// The full files, the oldest first, each with the time of its last line.
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
    // It may have existed before, with another mode.
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

/// The names of a log's files.
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

    /// The name of a full file whose last line is of this time. No colons: not every system allows them.
    fn full(&self, time: Timestamp) -> String {
        let time = format!("{time:.3}").replace(':', "-");
        match self.extension {
            Some(extension) => format!("{}-{time}.{extension}", self.stem),
            None => format!("{}-{time}", self.stem),
        }
    }

    /// The time in the name of a full file; `None` for any other name.
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
mod tests;
