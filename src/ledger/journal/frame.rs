//! A record as bytes: its length, a checksum, and the record.
//!
//! ```text
//! length u32 · checksum u32 · the record, as postcard writes it      (integers are little-endian)
//! ```
//!
//! Owns this form, and the search for the next whole frame behind bytes that are none. Does not handle
//! where frames are kept (see `segment`). Bytes that are no frame are skipped, never an error; the
//! reader sees the gap.
//!
//! The checksum is a CRC-32 over length and record that starts from the segment's salt. So a client that puts
//! the bytes of a frame into the name of a model does not make a record, should the search ever begin
//! inside that name.

use std::ops::Range;

use crc32fast::Hasher;

use crate::ledger::Record;

/// The most bytes of one record. A name from the configuration that makes a record larger is the operator's
/// mistake; what a client can put into one is far shorter.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// Length and checksum.
pub const HEAD_BYTES: usize = 8;
/// The most bytes of one frame.
pub const MAX_FRAME_BYTES: usize = HEAD_BYTES + MAX_RECORD_BYTES;

/// Writes a record's frame to the start of a buffer, and returns it. `None` if the buffer is too short.
pub fn encode<'b>(record: &Record<'_>, salt: u32, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let (head, rest) = buffer.split_at_mut_checked(HEAD_BYTES)?;
    // The only error there can be: the record has no members whose length is unknown.
    let length = postcard::to_slice(record, rest).ok()?.len();
    let written = u32::try_from(length).ok()?.to_le_bytes();
    let checksum = checksum(salt, written, rest.get(..length)?).to_le_bytes();
    let (length_bytes, checksum_bytes) = head.split_at_mut_checked(written.len())?;
    length_bytes.copy_from_slice(&written);
    checksum_bytes.copy_from_slice(&checksum);
    buffer.get(..HEAD_BYTES + length)
}

/// The record in a frame that [`Scan`] found.
pub fn decode(frame: &[u8]) -> Option<Record<'_>> {
    let (record, rest) = postcard::take_from_bytes(frame.get(HEAD_BYTES..)?).ok()?;
    rest.is_empty().then_some(record)
}

fn checksum(salt: u32, length: [u8; 4], record: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(&length);
    hasher.update(record);
    hasher.finalize()
}

/// The whole frames in a part of a segment, as ranges of its bytes.
pub struct Scan<'b> {
    bytes: &'b [u8],
    salt: u32,
    /// Whether the segment has no more bytes than these.
    is_rest: bool,
    scanned: usize,
}

/// What stands at the start of some bytes.
enum Start {
    /// A whole frame of so many bytes.
    Frame(usize),
    /// What may be a frame that is longer than the bytes.
    Short,
    Nothing,
}

impl<'b> Scan<'b> {
    /// Scans bytes of a segment. If they are not the rest of it, frames may go on behind them.
    pub fn new(bytes: &'b [u8], salt: u32, is_rest: bool) -> Self {
        Self {
            bytes,
            salt,
            is_rest,
            scanned: 0,
        }
    }

    /// How many bytes are done with once the scan has ended: what follows has to be scanned with more
    /// bytes. Larger than 0 if there were at least 2 × [`MAX_FRAME_BYTES`], or the rest.
    pub fn scanned(&self) -> usize {
        self.scanned
    }

