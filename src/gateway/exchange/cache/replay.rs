//! Giving an answer again, in the form that the client asks for.
//!
//! Owns its header, and what is expected of it. It is read as an upstream's is: its first output is waited for, and
//! its form converted. One that was read before it was kept, and is given as it is, is not read again. Does not
//! handle which answer that is. Fails where it cannot be given in this form.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderValue, Response};

use crate::cache::{Follower, Head};
use crate::gateway::context::Context;
use crate::gateway::exchange::answer::first_output::{self, NoAnswer};
use crate::gateway::exchange::answer::{Answer, convert, sniff};
use crate::gateway::exchange::body::Body;
use crate::gateway::exchange::terms::{Form, Terms, Wants};
use crate::openai::endpoint::Exchange;
use crate::openai::stream_state::Stream;
use crate::openai::streaming::StreamMode;
use crate::runtime::SharedHead;

/// One that is kept is there at once; one that is shared has the timeouts of the request that asks for it.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// An answer that is kept, in the form that is wanted. `is_known`: what it has used is.
///
/// # Errors
/// It cannot be given in this form.
pub async fn kept(
    head: &Head,
    body: &Bytes,
    is_known: bool,
    terms: &Terms,
) -> Result<Box<Answer>, NoAnswer> {
    let mut header = header(head);
    if !head.is_stream {
        let length = HeaderValue::from(body.len());
        header.headers.insert(CONTENT_LENGTH, length);
    }
    let is_read = is_known && !terms.keeps;
    if is_read && terms.answers_json && !head.is_stream && terms.form == Form::AsItComes {
        let answer = Answer::of_known(header, body.clone(), terms.rewrites.clone());
        return Ok(Box::new(answer));
    }
    Box::pin(begin(Answer::of_whole(header, body.clone()), terms)).await
}

/// The answer to an equal request, once it has begun in the form that is wanted.
///
/// # Errors
/// It cannot be given in this form.
pub async fn shared(
    head: &SharedHead,
    follower: Follower<SharedHead>,
    terms: &Terms,
) -> Result<Box<Answer>, NoAnswer> {
    let answer = Answer::of_equal(header(&head.head), follower, head.echo.clone());
    Box::pin(begin(answer, terms)).await
}

fn header(head: &Head) -> Parts {
    let (mut header, ()) = Response::new(()).into_parts();
    // It was one before.
    if let Ok(media) = HeaderValue::from_str(&head.content_type) {
        header.headers.insert(CONTENT_TYPE, media);
    }
    header
}

/// What is expected of it.
pub fn terms(context: &Context, endpoint: &Exchange, body: &Body, head: &Head) -> Terms {
    let wanted = &body.streaming;
    let form = match (head.is_stream, wanted.is_requested) {
        (true, false) if endpoint.has_both_forms => Form::Aggregated,
        (false, true) if endpoint.has_both_forms => Form::Synthesized {
            with_usage: wanted.includes_usage,
        },
        _ => Form::AsItComes,
    };
    let can_tell = matches!(endpoint.stream, Stream::Chat | Stream::Completions);
    let rule = context.asked.rule.as_ref();
    Terms {
        deadline: context.request.started + LONGEST,
        asked: StreamMode {
            stream: head.is_stream,
            usage: true,
        },
        form,
        wants_text: body.wants_text,
        wants: Wants {
            stream: endpoint.stream,
            drops_malformed: rule.is_some_and(|rule| rule.drops_malformed),
            hides_usage: can_tell && !wanted.includes_usage,
            aggregates: form == Form::Aggregated || context.is_logged(),
            may_go_on: false,
        },
        is_held_whole: false,
        keeps: context.is_logged(),
        records: None,
        stream_error: endpoint.stream_error,
        answers_json: endpoint.answers_json,
        rewrites: head.rewrites.clone(),
        rest: None,
    }
}

/// Waits until it has begun, in the form that the client asks for.
async fn begin(answer: Answer, terms: &Terms) -> Result<Box<Answer>, NoAnswer> {
    let mut answer = Box::new(answer);
    let limit = terms.limit();
    sniff::recognise(&mut answer, terms, limit).await?;
    first_output::wait(&mut answer, terms, limit, LONGEST).await?;
    // It comes over no connection of ours.
    let _ = convert::convert(&mut answer, LONGEST, terms).await?;
    Ok(answer)
}
