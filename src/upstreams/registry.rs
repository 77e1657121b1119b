//! What has been learnt of servers, keys and targets, by their names.
//!
//! Owns keeping it from one snapshot to the next: who is named alike in both has the same state.
//! What no snapshot names any more is forgotten when the next one is built, so that as much is kept
//! as the operator has written. Refuses to know what is learnt. Cannot fail.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::breaker::Breaker;
use super::budget::Budget;
use super::concurrency::Concurrency;
use super::cooldown::KeyState;
use super::pool::ServerState;
use crate::config;

/// The states of everything that is named.
#[derive(Debug, Default)]
pub struct Registry {
    servers: Book<ServerState>,
    keys: Book<KeyState>,
    targets: Book<Breaker>,
    places: Book<Concurrency>,
    budgets: Book<Budget>,
}

impl Registry {
    /// The state of an upstream's server.
    pub(super) fn server(&self, upstream: &str, server: &str) -> Arc<ServerState> {
        self.servers
            .of(format!("{upstream}\n{server}"), ServerState::default)
    }

    /// The state of an upstream's key, by its hash.
    pub(super) fn key(&self, upstream: &str, hash: &str) -> Arc<KeyState> {
        self.keys
            .of(format!("{upstream}\n{hash}"), KeyState::default)
    }

    /// Who is being served by an upstream. Other bounds are counted anew.
    pub(super) fn places(&self, upstream: &str, bounds: config::Concurrency) -> Arc<Concurrency> {
        self.places.of(format!("{upstream}\n{bounds:?}"), || {
            Concurrency::new(bounds)
        })
    }

    /// What an upstream may be asked again.
    pub(super) fn budget(&self, upstream: &str) -> Arc<Budget> {
        self.budgets.of(upstream.to_owned(), Budget::default)
    }

    /// The state of a target: an upstream asked for a model on behalf of a rule.
    pub fn target(&self, rule: &str, upstream: &str, model: Option<&str>) -> Arc<Breaker> {
        let model = model.unwrap_or_default();
        self.targets
            .of(format!("{rule}\n{upstream}\n{model}"), Breaker::default)
    }

    /// Forgets what no snapshot names.
    pub fn forget_unused(&self) {
        self.servers.forget_unused();
        self.keys.forget_unused();
        self.targets.forget_unused();
        self.places.forget_unused();
        self.budgets.forget_unused();
    }
}

/// States by name.
#[derive(Debug)]
struct Book<T>(Mutex<HashMap<String, Arc<T>>>);

impl<T> Default for Book<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Book<T> {
    fn of(&self, name: String, new: impl FnOnce() -> T) -> Arc<T> {
        let mut states = self.0.lock();
        Arc::clone(states.entry(name).or_insert_with(|| Arc::new(new())))
    }

    fn forget_unused(&self) {
        self.0
            .lock()
            .retain(|_, state| Arc::strong_count(state) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_alike_has_the_same_state_until_nobody_names_it() {
        let registry = Registry::default();
        let first = registry.server("a", "http://x 1");
        assert!(Arc::ptr_eq(&first, &registry.server("a", "http://x 1")));
        assert!(!Arc::ptr_eq(&first, &registry.server("a", "http://x 2")));
        assert!(!Arc::ptr_eq(&first, &registry.server("b", "http://x 1")));
        registry.forget_unused();
        assert_eq!(registry.servers.0.lock().len(), 1, "the first is held");
        drop(first);
        registry.forget_unused();
        assert!(registry.servers.0.lock().is_empty());
    }
}
