//! When a receiver is tried again.
//!
//! Owns the pauses and what is known of a receiver that fails. Does not handle the pauses' causes (see `dispatcher`).
//! Cannot fail.

use std::time::{Duration, Instant};

/// The pauses after one failure, two and so on; the last one then repeats.
const DELAYS: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(5 * 3_600),
    Duration::from_secs(10 * 3_600),
];
/// A pause is longer by up to this share of it, at random, so that what failed together is not tried together.
const JITTER: f64 = 0.2;

/// How long things take and wait.
#[derive(Clone, Debug)]
pub struct Timing {
    /// A request takes this long at most.
    pub timeout: Duration,
    /// A message that is older is given up.
    pub retention: Duration,
    /// The pauses.
    pub delays: Vec<Duration>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            retention: Duration::from_secs(3 * 86_400),
            delays: DELAYS.to_vec(),
        }
    }
}

impl Timing {
    /// How long to wait after so many failures before this one.
    pub fn delay(&self, failures: u32) -> Duration {
        let place = usize::try_from(failures).unwrap_or(usize::MAX);
        let delay = self.delays.get(place).or(self.delays.last());
        let delay = delay.copied().unwrap_or_default();
        delay + delay.mul_f64(fastrand::f64() * JITTER)
    }
}

/// What is known of a receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lane {
    /// A request to it runs.
    pub is_busy: bool,
    /// How often it has failed since it last accepted a message.
    failures: u32,
    /// Nothing is sent before.
    not_before: Option<Instant>,
}

impl Lane {
    /// How often it has failed since it last accepted a message.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it has.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// How long it is to be left alone.
    pub fn wait(&self, now: Instant) -> Duration {
        let until = self.not_before;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Counts a failure, and leaves it alone for this time.
    pub fn fail(&mut self, pause: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.pause(pause);
    }

    /// Leaves it alone for this time.
    pub fn pause(&mut self, pause: Duration) {
        self.not_before = Instant::now().checked_add(pause);
    }

    /// It works, or is another one.
    pub fn forget_failures(&mut self) {
        (self.failures, self.not_before) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn the_pauses_grow_to_ten_hours_and_differ_by_a_fifth() {
        let timing = Timing::default();
        let expected = [
            5 * SECOND,
            5 * MINUTE,
            30 * MINUTE,
            2 * HOUR,
            5 * HOUR,
            10 * HOUR,
        ];
        for (failures, least) in (0..).zip(expected) {
            for _ in 0..100 {
                let delay = timing.delay(failures);
                assert!(delay >= least && delay <= least.mul_f64(1.2), "{delay:?}");
            }
        }
        assert!(timing.delay(u32::MAX) >= 10 * HOUR);
    }

    #[test]
    fn a_receiver_that_fails_for_three_days_is_tried_about_a_dozen_times() {
        let timing = Timing::default();
        let mut age = Duration::ZERO;
        let mut attempts = 0;
        while age < timing.retention {
            age += timing.delay(attempts);
            attempts += 1;
        }
        assert!((10..=12).contains(&attempts), "{attempts}");
    }
}
