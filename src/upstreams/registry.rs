//! All that has been learnt of servers, keys and targets, from one snapshot to the next.
//!
//! Owns a [`Book`] for each kind of state, and the names under which they stand. Does not handle what
//! is learnt (see `pool`, `cooldown`, `breaker` and `concurrency`). Cannot fail.

use std::sync::Arc;

use super::book::Book;
use super::breaker::Breaker;
use super::budget::Budget;
use super::concurrency::Concurrency;
use super::cooldown::KeyState;
use super::pool::ServerState;
use super::speed::Speed;
use crate::config;

/// What has been learnt of a target.
#[derive(Debug, Default)]
pub struct TargetState {
    /// Whether it is asked.
    pub breaker: Breaker,
    /// How fast it answers.
    pub speed: Speed,
}

/// The states of everything that is named.
#[derive(Debug, Default)]
pub struct Registry {
    pub(super) servers: Book<ServerState>,
    pub(super) keys: Book<KeyState>,
    targets: Book<TargetState>,
    concurrency: Book<Concurrency>,
    budgets: Book<Budget>,
}

impl Registry {
    /// The permits of an upstream. Other bounds are counted anew.
    pub(super) fn concurrency(
        &self,
        upstream: &str,
        bounds: config::Concurrency,
    ) -> Arc<Concurrency> {
        self.concurrency.of(format!("{upstream}\n{bounds:?}"), || {
            Concurrency::new(bounds)
        })
    }

    /// What an upstream may be asked again.
    pub(super) fn budget(&self, upstream: &str) -> Arc<Budget> {
        self.budgets.of(upstream.to_owned(), Budget::default)
    }

    /// The state of a target: an upstream asked for a model on behalf of a rule.
    pub fn target(&self, rule: &str, upstream: &str, model: Option<&str>) -> Arc<TargetState> {
        let model = model.unwrap_or_default();
        self.targets
            .of(format!("{rule}\n{upstream}\n{model}"), TargetState::default)
    }

    /// Forgets what no snapshot names.
    pub fn forget_unused(&self) {
        self.servers.forget_unused();
        self.keys.forget_unused();
        self.targets.forget_unused();
        self.concurrency.forget_unused();
        self.budgets.forget_unused();
    }
}
