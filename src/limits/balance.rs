//! What a quota has left in its current period.
//!
//! Owns what is spent and reserved, the change of periods, and the thresholds that were told. Does not handle when a
//! period begins (see `calendar`), or where balances are kept while the process does not run (see `ledger`; they are
//! [loaded](Balance::load) at the start). Cannot fail: what would overflow saturates, and that admits less.
//!
//! A period ends when the wall clock reaches its end, and never begins again: a clock that goes backwards changes
//! nothing. Where the process starts while the clock is behind, what was spent in later periods waits for them to
//! begin. What was reserved in a period that has ended is neither spent nor given back in the next one.

mod shared;

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use smallvec::SmallVec;

use super::amount::Amount;
use super::calendar::{Span, period_of};
use super::demand::Demand;
use super::kind::{IN_FLIGHT_RETRY, LimitKind};
use crate::config::{Period, Quota};

/// As many later periods are remembered; at the bound the earliest is forgotten, for a clock that was behind is put
/// right to the latest.
pub(super) const MAX_LATER: usize = 64;

/// A quota and what is spent of it.
#[derive(Debug)]
pub(super) struct Balance {
    per: Period,
    zone: TimeZone,
    /// In percent, ascending.
    warn_at: Box<[u8]>,
    /// `None` until the first request, or until it is loaded.
    span: Option<Span>,
    /// One more with each period, and higher with each change of what a period is.
    epoch: u64,
    loaded: bool,
    /// Whether a refusal was told in this period.
    refused: bool,
    tokens: Amount,
    nanos: Amount,
    /// What was spent in later periods before this process began to count, by their starts, in ascending order.
    later: Vec<(i64, Demand)>,
}

/// In which period something was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    epoch: u64,
    /// Its first second, since the Unix epoch.
    pub(super) start: i64,
}

/// A quota in the way of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short {
    pub(super) kind: LimitKind,
    pub(super) limit: u64,
    pub(super) asked: u64,
    pub(super) retry_after: Option<Duration>,
    /// The first one in this period.
    pub(super) first: bool,
}

/// A threshold that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) kind: LimitKind,
    pub(super) percent: u8,
    pub(super) spent: u64,
    pub(super) limit: u64,
}

/// What is spent of a quota in its current period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaUsage {
    /// The period's first second, since the Unix epoch; `None` before the first request.
    pub period: Option<i64>,
    /// The first second after it; `None` if it does not end, or has not begun.
    pub period_end: Option<i64>,
    /// Tokens that are spent, whether they have a limit or not.
    pub tokens: u64,
    /// Tokens that requests in flight have set aside.
    pub tokens_reserved: u64,
    /// The limit of tokens.
    pub tokens_limit: Option<u64>,
    /// Nano-dollars that are spent, whether they have a limit or not.
    pub nanos: u64,
    /// Nano-dollars that requests in flight have set aside.
    pub nanos_reserved: u64,
    /// The limit of nano-dollars.
    pub nanos_limit: Option<u64>,
}

impl Balance {
    /// A quota of which nothing is spent, under this revision of the rules.
    pub(super) fn new(quota: &Quota, revision: u32) -> Self {
        Self {
            per: quota.per,
            zone: quota.timezone.clone(),
            warn_at: quota.warn_at.as_slice().into(),
            span: None,
            epoch: u64::from(revision) << 32,
            loaded: false,
            refused: false,
            tokens: Amount::new(quota.tokens),
            nanos: Amount::new(quota.nanos),
            later: Vec::new(),
        }
    }

    /// This balance under a new quota. What is spent stays, unless the periods are others.
    pub(super) fn under(mut self, quota: &Quota, revision: u32) -> Self {
        if self.per != quota.per || self.zone != quota.timezone {
            return Self::new(quota, revision);
        }
        self.warn_at = quota.warn_at.as_slice().into();
        self.tokens.change_limit(quota.tokens);
        self.nanos.change_limit(quota.nanos);
        self
    }

