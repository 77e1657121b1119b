//! What a candidate is asked, and what is expected of its answer.
//!
//! Owns putting together the request for one attempt: header, path, body. Does not handle which key and server it had
//! better go to (see `steering`). Fails for what cannot be written as HTTP.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::HeaderValue;
use pingora::http::RequestHeader;

use super::answer::Answer;
use super::body::Body;
use super::terms::{Form, Terms, Wants};
use crate::auth;
use crate::clock;
use crate::config::Streams;
use crate::gateway::context::Context;
use crate::gateway::failure::Failure;
use crate::gateway::headers;
use crate::gateway::lease::Lease;
use crate::gateway::plan::Candidate;
use crate::openai::continuation;
use crate::openai::edit::Edits;
use crate::openai::endpoint::Exchange;
use crate::openai::ratelimit::Headroom;
use crate::openai::stream_state::Stream;
use crate::openai::streaming::StreamMode;
use crate::upstreams::Payload;
use crate::workers::walk;

static NO_EDITS: Edits = Edits {
    drop: Vec::new(),
    rename: Vec::new(),
    set: Vec::new(),
    default: Vec::new(),
    stop: Vec::new(),
};

/// The type of a body whose type the client has not said.
static JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What is sent.
pub struct Outgoing {
    /// The header, but for what depends on the server.
    pub header: RequestHeader,
    /// The path below the API's, with its query.
    pub target: String,
    /// The body.
    pub payload: Payload,
    /// Whether it may have been sent to a server.
    pub is_sent: bool,
    /// Set once its answer has said something, where that is waited for.
    pub has_spoken: Option<Arc<AtomicBool>>,
}

/// What is sent to a candidate, with the key of ours that is leased, or with the client's own where that is
/// wanted.
pub fn outgoing(
    request: &RequestHeader,
    context: &Context,
    endpoint: &Exchange,
    body: &Body,
    candidate: &Candidate<'_>,
    lease: &Lease,
    asked: StreamMode,
) -> Result<Outgoing, Failure> {
    let upstream = candidate.upstream;
    let edits = candidate
        .transforms()
        .map_or(&NO_EDITS, |transforms| transforms.edits(endpoint));
    let payload = body.payload(named(context, body), asked, edits)?;
    // What a client shows us is not for providers that have keys of ours.
    let credential = lease.credential(|| auth::key_of(&request.headers));
    let announced = headers::Body {
        length: payload.len(),
        content_type: &JSON,
    };
    let query = headers::query(request, &[]);
    let model = context.model_to_send();
    Ok(Outgoing {
        header: headers::for_exchange(request, upstream, credential, &announced),
        target: upstream.dialect.target(endpoint.path, &query, model),
        payload,
        is_sent: false,
        has_spoken: None,
    })
}

/// The model's name that is written into the body: another than the client's, or one that the
/// client has left out, so that what is served is what the rule and the tenant allow.
fn named<'c>(context: &'c Context, body: &Body) -> Option<&'c str> {
    let default = || {
        context
            .asked
            .model
            .as_deref()
            .filter(|_| body.model.is_none())
    };
    context.outcome.sent_model.as_deref().or_else(default)
}

/// How a candidate is asked, and what becomes of its answer's form.
fn asked(
    endpoint: &Exchange,
    body: &Body,
    candidate: &Candidate<'_>,
    is_held_whole: bool,
) -> (StreamMode, Form) {
    let wanted = &body.streaming;
    let streams = match candidate.transforms() {
        Some(transforms) if endpoint.has_both_forms && !body.is_form() => transforms.streams,
        _ => Streams::AsAsked,
    };
    // The timeouts of streams tell early that nothing comes.
    let streams = match streams {
        Streams::AsAsked if is_held_whole && endpoint.has_both_forms && !body.is_form() => {
            Streams::Always
        }
        streams => streams,
    };
    let (stream, form) = match streams {
        Streams::Always if !wanted.is_requested && wanted.is_possible => (true, Form::Aggregated),
        Streams::Never if wanted.is_requested => {
            let with_usage = wanted.includes_usage;
            (false, Form::Synthesized { with_usage })
        }
        _ => (wanted.is_requested, Form::AsItComes),
    };
    let can_tell = matches!(endpoint.stream, Stream::Chat | Stream::Completions);
    let usage = wanted.includes_usage || can_tell && candidate.upstream.include_usage;
    (StreamMode { stream, usage }, form)
}

/// What is expected of its answer.
pub fn terms(context: &Context, endpoint: &Exchange, body: &Body, candidate: &Candidate) -> Terms {
    let transforms = candidate.transforms();
    let rule = context.asked.rule.as_ref();
    let is_held_whole = rule.is_some_and(|rule| rule.commits_whole);
    let (asked, form) = asked(endpoint, body, candidate, is_held_whole);
    let may_go_on = form == Form::AsItComes
        && rule.is_some_and(|rule| rule.continues)
        && can_be_continued(endpoint, body);
    Terms {
        deadline: context.request.started + candidate.upstream.timeouts.total,
        asked,
        form,
        wants_text: body.wants_text,
        wants: Wants {
            stream: endpoint.stream,
            drops_malformed: rule.is_some_and(|rule| rule.drops_malformed),
            hides_usage: asked.usage && !body.streaming.includes_usage,
            aggregates: form == Form::Aggregated || context.is_logged(),
            may_go_on,
        },
        is_held_whole,
        keeps: context.is_logged(),
        records: context.meter.as_ref().and_then(|meter| meter.records),
        stream_error: endpoint.stream_error,
        answers_json: endpoint.answers_json,
        rewrites: transforms
            .map(|m| m.rewrites(context.asked.model.as_deref()))
            .unwrap_or_default(),
        rest: None,
    }
}

/// Whether another upstream may go on with the answer: that of a chat in plain text.
fn can_be_continued(endpoint: &Exchange, body: &Body) -> bool {
    let json = body.json().filter(|_| endpoint.stream == Stream::Chat);
    json.is_some_and(|json| walk(json.len(), || continuation::can_be_continued(json)))
        && body.streaming.is_requested
}

/// What an answer says of what is left of its key's allowance.
pub fn headroom(answer: &Answer) -> Headroom {
    Headroom::read(&answer.header.headers, clock::now)
}
