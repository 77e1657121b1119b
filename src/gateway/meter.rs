//! What is known of what one request uses and says, while it is served.
//!
//! Owns the notes that the steps of a request make for its settlement, and what a line of the chat log
//! needs. Does not handle when and how they are counted (see `settle`). Cannot fail.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::recording::Recorded;
use super::storing::{Reused, Storing};
use crate::chatlog::ChatLog;
use crate::openai::estimate::{Prompt, Sample};
use crate::openai::usage::Usage;

/// What is known of what a request has used.
#[derive(Default)]
pub struct Meter {
    /// What it asks with, where an answer that tells no usage can be estimated.
    pub prompt: Option<Prompt>,
    /// The chat log that it is written to, if it is.
    pub chat: Option<Chat>,
    /// What another upstream has used, with whose answer this one goes on.
    pub before: Option<Box<Before>>,
    /// What its answer tells, once one has begun.
    pub reading: Option<Reading>,
    /// When the last event of a stream has come.
    pub last_event: Option<Instant>,
    /// Whether the client has left before the answer's end.
    pub client_left: bool,
    /// As much of its answer is kept, in bytes; `None` for nothing.
    pub records: Option<usize>,
    /// What keeps its answer, where it is to be given again.
    pub storing: Option<Box<Storing>>,
    /// The answer that it has got, where nothing was asked of an upstream for it.
    pub reused: Option<Box<Reused>>,
}

/// What an upstream has used with whose answer another one went on. It has been charged.
pub struct Before {
    /// What it has used.
    pub usage: Usage,
    /// What that costs, in nano-dollars, where that is known.
    pub cost_nanos: Option<u64>,
}

/// A request for the chat log.
pub struct Chat {
    /// The log.
    pub log: Arc<ChatLog>,
    /// The request's body.
    pub request: Bytes,
}

impl Meter {
    /// Of a request that has been read.
    pub fn new(prompt: Option<Prompt>, chat: Option<Chat>) -> Self {
        Self {
            prompt,
            chat,
            before: None,
            reading: None,
            last_event: None,
            client_left: false,
            records: None,
            storing: None,
            reused: None,
        }
    }
}

impl Chat {
    /// A request that is to be written down.
    pub fn new(log: Arc<ChatLog>, request: &Bytes) -> Self {
        Self {
            log,
            request: request.clone(),
        }
    }
}

/// What is known of an answer.
#[derive(Default)]
pub struct Reading {
    /// What the upstream tells of its usage.
    pub usage: Option<Usage>,
    /// What the model has said, for an estimate.
    pub sample: Sample,
    /// The answer as one body, where it is to be kept.
    pub answer: Option<Bytes>,
    /// Whether it has come to its end.
    pub is_whole: bool,
    /// Whether it is an error, of which only a usage that is told counts.
    pub is_error: bool,
    /// All of it as it came, where it is whole and kept to be given again.
    pub recorded: Option<Recorded>,
}