    /// Begins the period of `wall`, unless that has begun or is over. Tells whether another one has ended by that.
    pub(super) fn begin(&mut self, wall: Timestamp) -> bool {
        if self.span.is_some_and(|span| wall.as_second() < span.end) {
            return false;
        }
        let is_another = self.span.is_some();
        self.span = Some(period_of(wall, self.per, &self.zone));
        if is_another {
            self.begin_anew();
            self.recall();
        }
        is_another
    }

    /// Nothing is used of the period, and what was set aside before belongs to another one.
    fn begin_anew(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.refused = false;
        self.tokens.begin();
        self.nanos.begin();
    }

    /// Spends what was spent in this period before this process began to count.
    fn recall(&mut self) {
        let start = self.term().start;
        let mut later = self.later.iter();
        let spent = later.find(|(later, _)| *later == start);
        let spent = spent.map_or(Demand::default(), |(_, spent)| *spent);
        self.later.retain(|(later, _)| *later > start);
        self.spend_before(spent);
    }

    /// The current period, which has [begun](Self::begin).
    pub(super) fn term(&self) -> Term {
        Term {
            epoch: self.epoch,
            start: self.span.map_or(0, |span| span.start),
        }
    }

    /// Whether what was spent before this process began to count has not been loaded.
    pub(super) fn is_unloaded(&self) -> bool {
        !self.loaded
    }

    /// Adds what was spent in the period that began at `start` before this process began to count. `false` if that
    /// period is not the current one, or was loaded already: nothing is added then.
    ///
    /// Thresholds that are reached by it count as told.
    pub(super) fn load(&mut self, start: i64, tokens: u64, nanos: u64) -> bool {
        if self.span.is_none()
            && let Ok(at) = Timestamp::from_second(start)
        {
            self.begin(at);
        }
        if self.loaded || self.span.is_none_or(|span| span.start != start) {
            return false;
        }
        self.loaded = true;
        self.spend_before(Demand { tokens, nanos });
        true
    }

    /// Notes what was spent in a later period, which began at `start`: the clock has been ahead of what it is now.
    pub(super) fn load_later(&mut self, start: i64, tokens: u64, nanos: u64) {
        if self.span.is_none_or(|span| start < span.end) {
            return;
        }
        let Err(place) = self.later.binary_search_by_key(&start, |(start, _)| *start) else {
            return;
        };
        self.later.insert(place, (start, Demand { tokens, nanos }));
        if self.later.len() > MAX_LATER {
            self.later.remove(0);
        }
    }

    /// Counts what another process has spent in the period that began at `start`, as of `wall`. What was spent in a
    /// later period waits for it to begin; nothing is counted of a period that is over. Thresholds that are reached by
    /// it count as told: the process that has spent it tells them.
    pub(super) fn spend_elsewhere(&mut self, start: i64, spent: Demand, wall: Timestamp) {
        self.begin(wall);
        let Some(span) = self.span else {
            return;
        };
        if start == span.start {
            self.spend_before(spent);
        } else if start >= span.end {
            match self.later.binary_search_by_key(&start, |(start, _)| *start) {
                Ok(place) => {
                    if let Some((_, later)) = self.later.get_mut(place) {
                        later.tokens = later.tokens.saturating_add(spent.tokens);
                        later.nanos = later.nanos.saturating_add(spent.nanos);
                    }
                }
                Err(_) => self.load_later(start, spent.tokens, spent.nanos),
            }
        }
    }

    /// Counts what was spent before this process began to count. Thresholds that are reached by it count as told.
    fn spend_before(&mut self, spent: Demand) {
        let thresholds = &self.warn_at;
        self.tokens.spend(spent.tokens);
        self.nanos.spend(spent.nanos);
        self.tokens.tell(thresholds, |_, _, _| {});
        self.nanos.tell(thresholds, |_, _, _| {});
    }

    /// What is in the way of this demand, for a request that comes at `wall`.
    pub(super) fn check(&self, demand: Demand, wall: Timestamp) -> Option<Short> {
        let tokens = self.short(&self.tokens, LimitKind::QuotaTokens, demand.tokens, wall);
        tokens.or_else(|| self.short(&self.nanos, LimitKind::QuotaMoney, demand.nanos, wall))
    }

