//! The ledger as requests use it.
//!
//! Owns what follows where nothing can be recorded, loading the balances of quotas at the start, and counting what
//! other processes with the same ledger use of them. Does not
//! handle the records themselves (see `gateway::facts`), nor how they are kept (see `ledger`). A record that
//! fails is counted and logged; the ledger says so once a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use rustc_hash::FxHashMap;

use super::{Metering, Runtime};
use crate::config::OnFailure;
use crate::ledger::{Balance, Elsewhere, Health, Ledger, Record};
use crate::limits::{Demand, NodeUsage, Now, Scope, ScopeName};
use crate::observe::recording::{Measured, Recording};

/// The ledger, and what follows where it fails.
pub struct Accounts {
    ledger: Arc<Ledger>,
    on_failure: OnFailure,
    metrics: Recording,
    /// Whether what quotas have been used of is known.
    has_balances: AtomicBool,
}

impl Accounts {
    /// Takes a ledger that has started.
    pub fn new(ledger: Arc<Ledger>, on_failure: OnFailure, metrics: Recording) -> Self {
        Self {
            ledger,
            on_failure,
            metrics,
            has_balances: AtomicBool::new(false),
        }
    }

    /// Whether a request may be served: always while it can be recorded; else as the configuration says, and
    /// never where its tenant has a quota.
    pub fn admits(&self, has_quota: bool) -> bool {
        if has_quota && !self.has_balances.load(Ordering::Acquire) {
            return false;
        }
        let is_failing = self.ledger.is_failing();
        !is_failing || !has_quota && self.on_failure == OnFailure::Serve
    }

    /// Whether what quotas have been used of was known once; those that were new later may still need it.
    pub fn has_balances(&self) -> bool {
        self.has_balances.load(Ordering::Acquire)
    }

    /// Records what a request was and used.
    pub fn record(&self, record: &Record<'_>) {
        match self.ledger.record(record) {
            Ok(()) => self.metrics.recorded.inc(),
            Err(e) => {
                self.metrics.failed.inc();
                log::debug!("a usage record is lost: {e}");
            }
        }
    }

    /// How the ledger is.
    pub fn health(&self) -> Health {
        self.ledger.health()
    }

    /// Sets the gauges.
    pub fn measure(&self) {
        let Health {
            journal,
            lag,
            others,
            ..
        } = self.health();
        self.metrics.set(&Measured {
            is_failing: journal.is_failing,
            is_short_of_room: journal.is_short_of_room,
            journal_bytes: journal.bytes,
            lag_seconds: lag.age.as_secs_f64(),
            lag_bytes: lag.bytes,
            journals_in_use: others.in_use,
            journals_waiting: others.waiting,
        });
    }

    /// What is wrong with the ledger, for `/health`.
    pub fn trouble(&self) -> Option<&'static str> {
        let Health {
            journal,
            not_loading,
            ..
        } = self.health();
        match (journal.is_failing, journal.is_short_of_room, not_loading) {
            (true, ..) => Some("usage cannot be recorded"),
            (_, true, _) => Some("the ledger has no room for another segment of its journal"),
            (.., Some(_)) => Some("usage cannot be loaded into the ledger's database"),
            _ => None,
        }
    }

    /// The ledger itself.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Tries once to load what quotas have been used of. Blocks. Tells whether that is known now.
    pub fn load_balances(&self, runtime: &Runtime) -> bool {
        let Some(balances) = self.read_balances(&runtime.metering) else {
            return false;
        };
        balances.load(runtime);
        // Another process may have recorded much that its database does not have.
        while self.count_elsewhere(runtime) {}
        self.has_balances.store(true, Ordering::Release);
        true
    }

    /// Reads what quotas have been used of whose balance is not known. Blocks. `None` while it cannot be known.
    pub fn read_balances(&self, metering: &Metering) -> Option<Balances> {
        let now = Now::read().wall;
        let mut starts: Vec<i64> = waiting(metering, now).map(|(_, start)| start).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut sums = self.ledger.balances(&starts, now.as_second())?;
        sums.sort_unstable_by(|one, other| key(one).cmp(&key(other)));
        Some(Balances { now, sums })
    }

    /// Counts what other processes with the same ledger have used of quotas since the last call: while one takes over
    /// from another, both serve. Nothing before balances are loaded. Blocks. Returns whether there is more at once.
    pub fn count_elsewhere(&self, runtime: &Runtime) -> bool {
        let Elsewhere { used, is_more } = self.ledger.used_elsewhere();
        if used.is_empty() {
            return is_more;
        }
        let wall = Now::read().wall;
        let quotas = runtime.metering.quotas();
        let scopes = quotas.filter_map(|scope| Some((owner(scope)?, scope)));
        let scopes: FxHashMap<(&str, &str), &Arc<Scope>> = scopes.collect();
        for used in used {
            if let Some(scope) = scopes.get(&(used.tenant.as_str(), used.key.as_str())) {
                scope.spend_elsewhere(used.period_start, used.tokens, used.charge_nanos, wall);
            }
        }
        is_more
    }

    /// Learns what nodes have used of quotas that they share, as the ledger knows by now: a node that has ended may
    /// not have told the store. Nothing before balances are loaded. Blocks.
    pub fn learn_used(&self, runtime: &Runtime) {
        if !self.has_balances.load(Ordering::Acquire) {
            return;
        }
        let now = Now::read().wall;
        let quotas = runtime.metering.quotas();
        let periods = quotas.filter_map(|scope| Some((scope, scope.current_period()?)));
        let periods: Vec<(&Arc<Scope>, i64)> = periods.collect();
        let mut starts: Vec<i64> = periods.iter().map(|(_, start)| *start).collect();
        starts.sort_unstable();
        starts.dedup();
        let Some(mut sums) = self.ledger.balances(&starts, now.as_second()) else {
            return;
        };
        sums.sort_unstable_by(|one, other| key(one).cmp(&key(other)));
        for (scope, start) in periods {
            let Some((tenant, of_key)) = owner(scope) else {
                continue;
            };
            let of = (tenant, of_key, start);
            let from = sums.partition_point(|b| key(b) < of);
            let behind = sums.iter().skip(from);
            let of_period = behind.take_while(|b| key(b) == of);
            let of_period: Vec<&Balance> = of_period.collect();
            scope.learn(start, &nodes(&of_period));
        }
    }

    /// Whether processes with the same ledger have recorded beside this one when it was last looked.
    pub fn is_beside_others(&self) -> bool {
        self.health().others.in_use > 0
    }
}

