//! Two counts over a sliding window: requests, and those of them that are marked.
//!
//! Owns the window, in two halves: when the later half is full it becomes the earlier one, so what is
//! counted is at most between a half and a whole window old. Memory and time are small and constant.
//! Does not handle what is counted (see `breaker` and `budget`); the owner gives the time and holds the
//! lock. A time before the half that is being filled counts into that half. Cannot fail.

use std::time::{Duration, Instant};

/// Counts without what is older than the window.
#[derive(Debug, Default)]
pub struct Window {
    earlier: StreamUsage,
    current: StreamUsage,
    /// When the current half began; `None` before the first use.
    began: Option<Instant>,
}

/// Requests, and those that are marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamUsage {
    /// All requests.
    pub requests: u64,
    /// Those that the owner marks, such as failures.
    pub marked: u64,
}

impl Window {
    /// The counts to add to, without what is older than `length`. A length of zero
    /// keeps nothing.
    pub fn at(&mut self, now: Instant, length: Duration) -> &mut StreamUsage {
        // Rounded up, so that two halves are never less than the whole.
        let half = length.saturating_sub(length / 2);
        let began = *self.began.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age >= half {
            if age - half < half {
                self.earlier = self.current;
                self.began = Some(began + half);
            } else {
                self.earlier = StreamUsage::default();
                self.began = Some(now);
            }
            self.current = StreamUsage::default();
        }
        &mut self.current
    }

    /// The counts of both halves, as of the last call of [`at`](Self::at).
    pub fn sum(&self) -> StreamUsage {
        StreamUsage {
            requests: self.earlier.requests + self.current.requests,
            marked: self.earlier.marked + self.current.marked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(10);

    fn requests_after(window: &mut Window, now: Instant) -> u64 {
        window.at(now, LENGTH).requests += 1;
        window.sum().requests
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten_by_halves() {
        let (mut window, start) = (Window::default(), Instant::now());
        let seen = [0, 4, 7, 9, 10, 14, 15].map(|s| {
            let now = start + Duration::from_secs(s);
            requests_after(&mut window, now)
        });
        assert_eq!(seen, [1, 2, 3, 4, 3, 4, 3]);
    }

    #[test]
    fn after_a_silence_of_a_window_it_begins_anew() {
        let (mut window, start) = (Window::default(), Instant::now());
        requests_after(&mut window, start);
        assert_eq!(requests_after(&mut window, start + LENGTH), 1);
    }

    #[test]
    fn an_odd_length_is_not_cut_short() {
        let (mut window, start) = (Window::default(), Instant::now());
        for nanos in [0, 2] {
            let now = start + Duration::from_nanos(nanos);
            window.at(now, Duration::from_nanos(3)).requests += 1;
        }
        assert_eq!(window.sum().requests, 2);
    }

    #[test]
    fn a_time_from_before_counts_into_the_current_half() {
        let (mut window, start) = (Window::default(), Instant::now());
        requests_after(&mut window, start + LENGTH);
        assert_eq!(requests_after(&mut window, start), 2);
    }

    #[test]
    fn a_window_of_no_length_remembers_nothing() {
        let (mut window, now) = (Window::default(), Instant::now());
        window.at(now, Duration::ZERO).marked += 1;
        assert_eq!(*window.at(now, Duration::ZERO), StreamUsage::default());
        assert_eq!(window.sum(), StreamUsage::default());
    }
}
