//! Reading a journal that another process writes.
//!
//! Owns where the reading stands, and what is read of a segment that grows: whole records up to the first bytes that
//! are none. These may be a record that is being written, so they are read again later. In a segment that has a
//! successor they are damage, and are skipped. The segment that is read has a shared lock, so the process that writes
//! the journal does not remove it or any behind it. Does not handle what is done with records (see
//! `ledger::following`).
//!
//! A write that fails is cut off again by the process that made it. If it was read before that, records were read that
//! are in no journal. Fails with the system's error, and goes on where it stood.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::Scan;
use super::reading::{Batch, MIN_BYTES};
use super::segment::{self, HEADER_BYTES, Header};
use super::{JournalError, Position};

/// How often a segment that is being removed is looked for again.
const ATTEMPTS: usize = 8;

/// The reading of a journal from a position on.
#[derive(Debug)]
pub struct Tail {
    folder: PathBuf,
    position: Position,
    current: Option<Current>,
    /// Whether the last read came to less than there was.
    is_behind: bool,
}

/// The segment that is read.
#[derive(Debug)]
struct Current {
    number: u64,
    /// With a shared lock.
    file: File,
    /// Where the checksums of its frames start from; `None` if its header cannot be read.
    salt: Option<u32>,
}

impl Tail {
    /// Reads the journal in a folder, which need not exist yet, from a position on.
    pub fn new(folder: PathBuf, from: Position) -> Self {
        Self {
            folder,
            position: from,
            current: None,
            is_behind: false,
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether there was more than the last read has given.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Keeps the segment of the position from being removed, if there is one. Returns whether all is there that was
    /// written behind the position: a segment may have been removed since the position was true.
    ///
    /// # Errors
    /// The folder or the segment cannot be read.
    pub fn hold(&mut self) -> io::Result<bool> {
        let wanted = self.position.segment;
        self.advance(wanted)?;
        let found = self.current.as_ref().map(|current| current.number);
        Ok(wanted == 0 || found.is_none_or(|found| found == wanted))
    }

    /// Reads the next records: about so many bytes of one segment. `None` if there are no more yet.
    ///
    /// # Errors
    /// The folder or a segment cannot be read.
    pub fn read(&mut self, up_to_bytes: usize) -> io::Result<Option<Batch>> {
        self.is_behind = false;
        if self.current.is_none() {
            self.advance(self.position.segment)?;
        }
        while let Some(current) = &self.current {
            let number = current.number;
            // Asked before the length: what has a successor does not grow any more.
            let is_full = segment::segments(&self.folder)?
                .last()
                .is_some_and(|last| *last > number);
            let (batch, is_read) = self.read_current(up_to_bytes, is_full)?;
            if batch.is_some() {
                self.is_behind = is_full || !is_read;
                return Ok(batch);
            }
            if !is_full {
                return Ok(None);
            }
            if is_read {
                self.advance(number.saturating_add(1))?;
            }
        }
        Ok(None)
    }

    /// Opens the first segment from a number on, and only then lets go of the one before. Nothing changes if there is
    /// none.
    fn advance(&mut self, from: u64) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            let numbers = segment::segments(&self.folder)?;
            let Some(number) = numbers.into_iter().find(|number| *number >= from) else {
                return Ok(());
            };
            let Some(file) = segment::open_beside(&self.folder, number)? else {
                continue;
            };
            let salt = match segment::read_header(&file)? {
                Header::Salt(salt) => Some(salt),
                Header::Unreadable => None,
                Header::Version(version) => {
                    let path = self.folder.join(segment::segment_name(number));
                    let error = JournalError::Version { path, version };
                    return Err(io::Error::other(error.to_string()));
                }
            };
            if number != self.position.segment {
                self.position = Position {
                    segment: number,
                    offset: HEADER_BYTES,
                };
            }
            self.current = Some(Current { number, file, salt });
            return Ok(());
        }
        Err(io::Error::other("its segments are removed too quickly"))
    }

    /// Reads a part of the current segment. Returns the records, and whether it was read to its end.
    fn read_current(
        &mut self,
        up_to_bytes: usize,
        is_full: bool,
    ) -> io::Result<(Option<Batch>, bool)> {
        let Some(Current { file, salt, .. }) = &self.current else {
            return Ok((None, true));
        };
        let end = file.metadata()?.len();
        let offset = self.position.offset.max(HEADER_BYTES);
        // Less than before: a write that failed was cut off.
        self.position.offset = offset.min(end);
        let (Some(salt), true) = (*salt, offset < end) else {
            return Ok((None, true));
        };
        let rest = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let length = rest.min(up_to_bytes.max(MIN_BYTES));
        let mut buffer = vec![0; length];
        match file.read_exact_at(&mut buffer, offset) {
            // It was cut off meanwhile.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok((None, false)),
            read => read?,
        }
        let mut scan = Scan::new(&buffer, salt, is_full && length == rest);
        let (mut frames, mut whole) = (Vec::new(), 0);
        for frame in scan.by_ref() {
            if !is_full && frame.start != whole {
                break;
            }
            whole = frame.end;
            frames.push(frame);
        }
        let done = match is_full {
            true => scan.scanned(),
            false => whole,
        };
        let from = Position {
            offset,
            ..self.position
        };
        self.position.offset = offset + done as u64;
        let bytes: usize = frames.iter().map(ExactSizeIterator::len).sum();
        let batch = (!frames.is_empty()).then_some(Batch {
            buffer,
            from,
            frames,
            next: self.position,
            unreadable_bytes: done.saturating_sub(bytes) as u64,
        });
        Ok((batch, length == rest))
    }
}
