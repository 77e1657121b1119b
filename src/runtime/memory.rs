//! How many bytes of something there may be at a time, over all that hold some.
//!
//! Owns the count. Does not handle what the bytes are (see `shared`). Cannot fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts bytes.
#[derive(Debug, Default)]
pub struct Memory(AtomicUsize);

impl Memory {
    /// A share of it, with no bytes yet.
    pub fn hold_none(self: &Arc<Self>) -> Held {
        Held {
            memory: Arc::clone(self),
            bytes: 0,
        }
    }
}

/// The share of one holder; it is given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Held {
    /// Takes more, up to `bytes` of its own, unless there would be more than `limit` in all. Returns
    /// whether it has them.
    #[must_use]
    pub fn grow_to(&mut self, bytes: usize, limit: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let add = |count: usize| count.checked_add(more).filter(|count| *count <= limit);
        let counted = &self.memory.0;
        let grown = counted.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        if grown.is_ok() {
            self.bytes = bytes;
        }
        grown.is_ok()
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.memory.0.fetch_sub(less, Ordering::AcqRel);
            self.bytes = bytes;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_the_limit_says() {
        let memory = Arc::new(Memory::default());
        let (mut one, mut two) = (memory.hold_none(), memory.hold_none());
        assert!(one.grow_to(6, 10) && two.grow_to(4, 10));
        assert!(!two.grow_to(5, 10) && two.grow_to(3, 10));
        one.shrink_to(5);
        assert!(two.grow_to(5, 10));
        drop(one);
        assert!(two.grow_to(10, 10));
        drop(two);
        assert_eq!(memory.0.load(Ordering::Acquire), 0);
    }
}
