//! The interval between two log lines about the same.
//!
//! Owns its length. What fails with each request would fill the log otherwise. Does not handle what is said (see
//! its users). Cannot fail.

use std::time::{Duration, Instant};

/// The least time between two log lines about the same.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// When a line was written last.
#[derive(Debug, Default)]
pub struct LogInterval(Option<Instant>);

impl LogInterval {
    /// Whether the interval has passed; then it starts again.
    pub fn has_passed(&mut self) -> bool {
        let has_passed = self.0.is_none_or(|last| last.elapsed() >= LOG_EVERY);
        if has_passed {
            self.0 = Some(Instant::now());
        }
        has_passed
    }
}
