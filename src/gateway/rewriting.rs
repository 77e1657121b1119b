//! Changing an answer while it passes.
//!
//! Owns which answers are changed and how their bytes are held: a stream event by event, a JSON
//! answer as a whole, within a bound beyond which it passes as it came. Refuses to know what the
//! change is: `openai::rewrite` and `openai::error` do.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use pingora::http::ResponseHeader;

use super::attempt::Terms;
use super::headers;
use crate::openai::error;
use crate::openai::rewrite::{Rewrites, StreamRewriter};

/// A larger answer passes as it came.
const MAX_WHOLE_BYTES: usize = 32 << 20;

/// Changes the bytes of one answer.
pub enum Rewriting {
    /// Not at all.
    None,
    /// Event by event.
    Stream(Box<StreamRewriter>),
    /// As a whole, once it is there.
    Whole(Change, BytesMut),
}

/// What is changed in a whole answer.
pub enum Change {
    /// What the target wants.
    Rewrites(Rewrites),
    /// An error gets the keys that it lacks.
    FillIn(StatusCode),
}

impl Rewriting {
    /// Decides from an answer's header, and takes out of it what will no longer be true.
    pub fn new(terms: &Terms<'_>, header: &mut ResponseHeader) -> Self {
        let is_plain = header
            .headers
            .get(CONTENT_ENCODING)
            .is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
        let is_error = header.status.is_client_error() || header.status.is_server_error();
        let fills_in = is_error && terms.upstream.dialect.fills_in_errors;
        let rewrites = || terms.rewrites.clone();
        let rewriting = if !is_plain {
            Self::None
        } else if fills_in {
            Self::Whole(Change::FillIn(header.status), BytesMut::new())
        } else if is_error || terms.rewrites.is_empty() {
            Self::None
        } else if headers::is_event_stream(&header.headers) {
            Self::Stream(Box::new(StreamRewriter::new(rewrites())))
        } else if is_json(header) {
            Self::Whole(Change::Rewrites(rewrites()), BytesMut::new())
        } else {
            Self::None
        };
        if !matches!(rewriting, Self::None) {
            header.remove_header(&CONTENT_LENGTH);
        }
        rewriting
    }

    /// Takes the next bytes and gives what can pass.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        match self {
            Self::None => chunk,
            Self::Stream(stream) => stream.push(chunk),
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
            Self::Stream(stream) => stream.finish(),
            Self::Whole(change, held) => {
                let held = held.split().freeze();
                let changed = match change {
                    Change::Rewrites(rewrites) => rewrites.whole(&held),
                    Change::FillIn(status) => error::fill_in(*status, &held),
                };
                changed.map_or(held, Bytes::from)
            }
        }
    }
}

fn is_json(header: &ResponseHeader) -> bool {
    header.headers.get(CONTENT_TYPE).is_some_and(|value| {
        let head = value.as_bytes().get(..16);
        head.is_some_and(|head| head.eq_ignore_ascii_case(b"application/json"))
    })
}
