//! The series that one kind of request counts in, looked up once.
//!
//! Owns finding them again: a look-up by labels costs more than what is counted, and a request would
//! make seven. As many kinds are kept as there are series; their labels come from the configuration
//! and from our own tables. Cannot fail.

use std::cell::RefCell;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

thread_local! {
    /// Where the name of a kind is put together.
    static NAME: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What each kind of request counts in.
pub struct Series<T>(ArcSwap<FxHashMap<String, Arc<T>>>);

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<T> Series<T> {
    /// Counts in what a kind of request counts in, which is made when the first of it comes. Looking it
    /// up writes nothing that another thread reads.
    pub fn count(&self, labels: &[&str], make: impl Fn() -> T, count: impl FnOnce(&T)) {
        NAME.with_borrow_mut(|name| {
            name.clear();
            for label in labels {
                name.push_str(label);
                // No label has it: they are names of ours, or the operator's, checked.
                name.push('\n');
            }
            if let Some(known) = self.0.load().get(name.as_str()) {
                return count(known);
            }
            let made = Arc::new(make());
            self.0.rcu(|all| {
                let mut all = FxHashMap::clone(all);
                all.entry(name.clone()).or_insert_with(|| Arc::clone(&made));
                all
            });
            count(&made);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_made_once_and_no_two_are_taken_for_one() {
        let series: Series<u32> = Series::default();
        let of = |labels: &[&str], new| {
            let mut found = 0;
            series.count(labels, || new, |kind| found = *kind);
            found
        };
        assert_eq!(of(&["a", "bc"], 1), 1);
        assert_eq!(of(&["a", "bc"], 2), 1);
        assert_eq!(of(&["ab", "c"], 3), 3);
    }
}
