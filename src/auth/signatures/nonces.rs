//! The nonces of signed requests: each counts once.
//!
//! Owns which nonces of a key have been used, for as long as a signature with one could be accepted again, and as long
//! once more. They outlive a reload, and the key itself. Each key has room for so many of its own, so that one tenant's
//! take none from another's. Does not handle signatures (see `mod.rs`). Fails with [`NotOnce`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::secret::KeyHash;

/// Nonces are forgotten in lots: those of as many seconds at a time, at most.
const LOT_S: i64 = 60;
/// The longest window that can be configured.
const LONGEST_WINDOW_S: i64 = 3_600;

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOnce {
    /// Its nonce has been used.
    Replayed,
    /// There is no room for its nonce.
    Full,
}

/// How old a signature may be. A nonce is kept by the window that held when it was used, so that one that was made
/// under a shorter window is held to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    now_s: i64,
    /// The shortest one that signatures may have been made under, and the last second at which those were made.
    before: Option<(i64, i64)>,
}

impl Windows {
    /// The window of a signature that was made at this second.
    pub fn of(self, created_s: i64) -> i64 {
        match self.before {
            Some((window_s, last_s)) if created_s <= last_s => window_s.min(self.now_s),
            _ => self.now_s,
        }
    }

    /// Changes to another window, now.
    fn change(&mut self, window_s: i64, now_s: i64) {
        let old_s = self.now_s;
        self.now_s = window_s;
        if old_s == 0 || window_s <= old_s {
            return;
        }
        // One of a time to come may have been used under the old window.
        let last_s = now_s.saturating_add(old_s);
        let is_recent = |(_, last_s): &(i64, i64)| last_s.saturating_add(LONGEST_WINDOW_S) > now_s;
        let shortest_s = self
            .before
            .filter(is_recent)
            .map_or(old_s, |(before_s, _)| before_s.min(old_s));
        self.before = Some((shortest_s, last_s));
    }
}

/// The nonces of every key.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<HashMap<Arc<str>, Arc<Used>>>, Mutex<Windows>);

impl Nonces {
    /// Those of a key, with what has been used of them.
    pub fn of(&self, key_id: &Arc<str>) -> Arc<Used> {
        Arc::clone(self.0.lock().entry(Arc::clone(key_id)).or_default())
    }

    /// How old signatures may be from now on, where the configuration says this.
    pub fn windows(&self, window_s: i64, now_s: i64) -> Windows {
        let mut windows = self.1.lock();
        windows.change(window_s, now_s);
        *windows
    }

    /// Forgets keys that are not configured any more, once none of their signatures could be accepted.
    pub fn forget_unused(&self, now_s: i64) {
        self.0
            .lock()
            .retain(|_, used| Arc::strong_count(used) > 1 || !used.is_empty(now_s));
    }
}

/// The nonces of a key that have been used.
#[derive(Default)]
pub struct Used(Mutex<Lots>);

#[derive(Default)]
struct Lots {
    /// By the number of the lot in which they are forgotten.
    lots: BTreeMap<i64, HashSet<Nonce>>,
    count: usize,
}

impl Lots {
    fn forget(&mut self, now_s: i64) {
        while let Some(lot) = self.lots.first_entry() {
            if lot.key().saturating_add(1).saturating_mul(LOT_S) > now_s {
                return;
            }
            self.count -= lot.remove().len();
        }
    }
}

/// A nonce, by its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Nonce(u128);

impl fmt::Debug for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Used").field(&self.0.lock().count).finish()
    }
}

impl Used {
    fn is_empty(&self, now_s: i64) -> bool {
        let mut lots = self.0.lock();
        lots.forget(now_s);
        lots.lots.is_empty()
    }
}

/// A signature that counts once.
#[derive(Clone, Debug)]
pub struct Once {
    used: Arc<Used>,
    nonce: Nonce,
    until_s: i64,
    most: usize,
}

/// Of the same request, or of one with the same nonce.
impl PartialEq for Once {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.used, &other.used) && self.nonce == other.nonce
    }
}

impl Eq for Once {}

impl Once {
    /// One with a nonce that is kept until a second, among at most so many.
    pub fn new(used: &Arc<Used>, nonce: &str, until_s: i64, most: usize) -> Self {
        Self {
            used: Arc::clone(used),
            nonce: Nonce(KeyHash::of(nonce.as_bytes()).first_half()),
            until_s,
            most,
        }
    }

