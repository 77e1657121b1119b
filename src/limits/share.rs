//! One node's part of a limit that several nodes share.
//!
//! Owns what this node has used and set aside of the limit, up to where it may go before it asks the store again, and
//! how much it asks for ahead of need. Does not handle which limits a scope has (see `shares`), nor how the store
//! divides a limit (see `store`). Cannot fail: what would overflow saturates, and that admits less.

use std::time::Duration;

use super::kind::{IN_FLIGHT_RETRY, LimitKind};
use super::report::{GrantedLimit, ReportedLimit};

/// A slice lasts about so long at the speed at which it is used.
const AHEAD_SECONDS: f64 = 2.0;
/// How fast a speed that falls is forgotten, with each report.
const FORGETTING: f64 = 0.5;
/// A slower node asks for nothing ahead: units in a second.
const SLOWEST: f64 = 0.05;

/// How much a node asks for ahead of need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// A fair part: so many nodes share the limit.
    Among(u64),
    /// Nothing: the process ends, or does not know yet what others have used.
    Nothing,
}

/// A node's part of one limit.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) kind: LimitKind,
    pub(super) limit: u64,
    /// Counted by this process; for a quota, by this node in the current period.
    used: u64,
    /// What the store knows of it.
    reported: u64,
    /// Set aside for requests in flight.
    reserved: u64,
    /// As far as used and reserved may go together.
    ceiling: u64,
    /// What waiting requests ask for, and the least of it.
    needed: u64,
    smallest: u64,
    /// Asked for since the last report.
    asked: u64,
    /// The largest that was asked for at once: since the last report, and before.
    largest: [u64; 2],
    /// Units asked for in a second.
    speed: f64,
    told: Option<Told>,
}

/// What the store has said last.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// What was used of the limit.
    level: f64,
    /// What is neither used nor held by a node.
    left: u64,
    /// What other nodes hold and do not use.
    idle: u64,
    /// Whether nothing is left, whatever a request asks for.
    is_spent: bool,
    /// Until the largest request that was told of would fit beside what was used.
    wait: Duration,
    reset: Duration,
}

impl Share {
    /// Nothing is granted yet.
    pub(super) fn new(kind: LimitKind, limit: u64) -> Self {
        Self {
            kind,
            limit,
            used: 0,
            reported: 0,
            reserved: 0,
            ceiling: 0,
            needed: 0,
            smallest: 0,
            asked: 0,
            largest: [0; 2],
            speed: 0.0,
            told: None,
        }
    }

    /// Begins a new period of a quota: nothing is used, and nothing granted.
    pub(super) fn begin(&mut self) {
        let speed = self.speed;
        *self = Self {
            needed: self.needed,
            smallest: self.smallest,
            ..Self::new(self.kind, self.limit)
        };
        self.speed = speed;
    }

    /// What this node has used before the process began to count.
    pub(super) fn load(&mut self, used: u64) {
        self.used = self.used.saturating_add(used);
        // It was granted to a process before.
        self.ceiling = self.ceiling.saturating_add(used);
    }

    /// What is set aside, where that is counted elsewhere: requests in flight.
    pub(super) fn set_reserved(&mut self, reserved: u64) {
        self.reserved = reserved;
    }

    /// Whether `units` fit into what was granted.
    pub(super) fn fits(&self, units: u64) -> bool {
        let is_spent = self.told.is_some_and(|told| told.is_spent);
        let wanted = self.used.saturating_add(self.reserved);
        !is_spent && wanted.saturating_add(units) <= self.ceiling
    }

