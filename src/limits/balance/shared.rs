//! A balance of a quota that several nodes share.
//!
//! Owns what the store may change of it: the period, what is spent, and which thresholds are told. Does not handle what
//! a node holds of it (see `shares`). Cannot fail.

use jiff::Timestamp;
use smallvec::SmallVec;

use super::{Balance, LimitKind, Reached, period_of};
use crate::limits::demand::Demand;
use crate::limits::report::ReportedQuota;

/// Clocks that follow that of the store differ by less, in seconds.
const SLACK_SECONDS: i64 = 60;

impl Balance {
    /// Begins the period that begins at a time, as [`begin`](Self::begin) does.
    pub(in crate::limits) fn begin_at(&mut self, start: i64) -> bool {
        Timestamp::from_second(start).is_ok_and(|wall| self.begin(wall))
    }

    /// What is limited, and how far.
    pub(in crate::limits) fn limits(&self) -> SmallVec<[(LimitKind, u64); 2]> {
        let tokens = self
            .tokens
            .limit
            .map(|limit| (LimitKind::QuotaTokens, limit));
        let nanos = self.nanos.limit.map(|limit| (LimitKind::QuotaMoney, limit));
        tokens.into_iter().chain(nanos).collect()
    }

    /// So much is spent in the current period, by this node and others.
    pub(in crate::limits) fn set_spent(&mut self, spent: Demand) {
        self.tokens.spent = spent.tokens;
        self.nanos.spent = spent.nanos;
    }

    /// A threshold was reached, as several nodes know; others tell of those up to another one. Returns those that this
    /// process tells of.
    pub(in crate::limits) fn reach(
        &mut self,
        kind: LimitKind,
        percent: u8,
        others: u8,
    ) -> Vec<Reached> {
        let amount = match kind {
            LimitKind::QuotaTokens => &mut self.tokens,
            LimitKind::QuotaMoney => &mut self.nanos,
            _ => return Vec::new(),
        };
        self.refused |= percent >= 100;
        let mut reached = Vec::new();
        amount.reach(&self.warn_at, percent, |percent, spent, limit| {
            if percent > others {
                reached.push(Reached {
                    kind,
                    percent,
                    spent,
                    limit,
                });
            }
        });
        reached
    }

    /// What the store is told of it, but for what is used: its calendar, its period and its thresholds.
    pub(in crate::limits) fn report(&self) -> ReportedQuota {
        let end = self.span.map(|span| span.end);
        ReportedQuota {
            // A quota with another calendar counts for itself.
            calendar: format!("{} {:?}", self.per.name(), self.zone),
            start: self.term().start,
            end: end.filter(|end| *end != i64::MAX),
            own: Demand::default(),
            others: Vec::new(),
            warn_at: self.warn_at.iter().copied().collect(),
            has_refused: [false; 2],
        }
    }

    /// Leaves a period that has not begun by the clock of the store, which was not known when it was begun. Tells
    /// whether it was one.
    pub(in crate::limits) fn go_back(&mut self, wall: Timestamp) -> bool {
        let begun = self.span.map_or(i64::MIN, |span| span.start);
        if begun <= wall.as_second().saturating_add(SLACK_SECONDS) {
            return false;
        }
        self.span = Some(period_of(wall, self.per, &self.zone));
        self.begin_anew();
        true
    }
}
