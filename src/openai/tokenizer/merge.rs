//! Byte-pair encoding of one piece.
//!
//! Owns the count: a piece begins as single bytes, and the two neighbours that make the token of the lowest rank are
//! merged, the leftmost of equals, until no two make one. Its time grows as n log n with the piece, for any bytes.
//! Does not know the tokens (see `vocabulary`). Cannot fail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use super::vocabulary::Vocabulary;

/// Counts the tokens of pieces, one after the other. Its memory is used again for each: about 40 bytes for each byte
/// of the longest one.
pub struct Merge<'v> {
    vocabulary: &'v Vocabulary,
    /// The parts of the piece, each at the position where it begins.
    parts: Vec<Part>,
    /// What can be merged, the next one first. Some of it may have become impossible.
    pairs: BinaryHeap<Reverse<Pair>>,
}

/// What is a token so far.
#[derive(Clone, Copy)]
struct Part {
    /// How long it is. 0 where no part begins any more.
    bytes: usize,
    /// Where the part before it begins; its own beginning if it is the first.
    before: usize,
}

/// Two neighbours that make a token. Their order is that in which they are merged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    rank: u32,
    /// Where the first one begins.
    start: usize,
    /// How long both are.
    bytes: usize,
}

impl<'v> Merge<'v> {
    /// By these tokens.
    pub fn new(vocabulary: &'v Vocabulary) -> Self {
        Self {
            vocabulary,
            parts: Vec::new(),
            pairs: BinaryHeap::new(),
        }
    }

    /// Counts the tokens of a piece.
    pub fn count(&mut self, piece: &[u8]) -> usize {
        // Most words are one, and merging would end there.
        if self.vocabulary.rank(piece).is_some() {
            return 1;
        }
        self.begin(piece);
        let mut tokens = piece.len();
        while let Some(Reverse(pair)) = self.pairs.pop() {
            if let Some(before) = self.merge(pair) {
                tokens -= 1;
                self.propose(piece, pair.start);
                if before != pair.start {
                    self.propose(piece, before);
                }
            }
        }
        tokens
    }

    /// Makes each byte a part.
    fn begin(&mut self, piece: &[u8]) {
        self.parts.clear();
        self.parts.extend((0..piece.len()).map(|start| Part {
            bytes: 1,
            before: start.saturating_sub(1),
        }));
        let mut pairs = mem::take(&mut self.pairs).into_vec();
        pairs.clear();
        pairs.extend(
            (0..piece.len())
                .filter_map(|start| self.pair(piece, start))
                .map(Reverse),
        );
        self.pairs = pairs.into();
    }

    /// Has the part that begins here merged with the next one, when it is their turn.
    fn propose(&mut self, piece: &[u8], start: usize) {
        if let Some(pair) = self.pair(piece, start) {
            self.pairs.push(Reverse(pair));
        }
    }

    /// The part that begins here, with the next one, if they make a token.
    fn pair(&self, piece: &[u8], start: usize) -> Option<Pair> {
        let bytes = self.both(start)?;
        let rank = self.vocabulary.rank(piece.get(start..start + bytes)?)?;
        Some(Pair { rank, start, bytes })
    }

    /// How long the part that begins here is, with the next one.
    fn both(&self, start: usize) -> Option<usize> {
        let first = self.parts.get(start)?.bytes;
        let second = self.parts.get(start + first)?.bytes;
        Some(first + second)
    }

    /// Makes two parts one, if both are as they were. Returns where the part before them begins.
    fn merge(&mut self, pair: Pair) -> Option<usize> {
        let first = *self.parts.get(pair.start)?;
        if first.bytes == 0 || self.both(pair.start)? != pair.bytes {
            return None;
        }
        self.parts.get_mut(pair.start + first.bytes)?.bytes = 0;
        self.parts.get_mut(pair.start)?.bytes = pair.bytes;
        if let Some(after) = self.parts.get_mut(pair.start + pair.bytes) {
            after.before = pair.start;
        }
        Some(first.before)
    }
}