    /// When a request for `units` may be tried again that the store has refused. `None`: never.
    pub(super) fn retry_after(&self, units: u64) -> Option<Duration> {
        if units > self.limit {
            return None;
        }
        let Some(told) = self.told else {
            return Some(IN_FLIGHT_RETRY);
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a fraction of a unit more or less"
        )]
        let short = told.level + units as f64 - self.limit as f64;
        let is_blocked_by_use = short > 0.0 || told.is_spent;
        match is_blocked_by_use && self.kind.window_nanos() > 0 {
            true => Some(told.wait.max(Duration::from_millis(1))),
            // Other nodes hold what is left, and give back what they do not use.
            false => Some(IN_FLIGHT_RETRY),
        }
    }

    /// Whether the store has said that so much is not to be had.
    pub(super) fn was_refused(&self, units: u64) -> bool {
        let (told, free) = (self.told, self.free());
        told.is_some_and(|told| {
            let left = told.left.saturating_add(told.idle);
            told.is_spent || left.saturating_add(free) < units
        })
    }

    /// Notes that a request waits for units. To be taken back with [`forget_need`](Self::forget_need).
    pub(super) fn need(&mut self, units: u64) {
        self.smallest = match self.needed {
            0 => units,
            _ => self.smallest.min(units),
        };
        self.needed = self.needed.saturating_add(units);
        self.note_asked(units);
    }

    /// The request waits no more.
    pub(super) fn forget_need(&mut self, units: u64) {
        self.needed = self.needed.saturating_sub(units);
    }

    /// Sets units aside that fit.
    pub(super) fn reserve(&mut self, units: u64) {
        self.reserved = self.reserved.saturating_add(units);
        self.note_asked(units);
    }

    /// Notes that so much was asked for.
    pub(super) fn note_asked(&mut self, units: u64) {
        self.asked = self.asked.saturating_add(units);
        self.largest[0] = self.largest[0].max(units);
    }

    /// Gives back what was set aside.
    pub(super) fn give_back(&mut self, units: u64) {
        self.reserved = self.reserved.saturating_sub(units);
    }

    /// Counts units, whether they fit or not.
    pub(super) fn add(&mut self, units: u64) {
        self.used = self.used.saturating_add(units);
    }

    /// Counts a request that fits.
    pub(super) fn count(&mut self, units: u64) {
        self.add(units);
        self.note_asked(units);
    }

    /// Whether the store does not know all that was used, or a request waits.
    pub(super) fn has_news(&self) -> bool {
        self.used != self.reported || self.needed > 0
    }

    /// Whether it holds what it does not use, and little is left for others.
    pub(super) fn hoards(&self) -> bool {
        let is_scarce = self.told.is_some_and(|told| told.left < self.largest());
        is_scarce && self.free() > 0
    }

    /// Whether this node holds anything.
    pub(super) fn holds(&self) -> bool {
        self.reserved > 0 || self.ceiling > self.used
    }

    /// Whether less is left of a slice than a third of what was asked for ahead.
    pub(super) fn is_low(&self) -> bool {
        let may_get_more = self.told.is_some_and(|told| told.left >= self.largest());
        may_get_more && self.free() < self.ahead() / 3
    }

    fn largest(&self) -> u64 {
        self.largest[0].max(self.largest[1]).max(1)
    }

    fn ahead(&self) -> u64 {
        if self.speed < SLOWEST {
            return 0;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it saturates, and is not negative"
        )]
        let ahead = (self.speed * AHEAD_SECONDS).ceil() as u64;
        ahead
    }

    /// What the store is told, `elapsed` after the last report. From now on no more is used than that asks for: what is
    /// not asked for again may be given to another node.
    pub(super) fn report(
        &mut self,
        elapsed: Duration,
        asking: Asking,
        backlog: f64,
    ) -> ReportedLimit {
        let seconds = elapsed.as_secs_f64().max(0.05);
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        let speed = self.asked as f64 / seconds;
        self.speed = match self.asked {
            // What idles is given back at once.
            0 => 0.0,
            _ => speed.max(self.speed + (speed - self.speed) * FORGETTING),
        };
        self.asked = 0;
        self.largest = [0, self.largest[0].max(self.largest[1] / 2)];
        let free = self.ceiling.saturating_sub(self.used);
        let left = self.told.map_or(self.limit, |told| told.left);
        // The nearer the end, the smaller the slices.
        let fair = match asking {
            Asking::Among(nodes) => left.saturating_add(free) / (2 * nodes.max(1)),
            Asking::Nothing => 0,
        };
        let ahead = self.ahead().min(fair);
        // For whole requests: a part of one is of no use to this node, and missing to others.
        let ahead = ahead - ahead % self.largest();
        let wanted = self.reserved.saturating_add(self.needed);
        let most = self.used.saturating_add(wanted).saturating_add(ahead);
        self.ceiling = self.ceiling.min(most);
        ReportedLimit {
            kind: self.kind,
            limit: self.limit,
            used: self.used,
            reported: self.reported,
            backlog,
            reserved: self.reserved,
            needed: self.needed,
            smallest: self.smallest.min(self.needed),
            ahead,
            largest: self.largest(),
        }
    }

    /// Takes the answer to a report.
    pub(super) fn grant(&mut self, report: &ReportedLimit, granted: &GrantedLimit) {
        self.reported = report.used;
        self.ceiling = report.used.saturating_add(granted.held);
        self.told = Some(Told {
            level: granted.level,
            left: granted.left,
            idle: granted.idle,
            is_spent: granted.is_spent,
            wait: granted.wait,
            reset: granted.reset,
        });
    }

    /// Gives up what was granted: it may have been given to another node.
    pub(super) fn lapse(&mut self) {
        self.ceiling = 0;
    }

    /// Serves on without the store: with what it holds, and an equal part of what no node holds. `left` is what is left
    /// by what this node knows, where the store has said nothing yet.
    pub(super) fn go_alone(&mut self, left: u64, nodes: u64) {
        let (left, holds) = match self.told {
            Some(told) => (told.left, self.free()),
            None => (left, 0),
        };
        let part = (left / nodes.max(1)).saturating_add(holds);
        let taken = self.used.saturating_add(self.reserved);
        self.ceiling = taken.saturating_add(part);
        if let Some(told) = &mut self.told {
            told.is_spent = part == 0;
        }
    }

    /// What is left of the limit, and until all of it is back. `None` before the store has said anything.
    pub(super) fn standing(&self) -> Option<(u64, Duration)> {
        let told = self.told?;
        let left = told.left.saturating_add(self.free());
        Some((left.min(self.limit), told.reset))
    }

    /// What was granted and is neither used nor set aside.
    fn free(&self) -> u64 {
        let taken = self.used.saturating_add(self.reserved);
        self.ceiling.saturating_sub(taken)
    }
}
