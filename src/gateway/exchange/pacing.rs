//! Slowing a stream down: `stream_tokens_per_minute`.
//!
//! Owns which piece of a stream waits for how long. Little is read ahead of what has passed, so the upstream is
//! slowed down as well. Does not handle the rate, which all streams of a tenant, key or rule share (see
//! `limits`), nor the waiting (see `relay`). Cannot fail.

use std::time::Duration;

use bytes::Bytes;

use crate::gateway::context::Context;
use crate::limits::{Now, Pacer};

/// Not more passes at once.
pub const MAX_PIECE_BYTES: usize = 1 << 10;

/// What slows one stream down.
pub struct Pacing {
    pacer: Pacer,
    /// The tokens that have been counted.
    counted: u64,
}

/// What has come of a stream, in pieces, each of which has to wait.
pub struct Pieces {
    pacer: Pacer,
    rest: Bytes,
    /// The tokens in the rest.
    tokens: u64,
}

impl Pacing {
    /// What slows the streams of this request down, where anything does.
    pub fn of(context: &Context) -> Option<Box<Self>> {
        let pacer = context.reservation.as_ref()?.pacer()?;
        Some(Box::new(Self { pacer, counted: 0 }))
    }

    /// Takes what has come; the model has said so many tokens by now.
    pub fn pieces(&mut self, bytes: Bytes, said_tokens: u64) -> Pieces {
        let tokens = said_tokens.saturating_sub(self.counted);
        self.counted = said_tokens;
        Pieces {
            pacer: self.pacer.clone(),
            rest: bytes,
            tokens,
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
        Some((piece, self.pacer.take(tokens, Now::read())))
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
