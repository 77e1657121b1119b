//! Putting tenants and keys in force that were made at run time.
//!
//! Owns the order: a reload of the file and a change of keys each take their turn, so that neither puts an earlier
//! state of the other in force. That turn is short, and no part of it waits for an upstream's name or another process:
//! a key that is revoked is refused at once, whatever else the process does. Changes that come together are put in
//! force together. Does not handle what is known (see the engine `managed`). What cannot be known of a quota is tried
//! again (see `server::managed`).

use std::sync::Arc;

use super::keys::{InForce, Keys, NoKeys};
use super::{Accounts, Joined, Runtime, Shared};
use crate::clock;
use crate::config::Config;
use crate::limits::Sharing;
use crate::managed::{Actor, Change, Outcome, Refused};

/// Puts a snapshot in force that was built from a file alone.
fn replace(keys: &Keys, shared: &Shared, runtime: &Runtime, config: Config) {
    let mut in_force = keys.in_force.lock();
    in_force.config = Arc::new(config);
    let next = join(keys, shared, runtime, &mut in_force);
    shared.swap(next);
}

/// Puts in force what has changed of tenants and keys. Whether what quotas have been used of is known.
fn follow(keys: &Keys, shared: &Shared) -> bool {
    let mut in_force = keys.in_force.lock();
    let known = (keys.managed().is_loaded()).then(|| keys.managed().set().version());
    let is_same = known.is_some() && in_force.version == known;
    if !is_same {
        let current = shared.pin();
        let next = join(keys, shared, &current, &mut in_force);
        shared.swap_callers(next);
    }
    drop(in_force);
    // Not before: a key that is revoked does not wait for the ledger.
    load_balances(shared);
    has_balances(shared)
}

fn join(keys: &Keys, shared: &Shared, runtime: &Runtime, in_force: &mut InForce) -> Runtime {
    let set = keys.managed().set();
    let is_loaded = keys.managed().is_loaded();
    let joined = Joined::with(&in_force.config, &set);
    for line in &joined.left_out {
        if !in_force.left_out.contains(line) {
            log::warn!("{line}");
        }
    }
    let next = runtime.for_callers(
        (&in_force.config, &joined),
        !is_loaded,
        &shared.limits,
        &shared.callers,
    );
    in_force.left_out = joined.left_out;
    in_force.version = is_loaded.then(|| set.version());
    next
}

/// Whether each quota knows what it has been used of.
fn has_balances(shared: &Shared) -> bool {
    let runtime = shared.pin();
    let mut quotas = runtime.metering.quotas();
    shared.accounts().is_none() || !quotas.any(|scope| scope.needs_balance())
}

/// Gives new quotas what they have been used of, where that can be read.
fn load_balances(shared: &Shared) {
    let runtime = shared.pin();
    let mut quotas = runtime.metering.quotas();
    let Some(accounts) = shared.accounts() else {
        return;
    };
    // At the start, all of them are loaded at once.
    if accounts.has_balances() && quotas.any(|scope| scope.needs_balance()) {
        match accounts.read_balances(&runtime.metering) {
            Some(balances) => balances.load(&runtime),
            None => log::warn!(
                "what new quotas have been used of cannot be read from the ledger; it is tried again"
            ),
        }
    }
}

impl Shared {
    /// Tenants and keys that are made at run time; `None` where there is no place for them.
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.get()
    }

    /// Makes tenants and keys at run time from now on. Only the first call counts.
    pub fn make_keys_in(&self, keys: Keys) {
        let _ = self.keys.set(keys);
    }

    /// Puts another configuration in force, for requests that come from now on: the snapshot that was built from it,
    /// and what was made at run time. Blocks.
    pub fn put_in_force(&self, runtime: Runtime, config: Config) {
        match self.keys() {
            Some(keys) => replace(keys, self, &runtime, config),
            None => self.swap(runtime),
        }
    }

    /// Puts in force what has changed of tenants and keys. Blocks. Whether what their quotas have been used of is
    /// known.
    pub fn follow_keys(&self) -> bool {
        self.keys().is_none_or(|keys| follow(keys, self))
    }

    /// Tries again to learn what quotas have been used of. Blocks. Whether it is known.
    pub fn load_new_balances(&self) -> bool {
        load_balances(self);
        has_balances(self)
    }

    /// Changes a tenant or a key. It is in force here when this returns. Blocks.
    ///
    /// # Errors
    /// There is no place for them, or why nothing has changed.
    pub fn change_keys(
        &self,
        change: &Change,
        actor: &Actor,
    ) -> Result<Result<Outcome, Refused>, NoKeys> {
        let keys = self.keys().ok_or(NoKeys)?;
        let config = keys.config();
        let outcome = keys.managed().change(change, actor, &config);
        follow(keys, self);
        Ok(outcome)
    }

    /// What is wrong with the ledger, with limits that several nodes share, or with keys, for `/health`.
    pub fn trouble(&self) -> Option<&'static str> {
        let of_keys = || self.keys().and_then(|keys| keys.managed().trouble());
        let of_limits = || self.sharing.as_ref().and_then(Sharing::trouble);
        let accounts = self.accounts().and_then(Accounts::trouble);
        accounts.or_else(of_limits).or_else(of_keys)
    }

    /// Puts the snapshot of another configuration in force.
    fn swap(&self, runtime: Runtime) {
        self.replace(runtime);
    }

    /// Puts a snapshot in force that differs in its callers alone.
    fn swap_callers(&self, runtime: Runtime) {
        self.replace_callers(runtime);
        self.limits.forget_unused();
        self.callers.forget_unused(clock::now_unix_seconds());
    }
}

#[cfg(test)]
mod tests;
