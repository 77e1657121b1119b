//! Changes to bytes that otherwise pass as they came.
//!
//! Owns replacing ranges of bytes. Does not decide what is changed (see `request`, `streaming`, `rewrite`).
//! Cannot fail: a range outside the bytes changes nothing.

use std::ops::Range;

use bytes::Bytes;

/// Ranges of bytes, and what takes their place. They must not overlap.
#[derive(Default)]
pub struct Patches(Vec<(Range<usize>, Bytes)>);

impl Patches {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts `with` in the place of a range; an empty range is where it is added.
    pub fn add(&mut self, range: Range<usize>, with: Bytes) {
        let after = self
            .0
            .partition_point(|(known, _)| known.start <= range.start);
        self.0.insert(after, (range, with));
    }

    /// What the bytes become, in pieces that share them.
    pub fn pieces<'p>(&'p self, bytes: &'p Bytes) -> impl Iterator<Item = Bytes> + 'p {
        let mut done = 0;
        let changed = self.0.iter().flat_map(move |(range, with)| {
            let before = piece(bytes, done..range.start);
            done = range.end;
            [before, with.clone()]
        });
        let last = self.0.last().map_or(0, |(range, _)| range.end);
        changed.chain([piece(bytes, last..bytes.len())])
    }

    /// What the bytes become, in one.
    pub fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let added: usize = self.0.iter().map(|(_, with)| with.len()).sum();
        let mut out = Vec::with_capacity(bytes.len() + added);
        let mut done = 0;
        for (range, with) in &self.0 {
            out.extend_from_slice(bytes.get(done..range.start).unwrap_or_default());
            out.extend_from_slice(with);
            done = range.end;
        }
        out.extend_from_slice(bytes.get(done..).unwrap_or_default());
        out
    }
}

fn piece(bytes: &Bytes, range: Range<usize>) -> Bytes {
    let end = range.end.min(bytes.len());
    bytes.slice(range.start.min(end)..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_stays() {
        let bytes = Bytes::from_static(b"one two three");
        let mut patches = Patches::default();
        assert!(patches.is_empty());
        patches.add(8..13, Bytes::from_static(b"3"));
        patches.add(0..3, Bytes::from_static(b"first"));
        patches.add(4..4, Bytes::from_static(b"and "));
        patches.add(99..100, Bytes::from_static(b"!"));
        let expected = b"first and two 3!";
        assert_eq!(patches.apply(&bytes), expected);
        assert_eq!(
            patches.pieces(&bytes).collect::<Vec<_>>().concat(),
            expected
        );
    }
}