    fn short(&self, of: &Amount, kind: LimitKind, asked: u64, wall: Timestamp) -> Option<Short> {
        let limit = of.limit?;
        let spent = of.spent.checked_add(asked);
        let used = spent.and_then(|sum| sum.checked_add(of.reserved));
        // A quota without anything left admits not even a request that asks for nothing.
        if of.spent < limit && used.is_some_and(|sum| sum <= limit) {
            return None;
        }
        let only_in_flight = of.spent < limit && spent.is_some_and(|sum| sum <= limit);
        let retry_after = if asked > limit {
            None
        } else if only_in_flight {
            Some(IN_FLIGHT_RETRY)
        } else {
            self.until_the_end(wall)
        };
        Some(Short {
            kind,
            limit,
            asked,
            retry_after,
            first: !self.refused && !only_in_flight && asked <= limit,
        })
    }

    fn until_the_end(&self, wall: Timestamp) -> Option<Duration> {
        let end = self
            .span
            .map(|span| span.end)
            .filter(|end| *end != i64::MAX)?;
        let seconds = end.saturating_sub(wall.as_second()).max(1);
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }

    /// Notes that a refusal of this period was told.
    pub(super) fn note_refusal(&mut self) {
        self.refused = true;
    }

    /// Sets a demand aside that was checked.
    pub(super) fn reserve(&mut self, demand: Demand) -> Term {
        self.tokens.reserved = self.tokens.reserved.saturating_add(demand.tokens);
        self.nanos.reserved = self.nanos.reserved.saturating_add(demand.nanos);
        self.term()
    }

    /// Gives back what was set aside in this term. Nothing, if its period has ended.
    pub(super) fn give_back(&mut self, term: Term, demand: Demand) {
        if term.epoch == self.epoch {
            self.tokens.reserved = self.tokens.reserved.saturating_sub(demand.tokens);
            self.nanos.reserved = self.nanos.reserved.saturating_sub(demand.nanos);
        }
    }

    /// Counts what was used in this term. Nothing, if its period has ended. That nothing is left is told once a
    /// period, by the threshold of 100 % or by the first refusal, whichever comes first. Unless it `tells`, others do.
    pub(super) fn spend(
        &mut self,
        term: Term,
        used: Demand,
        tells: bool,
    ) -> SmallVec<[Reached; 2]> {
        let mut reached = SmallVec::new();
        if term.epoch != self.epoch {
            return reached;
        }
        self.tokens.spend(used.tokens);
        self.nanos.spend(used.nanos);
        if !tells {
            return reached;
        }
        let was_refused = self.refused;
        for (amount, kind) in [
            (&mut self.tokens, LimitKind::QuotaTokens),
            (&mut self.nanos, LimitKind::QuotaMoney),
        ] {
            amount.tell(&self.warn_at, |percent, spent, limit| {
                if percent == 100 && was_refused {
                    return;
                }
                reached.push(Reached {
                    kind,
                    percent,
                    spent,
                    limit,
                });
            });
        }
        // A refusal would only say again what has been told.
        self.refused |= self.is_exhausted();
        reached
    }

    /// Whether nothing is left.
    pub(super) fn is_exhausted(&self) -> bool {
        self.tokens.is_exhausted() || self.nanos.is_exhausted()
    }

    /// What is spent.
    pub(super) fn usage(&self) -> QuotaUsage {
        QuotaUsage {
            period: self.span.map(|span| span.start),
            period_end: self
                .span
                .map(|span| span.end)
                .filter(|end| *end != i64::MAX),
            tokens: self.tokens.spent,
            tokens_reserved: self.tokens.reserved,
            tokens_limit: self.tokens.limit,
            nanos: self.nanos.spent,
            nanos_reserved: self.nanos.reserved,
            nanos_limit: self.nanos.limit,
        }
    }
}