    fn start(&self, at: usize) -> Start {
        let bytes = self.bytes.get(at..).unwrap_or_default();
        let Some((length_bytes, rest)) = bytes.split_first_chunk::<4>() else {
            return Start::Short;
        };
        let length = usize::try_from(u32::from_le_bytes(*length_bytes)).unwrap_or(usize::MAX);
        if length == 0 || length > MAX_RECORD_BYTES {
            return Start::Nothing;
        }
        let Some((expected, rest)) = rest.split_first_chunk::<4>() else {
            return Start::Short;
        };
        let Some(record) = rest.get(..length) else {
            return Start::Short;
        };
        let frame_bytes = HEAD_BYTES + length;
        let is_intact = checksum(self.salt, *length_bytes, record) == u32::from_le_bytes(*expected)
            && bytes.get(..frame_bytes).and_then(decode).is_some();
        match is_intact {
            true => Start::Frame(frame_bytes),
            false => Start::Nothing,
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let from = self.scanned;
        for at in from..self.bytes.len() {
            match self.start(at) {
                Start::Frame(bytes) => {
                    self.scanned = at + bytes;
                    return Some(at..self.scanned);
                }
                // With more bytes it may be a frame. At the start of the bytes there cannot be more.
                Start::Short if !self.is_rest && at > 0 => {
                    self.scanned = at;
                    return None;
                }
                Start::Short | Start::Nothing => {}
            }
        }
        self.scanned = self.bytes.len();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Source, Tokens};

    fn frames(records: &[Record<'_>], salt: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in records {
            let mut buffer = vec![0; MAX_FRAME_BYTES];
            bytes.extend_from_slice(encode(record, salt, &mut buffer).unwrap());
        }
        bytes
    }

    fn record(id: u128) -> Record<'static> {
        Record {
            id,
            tenant: "acme",
            model: "gpt-5",
            ..Record::default()
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let bytes = frames(&[record(7)], 1);
        let mut scan = Scan::new(&bytes, 1, true);
        assert_eq!(scan.next(), Some(0..bytes.len()));
        assert_eq!(scan.next(), None);
        assert_eq!(decode(&bytes), Some(record(7)));
    }

    #[test]
    fn the_tokens_of_an_answer_from_the_cache_come_back() {
        let answered = Record {
            tokens: Tokens {
                cached_answer: 1_234,
                ..Tokens::default()
            },
            source: Source::Cache,
            ..record(7)
        };
        let bytes = frames(std::slice::from_ref(&answered), 1);
        assert_eq!(Scan::new(&bytes, 1, true).next(), Some(0..bytes.len()));
        assert_eq!(decode(&bytes), Some(answered));
    }

    #[test]
    fn a_frame_of_another_segment_is_none() {
        let bytes = frames(&[record(7)], 1);
        assert_eq!(Scan::new(&bytes, 2, true).next(), None);
    }

    #[test]
    fn a_frame_inside_a_name_is_found_by_its_salt_alone() {
        // The name of a model is text, so only a frame that is text can be in one.
        let mut forged = (0..).map(|id| frames(&[record(id)], 0));
        let forged = forged.find_map(|frame| String::from_utf8(frame).ok());
        let forged = forged.unwrap();
        let holder = Record {
            model: &forged,
            ..Record::default()
        };
        let found = |salt| {
            let mut bytes = frames(&[holder.clone(), record(2)], salt);
            // The frame around the name is damaged: the search goes through the name.
            bytes[HEAD_BYTES] ^= 1;
            Scan::new(&bytes, salt, true).count()
        };
        assert_eq!(found(0), 2);
        assert_eq!(found(0x5a17), 1);
    }

    #[test]
    fn an_intact_frame_that_has_no_record_in_it_is_none() {
        let mut bytes = frames(&[record(7)], 1);
        // One byte more than the record.
        bytes.push(0);
        let length = u32::try_from(bytes.len() - HEAD_BYTES)
            .unwrap()
            .to_le_bytes();
        let checksum = checksum(1, length, &bytes[HEAD_BYTES..]).to_le_bytes();
        bytes[..4].copy_from_slice(&length);
        bytes[4..HEAD_BYTES].copy_from_slice(&checksum);
        assert_eq!(Scan::new(&bytes, 1, true).next(), None);
    }

    #[test]
    fn a_record_of_the_largest_size_fits_and_a_larger_one_does_not() {
        let mut buffer = vec![0; MAX_FRAME_BYTES];
        let mut name = "x".repeat(MAX_RECORD_BYTES);
        let is_encoded = |name: &str, buffer: &mut [u8]| {
            let record = Record {
                tenant: name,
                ..Record::default()
            };
            encode(&record, 1, buffer).map(<[u8]>::len)
        };
        assert_eq!(is_encoded(&name, &mut buffer), None);
        while is_encoded(&name, &mut buffer).is_none() {
            name.pop();
        }
        assert_eq!(is_encoded(&name, &mut buffer), Some(MAX_FRAME_BYTES));
        assert_eq!(Scan::new(&buffer, 1, true).next(), Some(0..MAX_FRAME_BYTES));
    }

    #[test]
    fn what_may_go_on_behind_the_bytes_is_left_for_the_next_scan() {
        let bytes = frames(&[record(1), record(2)], 1);
        let one = bytes.len() / 2;
        let mut scan = Scan::new(&bytes[..bytes.len() - 1], 1, false);
        assert_eq!(scan.next(), Some(0..one));
        assert_eq!(scan.next(), None);
        assert_eq!(scan.scanned(), one);
        let mut scan = Scan::new(&bytes[..bytes.len() - 1], 1, true);
        assert_eq!(scan.by_ref().count(), 1);
        assert_eq!(scan.scanned(), bytes.len() - 1);
    }
}
