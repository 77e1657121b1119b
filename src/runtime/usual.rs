//! How long the answers of a rule have been lately.
//!
//! Owns a moving average of their tokens, which is set aside for a request that names no bound. Does not
//! handle how much is counted in the end. Cannot fail.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is set aside at least, and before anything is known.
const LEAST: u64 = 1_000;
/// One answer in so many is its weight in the average.
const WEIGHT: u64 = 16;

/// The usual length of an answer, in tokens.
#[derive(Debug)]
pub struct UsualOutput(AtomicU64);

impl Default for UsualOutput {
    fn default() -> Self {
        Self(AtomicU64::new(LEAST * WEIGHT))
    }
}

impl UsualOutput {
    /// How many tokens an answer usually has: at least `LEAST`, since short answers can be had for nothing, and long
    /// ones after them.
    pub fn usual(&self) -> u64 {
        (self.0.load(Ordering::Relaxed) / WEIGHT).max(LEAST)
    }

    /// Takes the length of one more. Of two at once one may be lost, which changes little.
    pub fn learn(&self, tokens: u64) {
        let sum = self.0.load(Ordering::Relaxed);
        let tokens = tokens.min(u64::MAX / (4 * WEIGHT));
        self.0.store(sum - sum / WEIGHT + tokens, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_what_comes() {
        let output = UsualOutput::default();
        assert_eq!(output.usual(), LEAST);
        for _ in 0..200 {
            output.learn(5000);
        }
        assert!(
            (4900..=5000).contains(&output.usual()),
            "{}",
            output.usual()
        );
        for _ in 0..200 {
            output.learn(1);
        }
        assert_eq!(output.usual(), LEAST);
        for _ in 0..1000 {
            output.learn(u64::MAX);
        }
        output.learn(0);
        assert!(output.usual() > 0);
    }
}
