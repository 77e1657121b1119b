//! The files of a log: the current one, and the full ones beside it.
//!
//! Owns their modes, rotation and removal, for the chat log and the log; `names` has their names. Several processes may
//! write to the same files: each write is whole lines at the end of the file, only the one that holds the file's lock
//! renames it, and the others notice that it was renamed. Does not handle the content of lines (see `chatlog::entry`,
//! `observe::logging`). Fails with the system's error, and tries again with the next lines.

mod names;

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::clock;
use crate::config::{Every, Retention, Rotation};
use names::{Name, folder_of, full};

pub use names::all;

/// How many names, a millisecond apart, are tried for a full file.
const MAX_NAMES: i64 = 1000;
/// The time between two tries at a pipe that is full, and two looks at a line that another process may be writing.
const WAIT: Duration = Duration::from_millis(5);

/// Who may read the files, and how they are rotated and removed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Who may read them.
    pub readers: Readers,
    /// When a new file is begun.
    pub rotation: Rotation,
    /// When an old one is removed.
    pub retention: Retention,
}

/// Who may read the files, beside the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Their owner alone.
    Owner,
    /// Their owner and their group.
    Group,
}

impl Readers {
    /// The mode of files.
    fn file_mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o640,
        }
    }

    /// The mode of folders that are made.
    fn folder_mode(self) -> u32 {
        match self {
            Self::Owner => 0o700,
            Self::Group => 0o750,
        }
    }
}

/// Lines that were not written, or not completely.
#[derive(Debug)]
pub struct Unwritten {
    /// Why.
    pub error: io::Error,
    /// The last bytes of the lines, which were not written.
    pub bytes: usize,
}

/// The files of one log.
pub struct Files {
    path: PathBuf,
    rules: Rules,
    /// `None` after a failure, until the next lines.
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
    pub fn open(path: &Path, rules: Rules) -> io::Result<Self> {
        let mut files = Self {
            path: path.to_owned(),
            rules,
            current: None,
        };
        files.current = Some(open(path, rules.readers)?);
        files.maintain(clock::now())?;
        Ok(files)
    }

    /// The path of the current file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends lines, each of which ends in a line break. Rotates first where a new file is due.
    ///
    /// # Errors
    /// Some of it was not written.
    pub fn append(&mut self, lines: &[u8], now: SystemTime) -> Result<(), Unwritten> {
        let prepared = self.prepare(lines.len() as u64, now);
        let written = match (prepared, &mut self.current) {
            (Ok(()), Some(current)) => write_whole(&mut current.file, lines),
            (Err(error), _) => Err(Unwritten::all_of(lines, error)),
            (Ok(()), None) => Err(Unwritten::all_of(lines, ErrorKind::NotFound.into())),
        };
        if written.is_err() {
            self.current = None;
        }
        written
    }

