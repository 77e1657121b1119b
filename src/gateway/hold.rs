//! Holding an answer back until it has really said something.
//!
//! Owns when that is: real output, or so many events or bytes of something else, for a stream; for
//! a short JSON answer its end, since some servers tell of errors under a status of success. What is
//! long, or neither, is an answer at its first byte. Fails with what came instead of an answer, and
//! until then the client has seen nothing.

use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use pingora::Error;

use super::attempt::{Answer, left};
use super::reading;
use crate::observe::trials::Until;
use crate::openai::complaint::Complaint;

/// A stream that has said nothing by then passes as it is.
const MAX_EVENTS: usize = 64;
const MAX_STREAM_BYTES: usize = 256 << 10;
/// A longer JSON answer is no error.
const MAX_JSON_BYTES: usize = 16 << 10;

/// What an answer came instead of.
#[derive(Debug)]
pub enum Unsaid {
    /// The connection's error.
    Broke(Box<Error>),
    /// A whole answer that says nothing.
    Empty,
    /// An error under a status of success.
    Complained(Complaint),
    /// It broke off after it had begun.
    Cut(&'static str),
    /// It cannot be given in the form that the client wants.
    Unusable(&'static str),
}

/// Reads on until the answer has begun, no longer than `until`.
pub async fn hold(answer: &mut Answer, until: Instant) -> Result<Until, Unsaid> {
    if answer.tap.is_some() {
        return hold_stream(answer, until).await;
    }
    if answer.is_json && may_be_short(&answer.header) {
        return hold_json(answer, until).await;
    }
    if let Some(chunk) = next(answer, until).await? {
        answer.held.push(chunk);
    }
    Ok(Until::Unread)
}

async fn hold_stream(answer: &mut Answer, until: Instant) -> Result<Until, Unsaid> {
    let mut bytes = 0;
    loop {
        let chunk = next(answer, until).await?;
        let Some(tap) = &mut answer.tap else {
            return Ok(Until::Unread);
        };
        match chunk {
            Some(chunk) => {
                bytes += chunk.len();
                tap.push(chunk, &mut answer.held);
            }
            None => {
                tap.finish(&mut answer.held);
            }
        }
        if tap.has_output() {
            return Ok(Until::Output);
        }
        if let Some(complaint) = tap.complaint() {
            return Err(Unsaid::Complained(complaint.clone()));
        }
        if answer.complete {
            return Err(Unsaid::Empty);
        }
        if tap.events() >= MAX_EVENTS {
            return Ok(Until::Events);
        }
        if bytes >= MAX_STREAM_BYTES {
            return Ok(Until::Bytes);
        }
    }
}

async fn hold_json(answer: &mut Answer, until: Instant) -> Result<Until, Unsaid> {
    let mut bytes = 0;
    while let Some(chunk) = next(answer, until).await? {
        bytes += chunk.len();
        answer.held.push(chunk);
        if answer.session.response_done() {
            answer.complete = true;
            break;
        }
        if bytes > MAX_JSON_BYTES {
            return Ok(Until::Bytes);
        }
    }
    if answer.held.is_empty() {
        return Err(Unsaid::Empty);
    }
    let body = reading::joined(&answer.held);
    let may_complain = Complaint::may_be_in(&body);
    match may_complain.then(|| Complaint::read(&body)).flatten() {
        Some(complaint) => Err(Unsaid::Complained(complaint)),
        None => Ok(Until::Output),
    }
}

fn may_be_short(header: &Parts) -> bool {
    let length = header.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    length.is_none_or(|length| length <= MAX_JSON_BYTES)
}

/// The next bytes; `None` at the end, which is noted.
pub async fn next(answer: &mut Answer, until: Instant) -> Result<Option<Bytes>, Unsaid> {
    if let Some(chunk) = answer.ahead.take() {
        return Ok(Some(chunk));
    }
    let session = &mut answer.session;
    if session.response_done() {
        answer.complete = true;
        return Ok(None);
    }
    session.set_read_timeout(Some(left(until)));
    let chunk = session.read_response_body().await.map_err(Unsaid::Broke)?;
    answer.complete = chunk.is_none();
    Ok(chunk)
}
