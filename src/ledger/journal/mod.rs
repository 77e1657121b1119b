//! The journal: usage records in a file, before the last byte of an answer is given to the client.
//!
//! Owns the order of records and what is promised of them: a record whose [`Journal::append`] has returned
//! survives the end of the process, whatever ends it. It survives a power cut once it is synced, which
//! happens about every [`Options::sync_every`]. `docs/decisions/journal.md` says why it is made so. The files
//! beside this one:
//!
//! ```text
//! frame     a record as bytes, and the search for the next one behind damage
//! segment   the folder, its lock, files and their headers
//! contents  which segments there are, and where they end
//! writer    many threads append, one writes
//! keeper    the thread that syncs, prepares the next segment and looks whether a disk works again
//! health    what is wrong, and telling it
//! reading   records from a position on
//! tail      the same in a journal that another process writes
//! recovery  what a crash or a disk has left, at the start
//! ```
//!
//! Does not handle what records are loaded into (the ledger), or what happens to requests while
//! it fails (`gateway`). Everything here blocks its thread, an append for about a microsecond.

mod contents;
mod frame;
mod health;
mod keeper;
mod reading;
mod recovery;
mod segment;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::Record;
pub use health::Health;
pub use reading::Batch;
pub use recovery::Recovered;
pub use tail::Tail;

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size of a segment, whose room is allocated at once. A segment is larger only if its first records,
    /// written at once, are.
    pub segment_bytes: u64,
    /// How long a record may wait until it is synced.
    pub sync_every: Duration,
    /// The bound on all segments together. At the bound appends fail, until segments are removed.
    pub max_bytes: u64,
    /// The bound on what waits to be written. At the bound a thread waits before it queues its record.
    pub queue_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            sync_every: Duration::from_millis(100),
            max_bytes: 16 << 30,
            queue_bytes: 1 << 20,
        }
    }
}

/// A place in the journal: between two records, or at the start or end of a segment. The default is
/// before all records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position {
    /// The number of the segment; the first one is 1.
    pub segment: u64,
    /// Bytes from the segment's start.
    pub offset: u64,
}

/// Where the journal in a folder ends, by its files alone: a process may have it open. `None` if there are no segments.
///
/// # Errors
/// The folder cannot be read.
pub fn end_in(folder: &Path) -> io::Result<Option<Position>> {
    let Some(segment) = segment::segments(folder)?.pop() else {
        return Ok(None);
    };
    let file = folder.join(segment::segment_name(segment));
    let offset = file.metadata()?.len();
    Ok(Some(Position { segment, offset }))
}

/// Whether a process has the journal in a folder open.
///
/// # Errors
/// Its lock cannot be opened.
pub fn is_in_use(folder: &Path) -> io::Result<bool> {
    segment::is_in_use(folder)
}