/// What quotas have been used of, as it was read.
pub struct Balances {
    now: Timestamp,
    /// By tenant, key and period.
    sums: Vec<Balance>,
}

impl Balances {
    /// Gives each quota whose balance is not known what it has been used of.
    pub fn load(&self, runtime: &Runtime) {
        for (scope, start) in waiting(&runtime.metering, self.now) {
            let Some((tenant, of_key)) = owner(scope) else {
                continue;
            };
            let of = (tenant, of_key, start);
            let from = self.sums.partition_point(|b| key(b) < of);
            let behind = self.sums.iter().skip(from);
            let of_owner = behind.take_while(|b| b.tenant == tenant && b.key == of_key);
            let of_owner: Vec<&Balance> = of_owner.collect();
            // Each node has its own.
            for period in of_owner.chunk_by(|one, next| one.period_start == next.period_start) {
                let begun = period.first().map_or(0, |b| b.period_start);
                let sum = |amount: fn(&Balance) -> u64| {
                    let amounts = period.iter().map(|b| amount(b));
                    amounts.fold(0, u64::saturating_add)
                };
                let (tokens, nanos) = (sum(|b| b.tokens), sum(|b| b.charge_nanos));
                match begun == start {
                    true if scope.is_shared() => scope.learn(start, &nodes(period)),
                    true => drop(scope.load(start, tokens, nanos)),
                    false if begun > self.now.as_second() => {
                        scope.load_later(begun, tokens, nanos);
                    }
                    false => {}
                }
            }
            // What nothing is known of is not used.
            scope.load(start, 0, 0);
        }
    }
}

/// What each node has used.
fn nodes(balances: &[&Balance]) -> Vec<NodeUsage> {
    let nodes = balances.iter().map(|balance| NodeUsage {
        node: balance.node.as_str().into(),
        used: Demand {
            tokens: balance.tokens,
            nanos: balance.charge_nanos,
        },
    });
    nodes.collect()
}

/// The scopes whose balance is not known, each with the beginning of its period.
fn waiting(metering: &Metering, now: Timestamp) -> impl Iterator<Item = (&Arc<Scope>, i64)> {
    let waiting = metering.quotas().filter(|scope| scope.needs_balance());
    waiting.filter_map(move |scope| Some((scope, scope.period(now)?)))
}

/// The tenant and the key whose quota a scope has, as a balance names them; `None` where it can have none.
fn owner(scope: &Scope) -> Option<(&str, &str)> {
    match scope.name() {
        ScopeName::Tenant(tenant) => Some((tenant, "")),
        ScopeName::Key { tenant, key } => Some((tenant, key)),
        ScopeName::Gateway | ScopeName::Rule(_) | ScopeName::Subject { .. } => None,
    }
}

fn key(balance: &Balance) -> (&str, &str, i64) {
    (&balance.tenant, &balance.key, balance.period_start)
}
