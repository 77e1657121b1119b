//! Bytes of a stream that have come and not passed.
//!
//! Owns letting them pass up to an offset in the stream, changed where something takes their place. How
//! they are kept is for `pieces`. Does not handle what is in them (see `events`). Never fails: what has
//! passed already is not changed any more.

use bytes::Bytes;

use crate::gateway::pieces::Pieces;
use crate::openai::changes::Changes;

/// Bytes that have come and not passed.
#[derive(Default)]
pub struct HeldBytes {
    pieces: Pieces,
    /// Where in the stream they begin.
    start: u64,
    /// How many there are.
    len: usize,
    /// The last byte that was left out is a CR, whose LF has not come yet.
    drops_lf: bool,
}

impl HeldBytes {
    /// Takes the next bytes.
    pub fn put(&mut self, chunk: Bytes) {
        self.len += chunk.len();
        self.pieces.push(chunk);
    }

    /// Where in the stream they begin.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Lets pass what stands before an offset in the stream, with these changes.
    pub fn pass(&mut self, until: u64, changes: Changes, out: &mut Vec<Bytes>) {
        let passed = out.len();
        let is_changed = !changes.is_empty();
        for change in changes {
            // The beginning of an event that is too long to be held has passed already.
            if change.range.start < self.start {
                continue;
            }
            self.release(change.range.start, out);
            self.leave_out(change.range.end);
            if !change.with.is_empty() {
                out.push(change.with);
            }
        }
        self.release(until, out);
        if is_changed {
            join(out, passed);
        }
    }

    /// Lets pass what stands before an offset in the stream, as it came.
    pub fn release(&mut self, until: u64, out: &mut Vec<Bytes>) {
        while let Some(mut piece) = self.take(until) {
            if self.drops_lf && piece.starts_with(b"\n") {
                piece = piece.slice(1..);
            }
            self.drops_lf = false;
            if !piece.is_empty() {
                out.push(piece);
            }
        }
    }

    /// Leaves out what stands before an offset in the stream.
    fn leave_out(&mut self, until: u64) {
        while let Some(piece) = self.take(until) {
            self.drops_lf = piece.ends_with(b"\r");
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

    /// How many pieces they are kept in.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.pieces.iter().count()
    }
}

/// Makes one of what has been added: each piece would cost a write.
fn join(out: &mut Vec<Bytes>, from: usize) {
    if out.len() > from + 1 {
        let joined = out.split_off(from).concat();
        out.push(Bytes::from(joined));
    }
}
