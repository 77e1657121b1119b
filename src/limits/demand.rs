//! What a request asks for, and when.
//!
//! Owns the figures that are reserved and settled, and the two clocks. Does not handle where the figures come from (see
//! `openai::estimate` and `prices`). Cannot fail.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};

use super::kind::LimitKind;
use crate::clock;

/// What a request asks for, beside itself and a permit. Also what it has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Tokens of input and output.
    pub tokens: u64,
    /// Money, in nano-dollars.
    pub nanos: u64,
}

impl Demand {
    /// What of it counts for a limit: 1 where requests are counted.
    pub(super) fn of(self, kind: LimitKind) -> u64 {
        match kind {
            LimitKind::QuotaMoney => self.nanos,
            LimitKind::QuotaTokens => self.tokens,
            kind if kind.is_token_rate() => self.tokens,
            _ => 1,
        }
    }

    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            nanos: self.nanos.saturating_add(other.nanos),
        }
    }
}

/// The time, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since any moment that stays the same while the process runs. Rates count with it.
    pub monotonic: Duration,
    /// The time of day. Quotas count with it.
    pub wall: Timestamp,
}

/// By how much the clock of the store that several nodes share is ahead of this machine's, in microseconds.
static AHEAD_US: AtomicI64 = AtomicI64::new(0);

impl Now {
    /// Reads both clocks. Where several nodes share limits, the time of day is that of their store.
    pub fn read() -> Self {
        let ahead = SignedDuration::from_micros(AHEAD_US.load(Ordering::Relaxed));
        let wall = Timestamp::try_from(clock::now()).and_then(|wall| wall.checked_add(ahead));
        Self {
            monotonic: clock::uptime(),
            // Beyond the times that jiff knows, no period begins.
            wall: wall.unwrap_or(Timestamp::MIN),
        }
    }

    /// The time of the store, since the Unix epoch.
    pub(super) fn store_time() -> Duration {
        let seconds = Self::read().wall.as_microsecond();
        Duration::from_micros(u64::try_from(seconds).unwrap_or(0))
    }

    /// Follows the clock of the store, which shows this time now, since the Unix epoch.
    pub(super) fn follow(store: Duration) {
        let here = clock::now().duration_since(SystemTime::UNIX_EPOCH);
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let ahead = micros(store).saturating_sub(micros(here.unwrap_or_default()));
        AHEAD_US.store(ahead, Ordering::Relaxed);
    }

    pub(super) fn nanos(self) -> u64 {
        let seconds = self.monotonic.as_secs().saturating_mul(1_000_000_000);
        seconds.saturating_add(u64::from(self.monotonic.subsec_nanos()))
    }
}
