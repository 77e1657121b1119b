//! The files of the journal: a folder, its lock, and segments by their numbers.
//!
//! ```text
//! lock                             held while a process has the journal open
//! 00000000000000000001.journal     a segment: its header twice, then frames
//! 00000000000000000002.prepared    the next one: it has its room on the disk, and no records
//! 00000000000000000001.corrupt     a segment with unreadable bytes whose records were loaded
//!
//! header: magic 8 bytes · version u32 · salt u32 · number u64 · 0 u32 · CRC-32 of these 28 bytes u32
//! ```
//!
//! Owns names, modes, the header, and room that is allocated before it is needed. A file is as long as what is
//! written to it: the room stands behind its end. Does not handle frames (see `frame`) or when
//! segments follow each other (see `writer`). Fails with the system's error.
//!
//! The lock is an `flock` of the open file. Another process that reads a segment has a shared `flock` of it, and then
//! it is not removed (see `tail`).

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// The version of the header, of frames and of the records in them.
pub const VERSION: u32 = 3;
/// Both copies of the header: a damaged byte leaves one of them.
pub const HEADER_BYTES: u64 = 2 * COPY_BYTES as u64;

const COPY_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"TOLLJRNL";
/// No journal gets this far: a file with such a number is not ours.
const MAX_NUMBER: u64 = u64::MAX / 4;
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The folder of a journal, which this process holds.
pub struct Folder {
    path: PathBuf,
    folder: File,
    /// Open for as long as the journal is: the lock goes with it.
    _lock: File,
}

/// What the header of a segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header {
    /// Of this version; the checksums of its frames start from the salt.
    Salt(u32),
    /// Of another version, whose frames cannot be read.
    Version(u32),
    /// Neither copy can be read, or there is none.
    Unreadable,
}

impl Folder {
    /// Opens the folder, creates it if it is missing, and takes its lock.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process has the lock; else the system's error.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(FOLDER_MODE).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let lock = open_in(&folder, "lock", OFlags::RDWR | OFlags::CREATE)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            path: path.to_owned(),
            folder,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The numbers of the segments, in order.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn segments(&self) -> io::Result<Vec<u64>> {
        self.numbers("journal")
    }

    /// Removes segments that were prepared by a process that has ended.
    ///
    /// # Errors
    /// The folder cannot be read, or a file not be removed.
    pub fn remove_prepared(&self) -> io::Result<()> {
        for number in self.numbers("prepared")? {
            self.remove(&prepared_name(number))?;
        }
        Ok(())
    }

    fn numbers(&self, extension: &str) -> io::Result<Vec<u64>> {
        numbers(&self.path, extension)
    }

    /// Opens a segment.
    ///
    /// # Errors
    /// It is missing, or no regular file of ours.
    pub fn open_segment(&self, number: u64) -> io::Result<File> {
        let file = open_in(&self.folder, &segment_name(number), OFlags::RDWR)?;
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is not a file")),
        }
    }

    /// Makes a segment with its header and so much room, under the name that it has until [`Self::begin`].
    ///
    /// # Errors
    /// The disk is full, or the file cannot be made. Nothing is left of it then.
    pub fn prepare(&self, number: u64, salt: u32, room_bytes: u64) -> io::Result<File> {
        let name = prepared_name(number);
        self.remove(&name)?;
        let file = open_in(
            &self.folder,
            &name,
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        )?;
        let made =
            allocate(&file, room_bytes).and_then(|()| file.write_all_at(&header(number, salt), 0));
        match made {
            Ok(()) => Ok(file),
            Err(e) => {
                // The first error says more.
                let _ = self.remove(&name);
                Err(e)
            }
        }
    }

    /// Makes a prepared segment one of the journal.
    ///
    /// # Errors
    /// The file cannot be renamed.
    pub fn begin(&self, number: u64) -> io::Result<()> {
        self.rename(&prepared_name(number), &segment_name(number))
    }

    /// Keeps a segment from other processes that would begin to read it, for as long as the file is open.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process reads it; else the system's error.
    pub fn lock_segment(&self, number: u64) -> io::Result<File> {
        let file = self.open_segment(number)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    /// Removes a segment.
    ///
    /// # Errors
    /// It is there, and cannot be removed.
    pub fn remove_segment(&self, number: u64) -> io::Result<()> {
        self.remove(&segment_name(number))
    }

    /// Renames a segment to the name under which it is kept and not read any more.
    ///
    /// # Errors
    /// The file cannot be renamed.
    pub fn set_aside(&self, number: u64) -> io::Result<()> {
        self.rename(&segment_name(number), &aside_name(number))
    }

    /// Writes what was made, renamed and removed to the disk.
    ///
    /// # Errors
    /// The disk has failed.
    pub fn sync(&self) -> io::Result<()> {
        self.folder.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.folder, from, &self.folder, to)?)
    }
}