/// A journal that this process has opened.
pub struct Journal {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

/// What the parts of a journal share. Locks are taken in the order of the fields.
struct Shared {
    options: Options,
    folder: segment::Folder,
    salt: u32,
    monitor: health::Monitor,
    signal: keeper::Signal,
    syncing: Mutex<()>,
    writer: Mutex<writer::Writer>,
    queue: Mutex<writer::Queue>,
    /// The next segment and its number, once it is prepared.
    prepared: Mutex<Option<(u64, File)>>,
    unsynced: Mutex<Vec<Arc<File>>>,
    has_folder_changed: AtomicBool,
    contents: Mutex<contents::Contents>,
}

impl Journal {
    /// Opens the journal in a folder, which is made if it is missing, and reads through what is there.
    ///
    /// `loaded` is the position up to which the database has loaded it; the default if that is not known.
    /// A new segment gets a higher number than its, so that a folder that was emptied begins no
    /// numbers twice.
    ///
    /// # Errors
    /// See [`JournalError`]. Nothing is lost then, and nothing was changed but that the folder and its lock
    /// may have been made.
    pub fn open(
        folder: &Path,
        options: Options,
        loaded: Position,
    ) -> Result<(Self, Recovered), JournalError> {
        let opened = segment::Folder::open(folder).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => JournalError::InUse(folder.to_owned()),
            _ => JournalError::Io(folder.to_owned(), e),
        })?;
        let (recovered, start) = recovery::recover(&opened, &options, loaded)?;
        let shared = Arc::new(Shared {
            options,
            folder: opened,
            salt: start.salt,
            monitor: health::Monitor::default(),
            signal: keeper::Signal::default(),
            syncing: Mutex::default(),
            writer: Mutex::new(start.writer),
            queue: Mutex::default(),
            prepared: Mutex::default(),
            unsynced: Mutex::default(),
            has_folder_changed: AtomicBool::new(false),
            contents: Mutex::new(start.contents),
        });
        let kept = Arc::clone(&shared);
        let keeper = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || keeper::run(&kept))
            .map_err(|e| JournalError::Io(folder.to_owned(), e))?;
        let keeper = Some(keeper);
        Ok((Self { shared, keeper }, recovered))
    }

    /// Appends a record, and returns where it begins. It is written then: only the machine's end loses
    /// it, and only before the next sync.
    ///
    /// # Errors
    /// It is not in the journal.
    pub fn append(&self, record: &Record<'_>) -> Result<Position, AppendError> {
        let salt = self.shared.salt;
        let mut small = [0; 1024];
        if let Some(frame) = frame::encode(record, salt, &mut small) {
            return writer::append(&self.shared, frame);
        }
        let mut large = vec![0; frame::MAX_FRAME_BYTES];
        match frame::encode(record, salt, &mut large) {
            Some(frame) => writer::append(&self.shared, frame),
            None => Err(AppendError::TooLarge),
        }
    }

    /// Reads the records from a position on: about so many bytes of one segment, and not beyond what is
    /// written at the time of the call. A batch may be empty and have a next one; at the end,
    /// [`Batch::next`] is [`Self::end`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, from: Position, up_to_bytes: usize) -> Result<Batch, ReadError> {
        reading::read(&self.shared, from, up_to_bytes)
    }

    /// Behind the last record that is written.
    pub fn end(&self) -> Position {
        self.shared.contents.lock().end()
    }

    /// Removes the segments that end before a position, because they are loaded. A damaged one is renamed
    /// instead, and kept until the operator removes it. What cannot be removed is logged, and tried again
    /// the next time; so is what another process reads (see [`Tail`]), with all behind it.
    pub fn remove_before(&self, position: Position) {
        let shared = &self.shared;
        let before = shared.contents.lock().before(position.segment);
        for (number, is_damaged) in before {
            let folder = &shared.folder;
            let locked = folder.lock_segment(number);
            let removed = locked.and_then(|_lock| match is_damaged {
                true => folder.set_aside(number),
                false => folder.remove_segment(number),
            });
            match removed {
                Ok(()) => shared.contents.lock().remove(number),
                // Whoever reads it has not read those behind it either.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // The operator has removed it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    shared.contents.lock().remove(number);
                }
                Err(e) => {
                    let path = shared.folder.path().display();
                    log::warn!("journal {path}: segment {number} cannot be removed: {e}");
                }
            }
        }
    }

    /// Whether there is no segment but the one that is written to.
    pub fn is_short(&self) -> bool {
        self.shared.contents.lock().is_short()
    }

    /// Brings everything that is written to the disk. A thread does so about every
    /// [`Options::sync_every`].
    ///
    /// # Errors
    /// The disk has failed.
    pub fn sync(&self) -> io::Result<()> {
        self.shared.sync()
    }

    /// Whether records cannot be written, or not be brought to the disk. It ends by itself: a thread looks
    /// every second whether the disk works again.
    pub fn is_failing(&self) -> bool {
        self.shared.monitor.is_failing()
    }

    /// How it is, for `/health` and metrics.
    pub fn health(&self) -> Health {
        let bytes = self.shared.contents.lock().bytes();
        self.shared.monitor.health(bytes)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.signal.stop();
        if let Some(keeper) = self.keeper.take() {
            // It has logged its panic, if it has panicked.
            let _ = keeper.join();
        }
        // An error is logged already.
        let _ = self.shared.sync();
    }
}

/// A journal cannot be opened.
#[derive(Debug)]
pub enum JournalError {
    /// Another process has it open.
    InUse(PathBuf),
    /// A segment is of another version of Tollgate.
    Version {
        /// The segment.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The folder or a file cannot be read or made.
    Io(PathBuf, io::Error),
}

impl JournalError {
    fn segment(folder: &segment::Folder, number: u64, source: io::Error) -> Self {
        Self::Io(folder.path().join(segment::segment_name(number)), source)
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "the journal {} is in use by another process: stop it, or write another ledger.path here",
                path.display()
            ),
            Self::Version { path, version } => write!(
                f,
                "{} is of version {version}, and this program reads version {}: use the program that wrote \
                 it until it is loaded",
                path.display(),
                segment::VERSION
            ),
            Self::Io(path, e) => write!(f, "the journal {}: {e}", path.display()),
        }
    }
}

impl std::error::Error for JournalError {}

/// A record is not in the journal.
#[derive(Clone, Debug)]
pub enum AppendError {
    /// It is larger than 64 KiB.
    TooLarge,
    /// The journal has as many bytes as it may have.
    Full(u64),
    /// The system's error.
    Io(Arc<io::Error>),
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(
                f,
                "a record is larger than {} bytes",
                frame::MAX_RECORD_BYTES
            ),
            Self::Full(bytes) => write!(f, "the journal may have {bytes} bytes until it is loaded"),
            Self::Io(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for AppendError {}

/// Records cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The position is behind the journal's end, which follows: it is another journal's.
    BehindEnd(Position),
    /// The system's error.
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BehindEnd(end) => write!(
                f,
                "the position is behind the journal's end: segment {}, byte {}",
                end.segment, end.offset
            ),
            Self::Io(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for ReadError {}
