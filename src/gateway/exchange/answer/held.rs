//! Bytes of a stream that have come and not passed.
//!
//! Owns letting them pass, or keeping them back, up to an offset in the stream. How they
//! are kept is for `pieces`. Does not handle what is in them: `tap` decides. Never fails.

use bytes::Bytes;

use crate::gateway::pieces::Pieces;

/// Bytes that have come and not passed.
#[derive(Default)]
pub struct Held {
    /// Themselves, short ones joined.
    pub pieces: Pieces,
    /// Where in the stream they begin.
    pub start: u64,
    /// How many there are.
    pub len: usize,
    /// The last byte that was kept back is a CR, whose LF has not come yet.
    keeps_lf: bool,
}

impl Held {
    /// Takes the next bytes.
    pub fn put(&mut self, chunk: Bytes) {
        self.len += chunk.len();
        self.pieces.push(chunk);
    }

    /// Lets pass what stands before an offset in the stream.
    pub fn release(&mut self, until: u64, out: &mut Vec<Bytes>) {
        while let Some(mut piece) = self.take(until) {
            if self.keeps_lf && piece.starts_with(b"\n") {
                piece = piece.slice(1..);
            }
            self.keeps_lf = false;
            if !piece.is_empty() {
                out.push(piece);
            }
        }
    }

    /// Keeps back what stands before an offset in the stream.
    pub fn keep_back(&mut self, until: u64) {
        while let Some(piece) = self.take(until) {
            self.keeps_lf = piece.ends_with(b"\r");
        }
    }

    /// Takes the next piece of what stands before an offset in the stream.
    fn take(&mut self, until: u64) -> Option<Bytes> {
        if self.start >= until {
            return None;
        }
        let mut piece = self.pieces.pop()?;
        let wanted = usize::try_from(until - self.start).unwrap_or(usize::MAX);
        if piece.len() > wanted {
            let rest = piece.split_off(wanted);
            self.pieces.put_back(rest);
        }
        self.start += piece.len() as u64;
        self.len -= piece.len();
        Some(piece)
    }
}
