//! When something that is done from time to time was done last.
//!
//! Owns the time. Does not handle what is done. Cannot fail.

use std::time::{Duration, Instant};

/// When something was done last.
#[derive(Default)]
pub struct Turn(Option<Instant>);

impl Turn {
    /// Whether it is time again. It is done then.
    pub fn takes(&mut self, every: Duration) -> bool {
        let is_time = self.0.is_none_or(|at| at.elapsed() >= every);
        if is_time {
            self.0 = Some(Instant::now());
        }
        is_time
    }

    /// Has it be done at once.
    pub fn hurry(&mut self) {
        self.0 = None;
    }
}
