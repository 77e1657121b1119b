//! An answer in the other form: one JSON answer made of a stream, or a stream made of one.
//!
//! Owns reading such an answer to its end before the client sees any of it, so that whatever goes wrong
//! in it is told with the right status. Does not handle how events are put together and taken apart (see
//! `openai::aggregate` and `openai::synthesize`). What the upstream gives in the wanted form passes.
//! Fails with what came instead of an answer.

use std::time::Duration;

use bytes::Bytes;

use super::first_output::{self, NoAnswer};
use super::json::{MAX_WHOLE_BYTES, UsageReader};
use super::{Answer, End, EventReader, JsonReader, Reader};
use crate::gateway::exchange::terms::{Form, Terms, Wants};
use crate::gateway::meter::Reading;
use crate::openai::aggregate::Incomplete;
use crate::openai::synthesize::synthesize;
use crate::upstreams::Session;
use crate::workers::walk;

const CUT: NoAnswer = NoAnswer::Cut("its stream ended before its end");

/// Gives an answer the form that the client wants. Its source may be silent for `idle`. Gives the
/// connection that it came over, where nothing more is read of it.
pub async fn convert(
    answer: &mut Answer,
    idle: Duration,
    terms: &Terms,
) -> Result<Option<Session>, NoAnswer> {
    match terms.form {
        Form::Aggregated if answer.events().is_some() => aggregate(answer, idle, terms).await,
        Form::Synthesized { with_usage } if answer.is_json() => {
            stream_of(answer, with_usage, terms).await
        }
        Form::AsItComes | Form::Aggregated | Form::Synthesized { .. } => Ok(None),
    }
}

/// Reads a stream to its end, and puts the one answer that it amounts to in its place.
async fn aggregate(
    answer: &mut Answer,
    idle: Duration,
    terms: &Terms,
) -> Result<Option<Session>, NoAnswer> {
    while answer.next(answer.limit(idle, terms.deadline)).await? {
        answer.forget();
        if let Some(error) = answer
            .events_mut()
            .and_then(|events| first_output::told_error(events, terms))
        {
            return Err(error);
        }
    }
    let end = answer.end();
    let events = answer.events_mut().ok_or(CUT)?;
    if let Some(error) = first_output::told_error(events, terms) {
        return Err(error);
    }
    if end != Some(End::Complete) {
        return Err(CUT);
    }
    let aggregator = events.aggregated().ok_or(CUT)?;
    let body = walk(aggregator.held_bytes(), || aggregator.finish());
    let body = Bytes::from(body.map_err(|incomplete| match incomplete {
        Incomplete::Truncated => CUT,
        Incomplete::Empty => NoAnswer::Empty,
        Incomplete::Malformed => NoAnswer::Unusable("its stream cannot be gathered"),
        Incomplete::TooLarge => NoAnswer::Unusable("its stream is too large to be gathered"),
    })?);
    answer.reading = Some(Reading {
        answer: Some(body.clone()),
        ..events.reading()
    });
    let reader = JsonReader::of_known(terms.rewrites.clone());
    Ok(answer.replace(body, "application/json", Reader::Json(Box::new(reader))))
}

/// Reads a JSON answer to its end, and puts a stream in its place.
async fn stream_of(
    answer: &mut Answer,
    with_usage: bool,
    terms: &Terms,
) -> Result<Option<Session>, NoAnswer> {
    let body = read(answer, terms).await?;
    let events = walk(body.len(), || {
        synthesize(terms.wants.stream, &body, with_usage)
    });
    let events = events.ok_or(NoAnswer::Unusable("its answer cannot be made a stream of"))?;
    let wants = Wants {
        hides_usage: false,
        aggregates: false,
        ..terms.wants
    };
    let reader = EventReader::new(wants, &terms.rewrites, answer.echo.clone());
    let media = "text/event-stream; charset=utf-8";
    Ok(answer.replace(Bytes::from(events), media, Reader::Events(Box::new(reader))))
}

/// Reads a JSON answer to its end, and puts what `change` makes of it in its place. Gives the connection that it came
/// over, where nothing more is read of it.
pub async fn change(
    answer: &mut Answer,
    terms: &Terms,
    change: impl FnOnce(&Bytes) -> Option<Bytes>,
) -> Result<Option<Session>, NoAnswer> {
    let body = read(answer, terms).await?;
    let changed = walk(body.len(), || change(&body));
    let changed = changed.ok_or(NoAnswer::Unusable("its answer is not of the known shape"))?;
    let reader = JsonReader::of_known(terms.rewrites.clone());
    Ok(answer.replace(changed, "application/json", Reader::Json(Box::new(reader))))
}

/// Reads a JSON answer to its end, and notes what it tells of its usage.
pub async fn read(answer: &mut Answer, terms: &Terms) -> Result<Bytes, NoAnswer> {
    while answer.next(terms.limit()).await? {
        if answer.read_bytes > MAX_WHOLE_BYTES {
            return Err(NoAnswer::Unusable(
                "its answer is too large to be read as a whole",
            ));
        }
    }
    let body = answer.ready();
    let masks = matches!(&answer.reader, Reader::Json(json) if json.masks());
    let body = match masks {
        true => walk(body.len(), || answer.echo.mask(body)),
        false => body,
    };
    let mut usage = UsageReader::new(terms.keeps);
    usage.push(&body);
    answer.reading = Some(usage.finish(true));
    Ok(body)
}
