//! What one scope counts, behind its lock.
//!
//! Owns the rates and the balance of one scope, and what each step of a request does to them. Does not handle the lock
//! (see `scope`), or several scopes at once (see `admission`). Cannot fail.

use std::time::Duration;

use jiff::Timestamp;
use smallvec::SmallVec;

use super::balance::{Balance, Reached, Term};
use super::demand::{Demand, Now};
use super::kind::{IN_FLIGHT_RETRY, LimitKind};
use super::rate::Rate;
use super::shares::Shares;
use super::standing::Standing;
use crate::config::{Quota, RateLimits};

/// What one scope counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// One more with each change of the rules.
    revision: u32,
    /// The latest time that was seen. Threads take the time before they take the lock, so it may come out of order.
    pub(super) latest_nanos: u64,
    pub(super) concurrent: Option<u32>,
    pub(super) rates: Box<[Rate]>,
    /// Not boxed: each reservation would wait for one more line of memory.
    pub(super) balance: Option<Balance>,
    /// This node's part, where several nodes share the limits. The rates and the balance are counted all the same, for
    /// the time without the store.
    pub(super) shares: Option<Box<Shares>>,
}

/// By what a request is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// By what this node counts and nothing else, or by what the store has granted where there is one.
    Granted,
    /// Without the store that so many nodes have shared until now: each has an equal part.
    Alone(u64),
}

/// What one request holds of one scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    revision: u32,
    term: Option<Term>,
}

/// A limit in the way of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Obstacle {
    pub(super) kind: LimitKind,
    pub(super) limit: u64,
    pub(super) asked: u64,
    pub(super) retry_after: Option<Duration>,
    pub(super) first: bool,
    /// Whether the store may know better.
    pub(super) may_be_granted: bool,
}

impl Obstacle {
    /// Whether one has to wait longer for this one than for the other.
    pub(super) fn is_worse_than(&self, other: &Self) -> bool {
        let wait = |of: &Self| of.retry_after.unwrap_or(Duration::MAX);
        wait(self) > wait(other)
    }
}

impl Counts {
    /// Nothing yet. Whether several nodes share what is counted.
    pub(super) fn new(are_shared: bool) -> Self {
        Self {
            shares: are_shared.then(Box::default),
            ..Self::default()
        }
    }

    /// Goes on under new rules.
    pub(super) fn change_rules(&mut self, rates: Option<&RateLimits>, quota: Option<&Quota>) {
        self.revision = self.revision.saturating_add(1);
        self.concurrent = rates.and_then(|rates| rates.concurrent);
        let mut old: SmallVec<[Rate; 6]> = std::mem::take(&mut self.rates).into_iter().collect();
        let (revision, now) = (self.revision, self.latest_nanos);
        self.rates = rates
            .into_iter()
            .flat_map(|rates| limits_of(rates).map(|(kind, limit)| (rates.window, kind, limit)))
            .filter_map(|(window, kind, limit)| Some((window, kind, limit?)))
            .map(
                |(window, kind, limit)| match old.iter().position(|rate| rate.kind == kind) {
                    Some(place) => old.swap_remove(place).under(limit, window, now),
                    None => Rate::new(kind, limit, window, revision),
                },
            )
            .collect();
        let balance = self.balance.take();
        let before = balance.as_ref().map(Balance::term);
        self.balance = quota.map(|quota| match balance {
            Some(balance) => balance.under(quota, revision),
            None => Balance::new(quota, revision),
        });
        let Some(shares) = &mut self.shares else {
            return;
        };
        let is_new = self.balance.as_ref().map(Balance::term) != before;
        let rates = self.rates.iter().map(|rate| (rate.kind, rate.limit()));
        let concurrent = self.concurrent.map(u64::from);
        let concurrent = concurrent.map(|limit| (LimitKind::Concurrent, limit));
        let quota = self.balance.iter().flat_map(Balance::limits);
        let limits = rates.chain(concurrent).chain(quota);
        shares.change_rules(limits, is_new, revision);
    }

    /// Takes the time into account. What follows happens then.
    pub(super) fn begin(&mut self, now: Now) {
        self.latest_nanos = self.latest_nanos.max(now.nanos());
        self.begin_period(now.wall);
    }

    /// Begins the period of the quota that `wall` is in, if it has not begun.
    pub(super) fn begin_period(&mut self, wall: Timestamp) {
        let (Some(balance), Some(shares)) = (&mut self.balance, &mut self.shares) else {
            self.balance.as_mut().map(|balance| balance.begin(wall));
            return;
        };
        if balance.begin(wall) || balance.go_back(wall) {
            shares.begin_period();
        }
    }

    /// The worst of what is in the way of a request, while `in_flight` others have a permit.
    pub(super) fn check(
        &mut self,
        demand: Demand,
        in_flight: u32,
        now: Now,
        mode: Mode,
    ) -> Option<Obstacle> {
        match (self.shares.is_some(), mode) {
            (true, Mode::Granted) => self.check_granted(demand, in_flight, now),
            (true, Mode::Alone(nodes)) => self.check_alone(demand, in_flight, now, nodes),
            (false, _) => self.check_counted(demand, in_flight, now),
        }
    }

