//! One rate of a scope, by either algorithm.
//!
//! Owns the choice between them, what is set aside, and what changes when the rules do. Does not handle their
//! arithmetic (see `gcra` and `sliding`), or which rates are asked together (see `counts`). Cannot fail.
//!
//! A request counts when it is admitted. Its tokens are set aside then, for as long as it is in flight, and what it has
//! really used counts when it is settled. So a settlement never has to take back what time has already paid for.

use std::time::Duration;

use super::gcra::Gcra;
use super::kind::{IN_FLIGHT_RETRY, LimitKind};
use super::sliding::Sliding;
use super::standing::RateStanding;
use crate::config::Window;

/// A rate, what was counted against it, and what is set aside.
#[derive(Debug)]
pub(super) struct Rate {
    pub(super) kind: LimitKind,
    /// The revision of the rules with which it began: what was reserved before that was not set aside here.
    since: u32,
    /// Tokens that requests in flight have set aside. Time does not pay for them.
    reserved: u64,
    /// The units of a window; of all nodes, where several share it.
    limit: u64,
    /// Counts with an equal part of the limit while a node goes on alone.
    counter: Counter,
}

#[derive(Debug)]
enum Counter {
    Gcra(Gcra),
    Sliding(Sliding),
}

impl Rate {
    /// An unused rate, which begins with this revision of the rules.
    pub(super) fn new(kind: LimitKind, limit: u64, window: Window, revision: u32) -> Self {
        Self {
            kind,
            since: revision,
            reserved: 0,
            limit,
            counter: Counter::new(kind, limit, window),
        }
    }

    /// This rate under new rules. What was counted stays, unless the algorithm is another. What is set aside stays.
    pub(super) fn under(mut self, limit: u64, window: Window, now_nanos: u64) -> Self {
        match (&mut self.counter, window) {
            (Counter::Gcra(rate), Window::Gcra) => rate.change_limit(limit, now_nanos),
            (Counter::Sliding(rate), Window::Sliding) => rate.change_limit(limit),
            _ => self.counter = Counter::new(self.kind, limit, window),
        }
        self.limit = limit;
        self
    }

    /// The units of a window.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Counts with the part of the limit that one of so many nodes has. What was counted stays.
    pub(super) fn divide_by(&mut self, nodes: u64, now_nanos: u64) {
        let part = self.limit.div_ceil(nodes.max(1));
        match &mut self.counter {
            Counter::Gcra(rate) if rate.limit() != part => rate.change_limit(part, now_nanos),
            Counter::Sliding(rate) => rate.change_limit(part),
            Counter::Gcra(_) => {}
        }
    }

    /// Whether its window slides.
    pub(super) fn slides(&self) -> bool {
        matches!(self.counter, Counter::Sliding(_))
    }

    /// The units that time has not paid for.
    pub(super) fn backlog(&mut self, now_nanos: u64) -> f64 {
        match &mut self.counter {
            Counter::Gcra(rate) => rate.backlog_units(now_nanos),
            Counter::Sliding(rate) => rate.counted(now_nanos),
        }
    }

    /// Whether `units` fit beside what is counted and set aside. If not, how long until they may; `None` if they never
    /// do.
    pub(super) fn check(&mut self, units: u64, now_nanos: u64) -> Result<(), Option<Duration>> {
        let with_reserved = units.saturating_add(self.reserved);
        if self.counter.check(with_reserved, now_nanos).is_ok() {
            return Ok(());
        }
        self.counter.check(units, now_nanos)?;
        Err(Some(IN_FLIGHT_RETRY))
    }

    /// Counts a request, or sets tokens aside for it.
    pub(super) fn reserve(&mut self, units: u64, now_nanos: u64) {
        if self.kind.is_token_rate() {
            self.reserved = self.reserved.saturating_add(units);
        } else {
            self.counter.add(units, now_nanos);
        }
    }

    /// Gives back what was set aside under this revision of the rules.
    pub(super) fn give_back(&mut self, units: u64, revision: u32) {
        if self.since <= revision {
            self.reserved = self.reserved.saturating_sub(units);
        }
    }

    /// Counts `units`, whether they fit or not.
    pub(super) fn add(&mut self, units: u64, now_nanos: u64) {
        self.counter.add(units, now_nanos);
    }

    /// How long the limit takes to allow for so many units.
    fn until_paid(&self, units: u64) -> Duration {
        let window = u128::from(self.kind.window_nanos());
        let nanos = window * u128::from(units) / u128::from(self.limit().max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How it stands, as if what is set aside had been used.
    pub(super) fn standing(&mut self, now_nanos: u64) -> RateStanding {
        let (uncounted, reset) = match &mut self.counter {
            Counter::Gcra(rate) => (rate.remaining(now_nanos), rate.reset(now_nanos)),
            Counter::Sliding(rate) => rate.standing(now_nanos),
        };
        RateStanding {
            kind: self.kind,
            limit: self.limit(),
            remaining: uncounted.saturating_sub(self.reserved),
            reset: reset.saturating_add(self.until_paid(self.reserved)),
        }
    }
}

impl Counter {
    fn new(kind: LimitKind, limit: u64, window: Window) -> Self {
        match window {
            Window::Gcra => Self::Gcra(Gcra::new(limit, kind.window_nanos())),
            Window::Sliding => Self::Sliding(Sliding::new(limit, kind.window_nanos())),
        }
    }

    fn check(&mut self, units: u64, now_nanos: u64) -> Result<(), Option<Duration>> {
        match self {
            Self::Gcra(rate) => rate.check(units, now_nanos),
            Self::Sliding(rate) => rate.check(units, now_nanos),
        }
    }

    fn add(&mut self, units: u64, now_nanos: u64) {
        match self {
            Self::Gcra(rate) => rate.add(units, now_nanos),
            Self::Sliding(rate) => rate.add(units, now_nanos),
        }
    }
}