    /// Makes sure that lines of this length may be appended to the open file.
    fn prepare(&mut self, length: u64, now: SystemTime) -> io::Result<()> {
        let found = self.reopen()?;
        let is_full = found.len() + length > self.rules.rotation.max_file_bytes;
        if found.len() > 0 && (is_full || self.is_of_earlier_period(&found, now)?) {
            self.rotate(&found)?;
            self.remove_old(now)?;
        }
        if let Some(current) = &mut self.current
            && current.is_torn
        {
            // Another process may have been writing a line when the file was opened, and has written it by now.
            wait();
            if ends_within_a_line(&mut current.file)? {
                current.file.write_all(b"\n")?;
            }
            current.is_torn = false;
        }
        Ok(())
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
            (Some(current), Ok(found)) if current.identity == identity(&found) => Ok(found),
            _ => {
                let current = open(&self.path, self.rules.readers)?;
                let found = current.file.metadata();
                self.current = Some(current);
                found
            }
        }
    }

    /// Whether a file's last line is of an earlier day or hour than now.
    fn is_of_earlier_period(&self, found: &Metadata, now: SystemTime) -> io::Result<bool> {
        let length = match self.rules.rotation.every {
            Every::Hour => 3600,
            Every::Day => 86_400,
        };
        let of = |time: SystemTime| match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => since.as_secs() / length,
            Err(_) => 0,
        };
        Ok(of(found.modified()?) < of(now))
    }

    /// Renames the full file, and opens a new one. The file's lock is held meanwhile: of two processes that find
    /// it full, one renames it. The other goes on with the new file, or, while that is being made, writes its
    /// lines to the full one.
    fn rotate(&mut self, found: &Metadata) -> io::Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        // A file system may have no locks. Then two processes may rotate at once, and nothing is lost by that.
        if flock(&current.file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
        {
            return Ok(());
        }
        // It may have been renamed before the lock was ours.
        let here = self.path.symlink_metadata();
        if here.is_ok_and(|here| current.identity == identity(&here)) {
            self.rename(found)?;
        }
        self.current = Some(open(&self.path, self.rules.readers)?);
        Ok(())
    }

    /// Gives the full file a name that no other has.
    fn rename(&self, found: &Metadata) -> io::Result<()> {
        let last = Timestamp::try_from(found.modified()?).map_err(io::Error::other)?;
        let names = (0..MAX_NAMES).filter_map(|later| {
            let time = last.checked_add(Duration::from_millis(later.unsigned_abs()));
            let name = Name::of(&self.path)?.full(time.ok()?);
            Some(self.path.with_file_name(name))
        });
        for name in names.filter(|name| name.symlink_metadata().is_err()) {
            match renameat_with(CWD, &self.path, CWD, &name, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                // The file system cannot refuse a name that is taken.
                Err(Errno::INVAL | Errno::NOSYS) => return fs::rename(&self.path, name),
                renamed => return Ok(renamed?),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    fn remove_old(&self, now: SystemTime) -> io::Result<()> {
        let oldest = self
            .rules
            .retention
            .age
            .and_then(|age| now.checked_sub(age));
        let oldest = oldest.and_then(|time| Timestamp::try_from(time).ok());
        let full = full(&self.path)?;
        let spare = full.len().saturating_sub(self.rules.retention.files);
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

/// What tells a file from others, whatever it is called.
fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

impl Unwritten {
    fn all_of(lines: &[u8], error: io::Error) -> Self {
        Self {
            error,
            bytes: lines.len(),
        }
    }
}

/// Writes bytes in as few writes as the system takes: another process that appends to the same file then cuts no
/// line in two. Where `to` has no room for the moment, as a pipe may say, it is asked again.
///
/// # Errors
/// Some of them were not written.
pub fn write_whole(to: &mut impl Write, bytes: &[u8]) -> Result<(), Unwritten> {
    let mut left = bytes;
    while !left.is_empty() {
        let error = match to.write(left) {
            Ok(0) => ErrorKind::WriteZero.into(),
            Ok(written) => {
                left = left.get(written..).unwrap_or_default();
                continue;
            }
            Err(e) => e,
        };
        match error.kind() {
            ErrorKind::Interrupted => {}
            ErrorKind::WouldBlock => wait(),
            _ => return Err(Unwritten::all_of(left, error)),
        }
    }
    Ok(())
}

#[allow(
    clippy::disallowed_methods,
    reason = "each log has a thread of its own"
)]
fn wait() {
    std::thread::sleep(WAIT);
}

fn open(path: &Path, readers: Readers) -> io::Result<Current> {
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(readers.folder_mode())
        .create(folder_of(path))?;
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW;
    let mode = readers.file_mode();
    let mut file = File::from(rustix::fs::open(
        path,
        flags | OFlags::CLOEXEC,
        Mode::from_raw_mode(mode),
    )?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    // It may have existed before, with another mode.
    if found.mode() & 0o777 & !mode != 0 {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(Current {
        identity: identity(&found),
        is_torn: ends_within_a_line(&mut file)?,
        file,
    })
}

fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = *b"\n";
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests;
