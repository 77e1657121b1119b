//! An answer in the other form: one JSON answer gathered from a stream, or a stream made of one.
//!
//! Owns reading such an answer to its end before the client sees any of it, so that whatever goes wrong
//! in it is told with the right status. Refuses to know how events are put together and taken apart:
//! `openai::gather` and `openai::unfold` do. What the upstream gives in the wanted form passes.

use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::events::End;
use super::first_output::{self, NoAnswer};
use super::json::{JsonReader, MAX_WHOLE_BYTES, Reading};
use crate::gateway::exchange::attempt::{Answer, Form, Terms};
use crate::gateway::exchange::relay::AFTER_DONE;
use crate::gateway::pieces::Pieces;
use crate::openai::aggregate::Incomplete;
use crate::openai::synthesize::synthesize;
use crate::upstreams::Upstream;
use crate::workers::walk;

/// Gives an answer the form that the client wants.
pub async fn convert(
    answer: &mut Answer,
    upstream: &Upstream,
    terms: &Terms,
) -> Result<(), NoAnswer> {
    match terms.form {
        Form::Gathered if answer.events.is_some() => {
            let body = gather(answer, upstream, terms).await?;
            answer.replace(body, "application/json");
            answer.is_json = true;
            answer.events = None;
        }
        Form::Streamed { with_usage } if answer.is_json => {
            let body = read(answer, terms).await?;
            let mut reader = JsonReader::new(terms.wants.gathers);
            reader.push(&body);
            answer.reading = Some(reader.finish(true));
            let events = walk(body.len(), || {
                synthesize(terms.wants.stream, &body, with_usage)
            });
            let events =
                events.ok_or(NoAnswer::Unusable("its answer cannot be made a stream of"))?;
            answer.replace(Bytes::from(events), "text/event-stream; charset=utf-8");
            answer.is_json = false;
        }
        Form::AsItComes | Form::Gathered | Form::Streamed { .. } => {}
    }
    Ok(())
}

impl Answer {
    /// Puts a whole body in the place of what was to come.
    fn replace(&mut self, body: Bytes, media: &'static str) {
        let headers = &mut self.header.headers;
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        self.held = Pieces::from(body);
        self.complete = true;
    }
}

/// Reads a stream to its end, and gives the one answer that it amounts to.
async fn gather(
    answer: &mut Answer,
    upstream: &Upstream,
    terms: &Terms,
) -> Result<Bytes, NoAnswer> {
    const CUT: NoAnswer = NoAnswer::Cut("its stream ended before its end");
    let mut passed = Vec::new();
    let mut last_event = Instant::now();
    let mut end = None;
    while end.is_none() {
        let idle = match answer
            .events
            .as_ref()
            .is_some_and(|events| events.is_done())
        {
            true => AFTER_DONE,
            false => upstream.timeouts.idle,
        };
        let until = terms.deadline.min(last_event + idle);
        let chunk = match answer.complete {
            true => Ok(None),
            false => first_output::next(answer, until).await,
        };
        let Some(events) = &mut answer.events else {
            return Err(CUT);
        };
        let chunk = match chunk {
            Err(_) if events.is_finished() => None,
            chunk => chunk?,
        };
        match chunk {
            Some(chunk) => {
                if events.push(chunk, &mut passed) > 0 {
                    last_event = Instant::now();
                }
            }
            None => end = Some(events.finish(&mut passed)),
        }
        passed.clear();
        if let Some(unsaid) = first_output::complained(events, terms) {
            return Err(unsaid);
        }
    }
    let Some(events) = &mut answer.events else {
        return Err(CUT);
    };
    if end != Some(End::Complete) {
        return Err(CUT);
    }
    let aggregator = events.gathered().ok_or(CUT)?;
    let gathered = walk(aggregator.held_bytes(), || aggregator.finish());
    let gathered = gathered.map_err(|incomplete| match incomplete {
        Incomplete::Truncated => CUT,
        Incomplete::Empty => NoAnswer::Empty,
        Incomplete::Malformed => NoAnswer::Unusable("its stream cannot be gathered"),
        Incomplete::TooLarge => NoAnswer::Unusable("its stream is too large to be gathered"),
    })?;
    let body = Bytes::from(gathered);
    answer.reading = Some(Reading {
        answer: Some(body.clone()),
        ..events.reading()
    });
    Ok(body)
}

/// Reads a JSON answer to its end.
async fn read(answer: &mut Answer, terms: &Terms) -> Result<Bytes, NoAnswer> {
    let mut length = answer.held.len();
    while !answer.complete {
        let Some(chunk) = first_output::next(answer, terms.deadline).await? else {
            break;
        };
        length += chunk.len();
        answer.held.push(chunk);
        if length > MAX_WHOLE_BYTES {
            return Err(NoAnswer::Unusable(
                "its answer is too large to be made a stream of",
            ));
        }
    }
    let body = answer.held.join();
    Ok(match answer.masking.take() {
        Some(_) => walk(body.len(), || answer.echo.mask(body)),
        None => body,
    })
}
