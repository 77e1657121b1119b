//! A cache of the series that one kind of request counts in.
//!
//! Owns the look-up by labels, once for a kind and not for each counter: a look-up costs more than the
//! counting, and a request would make seven. There are no more kinds than series, as their labels come
//! from the configuration and from our own tables. Does not handle what is counted (see `metrics`,
//! `attempts`, `tokens`). Cannot fail.

use std::cell::RefCell;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

thread_local! {
    /// The buffer for a kind's key.
    static KEY: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The series of each kind of request, by the labels of the kind.
pub struct SeriesCache<T>(ArcSwap<FxHashMap<String, Arc<T>>>);

impl<T> Default for SeriesCache<T> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<T> SeriesCache<T> {
    /// Whether a kind has series already, or there are fewer than so many kinds.
    pub fn has_room(&self, labels: &[&str], most: usize) -> bool {
        let all = self.0.load();
        all.len() < most || KEY.with_borrow_mut(|key| all.contains_key(write_key(key, labels)))
    }

    /// Counts in the series of a kind, which are created with its first request. A look-up writes
    /// nothing that another thread reads.
    pub fn count(&self, labels: &[&str], make: impl Fn() -> T, count: impl FnOnce(&T)) {
        KEY.with_borrow_mut(|key| {
            if let Some(known) = self.0.load().get(write_key(key, labels)) {
                return count(known);
            }
            let made = Arc::new(make());
            self.0.rcu(|all| {
                let mut all = FxHashMap::clone(all);
                all.entry(key.clone()).or_insert_with(|| Arc::clone(&made));
                all
            });
            count(&made);
        });
    }
}

/// Writes the key of a kind.
fn write_key<'k>(key: &'k mut String, labels: &[&str]) -> &'k str {
    key.clear();
    for label in labels {
        key.push_str(label);
        // No label contains it: labels are our own names, or checked names of the operator.
        key.push('\n');
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_kind_are_created_once_and_shared_with_no_other() {
        let series: SeriesCache<u32> = SeriesCache::default();
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
