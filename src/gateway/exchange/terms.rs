//! What is expected of an answer.
//!
//! Owns the terms of one attempt: when it must be over, what the upstream is asked for, and what becomes
//! of what it gives. `outgoing` sets them, `answer` and `relay` go by them. Cannot fail.

use std::time::Instant;

use crate::gateway::failure::Phase;
use crate::openai::continuation::Rest;
use crate::openai::endpoint::StreamError;
use crate::openai::rewrite::Rewrites;
use crate::openai::stream_state::Stream;
use crate::openai::streaming::StreamMode;

/// When something has to have come.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The time.
    pub until: Instant,
    /// What has passed then.
    pub phase: Phase,
}

/// What is wanted of a stream besides its bytes.
#[derive(Clone, Copy)]
pub struct Wants {
    /// What its events are.
    pub stream: Stream,
    /// Whether events that cannot be read are kept from the client.
    pub drops_malformed: bool,
    /// Whether the usage is kept from the client, which has not asked for it.
    pub hides_usage: bool,
    /// Whether the whole answer is put together.
    pub aggregates: bool,
    /// Whether another upstream may go on where it breaks. Then an event that tells an error is kept from the client.
    pub may_go_on: bool,
}

/// What is expected of the answer to one attempt.
pub struct Terms {
    /// When the whole request has taken too long.
    pub deadline: Instant,
    /// What the upstream is asked for.
    pub asked: StreamMode,
    /// What becomes of the answer's form.
    pub form: Form,
    /// Whether it is to be plain text.
    pub wants_text: bool,
    /// What is wanted of the events of a stream.
    pub wants: Wants,
    /// Whether nothing of it passes before it is whole.
    pub is_held_whole: bool,
    /// Whether a whole answer is kept, for the chat log.
    pub keeps: bool,
    /// As much of an answer is kept to be given again, in bytes; `None` for nothing.
    pub records: Option<usize>,
    /// How a stream tells that something broke.
    pub stream_error: StreamError,
    /// Whether a whole answer is JSON, an object or an array.
    pub answers_json: bool,
    /// What is changed in it.
    pub rewrites: Rewrites,
    /// What it is the rest of, where it goes on with an answer that broke.
    pub rest: Option<Box<Rest>>,
}

impl Terms {
    /// Whether an answer begins with the first output of a stream.
    pub fn passes_stream(&self) -> bool {
        self.asked.stream && self.form == Form::AsItComes && !self.is_held_whole
    }

    /// The limit for all of an answer.
    pub fn limit(&self) -> Limit {
        Limit {
            until: self.deadline,
            phase: Phase::Total,
        }
    }
}

/// What becomes of the form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It stays.
    AsItComes,
    /// One answer is made of the stream.
    Aggregated,
    /// A stream is made of the one answer.
    Synthesized {
        /// Whether the client has asked for the usage at its end.
        with_usage: bool,
    },
}
