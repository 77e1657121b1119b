//! Writing records: queued by many threads, written by one.
//!
//! A thread puts its frame into the queue and takes the lock on the file. The thread that gets the lock writes
//! everything that is queued with one `write(2)`, and tells the others by the outcome of the batch. So a thread alone
//! pays no more than its own write, and many threads share one.
//!
//! Owns the queue, the current segment and its end, and the change to the next segment. Does not handle
//! what goes on beside it (see `keeper`). A write that fails is cut off again: the segment ends with a whole
//! record, the threads of the batch get the error, and the next append tries again.

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use super::contents::Segment;
use super::health::Trouble;
use super::segment::{self, HEADER_BYTES};
use super::{AppendError, Position, Shared};

/// Segments that are full and not yet synced, at most; at the bound the writer syncs the next one itself.
pub const MAX_UNSYNCED: usize = 4;
/// What is written to find out whether a disk works again.
const PROBE: &[u8] = &[0; 64 * 1024];

/// The frames that wait to be written. A thread waits with each, so there are no more than threads.
#[derive(Default)]
pub struct Queue {
    frames: Vec<u8>,
    batch: Arc<Batch>,
}

/// What is written at once.
#[derive(Default)]
struct Batch {
    /// Where its first frame stands, once it is written.
    outcome: OnceLock<Result<Position, AppendError>>,
}

/// The current segment.
pub struct Writer {
    number: u64,
    file: Arc<File>,
    /// Behind its last record.
    end: u64,
    /// Whether there may be bytes behind the end, left by a write that failed.
    is_torn: bool,
    /// Whether the next record begins another segment, because this one could not be synced.
    is_retired: bool,
    /// The memory of the queue while it is not in use.
    pub(super) spare: Vec<u8>,
}

/// Puts a frame into the queue, and returns when it is written.
///
/// # Errors
/// It is not written.
pub fn append(shared: &Shared, frame: &[u8]) -> Result<Position, AppendError> {
    let (batch, offset) = enqueue(shared, frame);
    let mut writer = shared.writer.lock();
    // Otherwise it is still queued: batches are taken and written under this lock.
    let written = match batch.outcome.get() {
        Some(outcome) => outcome.clone(),
        None => writer.write_queued(shared),
    };
    drop(writer);
    // One that failed wakes the thread as well: it may be the last one for a while, and the thread has to look whether
    // there is room again.
    if !shared.signal.is_dirty() {
        shared.signal.set_dirty();
    }
    let mut position = written?;
    position.offset += offset;
    Ok(position)
}

/// Returns the frame's batch, and its offset there in bytes.
fn enqueue(shared: &Shared, frame: &[u8]) -> (Arc<Batch>, u64) {
    loop {
        let mut queue = shared.queue.lock();
        let length = queue.frames.len();
        if length == 0 || length + frame.len() <= shared.options.queue_bytes {
            queue.frames.extend_from_slice(frame);
            return (Arc::clone(&queue.batch), length as u64);
        }
        drop(queue);
        let mut writer = shared.writer.lock();
        // The threads of this batch are told of an error themselves.
        let _ = writer.write_queued(shared);
    }
}

impl Writer {
    /// Goes on with a segment that is written up to `end`.
    pub fn new(number: u64, file: File, end: u64) -> Self {
        Self {
            number,
            file: Arc::new(file),
            end,
            is_torn: false,
            is_retired: false,
            spare: Vec::new(),
        }
    }

    /// The file that is written to.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Begins another segment with the next record.
    pub fn retire(&mut self) {
        self.is_retired = true;
    }

    /// The number of the current segment, and the end of its records.
    pub fn position(&self) -> Position {
        Position {
            segment: self.number,
            offset: self.end,
        }
    }

    /// Writes everything that is queued. Returns where it begins.
    fn write_queued(&mut self, shared: &Shared) -> Result<Position, AppendError> {
        let mut queue = shared.queue.lock();
        let mut frames = mem::replace(&mut queue.frames, mem::take(&mut self.spare));
        let batch = mem::take(&mut queue.batch);
        drop(queue);
        let written = self.write(shared, &frames);
        match &written {
            Ok(_) => shared.monitor.end(Trouble::Write, shared.folder.path()),
            Err(e) => shared
                .monitor
                .begin(Trouble::Write, shared.folder.path(), e),
        }
        // It is set here alone, once.
        let _ = batch.outcome.set(written.clone());
        frames.clear();
        self.spare = frames;
        written
    }

    fn write(&mut self, shared: &Shared, frames: &[u8]) -> Result<Position, AppendError> {
        self.cut()?;
        let end = self.end + frames.len() as u64;
        let is_full = self.end > HEADER_BYTES && end > shared.options.segment_bytes;
        if is_full || self.is_retired {
            self.rotate(shared)?;
        }
        self.write_at_end(frames)?;
        let position = self.position();
        self.end += frames.len() as u64;
        shared.contents.lock().set_end(self.end);
        Ok(position)
    }

    /// Writes behind the end; the end stays. What a failed write has left is cut off.
    fn write_at_end(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.is_torn = true;
        let written = self.file.write_all_at(bytes, self.end);
        match written {
            Ok(()) => self.is_torn = false,
            // If it cannot be cut off now, it is before the next write.
            Err(_) => drop(self.cut()),
        }
        written
    }

    fn cut(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.end)?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Changes to the next segment.
    fn rotate(&mut self, shared: &Shared) -> Result<(), AppendError> {
        let (options, folder) = (&shared.options, &shared.folder);
        let bytes = shared.contents.lock().bytes();
        if bytes.saturating_add(options.segment_bytes) > options.max_bytes {
            return Err(AppendError::Full(options.max_bytes));
        }
        let number = self.number + 1;
        // The keeper prepares under this lock, too: there is one file of this name.
        let mut prepared = shared.prepared.lock();
        let file = match prepared.take() {
            Some((found, file)) if found == number => file,
            _ => make_now(shared, number)?,
        };
        folder.begin(number)?;
        drop(prepared);
        // Its room that is left over is given back; if not, that is no loss of records.
        let _ = self.file.set_len(self.end);
        let full = mem::replace(&mut self.file, Arc::new(file));
        self.number = number;
        self.end = HEADER_BYTES;
        self.is_retired = false;
        shared.contents.lock().add(
            number,
            Segment {
                end: HEADER_BYTES,
                salt: Some(shared.salt),
                is_damaged: false,
            },
        );
        shared.add_unsynced(full);
        Ok(())
    }

    /// Finds out, without a record, whether the disk works again.
    ///
    /// # Errors
    /// It does not.
    pub fn probe(&mut self, shared: &Shared) -> Result<(), AppendError> {
        self.cut()?;
        let options = &shared.options;
        if self.is_retired || self.end + PROBE.len() as u64 > options.segment_bytes {
            return self.rotate(shared);
        }
        let written = self.write_at_end(PROBE);
        self.is_torn = true;
        self.cut()?;
        written?;
        // The cut has given back the segment's room. The next one is the alarm if there is none.
        let _ = segment::allocate(&self.file, options.segment_bytes);
        Ok(())
    }
}

/// Makes a segment that was not prepared in time, with what room there is.
fn make_now(shared: &Shared, number: u64) -> io::Result<File> {
    let folder = &shared.folder;
    match folder.prepare(number, shared.salt, shared.options.segment_bytes) {
        // There may be room for some records yet.
        Err(e) if e.kind() == io::ErrorKind::StorageFull => {
            shared.monitor.begin(Trouble::Room, folder.path(), &e);
            folder.prepare(number, shared.salt, 0)
        }
        made => made,
    }
}
