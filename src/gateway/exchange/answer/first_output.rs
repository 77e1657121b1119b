//! Holding an answer back until it has really said something.
//!
//! Owns when that is: real output, or so many events or bytes of something else, for a stream; for
//! a short JSON answer its end, since some servers tell of errors under a status of success, and some
//! answers are cut so that their framing does not show it. What is long, or neither, is an answer at
//! its first byte. Fails with what came instead of an answer, and until then the client has seen
//! nothing.

use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;

use super::{Answer, Broken, EventReader, Reader};
use crate::gateway::exchange::terms::{Form, Limit, Terms};
use crate::gateway::headers;
use crate::observe::attempts::Until;
use crate::openai::upstream_error::{Content, UpstreamError};

/// A stream that has said nothing by then passes as it is.
const MAX_EVENTS: usize = 64;
const MAX_STREAM_BYTES: usize = 256 << 10;
/// A longer JSON answer passes as it comes, whatever is in it.
const MAX_JSON_BYTES: usize = 16 << 10;

const NO_BODY: NoAnswer = NoAnswer::Unusable("its answer has no body");

/// What came instead of an answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// It broke.
    Broken(Broken),
    /// A whole answer that says nothing.
    Empty,
    /// An error under a status of success, and the body that told it, where that was no stream.
    Error(UpstreamError, Option<Bytes>),
    /// A whole response that has failed.
    FailedResponse(UpstreamError, Bytes),
    /// It broke off after it had begun.
    Cut(&'static str),
    /// It cannot be given in the form that the client wants.
    Unusable(&'static str),
}

impl From<Broken> for NoAnswer {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Reads on until the answer has begun. A stream must have said something by `limit`; the source of a whole answer may
/// be silent for `idle`.
pub async fn wait(
    answer: &mut Answer,
    terms: &Terms,
    limit: Limit,
    idle: Duration,
) -> Result<Until, NoAnswer> {
    if answer.events().is_some() {
        return wait_for_output(answer, terms, limit).await;
    }
    if answer.is_json() && may_be_short(&answer.header) {
        return wait_for_end(answer, terms, limit, idle).await;
    }
    if !answer.next(limit).await? && terms.answers_json {
        return Err(NO_BODY);
    }
    mask_long(answer);
    Ok(Until::Unread)
}

/// A long answer is not read before it passes: the key in it is masked where it may be an error.
fn mask_long(answer: &mut Answer) {
    if let Reader::Json(json) = &mut answer.reader
        && answer.ready.iter().any(UpstreamError::may_be_in)
    {
        json.mask(answer.echo.clone());
    }
}

async fn wait_for_output(
    answer: &mut Answer,
    terms: &Terms,
    limit: Limit,
) -> Result<Until, NoAnswer> {
    loop {
        let has_more = answer.next(limit).await?;
        let bytes = answer.read_bytes;
        let Some(events) = answer.events_mut() else {
            return Ok(Until::Unread);
        };
        if events.has_output() {
            return Ok(Until::Output);
        }
        if let Some(error) = told_error(events, terms) {
            return Err(error);
        }
        if !has_more {
            return Err(match ends_with_connection(&answer.header) {
                true => NoAnswer::Cut("its connection was closed before its stream said anything"),
                false => NoAnswer::Empty,
            });
        }
        if events.events() >= MAX_EVENTS {
            return Ok(Until::Events);
        }
        if bytes >= MAX_STREAM_BYTES {
            return Ok(Until::Bytes);
        }
    }
}

/// The error that a stream has told, if it has. A response that has failed is a whole one where one is
/// wanted.
pub fn told_error(events: &mut EventReader, terms: &Terms) -> Option<NoAnswer> {
    let error = events.error()?.clone();
    let aggregated = match terms.form {
        Form::Aggregated => events.aggregated().and_then(|all| all.finish().ok()),
        Form::AsItComes | Form::Synthesized { .. } => None,
    };
    Some(match aggregated {
        Some(body) if matches!(Content::of(&body), Content::FailedResponse(_)) => {
            NoAnswer::FailedResponse(error, Bytes::from(body))
        }
        _ => NoAnswer::Error(error, None),
    })
}

/// Whether nothing but the end of the connection tells the end of the body.
pub(super) fn ends_with_connection(header: &Parts) -> bool {
    let headers = &header.headers;
    let is_framed = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    header.version <= Version::HTTP_11 && !is_framed
}

async fn wait_for_end(
    answer: &mut Answer,
    terms: &Terms,
    limit: Limit,
    idle: Duration,
) -> Result<Until, NoAnswer> {
    while answer.next(answer.limit(idle, limit.until)).await? {
        if answer.read_bytes > MAX_JSON_BYTES {
            mask_long(answer);
            return Ok(Until::Bytes);
        }
    }
    let body = answer.ready();
    if body.is_empty() {
        return Err(match terms.answers_json {
            true => NO_BODY,
            false => NoAnswer::Empty,
        });
    }
    if !headers::is_plain(&answer.header.headers) {
        return Ok(Until::Output);
    }
    match Content::of(&body) {
        Content::Error(_) | Content::FailedResponse(_) => Err(masked(answer, body)),
        Content::NotAnAnswer if terms.answers_json => Err(NoAnswer::Unusable(
            "its answer is not the JSON that it should be",
        )),
        Content::Answer => {
            answer.copies.note_answer();
            Ok(Until::Output)
        }
        Content::NotAnAnswer => Ok(Until::Output),
    }
}

/// A whole error, without the key that it may tell.
fn masked(answer: &Answer, body: Bytes) -> NoAnswer {
    let body = answer.echo.mask(body);
    match Content::of(&body) {
        Content::FailedResponse(error) => NoAnswer::FailedResponse(error, body),
        Content::Error(error) => NoAnswer::Error(error, Some(body)),
        Content::Answer | Content::NotAnAnswer => {
            NoAnswer::Error(UpstreamError::default(), Some(body))
        }
    }
}

fn may_be_short(header: &Parts) -> bool {
    let length = header.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    length.is_none_or(|length| length <= MAX_JSON_BYTES)
}
