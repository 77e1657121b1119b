//! The way of one exchanged request, from its header to the end of its answer.
//!
//! Owns the order of the steps and what becomes of a failure: before the commit it is answered,
//! after it the stream says so or the connection breaks.

use std::sync::Arc;
use std::time::Instant;

use pingora::{Error, ErrorType};
use pingora_proxy::Session;

use super::attempt::{self, Outgoing};
use super::context::Context;
use super::failure::Failure;
use super::{admit, answer, body, own, plan, relay};
use crate::openai::endpoint::{Endpoint, Exchange};
use crate::openai::request;
use crate::runtime::Shared;

/// Serves one request. `Ok(true)` tells Pingora that it has been answered.
///
/// # Errors
/// The answer had begun and could not be ended: Pingora drops the connection.
pub async fn serve(
    session: &mut Session,
    context: &mut Context,
    shared: &Arc<Shared>,
) -> pingora::Result<bool> {
    let Err(failure) = walk(session, context, shared).await else {
        return Ok(true);
    };
    if let Failure::Upstream(upstream) = &failure {
        let name = context.upstream.as_ref().map_or("-", |u| u.name.as_str());
        upstream.log(&context.request_id, name);
    }
    if context.is_committed() {
        context.error = failure.api_error().code;
        return Error::e_explain(ErrorType::InternalError, "the answer could not be ended");
    }
    answer::fail(session, context, &failure).await?;
    Ok(true)
}

async fn walk(
    session: &mut Session,
    context: &mut Context,
    shared: &Arc<Shared>,
) -> Result<(), Failure> {
    admit::check_framing(session)?;
    let header = session.req_header();
    let path = header.uri.path().to_owned();
    let endpoint = admit::endpoint(&path, &header.method)?;
    context.endpoint = endpoint.name();
    match endpoint {
        Endpoint::Exchange(endpoint) => exchange(session, context, shared, endpoint).await,
        own => {
            let sent = own::serve(session, context, &own).await?;
            sent.map_err(|_| Failure::ClientGone)
        }
    }
}

async fn exchange(
    session: &mut Session,
    context: &mut Context,
    shared: &Arc<Shared>,
    endpoint: &'static Exchange,
) -> Result<(), Failure> {
    let headers = &session.req_header().headers;
    admit::caller(headers, context)?;
    admit::check_content(headers)?;

    let waiting = Instant::now();
    let body = body::read(session, context.runtime.settings.max_body_bytes).await?;
    context.waited += waiting.elapsed();
    context.bytes_in = body.len();

    let peek = request::peek(&body).map_err(Failure::Body)?;
    let upstream = plan::plan(context, &peek.model)?;
    let outgoing = Outgoing {
        endpoint,
        upstream: &upstream,
        deadline: context.started + upstream.timeouts.total,
        stream: peek.stream,
        body: attempt::parts(&body, peek.model_range, context.sent_model.as_deref()),
    };
    let answer = attempt::run(session, context, shared, &outgoing).await?;
    relay::relay(session, context, shared, &outgoing, answer).await
}
