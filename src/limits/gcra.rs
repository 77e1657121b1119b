//! One rate by the generic cell rate algorithm.
//!
//! Owns the timestamp that a rate amounts to, and its arithmetic. Does not handle which rates a scope has (see
//! `scope`), or windows that slide (see `sliding`). Cannot fail: what would overflow saturates, and that admits
//! less.
//!
//! The timestamp (`arrival`) is the time at which all that was admitted so far has been paid for by the passing
//! of time. What lies between now and it is the backlog. A rate of `limit` in a window pays `limit` units in that
//! window, and its backlog is never admitted beyond one whole limit. So an unused rate passes one limit at once, and
//! up to twice the limit in a window: the burst, and what the window pays.
//!
//! All times in it are in nanoseconds × `limit`. A unit then costs `window_nanos`, without any rounding.

use std::time::Duration;

/// A rate and what was counted against it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gcra {
    limit: u64,
    window_nanos: u64,
    /// Nanoseconds × `limit`.
    arrival: u128,
}

impl Gcra {
    /// An unused rate: `limit` units in `window_nanos`.
    pub(super) fn new(limit: u64, window_nanos: u64) -> Self {
        Self {
            limit,
            window_nanos,
            arrival: 0,
        }
    }

    /// The units of a window.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Goes on with another limit. The units that wait to be paid at `now_nanos` stay as many.
    pub(super) fn change_limit(&mut self, limit: u64, now_nanos: u64) {
        let backlog = self.backlog(now_nanos);
        self.limit = limit;
        self.arrival = self.scaled(now_nanos).saturating_add(backlog);
    }

    /// Whether `units` fit. If not, how long until they do; `None` if they never do.
    pub(super) fn check(&self, units: u64, now_nanos: u64) -> Result<(), Option<Duration>> {
        let burst = self.cost(self.limit);
        let cost = self.cost(units);
        if cost > burst {
            return Err(None);
        }
        let backlog = self.backlog(now_nanos).saturating_add(cost);
        if backlog <= burst {
            return Ok(());
        }
        Err(Some(self.duration(backlog - burst)))
    }

    /// Counts `units`, whether they fit or not.
    pub(super) fn add(&mut self, units: u64, now_nanos: u64) {
        let from = self.arrival.max(self.scaled(now_nanos));
        self.arrival = from.saturating_add(self.cost(units));
    }

    /// No more than `nanos` of backlog stay.
    pub(super) fn cap(&mut self, nanos: u64, now_nanos: u64) {
        let most = self.scaled(now_nanos.saturating_add(nanos));
        self.arrival = self.arrival.min(most);
    }

    /// Units that would be admitted at once.
    pub(super) fn remaining(&self, now_nanos: u64) -> u64 {
        let burst = self.cost(self.limit);
        let free = burst.saturating_sub(self.backlog(now_nanos));
        let units = free / u128::from(self.window_nanos.max(1));
        u64::try_from(units).unwrap_or(self.limit)
    }

    /// Until all of the backlog is paid.
    pub(super) fn reset(&self, now_nanos: u64) -> Duration {
        self.duration(self.backlog(now_nanos))
    }

