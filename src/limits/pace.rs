//! The rate at which all streams of one scope pass.
//!
//! Owns how long a piece of a stream has to wait for it. Does not handle streams of several scopes (see `pacer`).
//! Cannot fail.
//!
//! One second's worth passes at once. A piece waits at most [`LONGEST_WAIT`]; at this bound the backlog is cut, and
//! the streams pass faster than the rate.

use std::time::Duration;

use super::demand::Now;
use super::gcra::Gcra;
use super::kind::LimitKind;

/// The longest wait for one piece.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

const LONGEST_WAIT_NANOS: u64 = 60_000_000_000;
const BURST_NANOS: u64 = 1_000_000_000;

/// The rate of a scope's streams.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Gcra,
    latest_nanos: u64,
}

impl Pace {
    /// This many tokens a minute.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            rate: Gcra::new(limit, LimitKind::TokensPerMinute.window_nanos()),
            latest_nanos: 0,
        }
    }

    /// Goes on with another limit.
    pub(super) fn under(mut self, limit: u64) -> Self {
        if self.rate.limit() != limit {
            self.rate.change_limit(limit, self.latest_nanos);
        }
        self
    }

    /// Tokens in a minute.
    pub(super) fn limit(&self) -> u64 {
        self.rate.limit()
    }

    /// Counts tokens, and says how long they have to wait.
    pub(super) fn take(&mut self, tokens: u64, now: Now) -> Duration {
        self.latest_nanos = self.latest_nanos.max(now.nanos());
        self.rate.add(tokens, self.latest_nanos);
        self.rate
            .cap(LONGEST_WAIT_NANOS + BURST_NANOS, self.latest_nanos);
        let backlog = self.rate.reset(self.latest_nanos);
        backlog.saturating_sub(Duration::from_nanos(BURST_NANOS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            monotonic: Duration::from_millis(ms),
            wall: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn one_seconds_worth_passes_at_once_and_the_rest_at_the_rate() {
        // 600 a minute are 10 a second.
        let mut pace = Pace::new(600);
        assert_eq!(pace.take(10, at(0)), Duration::ZERO);
        assert_eq!(pace.take(5, at(0)), Duration::from_millis(500));
        assert_eq!(pace.take(5, at(1_000)), Duration::ZERO);
        assert_eq!(pace.take(10, at(1_000)), Duration::from_secs(1));
    }

    #[test]
    fn streams_that_wait_as_told_pass_at_the_rate() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut pace = Pace::new(6_000);
        let mut next_ms = [0_u64; 8];
        let mut passed = 0;
        loop {
            let stream = (0..8).min_by_key(|stream| next_ms[*stream]).unwrap();
            let now = next_ms[stream];
            if now > 60_000 {
                break;
            }
            let tokens = random.u64(1..20);
            let wait = pace.take(tokens, at(now));
            next_ms[stream] = now + u64::try_from(wait.as_millis()).unwrap() + 1;
            passed += tokens;
        }
        assert!((5_900..6_500).contains(&passed), "{passed}");
    }

    #[test]
    fn no_wait_is_longer_than_its_bound_and_the_backlog_is_cut_there() {
        let mut pace = Pace::new(60);
        assert_eq!(pace.take(u64::MAX, at(0)), LONGEST_WAIT);
        assert_eq!(pace.take(1_000, at(0)), LONGEST_WAIT);
        assert_eq!(pace.take(0, at(60_000)), Duration::ZERO);
    }

    #[test]
    fn another_limit_keeps_the_backlog_in_tokens() {
        let mut pace = Pace::new(600);
        pace.take(30, at(0));
        let mut pace = pace.under(1_200);
        assert_eq!(pace.take(0, at(0)), Duration::from_millis(500));
    }
}
