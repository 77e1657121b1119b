//! Circuit breakers: a server of a pool, or a target of a rule, is ejected when it fails.
//!
//! Owns whether it is asked. It is ejected after failures in a row, or when too large a share of the
//! last requests failed. When the time of the ejection is over, a few requests try it; they either close
//! the breaker or eject it for longer. Does not handle what a failure is (see `openai::verdict`), or
//! what else is in the pool (see `pool`); the caller also gives the time. Cannot fail. A caller that
//! reports each admission once loses no trial.
//!
//! While the breaker is closed, [`Breaker::is_open_to`], [`Breaker::admit`] and [`Breaker::abandoned`]
//! are one atomic load, about 2 ns; a report takes one small lock, about 25 ns without contention. The
//! memory is 128 bytes, whatever the load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::window::Window;
use crate::config::Ejection;

/// The state of one server or target.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Grows with every change: even while the breaker is closed, odd from an ejection until trials
    /// have closed it. What an admission
    /// of another epoch reports is late, and counts for nothing. Written under the lock only; read
    /// without it where nothing else is read, so no ordering is needed.
    epoch: AtomicU64,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    /// Failures since the last success.
    in_a_row: u32,
    /// Requests, and the failures as marked.
    window: Window,
    /// When the last ejection began.
    out_since: Option<Instant>,
    /// How long the last ejection lasts.
    lasts: Duration,
    /// When trials have last closed the breaker.
    closed_at: Option<Instant>,
    /// Attempts of any epoch that have not been reported.
    in_flight: u32,
    /// Attempts of this epoch that succeeded.
    successes: u32,
}

/// The right to one request. To be reported exactly once, by [`Breaker::succeeded`],
/// [`Breaker::failed`] or [`Breaker::abandoned`] of the breaker that gave it; a trial as soon as
/// the outcome is known, because until then it counts as one of the few.
#[derive(Debug)]
#[must_use = "a trial that is not reported is never free again"]
pub struct Admission {
    epoch: u64,
}

impl Admission {
    /// Whether it is a trial.
    pub fn is_trial(&self) -> bool {
        is_out(self.epoch)
    }
}

/// Whether requests pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They pass, and are counted.
    Closed,
    /// None passes.
    Ejected {
        /// The time that is left; more than zero.
        left: Duration,
    },
    /// A few at a time pass, as trials.
    Trial,
}

impl Breaker {
    /// Whether a request might be admitted now. Begins nothing: [`admit`](Self::admit) may still
    /// give `None`, where another request was faster.
    pub fn is_open_to(&self, settings: &Ejection, now: Instant) -> bool {
        if !is_out(self.epoch()) {
            return true;
        }
        let record = self.record.lock();
        !is_out(self.epoch()) || record.has_place(settings, now)
    }

    /// Admits a request; after an ejection it is a trial. `None` while ejected, or while as many
    /// trials run as may.
    pub fn admit(&self, settings: &Ejection, now: Instant) -> Option<Admission> {
        let epoch = self.epoch();
        if !is_out(epoch) {
            return Some(Admission { epoch });
        }
        let mut record = self.record.lock();
        let epoch = self.epoch();
        if is_out(epoch) {
            if !record.has_place(settings, now) {
                return None;
            }
            record.in_flight += 1;
        }
        Some(Admission { epoch })
    }

    /// Counts a success. Enough of them in the trial phase close the breaker.
    pub fn succeeded(&self, admission: Admission, settings: &Ejection, now: Instant) {
        let mut record = self.record.lock();
        record.give_back(&admission);
        if admission.epoch != self.epoch() {
            return;
        }
        if !admission.is_trial() {
            record.in_a_row = 0;
            record.window.at(now, settings.window).requests += 1;
            return;
        }
        record.successes = record.successes.saturating_add(1);
        if record.successes >= settings.trials {
            record.closed_at = Some(now);
            self.epoch.store(admission.epoch + 1, Ordering::Relaxed);
        }
    }

