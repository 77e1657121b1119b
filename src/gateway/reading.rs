//! What an answer tells of itself while it passes: its usage, and for the chat log all of it.
//!
//! Owns reading a JSON answer of any length, and what is kept of any answer for an estimate, should it
//! tell no usage; `tap` reads streams. Refuses to know what becomes of it: `settle` does. Never fails.

use bytes::Bytes;

use crate::openai::estimate::Sample;
use crate::openai::usage::{self, Members, Usage};

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
    kept: Vec<Bytes>,
    keeps: bool,
    /// How long it is.
    length: usize,
}

impl JsonReader {
    /// Of an answer that is kept, or of which only the usage is of interest.
    pub fn new(keeps: bool) -> Self {
        Self {
            members: None,
            kept: Vec::new(),
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
        self.keeps &= self.length <= MAX_WHOLE_BYTES;
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
        let mut reading = Reading {
            usage: match self.members {
                Some(members) => members.usage(),
                None => self.kept.first().and_then(|only| usage::whole(only)),
            },
            is_whole,
            ..Reading::default()
        };
        if reading.usage.is_none()
            && let Some(first) = self.kept.first()
        {
            reading.said.add_said(first);
            reading.said.scale(first.len(), self.length);
        }
        reading.answer = self.keeps.then(|| joined(&self.kept));
        reading
    }
}

/// One body of its pieces.
pub fn joined(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [only] => only.clone(),
        pieces => Bytes::from(pieces.concat()),
    }
}
