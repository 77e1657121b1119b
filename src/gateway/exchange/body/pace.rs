//! How fast a body has to come.
//!
//! Owns the average that a client has to keep up, once a time of grace has passed. Refuses to know
//! what is read, and what becomes of a body that is late.

use std::time::{Duration, Instant};

use crate::config::Limits;

/// The progress of one body.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    since: Instant,
    came: usize,
    /// How many bytes came last.
    last: usize,
    /// Bytes a second; 0 for no bound.
    rate: usize,
    grace: Duration,
}

impl Pace {
    /// A body of which `came` bytes have come since then.
    pub fn new(since: Instant, came: usize, limits: &Limits) -> Self {
        Self {
            since,
            came,
            last: 0,
            rate: limits.body_rate,
            grace: limits.header_timeout,
        }
    }

    /// Notes bytes that have come.
    pub fn pass(&mut self, bytes: usize) {
        self.came += bytes;
        self.last = bytes;
    }

    /// How many bytes came last, unless that has been asked already.
    pub fn take_last(&mut self) -> usize {
        std::mem::take(&mut self.last)
    }

    /// Leaves out a time in which nothing was read.
    pub fn exclude(&mut self, time: Duration) {
        self.since += time;
    }

    /// How long the next bytes may take to come; `None` when they are late already.
    pub fn left(&self) -> Option<Duration> {
        match self.allowed() {
            Some(allowed) => allowed.checked_sub(self.since.elapsed()),
            None => Some(Duration::MAX),
        }
    }

    /// For how long what has come is enough.
    fn allowed(&self) -> Option<Duration> {
        let seconds = self.came.checked_div(self.rate)?;
        Some(self.grace.max(Duration::from_secs(seconds as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_grace_and_then_as_long_as_its_bytes_are_worth() {
        let limits = Limits {
            header_timeout: Duration::from_secs(10),
            body_rate: 1024,
            ..Limits::default()
        };
        let mut pace = Pace::new(Instant::now(), 0, &limits);
        assert_eq!(pace.allowed(), Some(Duration::from_secs(10)));
        pace.pass(20 * 1024);
        assert_eq!(pace.allowed(), Some(Duration::from_secs(20)));
        let unbounded = Limits {
            body_rate: 0,
            ..limits
        };
        assert_eq!(Pace::new(Instant::now(), 0, &unbounded).allowed(), None);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(11));
        assert_eq!(Pace::new(long_ago.unwrap(), 0, &limits).left(), None);
    }
}
