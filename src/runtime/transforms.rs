//! The changes that a target and its upstream's dialect ask for, put together once.
//!
//! Owns which changes apply to which request. Does not handle how they are made (see `openai::edit` and
//! `openai::rewrite`). Cannot fail.

use crate::config::{self, Streams};
use crate::openai::dialect::Dialect;
use crate::openai::edit::Edits;
use crate::openai::endpoint::Exchange;
use crate::openai::rewrite::Rewrites;

/// The changes for one target.
#[derive(Debug, Default)]
pub struct Transforms {
    with_stop: Edits,
    without_stop: Edits,
    special_prefix: Option<String>,
    answers_as_requested: bool,
    /// Whether the target is asked for streams.
    pub streams: Streams,
}

impl Transforms {
    /// Puts together what the operator wrote.
    pub fn new(target: &config::Transforms, dialect: &Dialect) -> Self {
        let without_stop = Edits {
            set: target.set.clone(),
            default: target.default.clone(),
            stop: Vec::new(),
            ..dialect.edits.clone()
        };
        Self {
            with_stop: Edits {
                stop: target.stop.clone(),
                ..without_stop.clone()
            },
            without_stop,
            special_prefix: target.special_prefix.clone(),
            answers_as_requested: target.answers_as_requested,
            streams: target.streams,
        }
    }

    /// What is changed in a JSON request.
    pub fn edits(&self, endpoint: &Exchange) -> &Edits {
        match endpoint.takes_stop {
            true => &self.with_stop,
            false => &self.without_stop,
        }
    }

    /// What is changed in an answer to a request for `model`.
    pub fn rewrites(&self, model: Option<&str>) -> Rewrites {
        let model = model.filter(|_| self.answers_as_requested);
        Rewrites {
            model: model.map(str::to_owned),
            prefix: self.special_prefix.clone(),
        }
    }
}
