//! The way of one exchanged request, from its header to the end of its answer.
//!
//! Owns the order of the steps.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use pingora_proxy::Session;

use super::attempt::{self, Outgoing, Terms};
use super::context::Context;
use super::failure::{Failure, UpstreamFailure};
use super::headers::{self, Body};
use super::{admit, body, plan, relay};
use crate::auth;
use crate::openai::endpoint::Exchange;
use crate::openai::request;
use crate::runtime::Shared;
use crate::upstreams::{Turn, Upstream};

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
    let body = body::read(session, context.runtime.settings.max_body_bytes).await?;
    context.waited += waiting.elapsed();
    context.bytes_in = body.len();

    let peek = request::peek(&body).map_err(Failure::Body)?;
    let upstream = plan::plan(context, &peek.model)?;
    let terms = Terms {
        upstream: &upstream,
        deadline: context.started + upstream.timeouts.total,
        stream: peek.stream,
        stream_error: endpoint.stream_error,
    };
    let body = attempt::parts(&body, peek.model_range, context.sent_model.as_deref());
    let outgoing = outgoing(session, context, endpoint, &upstream, body)?;
    let answer = attempt::run(session, context, shared, &terms, &outgoing).await?;
    relay::relay(session, context, shared, &terms, answer).await
}

fn outgoing(
    session: &Session,
    context: &Context,
    endpoint: &Exchange,
    upstream: &Upstream,
    body: Vec<Bytes>,
) -> Result<Outgoing, Failure> {
    let request = session.req_header();
    let tenant = context.tenant.as_ref().map_or("", |t| t.id.as_str());
    let turn = match endpoint.is_stored {
        true => Turn::Of(tenant),
        false => Turn::Next,
    };
    let credential = upstream.credential(turn, || auth::key_of(&request.headers));
    let announced = Body {
        length: body.iter().map(Bytes::len).sum(),
        content_type: &JSON,
    };
    let header = headers::for_exchange(request, upstream, credential, &announced);
    let query = headers::query(request, &[]);
    let model = context.sent_model.as_deref().or(context.model.as_deref());
    Ok(Outgoing {
        header: header.ok_or_else(|| Failure::Upstream(UpstreamFailure::unsendable()))?,
        target: upstream.dialect.target(endpoint.path, &query, model),
        body,
    })
}
