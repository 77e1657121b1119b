//! Bytes that are kept in the pieces in which they came.
//!
//! Owns that pieces cost about as much memory as they have bytes: each piece has an allocation and a handle
//! of its own, some hundred bytes, so neighbours below [`JOIN_BELOW`] are joined. A piece that stays alone
//! is not copied. Each piece must own its memory, as those of `upstreams::Session` and `ClientSession` do.
//! Does not bound how much is kept: its users do. Never fails.

use std::collections::VecDeque;
use std::mem;

use bytes::{Bytes, BytesMut};

/// Neighbours shorter than this are joined.
pub const JOIN_BELOW: usize = 1 << 10;

/// Pieces, in their order.
#[derive(Debug, Default)]
pub struct Pieces {
    whole: VecDeque<Bytes>,
    /// What is being joined; it stands behind the others.
    open: BytesMut,
}

impl Pieces {
    /// Adds a piece.
    pub fn push(&mut self, piece: Bytes) {
        if piece.len() >= JOIN_BELOW {
            self.close();
            self.whole.push_back(piece);
        } else if !piece.is_empty() {
            self.push_short(piece);
        }
    }

    fn push_short(&mut self, piece: Bytes) {
        if self.open.is_empty() {
            match self.whole.pop_back() {
                Some(last) if last.len() < JOIN_BELOW => {
                    self.open.reserve(2 * (last.len() + piece.len()));
                    self.open.extend_from_slice(&last);
                }
                last => {
                    self.whole.extend(last);
                    self.whole.push_back(piece);
                    return;
                }
            }
        }
        self.open.extend_from_slice(&piece);
        if self.open.len() >= JOIN_BELOW {
            self.close();
        }
    }

    /// Takes the first piece.
    pub fn pop(&mut self) -> Option<Bytes> {
        if self.whole.is_empty() {
            self.close();
        }
        self.whole.pop_front()
    }

    /// Puts a piece before the others.
    pub fn put_back(&mut self, piece: Bytes) {
        self.whole.push_front(piece);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.open.is_empty()
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// The bytes of each piece.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let open = Some(&*self.open).filter(|open| !open.is_empty());
        self.whole.iter().map(|piece| &**piece).chain(open)
    }

    /// Makes one piece of all; empty where there are none.
    pub fn join(&mut self) -> Bytes {
        self.close();
        if self.whole.len() > 1 {
            let mut joined = BytesMut::with_capacity(self.len());
            // Each goes as soon as it has been copied.
            while let Some(piece) = self.whole.pop_front() {
                joined.extend_from_slice(&piece);
            }
            self.whole.push_back(joined.freeze());
        }
        self.whole.front().cloned().unwrap_or_default()
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.whole.push_back(mem::take(&mut self.open).freeze());
        }
    }
}

impl From<Bytes> for Pieces {
    fn from(piece: Bytes) -> Self {
        let mut pieces = Self::default();
        pieces.push(piece);
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lengths: &[usize]) -> (Pieces, Vec<u8>) {
        let (mut pieces, mut all) = (Pieces::default(), Vec::new());
        for (n, length) in lengths.iter().enumerate() {
            let piece = vec![u8::try_from(n % 251).unwrap(); *length];
            all.extend_from_slice(&piece);
            pieces.push(Bytes::from(piece));
        }
        (pieces, all)
    }

    #[test]
    fn the_bytes_are_those_that_came_in_their_order() {
        for lengths in [
            &[][..],
            &[0, 0],
            &[1],
            &[1, 1, 0, 1],
            &[1023, 1, 1024, 1, 1, 5000, 2],
            &[1024, 1023, 1023, 1, 1],
        ] {
            let (mut pieces, all) = of(lengths);
            assert_eq!(pieces.len(), all.len());
            assert_eq!(pieces.is_empty(), all.is_empty());
            assert_eq!(pieces.iter().collect::<Vec<_>>().concat(), all);
            assert_eq!(pieces.join(), all);
            let (mut pieces, all) = of(lengths);
            let mut taken = Vec::new();
            // Whatever is put back comes first again.
            while let Some(mut piece) = pieces.pop() {
                let rest = piece.split_off(piece.len().div_ceil(2));
                taken.extend_from_slice(&piece);
                if !rest.is_empty() {
                    pieces.put_back(rest);
                }
            }
            assert_eq!(taken, all);
        }
    }

    #[test]
    fn many_short_pieces_become_few_long_ones() {
        let (mut pieces, all) = of(&vec![1; 100_000]);
        pieces.close();
        assert!(pieces.whole.len() <= 100_000 / JOIN_BELOW + 1);
        let room: usize = pieces.whole.drain(..).map(room_of).sum();
        assert!(room <= 2 * all.len(), "{room}");
        // The worst that there is: each short piece between two that are too long to be joined with it.
        let (pieces, all) = of(&[1, JOIN_BELOW].repeat(1000));
        assert!(pieces.whole.len() * JOIN_BELOW <= 2 * all.len());
    }

    /// How many bytes a piece keeps.
    fn room_of(piece: Bytes) -> usize {
        piece.try_into_mut().unwrap().capacity()
    }

    #[test]
    fn a_piece_that_stays_alone_is_not_copied() {
        let piece = Bytes::from(vec![7; 10]);
        let at = piece.as_ptr();
        let mut pieces = Pieces::from(piece);
        assert_eq!(pieces.join().as_ptr(), at);
        assert_eq!(pieces.pop().unwrap().as_ptr(), at);
    }
}
