//! The tokenizer while it is used, and nothing of it otherwise.
//!
//! Owns loading it when it is first asked for, and letting it go when it has not been used for a while. Does not run
//! a timer (see `server::memory`). Fails where it cannot be loaded, and tries again when it is asked again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{LoadError, Tokenizer};

/// A tokenizer that nobody has used for so long is let go.
pub const IDLE: Duration = Duration::from_secs(600);

/// At most one tokenizer, shared by all that count.
#[derive(Default)]
pub struct OnDemand(Mutex<Option<Loaded>>);

struct Loaded {
    tokenizer: Arc<Tokenizer>,
    last_used: Instant,
}

impl OnDemand {
    /// The tokenizer. Loads it where there is none, which takes some 20 ms; who asks meanwhile waits. To be called
    /// where blocking is allowed.
    ///
    /// # Errors
    /// Why it could not be loaded.
    pub fn get(&self, now: Instant) -> Result<Arc<Tokenizer>, LoadError> {
        let mut slot = self.0.lock();
        let loaded = match &mut *slot {
            Some(loaded) => loaded,
            None => slot.insert(Loaded {
                tokenizer: Arc::new(Tokenizer::load()?),
                last_used: now,
            }),
        };
        loaded.last_used = now.max(loaded.last_used);
        Ok(Arc::clone(&loaded.tokenizer))
    }

    /// Lets go of a tokenizer that has not been asked for during ten minutes. Its memory is free when the last count
    /// has ended. Returns whether there was one. Never waits.
    pub fn release_idle(&self, now: Instant) -> bool {
        // Who holds the lock is using it.
        let Some(mut slot) = self.0.try_lock() else {
            return false;
        };
        let idle = slot.take_if(|loaded| now.saturating_duration_since(loaded.last_used) >= IDLE);
        // The lock is released before the memory is.
        drop(slot);
        idle.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_loaded_once_and_let_go_ten_minutes_after_its_last_use() {
        let on_demand = OnDemand::default();
        let start = Instant::now();
        assert!(!on_demand.release_idle(start + 2 * IDLE));
        let first = on_demand.get(start).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &on_demand.get(start + IDLE / 2).unwrap()
        ));
        assert!(
            !on_demand.release_idle(start + IDLE),
            "it has been used since"
        );
        let forgotten = Arc::downgrade(&first);
        assert!(on_demand.release_idle(start + IDLE / 2 + IDLE));
        assert_eq!(first.count("hello world"), 2, "it is still used");
        drop(first);
        assert!(forgotten.upgrade().is_none());
        assert!(
            !on_demand.release_idle(start + 3 * IDLE),
            "it is gone already"
        );
        assert_eq!(
            on_demand
                .get(start + 3 * IDLE)
                .unwrap()
                .count("hello world"),
            2
        );
    }

    #[test]
    fn a_clock_that_stands_still_keeps_it() {
        let on_demand = OnDemand::default();
        let start = Instant::now();
        let _ = on_demand.get(start + IDLE).unwrap();
        let _ = on_demand.get(start).unwrap();
        assert!(!on_demand.release_idle(start + IDLE));
    }
}
