//! Reading a JSON answer while it passes: its usage, and for the chat log all of it.
//!
//! Owns reading one of any length, what is kept of it for an estimate should it tell no usage, changing
//! it as a whole within a bound, and masking the key in a long one that may be an error. Does not handle
//! streams (see `events`), nor what becomes of what is known (see `settle`). Never fails.

use bytes::{Bytes, BytesMut};

use crate::gateway::meter::Reading;
use crate::gateway::pieces::Pieces;
use crate::openai::echo::{Echo, Masking};
use crate::openai::rewrite::Rewrites;
use crate::openai::usage::{self, UsageScanner};
use crate::workers::walk;

/// A longer answer is not taken as a whole: not kept, not rewritten, and no stream is made of it.
pub const MAX_WHOLE_BYTES: usize = 32 << 20;

/// Reads one JSON answer.
pub struct JsonReader {
    /// What it tells of its usage is read here, unless it is known already.
    usage: Option<UsageReader>,
    /// What is changed in it, and what of it waits for that.
    rewriting: Option<(Rewrites, BytesMut)>,
    /// Masks the key that the upstream was asked with.
    masking: Option<Masking>,
}

impl JsonReader {
    /// For an answer that is kept, or of which only the usage is of interest; and what is changed in it.
    pub fn new(keeps: bool, rewrites: Rewrites) -> Self {
        Self {
            usage: Some(UsageReader::new(keeps)),
            ..Self::of_known(rewrites)
        }
    }

    /// For an answer of which all is known that is to be known.
    pub fn of_known(rewrites: Rewrites) -> Self {
        Self {
            usage: None,
            rewriting: (!rewrites.is_empty()).then(|| (rewrites, BytesMut::new())),
            masking: None,
        }
    }

    /// Has the key masked in all that passes from now on.
    pub fn mask(&mut self, echo: Echo) {
        self.masking = Some(Masking::new(echo));
    }

    /// Whether it is masked.
    pub fn masks(&self) -> bool {
        self.masking.is_some()
    }

    /// Whether something is changed in it.
    pub fn rewrites(&self) -> bool {
        self.rewriting.is_some()
    }

    /// Takes the next bytes, and gives what can pass.
    pub fn pass(&mut self, mut chunk: Bytes) -> Bytes {
        if let Some(masking) = &mut self.masking {
            chunk = masking.push(chunk);
        }
        if let Some(usage) = &mut self.usage {
            usage.push(&chunk);
        }
        let Some((_, held)) = &mut self.rewriting else {
            return chunk;
        };
        held.extend_from_slice(&chunk);
        if held.len() <= MAX_WHOLE_BYTES {
            return Bytes::new();
        }
        let held = held.split().freeze();
        self.rewriting = None;
        held
    }

    /// The answer is whole: what is left of it.
    pub fn pass_last(&mut self) -> Bytes {
        let last = match self.masking.take() {
            Some(mut masking) => self.pass_masked(masking.finish()),
            None => Bytes::new(),
        };
        let Some((rewrites, held)) = self.rewriting.take() else {
            return last;
        };
        let held = held.freeze();
        let changed = walk(held.len(), || rewrites.whole(&held));
        changed.map_or(held, Bytes::from)
    }

    fn pass_masked(&mut self, rest: Bytes) -> Bytes {
        match rest.is_empty() {
            true => rest,
            false => self.pass(rest),
        }
    }

    /// What is known of it, now that no more of it is read.
    pub fn reading(&mut self, is_whole: bool) -> Reading {
        let usage = self.usage.take();
        usage.map_or_else(Reading::default, |usage| usage.finish(is_whole))
    }
}

/// Reads what a JSON answer tells of its usage.
pub struct UsageReader {
    /// Of an answer that does not come in one piece.
    members: Option<Box<UsageScanner>>,
    /// The beginning of the answer, or all of it where it is kept.
    kept: Pieces,
    keeps: bool,
    /// How long it is.
    length: usize,
}

impl UsageReader {
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
            let mut members = Box::<UsageScanner>::default();
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
            reading.sample.add_answer(first);
            reading.sample.scale(first.len(), self.length);
        }
        reading.answer = self.keeps.then(|| self.kept.join());
        reading
    }
}
