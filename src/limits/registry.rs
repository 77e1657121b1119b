//! All scopes by name, from one snapshot to the next.
//!
//! Owns that the same name is the same scope. What no snapshot and no request holds any more is forgotten, so that as
//! much is kept as the operator has written. Does not handle what a scope counts (see `scope`). Cannot fail.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;

use super::scope::{DueScopes, Scope, ScopeName};
use super::subjects::Subjects;
use crate::config::{Quota, RateLimits};

/// All scopes.
#[derive(Debug, Default)]
pub struct Limits {
    scopes: Mutex<HashSet<ByName>>,
    subjects: Subjects,
    due: Option<Arc<DueScopes>>,
}

/// A scope that is found by the name that it has, so that no name is kept twice.
#[derive(Debug)]
struct ByName(Arc<Scope>);

/// What one scope takes in the set: itself, and a byte of the set's own.
#[cfg(test)]
pub(super) const ENTRY_BYTES: usize = size_of::<ByName>() + 1;

impl Limits {
    /// No scopes.
    pub fn new() -> Self {
        Self::default()
    }

    /// No scopes, of limits that several nodes share.
    pub fn shared(due: Arc<DueScopes>) -> Self {
        Self {
            due: Some(due),
            ..Self::default()
        }
    }

    /// What connects them with the store that several nodes share; `None` on one node.
    pub fn due(&self) -> Option<&Arc<DueScopes>> {
        self.due.as_ref()
    }

    /// The scope with this name, under these rules from now on: for requests of an earlier snapshot, too. What was
    /// counted stays where a rate has the same window and algorithm, and a quota the same periods.
    pub fn scope(
        &self,
        name: ScopeName,
        rates: Option<&RateLimits>,
        quota: Option<&Quota>,
    ) -> Arc<Scope> {
        let scope = {
            let mut scopes = self.scopes.lock();
            if let Some(known) = scopes.get(&name) {
                Arc::clone(&known.0)
            } else {
                let scope = Arc::new(Scope::new(name, self.due.clone()));
                scopes.insert(ByName(Arc::clone(&scope)));
                scope
            }
        };
        scope.change_rules(rates, quota);
        scope
    }

    /// The scope with this name, if there is one.
    pub fn find(&self, name: &ScopeName) -> Option<Arc<Scope>> {
        let scopes = self.scopes.lock();
        scopes.get(name).map(|known| Arc::clone(&known.0))
    }

    /// The scope of a caller whose credential brings these rates.
    pub fn subject(&self, name: ScopeName, rates: &RateLimits) -> Arc<Scope> {
        self.subjects.of(name, rates, self.due.as_ref())
    }

    /// Forgets what no snapshot and no request holds.
    pub fn forget_unused(&self) {
        let mut scopes = self.scopes.lock();
        scopes.retain(|scope| Arc::strong_count(&scope.0) > 1);
        scopes.shrink_to_fit();
    }

    /// How many scopes there are.
    pub fn len(&self) -> usize {
        self.scopes.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.scopes.lock().is_empty()
    }
}

impl Borrow<ScopeName> for ByName {
    fn borrow(&self) -> &ScopeName {
        self.0.name()
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for ByName {}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name().hash(state);
    }
}