    /// Uses it up.
    ///
    /// # Errors
    /// It has been used, or there is no room to remember it.
    pub fn take(&self, now_s: i64) -> Result<(), NotOnce> {
        let mut lots = self.used.0.lock();
        lots.forget(now_s);
        if lots.lots.values().any(|lot| lot.contains(&self.nonce)) {
            return Err(NotOnce::Replayed);
        }
        if lots.count >= self.most {
            return Err(NotOnce::Full);
        }
        let lot = self.until_s.div_euclid(LOT_S);
        lots.lots.entry(lot).or_default().insert(self.nonce);
        lots.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn once(nonces: &Nonces, key: &str, nonce: &str) -> Once {
        Once::new(&nonces.of(&Arc::from(key)), nonce, NOW + 600, 3)
    }

    #[test]
    fn what_was_made_under_a_shorter_window_is_held_to_it() {
        let nonces = Nonces::default();
        let first = nonces.windows(5, NOW);
        assert_eq!((first.of(NOW), first.of(NOW - 100)), (5, 5));
        let longer = nonces.windows(300, NOW + 100);
        assert_eq!(longer.of(NOW + 100), 5);
        assert_eq!(
            longer.of(NOW + 105),
            5,
            "it may have been used before its time"
        );
        assert_eq!(longer.of(NOW + 106), 300);
        let longest = nonces.windows(3_600, NOW + 200);
        assert_eq!((longest.of(NOW + 300), longest.of(NOW + 501)), (5, 3_600));
        let shorter = nonces.windows(60, NOW + 300);
        assert_eq!((shorter.of(NOW + 300), shorter.of(NOW + 600)), (5, 60));
        assert_eq!(
            nonces.windows(60, NOW + 301),
            shorter,
            "nothing has changed"
        );
    }

    #[test]
    fn a_nonce_counts_once_until_its_time_is_over() {
        let nonces = Nonces::default();
        assert_eq!(once(&nonces, "k1", "a").take(NOW), Ok(()));
        assert_eq!(once(&nonces, "k1", "a").take(NOW), Err(NotOnce::Replayed));
        assert_eq!(
            once(&nonces, "k1", "a").take(NOW + 600),
            Err(NotOnce::Replayed)
        );
        assert_eq!(
            once(&nonces, "k2", "a").take(NOW),
            Ok(()),
            "another key's is another"
        );
        let later = NOW + 600 + LOT_S;
        assert_eq!(once(&nonces, "k1", "a").take(later), Ok(()));
    }

    #[test]
    fn one_keys_nonces_take_no_room_from_anothers() {
        let nonces = Nonces::default();
        for nonce in ["a", "b", "c"] {
            assert_eq!(once(&nonces, "k1", nonce).take(NOW), Ok(()));
        }
        assert_eq!(once(&nonces, "k1", "d").take(NOW), Err(NotOnce::Full));
        assert_eq!(once(&nonces, "k1", "a").take(NOW), Err(NotOnce::Replayed));
        assert_eq!(once(&nonces, "k2", "d").take(NOW), Ok(()));
        assert_eq!(
            once(&nonces, "k1", "d").take(NOW + 600 + LOT_S),
            Ok(()),
            "there is room again"
        );
    }

    #[test]
    fn of_a_hundred_at_the_same_time_one_counts() {
        let nonces = Nonces::default();
        let counted = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..100)
                .map(|_| scope.spawn(|| once(&nonces, "k1", "a").take(NOW).is_ok()))
                .collect();
            let tries = tries.into_iter().map(|each| each.join().unwrap());
            tries.filter(|counted| *counted).count()
        });
        assert_eq!(counted, 1);
    }

    #[test]
    fn a_key_that_is_removed_and_comes_back_has_its_nonces() {
        let nonces = Nonces::default();
        once(&nonces, "k1", "a").take(NOW).unwrap();
        nonces.forget_unused(NOW);
        assert_eq!(once(&nonces, "k1", "a").take(NOW), Err(NotOnce::Replayed));
        nonces.forget_unused(NOW + 600 + LOT_S);
        assert!(nonces.0.lock().is_empty());
    }
}
