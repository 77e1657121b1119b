//! The series that one kind of request counts in, looked up once.
//!
//! Owns finding them again: a look-up by labels costs more than what is counted, and a request would
//! make seven. As many kinds are kept as there are series; their labels come from the configuration
//! and from our own tables. Cannot fail.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

thread_local! {
    /// Where the name of a kind is put together.
    static NAME: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What each kind of request counts in.
pub struct Series<T>(RwLock<HashMap<String, Arc<T>>>);

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> Series<T> {
    /// What a kind of request counts in; made when the first of it comes.
    pub fn of(&self, labels: &[&str], make: impl FnOnce() -> T) -> Arc<T> {
        NAME.with_borrow_mut(|name| {
            name.clear();
            for label in labels {
                name.push_str(label);
                // No label has it: they are names of ours, or the operator's, checked.
                name.push('\n');
            }
            if let Some(known) = self.0.read().get(name.as_str()) {
                return Arc::clone(known);
            }
            let mut all = self.0.write();
            Arc::clone(all.entry(name.clone()).or_insert_with(|| Arc::new(make())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_made_once_and_no_two_are_taken_for_one() {
        let series = Series::default();
        let first = series.of(&["a", "bc"], || 1);
        assert!(Arc::ptr_eq(&first, &series.of(&["a", "bc"], || 2)));
        assert_eq!(*series.of(&["ab", "c"], || 3), 3);
    }
}
