//! The way of one exchanged request, from its header to the end of its answer.
//!
//! Owns the order of the steps.

use std::sync::Arc;
use std::time::Instant;

use pingora_proxy::Session;

use super::awake::Awake;
use super::context::Context;
use super::course::{Begun, Course};
use super::failure::Failure;
use super::plan::Plan;
use super::relay::{self, Ended, Source};
use super::{admit, body};
use crate::openai::endpoint::Exchange;
use crate::runtime::Shared;

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

    let runtime = Arc::clone(&context.runtime);
    let plan = Plan::new(&runtime, context, &body.model)?;
    let mut awake = Awake::new(plan.rule().keepalive_after.filter(|_| body.stream));
    let course = Course {
        shared,
        endpoint,
        body: &body,
        plan,
    };
    let begun = course.run(session, context, &mut awake).await;
    // Nobody is asked any more: the body, and its file, are let go.
    drop(body);
    match begun {
        Ok(begun) => pass(session, context, shared, begun, &awake).await,
        Err(failure) if awake.has_begun() && !matches!(failure, Failure::ClientGone) => {
            let telling =
                relay::end_with_error(session, context, endpoint.stream_error, &failure);
            Box::pin(telling).await
        }
        Err(failure) => Err(failure),
    }
}

/// Passes the answer on, and counts it against whoever gives it if it breaks.
async fn pass(
    session: &mut Session,
    context: &mut Context,
    shared: &Shared,
    begun: Begun<'_>,
    awake: &Awake,
) -> Result<(), Failure> {
    let Begun {
        answer,
        terms,
        mut candidate,
        mut seat,
        place: _place,
    } = begun;
    let peer = Arc::clone(&seat.peer);
    let upstream = candidate.upstream;
    let source = Source {
        upstream,
        peer: &peer,
        terms: &terms,
    };
    let has_begun = awake.has_begun();
    let ended = relay::relay(session, context, shared, &source, answer, has_begun).await;
    if matches!(&ended, Ok(Ended::Broken) | Err(Failure::Upstream(_))) {
        shared.metrics.trials().attempted(&upstream.name, "broken");
        upstream.pool.failed(&mut seat);
        candidate.failed();
    }
    ended.map(drop)
}
