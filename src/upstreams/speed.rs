//! How fast a target has answered lately, and how often it has failed.
//!
//! Owns two averages, for streams and for whole answers, and the share of failures. All of them decay: what is a
//! minute old weighs half. Does not handle what a failure is (see `openai::verdict`), nor what is chosen by it (see
//! `gateway::plan`). Cannot fail.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What is so old weighs half.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// A target is known once so many requests have shown how it does.
const KNOWN_AFTER: u32 = 5;
/// A larger share of failures counts as this one: each request would take infinitely long.
const MAX_FAILING: f64 = 0.95;

/// The record of one target.
#[derive(Debug, Default)]
pub struct Speed(Mutex<Sums>);

/// What `/status` shows of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeedShown {
    /// Whether enough is known to choose by it.
    pub is_known: bool,
    /// From the request to the first output of a stream, on average.
    pub first_output: Option<Duration>,
    /// From the request to the beginning of any other answer, on average.
    pub answer: Option<Duration>,
    /// The share of failures, from 0 to 1.
    pub failing: f64,
}

#[derive(Debug, Default)]
struct Sums {
    /// When the sums were decayed last.
    at: Option<Instant>,
    /// How many requests there ever were, up to the number that makes the target known.
    seen: u32,
    requests: f64,
    failures: f64,
    streams: Average,
    others: Average,
}

#[derive(Clone, Copy, Debug, Default)]
struct Average {
    count: f64,
    seconds: f64,
}

impl Speed {
    /// An answer has begun after this time.
    pub fn answered(&self, is_stream: bool, time: Duration, now: Instant) {
        let mut sums = self.0.lock();
        sums.count(now);
        let average = match is_stream {
            true => &mut sums.streams,
            false => &mut sums.others,
        };
        average.count += 1.0;
        average.seconds += time.as_secs_f64();
    }

    /// A request has failed.
    pub fn failed(&self, now: Instant) {
        let mut sums = self.0.lock();
        sums.count(now);
        sums.failures += 1.0;
    }

    /// How long an answer is expected to take to begin, in seconds, tries that fail included; `None` while too little
    /// is known.
    pub fn expected(&self, is_stream: bool) -> Option<f64> {
        let sums = self.0.lock();
        if !sums.is_known() {
            return None;
        }
        let (own, other) = match is_stream {
            true => (sums.streams, sums.others),
            false => (sums.others, sums.streams),
        };
        // Where nothing has been answered, the share of failures decides.
        let seconds = own.mean().or(other.mean()).unwrap_or(f64::MAX / 100.0);
        Some(seconds / (1.0 - sums.failing().min(MAX_FAILING)))
    }

    /// What is known.
    pub fn shown(&self) -> SpeedShown {
        let sums = self.0.lock();
        let duration = |mean: f64| Duration::try_from_secs_f64(mean).unwrap_or(Duration::MAX);
        SpeedShown {
            is_known: sums.is_known(),
            first_output: sums.streams.mean().map(duration),
            answer: sums.others.mean().map(duration),
            failing: sums.failing(),
        }
    }
}

impl Sums {
    fn count(&mut self, now: Instant) {
        let passed = self.at.map(|at| now.saturating_duration_since(at));
        let halves = passed.unwrap_or_default().as_secs_f64() / HALF_LIFE.as_secs_f64();
        let left = (-halves).exp2();
        for sum in [
            &mut self.requests,
            &mut self.failures,
            &mut self.streams.count,
            &mut self.streams.seconds,
            &mut self.others.count,
            &mut self.others.seconds,
        ] {
            *sum *= left;
        }
        self.at = Some(now);
        self.seen = (self.seen + 1).min(KNOWN_AFTER);
        self.requests += 1.0;
    }

    fn is_known(&self) -> bool {
        self.seen >= KNOWN_AFTER
    }

    fn failing(&self) -> f64 {
        match self.requests > 0.0 {
            true => self.failures / self.requests,
            false => 0.0,
        }
    }
}

impl Average {
    fn mean(self) -> Option<f64> {
        // After a very long time both sums are zero.
        (self.count > f64::MIN_POSITIVE).then(|| self.seconds / self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn near(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < expected / 50.0, "{found}");
    }

    #[test]
    fn little_is_no_knowledge() {
        let (speed, now) = (Speed::default(), Instant::now());
        for _ in 1..KNOWN_AFTER {
            speed.answered(true, ms(100), now);
            assert_eq!(speed.expected(true), None);
        }
        speed.answered(true, ms(100), now);
        near(speed.expected(true), 0.1);
        // Of whole answers nothing is known: streams say more than nothing.
        near(speed.expected(false), 0.1);
    }

    #[test]
    fn streams_and_whole_answers_are_kept_apart() {
        let (speed, now) = (Speed::default(), Instant::now());
        for _ in 0..10 {
            speed.answered(true, ms(100), now);
            speed.answered(false, ms(4000), now);
        }
        near(speed.expected(true), 0.1);
        near(speed.expected(false), 4.0);
    }

    #[test]
    fn failures_cost_the_time_of_another_try() {
        let (speed, now) = (Speed::default(), Instant::now());
        for _ in 0..50 {
            speed.answered(true, ms(100), now);
            speed.failed(now);
        }
        near(speed.expected(true), 0.2);
        assert!((speed.shown().failing - 0.5).abs() < 0.01);
        let broken = Speed::default();
        for _ in 0..50 {
            broken.failed(now);
        }
        assert!(broken.expected(true).unwrap() > 1e9);
        assert!(broken.expected(true).unwrap().is_finite());
    }

    #[test]
    fn what_is_old_is_forgotten_and_a_quiet_time_is_not_ignorance() {
        let (speed, start) = (Speed::default(), Instant::now());
        for _ in 0..50 {
            speed.answered(true, ms(2000), start);
        }
        let later = start + 10 * HALF_LIFE;
        near(speed.expected(true), 2.0);
        for _ in 0..5 {
            speed.answered(true, ms(100), later);
        }
        near(speed.expected(true), 0.1185);
        // After years the sums are zero, and the next request is all that is known.
        let much_later = start + Duration::from_secs(400 * 86_400);
        speed.answered(true, ms(700), much_later);
        near(speed.expected(true), 0.7);
    }
}