    /// The same by what this node counts.
    pub(super) fn check_counted(
        &mut self,
        demand: Demand,
        in_flight: u32,
        now: Now,
    ) -> Option<Obstacle> {
        let mut worst: Option<Obstacle> = None;
        let mut note = |found: Obstacle| {
            if worst.is_none_or(|known| found.is_worse_than(&known)) {
                worst = Some(found);
            }
        };
        if let Some(limit) = self.concurrent.filter(|limit| in_flight >= *limit) {
            note(Obstacle {
                kind: LimitKind::Concurrent,
                limit: u64::from(limit),
                asked: 1,
                retry_after: (limit > 0).then_some(IN_FLIGHT_RETRY),
                first: false,
                may_be_granted: false,
            });
        }
        for rate in &mut self.rates {
            let asked = demand.of(rate.kind);
            if let Err(retry_after) = rate.check(asked, self.latest_nanos) {
                note(Obstacle {
                    kind: rate.kind,
                    limit: rate.limit(),
                    asked,
                    retry_after,
                    first: false,
                    may_be_granted: false,
                });
            }
        }
        let short = self
            .balance
            .as_ref()
            .and_then(|balance| balance.check(demand, now.wall));
        if let Some(short) = short {
            note(Obstacle {
                kind: short.kind,
                limit: short.limit,
                asked: short.asked,
                retry_after: short.retry_after,
                first: short.first,
                may_be_granted: false,
            });
        }
        worst
    }

    /// Counts a request that was checked, and sets its demand aside.
    pub(super) fn reserve(&mut self, demand: Demand) -> Taken {
        for rate in &mut self.rates {
            rate.reserve(demand.of(rate.kind), self.latest_nanos);
        }
        if let Some(shares) = &mut self.shares {
            shares.reserve(demand);
        }
        Taken {
            revision: self.revision,
            term: self.balance.as_mut().map(|balance| balance.reserve(demand)),
        }
    }

    /// Gives back what was set aside. The request itself stays counted.
    pub(super) fn give_back(&mut self, taken: &Taken, reserved: Demand) {
        for rate in self.token_rates() {
            rate.give_back(reserved.tokens, taken.revision);
        }
        if let (Some(balance), Some(term)) = (&mut self.balance, taken.term) {
            balance.give_back(term, reserved);
        }
        let has_period = self.has_term(taken.term);
        if let Some(shares) = &mut self.shares {
            shares.give_back(reserved, taken.revision, has_period);
        }
    }

    /// Whether the period of the quota is still the one in which something was taken.
    fn has_term(&self, term: Option<Term>) -> bool {
        let balance = self.balance.as_ref();
        balance.is_some_and(|balance| term == Some(balance.term()))
    }

    /// Counts what a request has used of what it had set aside: as tokens of now, and in the period of its reservation.
    pub(super) fn spend(&mut self, taken: &Taken, used: Demand) -> SmallVec<[Reached; 2]> {
        self.spend_in(taken.term, used)
    }

    /// Counts what was used beyond any reservation, now.
    pub(super) fn charge(&mut self, used: Demand) -> SmallVec<[Reached; 2]> {
        let term = self.balance.as_ref().map(|balance| balance.term());
        self.spend_in(term, used)
    }

    fn spend_in(&mut self, term: Option<Term>, used: Demand) -> SmallVec<[Reached; 2]> {
        let now = self.latest_nanos;
        for rate in self.token_rates() {
            rate.add(used.tokens, now);
        }
        let has_period = self.has_term(term);
        // The store says which node tells of a threshold.
        let tells = self.shares.is_none();
        if let Some(shares) = &mut self.shares {
            shares.spend(used, has_period);
        }
        match (&mut self.balance, term) {
            (Some(balance), Some(term)) => balance.spend(term, used, tells),
            _ => SmallVec::new(),
        }
    }

    fn token_rates(&mut self) -> impl Iterator<Item = &mut Rate> {
        let rates = self.rates.iter_mut();
        rates.filter(|rate| rate.kind.is_token_rate())
    }

    /// Notes that a refusal by the quota is told, the first of this period.
    pub(super) fn note_refusal(&mut self) {
        if let Some(balance) = &mut self.balance {
            balance.note_refusal();
        }
    }

    /// How its rates stand.
    pub(super) fn add_standing(&mut self, standing: &mut Standing) {
        let shares = self.shares.as_deref();
        for rate in &mut self.rates {
            let mut counted = rate.standing(self.latest_nanos);
            if let Some((left, reset)) = shares.and_then(|shares| shares.standing(rate.kind)) {
                (counted.remaining, counted.reset) = (left, reset);
            }
            standing.add(counted);
        }
    }

    /// Whether its quota has nothing left.
    pub(super) fn is_exhausted(&self) -> bool {
        self.balance
            .as_ref()
            .is_some_and(|balance| balance.is_exhausted())
    }

    /// When the current period of its quota began; `None` without one.
    pub(super) fn period(&self) -> Option<i64> {
        self.balance.as_ref().map(|balance| balance.term().start)
    }

    /// Whether tokens or money are counted, and not only requests.
    pub(super) fn counts_usage(&self) -> bool {
        self.balance.is_some() || self.rates.iter().any(|rate| rate.kind.is_token_rate())
    }
}

impl Taken {
    /// When the period began in which it was taken, if there is a quota.
    pub(super) fn period(&self) -> Option<i64> {
        self.term.map(|term| term.start)
    }
}

fn limits_of(rates: &RateLimits) -> [(LimitKind, Option<u64>); 6] {
    [
        (LimitKind::RequestsPerSecond, rates.requests_per_second),
        (LimitKind::RequestsPerMinute, rates.requests_per_minute),
        (LimitKind::RequestsPerHour, rates.requests_per_hour),
        (LimitKind::RequestsPerDay, rates.requests_per_day),
        (LimitKind::TokensPerMinute, rates.tokens_per_minute),
        (LimitKind::TokensPerDay, rates.tokens_per_day),
    ]
}