    /// Counts a failure. Returns the length of the ejection, if this failure has begun one.
    ///
    /// `may_eject` is called only when a failure would open a closed breaker. Where it gives `false`
    /// (half of the pool is ejected already), counting goes on, the breaker stays closed, and the
    /// next failure calls it again. It is called without a lock, so it may look at any breaker; two
    /// members of a pool that fail at the same moment may both get `true`. A trial that fails does
    /// not call it.
    pub fn failed(
        &self,
        admission: Admission,
        settings: &Ejection,
        now: Instant,
        may_eject: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let mut record = self.record.lock();
        record.give_back(&admission);
        if admission.epoch != self.epoch() {
            return None;
        }
        if !admission.is_trial() {
            if !record.count_failure(settings, now) {
                return None;
            }
            drop(record);
            if !may_eject() {
                return None;
            }
            record = self.record.lock();
            if admission.epoch != self.epoch() {
                return None;
            }
        }
        record.eject(admission.is_trial(), settings, now);
        // The next odd number: from even the next, from odd the one after.
        let epoch = (admission.epoch + 1) | 1;
        self.epoch.store(epoch, Ordering::Relaxed);
        Some(record.lasts)
    }

    /// Counts nothing: the client left, or nothing was asked. A trial is free again.
    pub fn abandoned(&self, admission: Admission) {
        if admission.is_trial() {
            self.record.lock().give_back(&admission);
        }
    }

    /// Whether requests pass now.
    pub fn state(&self, now: Instant) -> State {
        let record = self.record.lock();
        if !is_out(self.epoch()) {
            return State::Closed;
        }
        let left = record.left(now);
        if left.is_zero() {
            State::Trial
        } else {
            State::Ejected { left }
        }
    }

    /// Whether it is ejected: until trials have closed the breaker, however long that takes. One
    /// atomic load.
    pub fn is_ejected(&self) -> bool {
        is_out(self.epoch())
    }

    /// Whether it is ejected, or trials have closed it within this time. One atomic load for one that never was
    /// ejected.
    pub fn is_just_back(&self, within: Duration, now: Instant) -> bool {
        let epoch = self.epoch();
        if epoch == 0 || is_out(epoch) {
            return epoch != 0;
        }
        let closed_at = self.record.lock().closed_at;
        closed_at.is_some_and(|at| now.saturating_duration_since(at) < within)
    }

    /// How many ejections there were, failed trials included.
    pub fn ejections(&self) -> u64 {
        // Each ejection moved the epoch on to the next odd number.
        self.epoch().div_ceil(2)
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }
}

impl Record {
    /// Frees a trial, also a late one: it was in flight until now.
    fn give_back(&mut self, admission: &Admission) {
        if admission.is_trial() {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }

    /// The time that is left of the ejection; zero when it is over.
    fn left(&self, now: Instant) -> Duration {
        let passed = |since| now.saturating_duration_since(since);
        self.lasts
            .saturating_sub(self.out_since.map_or(Duration::ZERO, passed))
    }

    /// Whether one more trial may begin.
    fn has_place(&self, settings: &Ejection, now: Instant) -> bool {
        self.in_flight < settings.trials.max(1) && self.left(now).is_zero()
    }

    /// Counts a failure while the breaker is closed. Returns whether it must open.
    fn count_failure(&mut self, settings: &Ejection, now: Instant) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let tally = self.window.at(now, settings.window);
        tally.requests += 1;
        tally.marked += 1;
        let sum = self.window.sum();
        let in_a_row = settings.consecutive > 0 && self.in_a_row >= settings.consecutive;
        let share = settings.percent > 0
            && sum.requests >= settings.least.into()
            && sum.marked.saturating_mul(100)
                >= sum.requests.saturating_mul(settings.percent.into());
        in_a_row || share
    }

    /// Begins an ejection, and resets the counts.
    fn eject(&mut self, again: bool, settings: &Ejection, now: Instant) {
        let flaps = self
            .closed_at
            .is_some_and(|at| now.saturating_duration_since(at) < settings.longest);
        let lasts = if again || flaps {
            self.lasts.saturating_mul(2).max(settings.base)
        } else {
            settings.base
        };
        self.lasts = lasts.min(settings.longest);
        self.out_since = Some(now);
        self.successes = 0;
        self.in_a_row = 0;
        self.window = Window::default();
    }
}

/// Whether an epoch is one of an ejection.
fn is_out(epoch: u64) -> bool {
    epoch % 2 == 1
}

#[cfg(test)]
mod tests;
