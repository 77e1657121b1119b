//! One answer, aggregated from the events of its stream.
//!
//! Owns joining the pieces of a chat, of a legacy completion or of a response, and whether the result is
//! complete. Unknown members are kept; numbers and texts stay as they were written. Does not handle how
//! events are framed (see `sse`), nor errors in a stream (see `stream_state`). Fails when an answer
//! exceeds a bound, and when a stream ends before its answer does.
//!
//! Bounds: [`MAX_AGGREGATED_BYTES`] over everything that is kept; `MAX_ITEMS` choices, calls of a choice,
//! items of a list that come in pieces, and members of a merged object. Beyond these the aggregation fails.
//! Objects and lists of unknown meaning are merged down to `MAX_DEPTH` levels; below these the last one is
//! kept whole.

mod audio;
mod calls;
mod chunks;
mod item;
mod message;
mod response;
mod value;

use super::json::{MAX_ITEMS, WalkError};
use super::stream_state::Stream;
use chunks::Chunks;
use response::Response;
use value::Budget;

/// The most bytes of an answer that are aggregated, counted over everything that is kept.
pub const MAX_AGGREGATED_BYTES: usize = 32 << 20;

/// The most bytes that are kept of an answer for the case that it breaks. The rest is dropped.
pub const MAX_PARTIAL_BYTES: usize = 256 << 10;

/// Objects of unknown meaning are merged down to this many levels.
const MAX_DEPTH: usize = 16;

/// An answer is beyond a bound, and cannot be aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Why there is no whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// No choice came, and no event of a response.
    Empty,
    /// The stream ended before its answer: a choice has no finish reason and there was no `[DONE]`,
    /// or a response has no terminal event.
    Truncated,
    /// An event was not of the known shape, so that a part of the answer may be missing.
    Malformed,
    /// It is beyond a bound.
    TooLarge,
}

/// Aggregates the events of one stream to the answer that the upstream would have sent without streaming.
pub struct Aggregator {
    answer: Answer,
    budget: Budget,
    /// The end marker came; nothing after it is read, as SDKs do.
    is_done: bool,
    is_malformed: bool,
    is_too_large: bool,
}

enum Answer {
    Chunks(Chunks),
    Response(Response),
}

impl Aggregator {
    /// For one stream whose whole answer is wanted, from its first event. `None` for [`Stream::Other`],
    /// whose events make no answer that we know.
    pub fn for_stream(stream: Stream) -> Option<Self> {
        let answer = match stream {
            Stream::Chat => Answer::Chunks(Chunks::of_chat()),
            Stream::Completions => Answer::Chunks(Chunks::of_completion()),
            Stream::Responses => Answer::Response(Response::default()),
            Stream::Other => return None,
        };
        Some(Self {
            answer,
            budget: Budget::new(MAX_AGGREGATED_BYTES),
            is_done: false,
            is_malformed: false,
            is_too_large: false,
        })
    }

    /// For the stream of a response, of which only what its failure reports is kept.
    pub fn for_failure() -> Self {
        Self {
            answer: Answer::Response(Response::for_failure()),
            budget: Budget::new(MAX_PARTIAL_BYTES),
            is_done: false,
            is_malformed: false,
            is_too_large: false,
        }
    }

    /// For the stream of a chat, of which as much is kept as another upstream may go on with.
    pub fn for_continuation() -> Self {
        Self {
            answer: Answer::Chunks(Chunks::of_chat()),
            ..Self::for_failure()
        }
    }

    /// What has come so far, as [`Aggregator::partial`]; `None` where something is missing in it.
    pub fn so_far(&self) -> Option<Vec<u8>> {
        let is_all = !self.is_too_large && !self.is_malformed;
        is_all.then(|| self.partial()).flatten()
    }

    /// How many bytes it keeps.
    pub fn held_bytes(&self) -> usize {
        self.budget.spent()
    }

    /// Takes the data of the next event. Fails once the answer is beyond a bound, and then for
    /// every event; what came before is still there for [`Aggregator::partial`].
    pub fn see(&mut self, data: &[u8]) -> Result<(), TooLarge> {
        if self.is_too_large {
            return Err(TooLarge);
        }
        let data = data.trim_ascii();
        if self.is_done || data.is_empty() {
            return Ok(());
        }
        if data.starts_with(b"[DONE]") {
            self.is_done = true;
            return Ok(());
        }
        let seen = match (str::from_utf8(data), &mut self.answer) {
            (Err(_), _) => Err(WalkError::Malformed),
            (Ok(json), Answer::Chunks(chunks)) => chunks.see(json, &mut self.budget),
            (Ok(json), Answer::Response(response)) => response.see(json, &mut self.budget),
        };
        self.is_malformed |= seen == Err(WalkError::Malformed);
        self.is_too_large |= seen == Err(WalkError::TooLarge);
        if self.is_too_large {
            return Err(TooLarge);
        }
        Ok(())
    }

    /// The whole JSON answer, when the stream has ended.
    pub fn finish(self) -> Result<Vec<u8>, Incomplete> {
        let json = match self.answer {
            _ if self.is_too_large => return Err(Incomplete::TooLarge),
            Answer::Response(response) => response.finish(self.is_malformed)?,
            Answer::Chunks(_) if self.is_malformed => return Err(Incomplete::Malformed),
            Answer::Chunks(chunks) => chunks.finish(self.is_done)?,
        };
        Ok(json.into_bytes())
    }

    /// What has come so far, as a JSON answer, whole or not; `None` when nothing has. The finish reason of
    /// a choice that is not finished is null.
    pub fn partial(&self) -> Option<Vec<u8>> {
        let json = match &self.answer {
            Answer::Chunks(chunks) => chunks.partial(),
            Answer::Response(response) => response.partial(),
        };
        json.map(String::into_bytes)
    }
}

#[cfg(test)]
mod tests;