    /// The units that time has not paid for.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction of a unit more or less"
    )]
    pub(super) fn backlog_units(&self, now_nanos: u64) -> f64 {
        self.backlog(now_nanos) as f64 / self.window_nanos.max(1) as f64
    }

    fn backlog(&self, now_nanos: u64) -> u128 {
        self.arrival.saturating_sub(self.scaled(now_nanos))
    }

    fn scaled(&self, nanos: u64) -> u128 {
        u128::from(nanos).saturating_mul(u128::from(self.limit))
    }

    fn cost(&self, units: u64) -> u128 {
        u128::from(units).saturating_mul(u128::from(self.window_nanos))
    }

    /// A time in this rate's unit, rounded up.
    fn duration(&self, scaled: u128) -> Duration {
        let nanos = scaled.div_ceil(u128::from(self.limit.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MINUTE: u64 = 60 * SECOND;

    fn admit(rate: &mut Gcra, units: u64, now: u64) -> bool {
        let fits = rate.check(units, now).is_ok();
        if fits {
            rate.add(units, now);
        }
        fits
    }

    #[test]
    fn an_unused_rate_passes_one_limit_at_once_and_then_one_unit_for_each_share_of_the_window() {
        let mut rate = Gcra::new(60, MINUTE);
        for _ in 0..60 {
            assert!(admit(&mut rate, 1, 0));
        }
        assert_eq!(rate.check(1, 0), Err(Some(Duration::from_secs(1))));
        assert!(!admit(&mut rate, 1, SECOND - 1));
        assert!(admit(&mut rate, 1, SECOND));
        assert!(!admit(&mut rate, 1, SECOND));
    }

    #[test]
    fn a_window_passes_at_most_twice_the_limit() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut rate = Gcra::new(60, MINUTE);
        let mut passed: Vec<u64> = Vec::new();
        let mut now = 0;
        for _ in 0..20_000 {
            now += random.u64(0..2 * SECOND);
            if admit(&mut rate, 1, now) {
                passed.push(now);
            }
        }
        let most = (0..passed.len())
            .map(|first| {
                let end = passed[first] + MINUTE;
                passed[first..].iter().take_while(|at| **at < end).count()
            })
            .max();
        assert!(most <= Some(120), "{most:?} in one window");
        assert!(most > Some(60), "the burst comes on top: {most:?}");
    }

    #[test]
    fn a_limit_that_does_not_divide_the_window_is_exact() {
        let mut rate = Gcra::new(7, SECOND);
        rate.add(7, 0);
        let mut passed = 0;
        // In 1,000 s exactly 7,000 more.
        for step in 1..=1_000_000 {
            let now = step * (SECOND / 1_000);
            if rate.check(1, now).is_ok() {
                rate.add(1, now);
                passed += 1;
            }
        }
        assert_eq!(passed, 7_000);
    }

    #[test]
    fn limits_beyond_a_unit_a_nanosecond_are_exact_too() {
        let mut rate = Gcra::new(u64::MAX, MINUTE);
        assert!(admit(&mut rate, u64::MAX - 1, 0));
        assert_eq!(rate.remaining(0), 1);
        assert!(admit(&mut rate, 1, 0));
        assert!(!admit(&mut rate, 1, 0));
        let century = 100 * 365 * 86_400 * SECOND;
        rate.add(u64::MAX, century);
        assert!(!admit(&mut rate, 1, century));
        assert!(admit(&mut rate, u64::MAX, century + MINUTE));
    }

    #[test]
    fn more_than_the_limit_at_once_never_passes() {
        let rate = Gcra::new(10, MINUTE);
        assert_eq!(rate.check(11, 0), Err(None));
        assert_eq!(Gcra::new(0, MINUTE).check(1, 0), Err(None));
    }

    #[test]
    fn a_debt_keeps_later_units_waiting_even_none_at_all() {
        let mut rate = Gcra::new(60, MINUTE);
        rate.add(90, 0);
        assert_eq!(rate.remaining(0), 0);
        assert_eq!(rate.check(0, 0), Err(Some(Duration::from_secs(30))));
        assert!(!admit(&mut rate, 1, 30 * SECOND));
        assert!(admit(&mut rate, 1, 31 * SECOND));
    }

    #[test]
    fn another_limit_keeps_the_units_that_were_counted() {
        let mut rate = Gcra::new(60, MINUTE);
        rate.add(30, 0);
        rate.change_limit(100, 0);
        assert_eq!(rate.remaining(0), 70);
        rate.change_limit(20, 0);
        assert_eq!(rate.remaining(0), 0);
        assert!(!admit(&mut rate, 1, 0));
    }
}
