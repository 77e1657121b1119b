//! What an answer tells of itself while it passes: its usage, and for the chat log all of it.
//!
//! Owns reading a JSON answer of any length, and what is kept of any answer for an estimate, should it
//! tell no usage; `tap` reads streams. Refuses to know what becomes of it: `settle` does. Never fails.

use bytes::Bytes;

use crate::gateway::pieces::Pieces;
use crate::openai::estimate::Sample;
use crate::openai::usage::{self, Members, Usage};
use crate::workers::walk;

/// A longer answer is not taken as a whole: not kept, not rewritten, and no stream is made of it.
pub const MAX_WHOLE_BYTES: usize = 32 << 20;

/// What is known of an answer.
#[derive(Default)]
pub struct Reading {
    /// What the upstream tells of its usage.
    pub usage: Option<Usage>,
    /// What the model has said, for an estimate.
    pub said: Sample,
    /// The answer as one body, where it is to be kept.
    pub answer: Option<Bytes>,
    /// Whether it has come to its end.
    pub is_whole: bool,
    /// Whether it is an error, of which only a usage that is told counts.
    pub is_error: bool,
}

/// Reads a JSON answer.
pub struct JsonReader {
    /// Of an answer that does not come in one piece.
    members: Option<Box<Members>>,
    /// The beginning of the answer, or all of it where it is kept.
    kept: Pieces,
    keeps: bool,
    /// How long it is.
    length: usize,
}

impl JsonReader {
    /// Of an answer that is kept, or of which only the usage is of interest.
    pub fn new(keeps: bool) -> Self {
        Self {
            members: None,
            kept: Pieces::default(),
            keeps,
            length: 0,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &Bytes) {
        if self.length > 0 {
            self.read(chunk);
        }
        self.length += chunk.len();
        if self.keeps && self.length > MAX_WHOLE_BYTES {
            self.keeps = false;
            // An estimate needs no more than its beginning.
            self.kept = self.kept.pop().map(Pieces::from).unwrap_or_default();
        }
        if self.keeps || self.kept.is_empty() {
            self.kept.push(chunk.clone());
        }
    }

    fn read(&mut self, chunk: &Bytes) {
        let members = self.members.get_or_insert_with(|| {
            let mut members = Box::<Members>::default();
            self.kept.iter().for_each(|piece| members.push(piece));
            members
        });
        members.push(chunk);
    }

    /// No more comes.
    pub fn finish(self, is_whole: bool) -> Reading {
        walk(self.kept.len(), || self.read_whole(is_whole))
    }

    fn read_whole(mut self, is_whole: bool) -> Reading {
        let first = self.kept.iter().next().unwrap_or_default();
        let mut reading = Reading {
            usage: match self.members {
                Some(members) => members.usage(),
                None => usage::whole(first),
            },
            is_whole,
            ..Reading::default()
        };
        if reading.usage.is_none() {
            reading.said.add_said(first);
            reading.said.scale(first.len(), self.length);
        }
        reading.answer = self.keeps.then(|| self.kept.join());
        reading
    }
}
