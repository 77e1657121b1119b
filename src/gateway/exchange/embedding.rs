//! The vector of a text, which the gateway asks for by itself.
//!
//! Owns the request for it: by the rule of the embedding model, on behalf of a caller, which pays for it. It has an id
//! and a record of usage of its own, and counts for no rate of requests. Does not handle what vectors are for (see
//! `cache`). Fails with [`NoVector`]; what the caller asks for is served all the same.

use std::fmt;
use std::sync::Arc;

use http::{Method, StatusCode};
use pingora::http::RequestHeader;

use super::answer::convert;
use super::body::Body;
use super::failover::{Begun, Failover, Giver};
use super::note_error;
use super::requester::Requester;
use super::steering::Steering;
use crate::cache::meaning::vectors::Vector;
use crate::gateway::context::Context;
use crate::gateway::failure::Failure;
use crate::gateway::meter::Meter;
use crate::gateway::plan::Plan;
use crate::gateway::settle::{self, Settled};
use crate::openai::embeddings;
use crate::openai::endpoint::{Endpoint, Exchange};
use crate::runtime::{ByMeaning, Shared};

const PATH: &str = "/v1/embeddings";

/// Why there is no vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoVector {
    /// No upstream has answered, and what the operator is told of that.
    Failed(String),
    /// An upstream has refused, with this status and body. The body may repeat the text.
    Refused(StatusCode, String),
    /// What one has answered is no vector.
    Unusable,
}

impl NoVector {
    /// The upstream has refused, or could not be asked.
    fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Upstream(failure) => Self::Failed(failure.detail.clone()),
            Failure::Refusal(refusal) => {
                let body = String::from_utf8_lossy(&refusal.body);
                Self::Refused(refusal.header.status, body.trim().to_owned())
            }
            other => Self::Failed(other.api_error().message),
        }
    }
}

impl fmt::Display for NoVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(detail) => f.write_str(detail),
            Self::Refused(status, _) => write!(f, "the upstream has refused it with {status}"),
            Self::Unusable => f.write_str("what the upstream has answered is no embedding"),
        }
    }
}

/// The vector of a text, on behalf of nothing that a client has asked for.
pub async fn embed(shared: &Arc<Shared>, text: &str) -> Result<Vector, NoVector> {
    vector(Context::new(shared, 0), text).await
}

/// The vector of a text. `context` is that of the request for it.
pub async fn vector(context: Context, text: &str) -> Result<Vector, NoVector> {
    let runtime = Arc::clone(&context.runtime);
    let shared = Arc::clone(context.in_flight.shared());
    let (Some(by_meaning), Some(endpoint)) = (&runtime.by_meaning, endpoint()) else {
        return Err(NoVector::Failed(
            "no embedding model is configured".to_owned(),
        ));
    };
    let mut settled = Settled(context);
    let context = &mut settled.0;
    context.asked.endpoint = endpoint.name;
    context.asked.model = Some(by_meaning.model.clone());
    context.asked.rule = Some(Arc::clone(&by_meaning.rule));
    let body = embeddings::request(&by_meaning.model, text, by_meaning.dimensions);
    context.outcome.bytes_in = body.len();
    let body = Body::of_json(body.into(), false).map_err(|failure| NoVector::of(&failure))?;
    context.meter = Some(Box::new(Meter::new(body.prompt(), None)));
    let asking = Box::pin(ask(context, &shared, by_meaning, endpoint, &body));
    let (vector, status) = match asking.await {
        Ok(vector) => (vector, StatusCode::OK),
        Err(failure) => {
            if let Failure::Refusal(refusal) = &failure {
                note_error(context, refusal);
            }
            context.outcome.error = failure.api_error().code.or(Some("upstream_error"));
            (Err(NoVector::of(&failure)), StatusCode::BAD_GATEWAY)
        }
    };
    context.commit(status.as_u16());
    settle::settle(context).await;
    vector
}

/// Asks for it; the inner error is that of an answer that is no vector.
async fn ask(
    context: &mut Context,
    shared: &Arc<Shared>,
    by_meaning: &ByMeaning,
    endpoint: &'static Exchange,
    body: &Body,
) -> Result<Result<Vector, NoVector>, Failure> {
    let runtime = Arc::clone(&context.runtime);
    let (rule, model) = (&*by_meaning.rule, &by_meaning.model);
    let header = RequestHeader::build(Method::POST, PATH.as_bytes(), None);
    let header = header.map_err(|_| Failure::NoModel)?;
    let mut requester = Requester::Gateway(Box::new(header));
    let mut course = Failover {
        shared,
        endpoint,
        body,
        plan: Plan::along(&runtime, rule, model, context.tenant().cloned()),
        steering: Steering::default(),
        has_hedged: false,
    };
    let begun = course.run(&mut requester, context).await?;
    let Begun {
        mut answer,
        terms,
        giver,
        ..
    } = *begun;
    let read = convert::read(&mut answer, &terms).await;
    if let Some(meter) = &mut context.meter {
        meter.reading = answer.reading(read.is_ok());
    }
    let Giver::Asked {
        mut candidate,
        mut lease,
    } = giver
    else {
        return Ok(Err(NoVector::Unusable));
    };
    let Ok(read) = read else {
        answer.shutdown().await;
        lease.report_broken(shared, context);
        candidate.failed();
        return Ok(Err(NoVector::Unusable));
    };
    if let Some(connection) = answer.into_session() {
        lease.release(shared, connection).await;
    }
    let numbers = embeddings::numbers(&read).ok_or(NoVector::Unusable);
    Ok(numbers.and_then(|numbers| Vector::new(&numbers).map_err(|_| NoVector::Unusable)))
}

fn endpoint() -> Option<&'static Exchange> {
    match Endpoint::find(PATH) {
        Some(Endpoint::Exchange(endpoint)) => Some(endpoint),
        _ => None,
    }
}
