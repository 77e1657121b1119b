//! Slowing a stream down: `stream_tokens_per_minute`, and `replay_tokens_per_second` of an answer that was kept.
//!
//! Owns which piece of a stream waits for how long. Little is read ahead of what has passed, so the upstream is
//! slowed down as well. Does not handle the rate that all streams of a tenant, key or rule share (see
//! `limits`), nor the waiting (see `relay`). Cannot fail.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::gateway::context::Context;
use crate::limits::{Now, Pacer};
use crate::observe::cache::CacheResult;

/// Not more passes at once.
pub const MAX_PIECE_BYTES: usize = 1 << 10;

/// What slows one stream down.
pub struct Pacing {
    pacer: Option<Pacer>,
    replay: Option<Replay>,
    /// The tokens that have been counted.
    counted: u64,
}

/// The rate of one stream that is given again.
#[derive(Clone, Copy)]
struct Replay {
    tokens_per_second: u64,
    since: Instant,
}

impl Replay {
    /// How long what comes behind so many tokens has to wait.
    fn wait(self, tokens: u64, now: Instant) -> Duration {
        let due = Duration::from_secs_f64(tokens as f64 / self.tokens_per_second as f64);
        due.saturating_sub(now.saturating_duration_since(self.since))
    }
}

/// What has come of a stream, in pieces, each of which has to wait.
pub struct Pieces {
    pacer: Option<Pacer>,
    replay: Option<Replay>,
    rest: Bytes,
    /// The tokens in the rest.
    tokens: u64,
    /// The tokens before the rest.
    passed: u64,
}

impl Pacing {
    /// What slows the streams of this request down, where anything does.
    pub fn of(context: &Context) -> Option<Box<Self>> {
        let pacer = context.reservation.as_ref().and_then(|held| held.pacer());
        let from_cache = context.outcome.from_cache.as_ref();
        let is_kept = from_cache
            .is_some_and(|from| matches!(from.result, CacheResult::Hit | CacheResult::Semantic));
        let speed = context.runtime.settings.cache.replay_tokens_per_second;
        let replay = speed.filter(|_| is_kept).map(|tokens_per_second| Replay {
            tokens_per_second,
            since: Instant::now(),
        });
        if pacer.is_none() && replay.is_none() {
            return None;
        }
        Some(Box::new(Self {
            pacer,
            replay,
            counted: 0,
        }))
    }

    /// Takes what has come; the model has said so many tokens by now.
    pub fn pieces(&mut self, bytes: Bytes, said_tokens: u64) -> Pieces {
        let passed = std::mem::replace(&mut self.counted, said_tokens);
        Pieces {
            pacer: self.pacer.clone(),
            replay: self.replay,
            rest: bytes,
            tokens: said_tokens.saturating_sub(passed),
            passed,
        }
    }
}

impl Pieces {
    /// The next piece, and how long it has to wait.
    pub fn next(&mut self) -> Option<(Bytes, Duration)> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.rest.len() as u128;
        let piece = self.rest.split_to(self.rest.len().min(MAX_PIECE_BYTES));
        // The tokens are spread over the bytes. None is counted twice, and none is left at the end.
        let tokens = u128::from(self.tokens) * piece.len() as u128 / length;
        let tokens = u64::try_from(tokens).unwrap_or(self.tokens);
        self.tokens -= tokens;
        let shared = self
            .pacer
            .as_ref()
            .map(|pacer| pacer.take(tokens, Now::read()));
        let own = self
            .replay
            .map(|replay| replay.wait(self.passed, Instant::now()));
        self.passed += tokens;
        Some((piece, shared.max(own).unwrap_or_default()))
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
