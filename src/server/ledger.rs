//! Starting and ending the ledger with the process.
//!
//! Owns the order: balances are known before the first request where that is possible, and the last records are
//! loaded after the last request; a reload follows between them. Owns how often what other processes use is counted,
//! too. Does not handle the ledger itself (see `ledger`). Fails where nothing can be
//! recorded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use crate::config::{Config, Quota};
pub use crate::ledger::Start;
use crate::ledger::{Ledger, WebhookPlan};
use crate::limits::Limits;
use crate::runtime::{Accounts, Balances, Metering, Runtime, Shared};

/// The time that remains to load the last records.
const LOAD: Duration = Duration::from_secs(5);
/// How long after a failure the balances are asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often it is counted what other processes with the same ledger use: while there are some, and while there are
/// none.
const COUNT_OFTEN: Duration = Duration::from_millis(100);
const COUNT_SELDOM: Duration = Duration::from_secs(1);
/// How often the ledger is asked what nodes have used of quotas that they share.
const LEARN: Duration = Duration::from_secs(10);

/// Starts the ledger that a configuration asks for.
///
/// # Errors
/// Nothing can be recorded.
pub async fn start(config: &Config, shared: &Arc<Shared>, start: Start) -> Result<(), StartError> {
    let Some(wanted) = config.ledger.clone() else {
        return Ok(());
    };
    let (path, on_failure) = (wanted.path.value.clone(), wanted.on_failure);
    let plan = WebhookPlan::of(config);
    let counts = shared.metrics.webhooks.clone();
    let starting = move || Ledger::start(&wanted, &plan, counts, start);
    let started = tokio::task::spawn_blocking(starting).await;
    let started = started.map_err(|e| StartError::Internal(e.to_string()))?;
    let ledger = started.map_err(StartError::Ledger)?;
    if let Some(due) = shared.limits.due() {
        due.record_as(ledger.node());
    }
    let metrics = shared.metrics.recording().clone();
    shared.record_in(Accounts::new(ledger, on_failure, metrics));
    let runtime = shared.pin();
    let accounts = Arc::clone(shared);
    let loaded = tokio::task::spawn_blocking(move || {
        accounts
            .accounts()
            .is_some_and(|a| a.load_balances(&runtime))
    });
    if !loaded.await.unwrap_or(false) {
        tokio::spawn(load_balances(Arc::clone(shared)));
    }
    tokio::spawn(count_elsewhere(Arc::clone(shared)));
    log::info!("usage is recorded in {}", path.display());
    Ok(())
}

/// What of the ledger a reload needs, prepared before anything changes.
pub struct Prepared(Option<Balances>);

/// Prepares the ledger for a new configuration: what its new quotas have been used of is read, and webhooks are told by
/// its plan from now on. Blocks.
///
/// # Errors
/// What cannot be done, for the operator.
pub fn prepare(config: &Config, before: &Config, shared: &Shared) -> Result<Prepared, String> {
    let Some(accounts) = shared.accounts() else {
        return Ok(Prepared(None));
    };
    let balances = match has_new_quotas(config, before) {
        // Limits that nothing counts in: those in force change with the snapshot alone.
        true => {
            let read = accounts.read_balances(&Metering::new(config, &Limits::new()));
            Some(read.ok_or(
                "what new quotas have been used of cannot be read from the ledger: its database is away, or is \
                 still being loaded",
            )?)
        }
        false => None,
    };
    let planned = accounts.ledger().change_webhooks(&WebhookPlan::of(config));
    planned.map_err(|e| format!("the outbox of the webhooks cannot be written: {e}"))?;
    Ok(Prepared(balances))
}

impl Prepared {
    /// Gives new quotas their balances.
    pub fn load(&self, runtime: &Runtime) {
        if let Some(balances) = &self.0 {
            balances.load(runtime);
        }
    }
}

/// Whether a tenant or a key has a quota whose periods it did not have before.
fn has_new_quotas(config: &Config, before: &Config) -> bool {
    let before: HashMap<(&str, Option<String>), &Quota> = quotas(before).collect();
    quotas(config).any(|(of, quota)| {
        let known = before.get(&of);
        known.is_none_or(|known| known.per != quota.per || known.timezone != quota.timezone)
    })
}

/// Each quota, by the id of its tenant, and the name of its key where it is the quota of one.
fn quotas(config: &Config) -> impl Iterator<Item = ((&str, Option<String>), &Quota)> {
    config.tenants.iter().flat_map(|tenant| {
        let id = tenant.id.value.as_str();
        let own = tenant
            .quota
            .iter()
            .map(move |quota| ((id, None), &quota.value));
        let of_keys = tenant.keys.iter().filter_map(move |key| {
            let quota = &key.quota.as_ref()?.value;
            Some(((id, Some(key.shown())), quota))
        });
        own.chain(of_keys)
    })
}

/// Lets a process that takes over do what only one process may.
pub fn hand_over(shared: &Shared) {
    if let Some(accounts) = shared.accounts() {
        accounts.ledger().hand_over();
    }
}

/// Waits until all usage is in the database, for at most `LOAD`. What is not is loaded after the next start.
pub async fn close(shared: &Shared) {
    let Some(accounts) = shared.accounts() else {
        return;
    };
    let ledger = Arc::clone(accounts.ledger());
    let stopped = tokio::task::spawn_blocking(move || ledger.stop(LOAD)).await;
    if !matches!(stopped, Ok(true)) {
        log::warn!("ledger: some usage is in the journal alone; it is loaded after the next start");
    }
}

/// Loads what quotas have been used of, as soon as the database is there.
async fn load_balances(shared: Arc<Shared>) {
    loop {
        let asking = Arc::clone(&shared);
        let loaded = tokio::task::spawn_blocking(move || {
            let accounts = asking.accounts();
            accounts.is_none_or(|accounts| accounts.load_balances(&asking.pin()))
        });
        if loaded.await.unwrap_or(false) {
            return;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Counts what other processes with the same ledger use of quotas, until the process ends.
async fn count_elsewhere(shared: Arc<Shared>) {
    loop {
        let counting = Arc::clone(&shared);
        let counted = tokio::task::spawn_blocking(move || {
            let Some(accounts) = counting.accounts() else {
                return COUNT_SELDOM;
            };
            // Nodes that share quotas tell each other what they use.
            if counting.sharing.is_some() {
                accounts.learn_used(&counting.pin());
                return LEARN;
            }
            match accounts.count_elsewhere(&counting.pin()) {
                true => Duration::ZERO,
                false if accounts.is_beside_others() => COUNT_OFTEN,
                false => COUNT_SELDOM,
            }
        });
        tokio::time::sleep(counted.await.unwrap_or(COUNT_SELDOM)).await;
    }
}
