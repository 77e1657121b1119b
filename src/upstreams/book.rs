//! States by name, kept from one snapshot to the next.
//!
//! Owns that what has the same name in both snapshots has the same state. What no snapshot holds any
//! more is forgotten when the next one is built, so that as much is kept as the operator has written.
//! Does not handle what a state is (see `registry`). Cannot fail.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// States by name.
#[derive(Debug)]
pub struct Book<T>(Mutex<HashMap<String, Arc<T>>>);

impl<T> Default for Book<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Book<T> {
    /// The state of that name, which is made if there is none.
    pub(super) fn of(&self, name: String, new: impl FnOnce() -> T) -> Arc<T> {
        let mut states = self.0.lock();
        Arc::clone(states.entry(name).or_insert_with(|| Arc::new(new())))
    }

    /// Forgets what no snapshot holds.
    pub(super) fn forget_unused(&self) {
        self.0
            .lock()
            .retain(|_, state| Arc::strong_count(state) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_same_name_has_the_same_state_until_no_snapshot_holds_it() {
        let book = Book::<u8>::default();
        let of = |name: &str| book.of(name.to_owned(), u8::default);
        let first = of("a");
        assert!(Arc::ptr_eq(&first, &of("a")));
        assert!(!Arc::ptr_eq(&first, &of("b")));
        book.forget_unused();
        assert_eq!(book.0.lock().len(), 1, "the first is held");
        drop(first);
        book.forget_unused();
        assert!(book.0.lock().is_empty());
    }
}
