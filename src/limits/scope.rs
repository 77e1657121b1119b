//! A scope: what limits are counted for.
//!
//! Owns its name, its place in the order of locks, its lock, and its permits. Does not handle what is counted behind
//! the lock (see `counts`), several scopes at once (see `admission`), or which scopes there are (see `registry`).
//! Cannot fail.

use std::cmp::Ordering as Order;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::balance::{QuotaUsage, Reached};
use super::counts::Counts;
use super::demand::{Demand, Now};
use super::due::Due;
use super::kind::LimitKind;
use super::pace::Pace;
use super::report::{Grant, NodeUsage, Report};
use super::share::Asking;
use super::shares::Urgency;
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

/// The queue of scopes that are to be reported to the store that several nodes share.
pub type DueScopes = Due<Scope>;

/// A scope is reported for so long after it was used last.
const IN_USE_NANOS: u64 = 5_000_000_000;

/// A scope and all that is counted for it. Kept by name from one snapshot to the next.
pub struct Scope {
    name: ScopeName,
    /// Unique in the process: the order of names, then that of creation. A number is compared faster than a name.
    rank: (u8, u64),
    /// Requests that have a permit. Changes upward only behind the lock.
    in_flight: AtomicU32,
    counts: Mutex<Counts>,
    /// Where it is reported to the store that several nodes share; `None` on one node.
    due: Option<Arc<DueScopes>>,
    /// Whether it is among those that are reported.
    is_listed: AtomicBool,
    /// Whether it is to be reported at once.
    is_hurried: AtomicBool,
    /// Apart from the counts: it is asked for each piece of a stream.
    pace: Mutex<Option<Pace>>,
}

impl Scope {
    /// A scope without rules.
    pub(super) fn new(name: ScopeName, due: Option<Arc<DueScopes>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let rank = (name.level(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self {
            name,
            rank,
            in_flight: AtomicU32::new(0),
            counts: Mutex::new(Counts::new(due.is_some())),
            due,
            is_listed: AtomicBool::new(false),
            is_hurried: AtomicBool::new(false),
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
        counts.begin_period(wall);
        counts.period()
    }

    /// When the current period of its quota began, as [`period`](Self::period) tells it. `None` without a quota.
    pub fn current_period(&self) -> Option<i64> {
        self.lock().period()
    }

    /// Whether several nodes share it.
    pub fn is_shared(&self) -> bool {
        self.due.is_some()
    }

    /// Learns what each node has used of its quota in the period that began at `start`, where several nodes share it.
    /// Nothing if that period is over. What is told twice counts once.
    pub fn learn(self: &Arc<Self>, start: i64, nodes: &[NodeUsage]) {
        if let Some(due) = &self.due
            && self.lock().learn(start, nodes, due.node())
        {
            self.list();
        }
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

    /// Notes that it was used: the store that several nodes share is told of it, at once where more is needed soon.
    pub(super) fn note_use(self: &Arc<Self>, counts: &Counts) {
        let Some(due) = &self.due else {
            return;
        };
        self.list();
        if counts.shares.as_ref().is_some_and(|shares| shares.is_low()) && !self.hurries() {
            due.hurry(Arc::clone(self));
        }
    }

    /// Has it reported to the store until it is not in use any more.
    pub(super) fn list(self: &Arc<Self>) {
        if let Some(due) = &self.due
            && !self.is_listed.swap(true, Ordering::AcqRel)
        {
            due.list(Arc::clone(self));
        }
    }

    /// It is reported no more. To be looked at once more: it may have come into use in that moment.
    pub(super) fn unlist(&self) {
        self.is_listed.store(false, Ordering::Release);
    }

    /// Whether it hurries already. It does, after this.
    fn hurries(&self) -> bool {
        self.is_hurried.swap(true, Ordering::AcqRel)
    }

    /// What the store is told. `None` where nothing is shared.
    pub(super) fn report(&self, asking: Asking, now: Now) -> Option<Report> {
        self.is_hurried.store(false, Ordering::Release);
        self.lock().report(self.in_flight(), asking, now)
    }

    /// How soon the store is to be told of it, and when it was told last.
    pub(super) fn urgency(&self) -> (Urgency, u64) {
        let counts = self.lock();
        let shares = counts.shares.as_ref();
        let state = shares.map(|shares| (shares.urgency(), shares.reported_nanos()));
        let (urgency, reported_nanos) = state.unwrap_or((Urgency::Never, 0));
        match self.in_flight() {
            0 => (urgency, reported_nanos),
            _ => (urgency.max(Urgency::Later), reported_nanos),
        }
    }

    /// Whether it is to be reported further on.
    pub(super) fn is_in_use(&self, now: Now) -> bool {
        let (urgency, reported_nanos) = self.urgency();
        // One that was used a moment ago is asked for again soon.
        let is_fresh = now.nanos().saturating_sub(reported_nanos) < IN_USE_NANOS;
        urgency > Urgency::Never || is_fresh
    }

    /// Takes the answer to a report. Returns the thresholds that this process tells of.
    pub(super) fn grant(&self, report: &Report, grant: &Grant) -> SmallVec<[Reached; 2]> {
        let Some(due) = &self.due else {
            return SmallVec::new();
        };
        self.lock().grant(report, grant, due.node())
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
