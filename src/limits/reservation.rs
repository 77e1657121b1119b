//! What a request has reserved, until it is settled and dropped.
//!
//! Owns that tokens, money and permits come back on every way out. Does not handle admission (see `admission`), or who
//! settles (see `gateway::settle`). Cannot fail.

use std::sync::Arc;

use smallvec::SmallVec;

use super::balance::Reached;
use super::counts::Taken;
use super::demand::{Demand, Now};
use super::kind::LimitKind;
use super::pacer::Pacer;
use super::scope::{Scope, ScopeName};
use super::standing::Standing;

/// What a request has reserved in its scopes. Dropped, it gives back everything but the request itself: the permits,
/// and the tokens and the money that were not settled.
#[derive(Debug)]
pub struct Reservation {
    held: Vec<Held>,
    demand: Demand,
    is_settled: bool,
    has_permits: bool,
}

#[derive(Clone, Debug)]
struct Held {
    scope: Arc<Scope>,
    taken: Taken,
    /// Whether there is something to settle.
    counts_usage: bool,
}

/// When the periods of quotas began that something is counted in, in seconds since the Unix epoch; 0 for a quota whose
/// period does not end. `None` for no quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Periods {
    /// Of the tenant's quota.
    pub tenant: Option<i64>,
    /// Of the quota of the tenant's key.
    pub key: Option<i64>,
}

/// What a settlement has changed.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// The thresholds that it reached, each of which is told once in a period.
    pub crossed: SmallVec<[Crossed; 2]>,
    /// Whether a quota has nothing left.
    pub exhausted: bool,
    /// The periods that it was counted in, or would have been if they had not ended.
    pub periods: Periods,
}

/// A threshold of a quota that was reached.
#[derive(Clone, Debug)]
pub struct Crossed {
    /// Whose quota it is.
    pub scope: Arc<Scope>,
    /// Tokens or money.
    pub kind: LimitKind,
    /// The threshold: one of `warn_at`, or 100.
    pub percent: u8,
    /// What is spent, in tokens or nano-dollars.
    pub spent: u64,
    /// The quota, in the same unit.
    pub limit: u64,
}

impl Reservation {
    /// Nothing yet.
    pub(super) fn new(scopes: usize, demand: Demand) -> Self {
        Self {
            held: Vec::with_capacity(scopes),
            demand,
            is_settled: false,
            has_permits: true,
        }
    }

    /// Adds what was reserved in one scope.
    pub(super) fn hold(&mut self, scope: &Arc<Scope>, taken: Taken, counts_usage: bool) {
        self.held.push(Held {
            scope: Arc::clone(scope),
            taken,
            counts_usage,
        });
    }

    /// Puts what was really used in the place of what was reserved: less is given back, more stands as a debt, and
    /// later requests wait for it. It counts in the period in which it was reserved. A second settlement changes
    /// nothing. The permits stay.
    pub fn settle(&mut self, tokens: u64, nanos: u64, now: Now) -> Settled {
        let mut settled = Settled {
            periods: self.periods(),
            ..Settled::default()
        };
        if std::mem::replace(&mut self.is_settled, true) {
            return settled;
        }
        let (reserved, used) = (self.demand, Demand { tokens, nanos });
        for held in self.held.iter().filter(|held| held.counts_usage) {
            let mut counts = held.scope.lock();
            counts.begin(now);
            counts.give_back(&held.taken, reserved);
            let reached = counts.spend(&held.taken, used);
            settled.exhausted |= counts.is_exhausted();
            held.scope.list();
            settled.add(&held.scope, reached);
        }
        settled
    }

    /// Counts what was used beyond the reservation, such as by one message of a WebSocket: now, in the current period.
    pub fn charge(&self, tokens: u64, nanos: u64, now: Now) -> Settled {
        let mut settled = Settled::default();
        let used = Demand { tokens, nanos };
        for held in &self.held {
            let mut counts = held.scope.lock();
            counts.begin(now);
            let reached = counts.charge(used);
            settled.exhausted |= counts.is_exhausted();
            settled.periods.note(held.scope.name(), counts.period());
            held.scope.list();
            settled.add(&held.scope, reached);
        }
        settled
    }

    /// Nothing, in the same scopes but those of rules, without a permit: what the gateway uses for this request beside
    /// it is settled with it.
    pub fn beside(&self) -> Self {
        let held = self.held.iter();
        let held = held.filter(|held| !matches!(held.scope.name(), ScopeName::Rule(_)));
        Self {
            held: held.cloned().collect(),
            demand: Demand::default(),
            is_settled: false,
            has_permits: false,
        }
    }

    /// How the rates of the tenant and its key stand. `None` if they have none.
    pub fn standing(&self, now: Now) -> Option<Standing> {
        let mut standing = Standing::default();
        for held in self.held.iter().filter(|held| held.scope.name().is_told()) {
            let mut counts = held.scope.lock();
            counts.begin(now);
            counts.add_standing(&mut standing);
        }
        standing.told()
    }

    /// The periods in which it was reserved.
    pub fn periods(&self) -> Periods {
        let mut periods = Periods::default();
        for held in &self.held {
            periods.note(held.scope.name(), held.taken.period());
        }
        periods
    }

    /// What slows its stream down. `None` if nothing does.
    pub fn pacer(&self) -> Option<Pacer> {
        Pacer::of(self.held.iter().map(|held| &held.scope))
    }

    /// Gives the permits back before it is dropped.
    pub fn release(&mut self) {
        if std::mem::replace(&mut self.has_permits, false) {
            for held in &self.held {
                held.scope.give_back_permit();
                held.scope.list();
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_settled {
            for held in self.held.iter().filter(|held| held.counts_usage) {
                held.scope.lock().give_back(&held.taken, self.demand);
            }
        }
        self.release();
    }
}

impl Periods {
    /// Notes the period of a scope.
    fn note(&mut self, of: &ScopeName, period: Option<i64>) {
        match of {
            ScopeName::Tenant(_) => self.tenant = period,
            ScopeName::Key { .. } => self.key = period,
            _ => {}
        }
    }
}

impl Settled {
    /// Thresholds that were reached, as the store says that several nodes share.
    pub(super) fn reached(scope: &Arc<Scope>, reached: SmallVec<[Reached; 2]>) -> Self {
        let mut settled = Self::default();
        settled.add(scope, reached);
        settled
    }

    fn add(&mut self, scope: &Arc<Scope>, reached: SmallVec<[Reached; 2]>) {
        self.crossed
            .extend(reached.into_iter().map(|reached| Crossed {
                scope: Arc::clone(scope),
                kind: reached.kind,
                percent: reached.percent,
                spent: reached.spent,
                limit: reached.limit,
            }));
    }
}
