//! Changing an answer while it passes.
//!
//! Owns which answers are changed and how their bytes are held: a stream event by event, a JSON
//! answer as a whole, within a bound beyond which it passes as it came. Refuses to know what the
//! change is: `openai::rewrite` does.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::response::Parts;

use super::json::MAX_WHOLE_BYTES;
use crate::gateway::exchange::attempt::Terms;
use crate::gateway::headers::{self, Media};
use crate::openai::rewrite::{Rewrites, StreamRewriter};
use crate::workers::walk;

/// Changes the bytes of one answer.
pub enum Rewriting {
    /// Not at all.
    None,
    /// Event by event.
    Stream(Box<StreamRewriter>),
    /// As a whole, once it is there.
    Whole(Rewrites, BytesMut),
}

impl Rewriting {
    /// Decides from an answer's header, and takes out of it what will no longer be true.
    pub fn new(terms: &Terms, header: &mut Parts) -> Self {
        let rewrites = &terms.rewrites;
        let rewriting = if rewrites.is_empty() || !headers::is_plain(&header.headers) {
            Self::None
        } else {
            match headers::media(&header.headers) {
                Media::Events => Self::Stream(Box::new(StreamRewriter::new(rewrites.clone()))),
                Media::Json => Self::Whole(rewrites.clone(), BytesMut::new()),
                Media::Html | Media::Other => Self::None,
            }
        };
        if !matches!(rewriting, Self::None) {
            header.headers.remove(CONTENT_LENGTH);
        }
        rewriting
    }

    /// Takes the next bytes and gives what can pass.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        match self {
            Self::None => chunk,
            Self::Stream(stream) => walk(stream.held_bytes() + chunk.len(), || stream.push(chunk)),
            Self::Whole(_, held) => {
                held.extend_from_slice(&chunk);
                if held.len() <= MAX_WHOLE_BYTES {
                    return Bytes::new();
                }
                let held = held.split().freeze();
                *self = Self::None;
                held
            }
        }
    }

    /// The answer is complete: what is left.
    pub fn finish(&mut self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::Stream(stream) => walk(stream.held_bytes(), || stream.finish()),
            Self::Whole(rewrites, held) => {
                let held = held.split().freeze();
                let changed = walk(held.len(), || rewrites.whole(&held));
                changed.map_or(held, Bytes::from)
            }
        }
    }
}