fn open_in(folder: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(FILE_MODE);
    Ok(File::from(rustix::fs::openat(folder, name, flags, mode)?))
}

/// The numbers of the segments in a journal's folder, in order, whether a process has it open or not. None where there
/// is no folder.
///
/// # Errors
/// The folder cannot be read.
pub fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    match numbers(folder, "journal") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    }
}

fn numbers(folder: &Path, extension: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in folder.read_dir()? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.rsplit_once('.'));
        if let Some((stem, found)) = stem
            && found == extension
            && let Ok(number) = stem.parse()
            && number < MAX_NUMBER
            && format!("{number:020}") == stem
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Opens a segment to be read beside the process that writes it. It is not removed before the file is closed. `None` if
/// there is none.
///
/// # Errors
/// It cannot be read.
pub fn open_beside(folder: &Path, number: u64) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = folder.join(segment_name(number));
    let file = match rustix::fs::open(&path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => File::from(opened?),
    };
    // It is held for a moment while it is removed.
    rustix::fs::flock(&file, FlockOperation::LockShared)?;
    // What was removed before the lock is gone, and may not be all that is.
    let is_there = file.metadata()?.nlink() > 0 && path.try_exists()?;
    Ok(is_there.then_some(file))
}

/// Whether a process has the journal in this folder open.
///
/// # Errors
/// Its lock cannot be opened.
pub fn is_in_use(folder: &Path) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = match rustix::fs::open(folder.join("lock"), flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        opened => File::from(opened?),
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Ok(true),
        locked => Ok(locked.map(|()| false)?),
    }
}

/// Allocates room for the first bytes of a file, or nothing for 0. Its length stays: what is written ends where the
/// file does, for this process and for a person who copies it.
///
/// # Errors
/// There is not enough room. A file system that cannot allocate is no error.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let allocate = || rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes);
    match rustix::io::retry_on_intr(allocate) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The name of a segment.
pub fn segment_name(number: u64) -> String {
    format!("{number:020}.journal")
}

/// The name of a segment that was set aside.
pub fn aside_name(number: u64) -> String {
    format!("{number:020}.corrupt")
}

fn prepared_name(number: u64) -> String {
    format!("{number:020}.prepared")
}

fn header(number: u64, salt: u32) -> Vec<u8> {
    let mut copy = Vec::with_capacity(2 * COPY_BYTES);
    copy.extend_from_slice(MAGIC);
    copy.extend_from_slice(&VERSION.to_le_bytes());
    copy.extend_from_slice(&salt.to_le_bytes());
    copy.extend_from_slice(&number.to_le_bytes());
    copy.extend_from_slice(&[0; 4]);
    copy.extend_from_slice(&crc32fast::hash(&copy).to_le_bytes());
    copy.extend_from_within(..);
    copy
}

/// Reads the header of a segment.
///
/// # Errors
/// The file cannot be read.
pub fn read_header(file: &File) -> io::Result<Header> {
    for copy in 0..2 {
        let mut bytes = [0; COPY_BYTES];
        match file.read_exact_at(&mut bytes, copy * COPY_BYTES as u64) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Header::Unreadable),
            read => read?,
        }
        if let Some(header) = read_copy(&bytes) {
            return Ok(header);
        }
    }
    Ok(Header::Unreadable)
}

fn read_copy(bytes: &[u8; COPY_BYTES]) -> Option<Header> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    let is_intact = crc32fast::hash(content) == u32::from_le_bytes(*checksum);
    let content = content.strip_prefix(MAGIC)?;
    let (version, content) = content.split_first_chunk::<4>()?;
    let (salt, _) = content.split_first_chunk::<4>()?;
    // The number is for the operator: a segment's name is what counts.
    let version = u32::from_le_bytes(*version);
    is_intact.then_some(match version {
        VERSION => Header::Salt(u32::from_le_bytes(*salt)),
        _ => Header::Version(version),
    })
}
