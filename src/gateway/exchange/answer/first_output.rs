//! Holding an answer back until it has really said something.
//!
//! Owns when that is: real output, or so many events or bytes of something else, for a stream; for
//! a short JSON answer its end, since some servers tell of errors under a status of success, and some
//! answers are cut so that their framing does not show it. What is long, or neither, is an answer at
//! its first byte. Fails with what came instead of an answer, and until then the client has seen
//! nothing.

use std::time::Instant;

use bytes::Bytes;
use http::Version;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use pingora::Error;

use super::events::EventReader;
use crate::gateway::exchange::attempt::{Answer, Form, Terms};
use crate::gateway::headers;
use crate::gateway::pieces::Pieces;
use crate::observe::attempts::Until;
use crate::openai::echo::Masking;
use crate::openai::upstream_error::{Complaint, Content};

/// A stream that has said nothing by then passes as it is.
const MAX_EVENTS: usize = 64;
const MAX_STREAM_BYTES: usize = 256 << 10;
/// A longer JSON answer passes as it comes, whatever is in it.
const MAX_JSON_BYTES: usize = 16 << 10;

const NO_BODY: NoAnswer = NoAnswer::Unusable("its answer has no body");

/// What an answer came instead of.
#[derive(Debug)]
pub enum NoAnswer {
    /// The connection's error.
    Broke(Box<Error>),
    /// A whole answer that says nothing.
    Empty,
    /// An error under a status of success.
    Complained(Complaint),
    /// A whole response that has failed.
    Failed(Complaint, Bytes),
    /// It broke off after it had begun.
    Cut(&'static str),
    /// It cannot be given in the form that the client wants.
    Unusable(&'static str),
}

/// Reads on until the answer has begun, no longer than `until`.
pub async fn hold(answer: &mut Answer, terms: &Terms, until: Instant) -> Result<Until, NoAnswer> {
    if answer.events.is_some() {
        return hold_stream(answer, terms, until).await;
    }
    if answer.is_json && may_be_short(&answer.header) {
        return hold_json(answer, terms, until).await;
    }
    match next(answer, until).await? {
        Some(chunk) => answer.held.push(chunk),
        None if terms.answers_json => return Err(NO_BODY),
        None => {}
    }
    if answer.is_json {
        mask_long(answer);
    }
    Ok(Until::Unread)
}

/// A long answer is not read before it passes: the key in it is masked where it may be an error.
fn mask_long(answer: &mut Answer) {
    if answer.held.iter().any(Complaint::may_be_in) {
        answer.masking = Some(Masking::new(answer.echo.clone()));
    }
}

async fn hold_stream(
    answer: &mut Answer,
    terms: &Terms,
    until: Instant,
) -> Result<Until, NoAnswer> {
    let (mut bytes, mut passed) = (0, Vec::new());
    loop {
        let chunk = next(answer, until).await?;
        let Some(events) = &mut answer.events else {
            return Ok(Until::Unread);
        };
        match chunk {
            Some(chunk) => {
                bytes += chunk.len();
                events.push(chunk, &mut passed);
            }
            None => answer.end = Some(events.finish(&mut passed)),
        }
        passed.drain(..).for_each(|piece| answer.held.push(piece));
        if events.has_output() {
            return Ok(Until::Output);
        }
        if let Some(unsaid) = complained(events, terms) {
            return Err(unsaid);
        }
        if answer.complete {
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

/// What a stream came to that has told an error, if it has. A response that has failed is a whole one
/// where one is wanted.
pub fn complained(events: &mut EventReader, terms: &Terms) -> Option<NoAnswer> {
    let complaint = events.complaint()?.clone();
    let gathered = match terms.form {
        Form::Gathered => events
            .gathered()
            .and_then(|aggregator| aggregator.finish().ok()),
        Form::AsItComes | Form::Streamed { .. } => None,
    };
    Some(match gathered {
        Some(body) if matches!(Content::of(&body), Content::FailedResponse(_)) => {
            NoAnswer::Failed(complaint, Bytes::from(body))
        }
        _ => NoAnswer::Complained(complaint),
    })
}

/// Whether nothing but the end of the connection tells the end of the body.
fn ends_with_connection(header: &Parts) -> bool {
    let headers = &header.headers;
    let is_framed = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    header.version <= Version::HTTP_11 && !is_framed
}

async fn hold_json(answer: &mut Answer, terms: &Terms, until: Instant) -> Result<Until, NoAnswer> {
    let mut bytes = 0;
    while let Some(chunk) = next(answer, until).await? {
        bytes += chunk.len();
        answer.held.push(chunk);
        if answer.session.response_done() {
            answer.complete = true;
            break;
        }
        if bytes > MAX_JSON_BYTES {
            mask_long(answer);
            return Ok(Until::Bytes);
        }
    }
    if answer.held.is_empty() {
        return Err(match terms.answers_json {
            true => NO_BODY,
            false => NoAnswer::Empty,
        });
    }
    if !headers::is_plain(&answer.header.headers) {
        return Ok(Until::Output);
    }
    let mut body = answer.held.join();
    let mut content = Content::of(&body);
    if matches!(content, Content::Error(_) | Content::FailedResponse(_)) {
        body = answer.echo.mask(body);
        answer.held = Pieces::from(body.clone());
        content = Content::of(&body);
    }
    match content {
        Content::Error(complaint) => Err(NoAnswer::Complained(complaint)),
        Content::FailedResponse(complaint) => Err(NoAnswer::Failed(complaint, body)),
        Content::NotAnAnswer if terms.answers_json => Err(NoAnswer::Unusable(
            "its answer is not the JSON that it should be",
        )),
        Content::Answer | Content::NotAnAnswer => Ok(Until::Output),
    }
}

fn may_be_short(header: &Parts) -> bool {
    let length = header.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    length.is_none_or(|length| length <= MAX_JSON_BYTES)
}

/// The next bytes; `None` at the end, which is noted.
pub async fn next(answer: &mut Answer, until: Instant) -> Result<Option<Bytes>, NoAnswer> {
    if let Some(chunk) = answer.ahead.take() {
        return Ok(Some(chunk));
    }
    let session = &mut answer.session;
    if session.response_done() {
        answer.complete = true;
        return Ok(None);
    }
    let chunk = session.read_body(until).await.map_err(NoAnswer::Broke)?;
    answer.complete = chunk.is_none();
    Ok(chunk)
}
