//! Reading records back, while others are appended.
//!
//! Owns a batch: a part of one segment, with the whole records in it. Does not handle what is done with
//! them (the loader's), or segments that are full and read (see [`Journal::remove_before`]). Bytes that are
//! no record are skipped and counted, and their segment counts as damaged.
//!
//! [`Journal::remove_before`]: super::Journal::remove_before

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::contents::Stretch;
use super::frame::{self, MAX_FRAME_BYTES, Scan};
use super::{Position, ReadError, Shared};
use crate::ledger::Record;

/// The fewest bytes that are read at once: then there is a whole frame, or none.
pub(super) const MIN_BYTES: usize = 2 * MAX_FRAME_BYTES;

/// Some records, in the order in which they were written.
#[derive(Debug)]
pub struct Batch {
    pub(super) buffer: Vec<u8>,
    /// Where the buffer's first byte stands.
    pub(super) from: Position,
    /// Whole frames, as ranges of the buffer.
    pub(super) frames: Vec<Range<usize>>,
    pub(super) next: Position,
    pub(super) unreadable_bytes: u64,
}

impl Batch {
    /// The records, each with its position.
    pub fn records(&self) -> impl Iterator<Item = (Position, Record<'_>)> {
        self.frames.iter().filter_map(|range| {
            let position = Position {
                segment: self.from.segment,
                offset: self.from.offset + range.start as u64,
            };
            let record = frame::decode(self.buffer.get(range.clone())?)?;
            Some((position, record))
        })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none. There may be more behind them: see [`Self::next`].
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Where the next batch begins. It is where this one was to begin if everything was read.
    pub fn next(&self) -> Position {
        self.next
    }

    /// How many bytes were skipped because they are no whole record.
    pub fn unreadable_bytes(&self) -> u64 {
        self.unreadable_bytes
    }
}

/// A part of a segment that was read and scanned.
pub struct Part {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whole frames, as ranges of the bytes.
    pub frames: Vec<Range<usize>>,
    /// How many bytes are done with.
    pub scanned: usize,
}

/// Reads and scans a part of a segment, of so many bytes or what there is.
///
/// # Errors
/// The file cannot be read, or is shorter than it was.
pub fn read_part(file: &File, stretch: &Stretch, up_to_bytes: usize) -> io::Result<Part> {
    let rest = stretch.end.saturating_sub(stretch.from.offset);
    let wanted = usize::try_from(rest).unwrap_or(usize::MAX);
    let length = wanted.min(up_to_bytes.max(MIN_BYTES));
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, stretch.from.offset)?;
    let mut scan = Scan::new(&bytes, stretch.salt, length == wanted);
    let frames = scan.by_ref().collect();
    Ok(Part {
        scanned: scan.scanned(),
        frames,
        bytes,
    })
}

/// Reads a batch. See [`Journal::read`](super::Journal::read).
///
/// # Errors
/// The position is behind the end, or a segment cannot be read.
pub fn read(shared: &Shared, from: Position, up_to_bytes: usize) -> Result<Batch, ReadError> {
    let (end, stretch) = {
        let contents = shared.contents.lock();
        (contents.end(), contents.next(from))
    };
    let Some(stretch) = stretch else {
        return match from > end {
            true => Err(ReadError::BehindEnd(end)),
            false => Ok(Batch {
                buffer: Vec::new(),
                from,
                frames: Vec::new(),
                next: end,
                unreadable_bytes: 0,
            }),
        };
    };
    let file = shared.folder.open_segment(stretch.from.segment)?;
    let part = read_part(&file, &stretch, up_to_bytes)?;
    let whole: usize = part.frames.iter().map(Range::len).sum();
    let unreadable_bytes = part.scanned.saturating_sub(whole) as u64;
    let segment = stretch.from.segment;
    let scanned = Position {
        segment,
        offset: stretch.from.offset + part.scanned as u64,
    };
    let mut contents = shared.contents.lock();
    if unreadable_bytes > 0 && contents.set_damaged(segment) {
        let path = shared.folder.path().display();
        log::error!("journal {path}: {unreadable_bytes} bytes of segment {segment} cannot be read");
    }
    Ok(Batch {
        buffer: part.bytes,
        from: stretch.from,
        frames: part.frames,
        next: contents.behind(scanned),
        unreadable_bytes,
    })
}
