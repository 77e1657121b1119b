//! What has been learnt of servers, keys and targets, by their names.
//!
//! Owns keeping it from one snapshot to the next: who is named alike in both has the same state.
//! What no snapshot names any more is forgotten when the next one is built, so that as much is kept
//! as the operator has written. Refuses to know what is learnt. Cannot fail.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::breaker::Breaker;
use super::cooldown::KeyCondition;
use super::places::Places;
use super::pool::ServerCondition;
use crate::config;

/// The states of everything that is named.
#[derive(Debug, Default)]
pub struct Conditions {
    servers: Book<ServerCondition>,
    keys: Book<KeyCondition>,
    targets: Book<Breaker>,
    places: Book<Places>,
}

impl Conditions {
    /// The state of an upstream's server.
    pub(super) fn server(&self, upstream: &str, server: &str) -> Arc<ServerCondition> {
        self.servers
            .of(format!("{upstream}\n{server}"), ServerCondition::default)
    }

    /// The state of an upstream's key, by its hash.
    pub(super) fn key(&self, upstream: &str, hash: &str) -> Arc<KeyCondition> {
        self.keys
            .of(format!("{upstream}\n{hash}"), KeyCondition::default)
    }

    /// Who is being served by an upstream. Other bounds are counted anew.
    pub(super) fn places(&self, upstream: &str, bounds: config::Places) -> Arc<Places> {
        self.places
            .of(format!("{upstream}\n{bounds:?}"), || Places::new(bounds))
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
        let conditions = Conditions::default();
        let first = conditions.server("a", "http://x 1");
        assert!(Arc::ptr_eq(&first, &conditions.server("a", "http://x 1")));
        assert!(!Arc::ptr_eq(&first, &conditions.server("a", "http://x 2")));
        assert!(!Arc::ptr_eq(&first, &conditions.server("b", "http://x 1")));
        conditions.forget_unused();
        assert_eq!(conditions.servers.0.lock().len(), 1, "the first is held");
        drop(first);
        conditions.forget_unused();
        assert!(conditions.servers.0.lock().is_empty());
    }
}
