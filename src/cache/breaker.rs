//! Whether something that fails is asked.
//!
//! Owns that it is left alone after failures in a row, for longer each time, and that then one request tries it. The
//! caller says what a failure is, and gives the time. A trial that is dropped without a report is free again. Cannot
//! fail.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many failures in a row open the breaker.
const MOST_FAILURES: u32 = 5;
/// How long it is open first, and at most.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// The state of one thing that is asked.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Failures since the last success.
    in_a_row: u32,
    /// Until when it is left alone, and how long that is; `None` while it is closed.
    open: Option<(Instant, Duration)>,
    /// A request is trying it.
    is_tried: bool,
}

/// The right to ask once. What is not reported counts for nothing.
#[derive(Debug)]
#[must_use = "what comes of it is to be reported"]
pub struct Admission<'b> {
    breaker: &'b Breaker,
    is_trial: bool,
}

impl Breaker {
    /// The right to ask, unless it is to be left alone.
    pub fn admit(&self, now: Instant) -> Option<Admission<'_>> {
        let mut state = self.0.lock();
        let is_trial = match state.open {
            None => false,
            Some((until, _)) if now < until || state.is_tried => return None,
            Some(_) => true,
        };
        state.is_tried |= is_trial;
        Some(Admission {
            breaker: self,
            is_trial,
        })
    }

    /// Whether it is asked as usual.
    pub fn is_closed(&self) -> bool {
        self.0.lock().open.is_none()
    }
}

impl Admission<'_> {
    /// It has answered in time. Tells whether the breaker has closed by that.
    pub fn succeeded(self) -> bool {
        let mut state = self.breaker.0.lock();
        // One that was asked before the breaker opened says nothing about now.
        if !self.is_trial && state.open.is_some() {
            return false;
        }
        let closes = state.open.is_some();
        (state.in_a_row, state.open) = (0, None);
        closes
    }

    /// It has not. Tells whether the breaker has opened by that.
    pub fn failed(self, now: Instant) -> bool {
        let mut state = self.breaker.0.lock();
        let lasts = match state.open {
            Some((_, lasted)) if self.is_trial => (2 * lasted).min(LONGEST),
            Some(_) => return false,
            None => SHORTEST,
        };
        state.in_a_row += 1;
        let opens = state.in_a_row >= MOST_FAILURES;
        if opens {
            state.open = Some((now + lasts, lasts));
        }
        opens
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            self.breaker.0.lock().is_tried = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, now: Instant) -> bool {
        breaker.admit(now).unwrap().failed(now)
    }

    #[test]
    fn failures_in_a_row_open_it_for_longer_each_time() {
        let breaker = Breaker::default();
        let mut now = Instant::now();
        for _ in 0..4 {
            assert!(!fail(&breaker, now));
        }
        breaker.admit(now).unwrap().succeeded();
        for _ in 0..4 {
            assert!(!fail(&breaker, now));
        }
        assert!(fail(&breaker, now), "the fifth in a row");
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let lasts = Duration::from_secs(seconds);
            assert!(!breaker.is_closed());
            assert!(breaker.admit(now + lasts / 2).is_none(), "{seconds}");
            now += lasts;
            assert!(fail(&breaker, now), "{seconds}");
        }
        now += LONGEST;
        assert!(breaker.admit(now).unwrap().succeeded());
        assert!(!breaker.admit(now).unwrap().succeeded());
        assert!(breaker.is_closed());
        assert!(!fail(&breaker, now), "it counts from the beginning");
    }

    #[test]
    fn one_request_tries_it_and_a_late_report_counts_for_nothing() {
        let breaker = Breaker::default();
        let mut now = Instant::now();
        let late = [(); 2].map(|()| breaker.admit(now).unwrap());
        for _ in 0..5 {
            fail(&breaker, now);
        }
        let [first, second] = late;
        first.succeeded();
        assert!(!second.failed(now));
        now += SHORTEST;
        let trial = breaker.admit(now).unwrap();
        assert!(breaker.admit(now).is_none());
        drop(trial);
        breaker.admit(now).unwrap().succeeded();
        assert!(breaker.is_closed());
    }
}
