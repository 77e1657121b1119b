//! What a request asks for, and when.
//!
//! Owns the figures that are reserved and settled, and the two clocks. Does not handle where the figures come from (see
//! `openai::estimate` and `prices`). Cannot fail.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock;

/// What a request asks for, beside itself and a permit. Also what it has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Tokens of input and output.
    pub tokens: u64,
    /// Money, in nano-dollars.
    pub nanos: u64,
}

/// The time, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since any moment that stays the same while the process runs. Rates count with it.
    pub monotonic: Duration,
    /// The time of day. Quotas count with it.
    pub wall: Timestamp,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        Self {
            monotonic: clock::uptime(),
            // Beyond the times that jiff knows, no period begins.
            wall: Timestamp::try_from(clock::now()).unwrap_or(Timestamp::MIN),
        }
    }

    pub(super) fn nanos(self) -> u64 {
        let seconds = self.monotonic.as_secs().saturating_mul(1_000_000_000);
        seconds.saturating_add(u64::from(self.monotonic.subsec_nanos()))
    }
}
