//! What the journal has: its segments, and where it ends.
//!
//! Owns the table of segments, which a reader looks at while appends go on. It has a row for each file, so
//! `max_bytes` of the journal bounds it. Does not handle the files (see `segment`). Cannot fail.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Position;
use super::segment::HEADER_BYTES;

/// One segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Up to where it is written, in bytes from its start.
    pub end: u64,
    /// Where the checksums of its frames start from; `None` if its header cannot be read.
    pub salt: Option<u32>,
    /// Whether some of its bytes cannot be read. It is kept when it has been loaded.
    pub is_damaged: bool,
}

/// The segments by their numbers. The last one is written to.
#[derive(Debug, Default)]
pub struct Contents {
    segments: BTreeMap<u64, Segment>,
}

/// A part of a segment that is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// Where it begins.
    pub from: Position,
    /// Where the segment ends, in bytes from its start.
    pub end: u64,
    /// Where the checksums of its frames start from.
    pub salt: u32,
}

impl Contents {
    /// Adds a segment, behind all others.
    pub fn add(&mut self, number: u64, segment: Segment) {
        self.segments.insert(number, segment);
    }

    /// Moves the end of the last segment.
    pub fn set_end(&mut self, end: u64) {
        if let Some(mut last) = self.segments.last_entry() {
            last.get_mut().end = end;
        }
    }

    /// Where the first segment begins.
    pub fn start(&self) -> Position {
        let first = self.segments.first_key_value();
        first.map_or(Position::default(), |(&segment, _)| Position {
            segment,
            offset: HEADER_BYTES,
        })
    }

    /// Behind the last record.
    pub fn end(&self) -> Position {
        let last = self.segments.last_key_value();
        last.map_or(Position::default(), |(&segment, found)| Position {
            segment,
            offset: found.end,
        })
    }

    /// The bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.end).sum()
    }

    /// Whether there is one segment alone.
    pub fn is_short(&self) -> bool {
        self.segments.len() == 1
    }

    /// What there is to read from a position on, within one segment; `None` at the end.
    pub fn next(&self, from: Position) -> Option<Stretch> {
        self.segments
            .range(from.segment..)
            .find_map(|(&segment, found)| {
                let offset = match segment == from.segment {
                    true => from.offset.max(HEADER_BYTES),
                    false => HEADER_BYTES,
                };
                let from = Position { segment, offset };
                (offset < found.end).then_some(Stretch {
                    from,
                    end: found.end,
                    salt: found.salt?,
                })
            })
    }

    /// Where reading goes on behind a position: at the next segment, if this one is full and read.
    pub fn behind(&self, position: Position) -> Position {
        let is_read = |segment: &Segment| position.offset >= segment.end;
        let next = self
            .segments
            .range((Bound::Excluded(position.segment), Bound::Unbounded))
            .next();
        match next {
            Some((&segment, _)) if self.segments.get(&position.segment).is_none_or(is_read) => {
                Position {
                    segment,
                    offset: HEADER_BYTES,
                }
            }
            _ => position,
        }
    }

    /// The segments before one, and whether they are damaged; never the last one.
    pub fn before(&self, segment: u64) -> Vec<(u64, bool)> {
        let last = self.end().segment;
        let before = self.segments.range(..segment.min(last));
        before
            .map(|(&number, segment)| (number, segment.is_damaged))
            .collect()
    }

    /// Takes a segment out.
    pub fn remove(&mut self, number: u64) {
        self.segments.remove(&number);
    }

    /// Notes that some bytes of a segment cannot be read. Whether that is new.
    pub fn set_damaged(&mut self, number: u64) -> bool {
        let segment = self.segments.get_mut(&number);
        segment.is_some_and(|segment| !std::mem::replace(&mut segment.is_damaged, true))
    }
}
