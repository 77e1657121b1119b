//! The way of one exchanged request, from its header to the end of its answer.
//!
//! Owns the order of the steps.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use pingora_proxy::Session;

use super::attempt::{self, Outgoing, Terms};
use super::context::Context;
use super::failure::{Failure, UpstreamFailure};
use super::headers::{self, Body};
use super::{admit, body, plan, relay};
use crate::auth;
use crate::openai::edit::Edits;
use crate::openai::endpoint::Exchange;
use crate::runtime::Shared;
use crate::upstreams::{Payload, Turn, Upstream};

static NO_EDITS: Edits = Edits {
    drop: Vec::new(),
    rename: Vec::new(),
    set: Vec::new(),
    default: Vec::new(),
    stop: Vec::new(),
};

/// The type of a body whose type the client has not said.
static JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Serves one request that we read.
pub async fn serve(
    session: &mut Session,
    context: &mut Context,
    shared: &Arc<Shared>,
    endpoint: &'static Exchange,
) -> Result<(), Failure> {
    context.endpoint = endpoint.name;
    let headers = &session.req_header().headers;
    admit::caller(headers, context)?;
    let content = admit::content(headers, endpoint)?;

    let waiting = Instant::now();
    let body = body::read(session, content, &context.runtime.settings).await?;
    context.waited += waiting.elapsed();
    context.bytes_in = body.len();

    let plan = plan::plan(context, &body.model)?;
    let manners = plan.manners();
    let edits = manners.map_or(&NO_EDITS, |manners| manners.edits(endpoint));
    let payload = body.payload(context.sent_model.as_deref(), edits)?;
    let terms = Terms {
        upstream: &plan.upstream,
        deadline: context.started + plan.upstream.timeouts.total,
        stream: body.stream,
        stream_error: endpoint.stream_error,
        rewrites: manners.map(|m| m.rewrites(&body.model)).unwrap_or_default(),
    };
    let kept = endpoint.is_stored || body.store;
    // The body's own copy, and its file, are let go once they have been sent.
    drop(body);
    let outgoing = outgoing(session, context, endpoint, &plan.upstream, payload, kept)?;
    let answer = attempt::run(session, context, shared, &terms, outgoing).await?;
    relay::relay(session, context, shared, &terms, answer).await
}

fn outgoing(
    session: &Session,
    context: &Context,
    endpoint: &Exchange,
    upstream: &Upstream,
    payload: Payload,
    kept: bool,
) -> Result<Outgoing, Failure> {
    let request = session.req_header();
    let tenant = context.tenant.as_ref().map_or("", |t| t.id.as_str());
    let turn = match kept {
        true => Turn::Of(tenant),
        false => Turn::Next,
    };
    let credential = upstream.credential(turn, || auth::key_of(&request.headers));
    let announced = Body {
        length: payload.len(),
        content_type: &JSON,
    };
    let header = headers::for_exchange(request, upstream, credential, &announced);
    let query = headers::query(request, &[]);
    let model = context.sent_model.as_deref().or(context.model.as_deref());
    Ok(Outgoing {
        header: header.ok_or_else(|| Failure::Upstream(UpstreamFailure::unsendable()))?,
        target: upstream.dialect.target(endpoint.path, &query, model),
        payload,
    })
}
