//! A scope: what limits are counted for.
//!
//! Owns its name, its place in the order of locks, its lock, and its permits. Does not handle what is counted behind
//! the lock (see `counts`), several scopes at once (see `admission`), or which scopes there are (see `registry`).
//! Cannot fail.

use std::cmp::Ordering as Order;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};

use super::balance::QuotaUsage;
use super::counts::Counts;
use super::demand::{Demand, Now};
use super::kind::LimitKind;
use super::pace::Pace;
use crate::config::{Quota, RateLimits};

/// What limits are counted for. Locks are taken in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeName {
    /// The whole gateway.
    Gateway,
    /// A model rule, by its label.
    Rule(String),
    /// A tenant, by its id.
    Tenant(String),
    /// A key of a tenant.
    Key {
        /// The tenant's id.
        tenant: String,
        /// The key's name.
        key: String,
    },
    /// A subject of an issuer's tokens, with limits of its own.
    Subject {
        /// The tenant's id.
        tenant: String,
        /// The issuer.
        issuer: String,
        /// The subject.
        subject: String,
    },
}

impl ScopeName {
    /// What it is the name of: `gateway`, `rule`, `tenant`, `key` or `subject`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Rule(_) => "rule",
            Self::Tenant(_) => "tenant",
            Self::Key { .. } => "key",
            Self::Subject { .. } => "subject",
        }
    }

    fn level(&self) -> u8 {
        match self {
            Self::Gateway => 0,
            Self::Rule(_) => 1,
            Self::Tenant(_) => 2,
            Self::Key { .. } => 3,
            Self::Subject { .. } => 4,
        }
    }

    /// Whether its rates are told in the headers of an answer.
    pub(super) fn is_told(&self) -> bool {
        matches!(
            self,
            Self::Tenant(_) | Self::Key { .. } | Self::Subject { .. }
        )
    }
}

/// For messages to the operator: tenant `a`.
impl fmt::Display for ScopeName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => write!(out, "the gateway"),
            Self::Rule(rule) => write!(out, "model rule `{rule}`"),
            Self::Tenant(tenant) => write!(out, "tenant `{tenant}`"),
            Self::Key { tenant, key } => write!(out, "key `{key}` of tenant `{tenant}`"),
            Self::Subject { tenant, issuer, .. } => {
                write!(out, "a subject of issuer `{issuer}` of tenant `{tenant}`")
            }
        }
    }
}

/// A scope and all that is counted for it. Kept by name from one snapshot to the next.
pub struct Scope {
    name: ScopeName,
    /// Unique in the process: the order of names, then that of creation. A number is compared faster than a name.
    rank: (u8, u64),
    /// Requests that have a permit. Changes upward only behind the lock.
    in_flight: AtomicU32,
    counts: Mutex<Counts>,
    /// Apart from the counts: it is asked for each piece of a stream.
    pace: Mutex<Option<Pace>>,
}

impl Scope {
    /// A scope without rules.
    pub(super) fn new(name: ScopeName) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let rank = (name.level(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self {
            name,
            rank,
            in_flight: AtomicU32::new(0),
            counts: Mutex::default(),
            pace: Mutex::new(None),
        }
    }

    /// Goes on under new rules.
    pub(super) fn change_rules(&self, rates: Option<&RateLimits>, quota: Option<&Quota>) {
        self.lock().change_rules(rates, quota);
        let limit = rates.and_then(|rates| rates.stream_tokens_per_minute);
        let mut pace = self.pace.lock();
        *pace = limit.map(|limit| match pace.take() {
            Some(old) => old.under(limit),
            None => Pace::new(limit),
        });
    }

    /// What it is the scope of.
    pub fn name(&self) -> &ScopeName {
        &self.name
    }

    /// Requests that have a permit now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it has a quota for which [`load`](Self::load) has not been called.
    pub fn needs_balance(&self) -> bool {
        let counts = self.lock();
        counts.balance.as_ref().is_some_and(|b| b.is_unloaded())
    }

    /// When the period of its quota began that `wall` is in, in seconds since the Unix epoch; 0 for a period that does
    /// not end. `None` without a quota. Begins that period, if it has not begun.
    pub fn period(&self, wall: Timestamp) -> Option<i64> {
        let mut counts = self.lock();
        let balance = counts.balance.as_mut()?;
        balance.begin(wall);
        Some(balance.term().start)
    }

    /// Adds what was spent in the period that began at `start` (see [`period`](Self::period)) before this process began
    /// to count: tokens and nano-dollars. Once: `false`, and nothing is added, if it was loaded already, if that
    /// period is not the current one, or if there is no quota.
    ///
    /// Thresholds that are reached by it count as told.
    pub fn load(&self, start: i64, tokens: u64, nanos: u64) -> bool {
        let mut counts = self.lock();
        let balance = counts.balance.as_mut();
        balance.is_some_and(|balance| balance.load(start, tokens, nanos))
    }

    /// Notes what was spent in a period that begins later than the current one, before this process began to count:
    /// the clock has been ahead of what it is now. It is spent when that period begins. Nothing without a quota.
    pub fn load_later(&self, start: i64, tokens: u64, nanos: u64) {
        if let Some(balance) = &mut self.lock().balance {
            balance.load_later(start, tokens, nanos);
        }
    }

    /// Counts what another process has spent of its quota in the period that began at `start`: tokens and nano-dollars.
    /// Nothing without a quota, or if that period is over. To be called after [`load`](Self::load).
    ///
    /// Thresholds that are reached by it count as told.
    pub fn spend_elsewhere(&self, start: i64, tokens: u64, nanos: u64, wall: Timestamp) {
        if let Some(balance) = &mut self.lock().balance {
            balance.spend_elsewhere(start, Demand { tokens, nanos }, wall);
        }
    }

    /// What is spent of its quota, as of the last request. `None` without a quota.
    pub fn quota_usage(&self) -> Option<QuotaUsage> {
        self.lock().balance.as_ref().map(|b| b.usage())
    }

    /// Every limit that is in force, quotas aside, by the name of its setting.
    pub fn limits(&self) -> Vec<(&'static str, u64)> {
        let pace = self.pace.lock().as_ref().map(Pace::limit);
        let counts = self.lock();
        let rates = counts.rates.iter();
        let rates = rates.map(|rate| (rate.kind.name(), rate.limit()));
        let concurrent = counts.concurrent.map(u64::from);
        rates
            .chain(concurrent.map(|limit| (LimitKind::Concurrent.name(), limit)))
            .chain(pace.map(|limit| ("stream_tokens_per_minute", limit)))
            .collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }

    /// The order in which locks are taken.
    pub(super) fn order(&self, other: &Self) -> Order {
        self.rank.cmp(&other.rank)
    }

    /// Takes a permit. The caller holds the lock and has checked that there is one.
    pub(super) fn take_permit(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a permit back.
    pub(super) fn give_back_permit(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether streams are slowed down.
    pub(super) fn has_pace(&self) -> bool {
        self.pace.lock().is_some()
    }

    /// How long tokens of a stream have to wait.
    pub(super) fn pace(&self, tokens: u64, now: Now) -> Duration {
        let mut pace = self.pace.lock();
        pace.as_mut()
            .map_or(Duration::ZERO, |pace| pace.take(tokens, now))
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scope")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
