//! What an upstream's error makes of an attempt.
//!
//! Owns reading it, under whatever status it came, and judging it: the verdict says what follows
//! (`failover` does it). An error that is too long to be understood is judged by its status. Does not
//! handle how its body is read and told (see `gateway::upstream_error`). Never fails: what cannot be read
//! says nothing.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::response::Parts;
use http::{HeaderValue, StatusCode};

use super::answer::Answer;
use super::terms::{Form, Terms};
use crate::clock;
use crate::gateway::failed::Failed;
use crate::gateway::failure::{Failure, UpstreamRefusal};
use crate::gateway::headers;
use crate::gateway::lease::Lease;
use crate::gateway::upstream_error::{self, ERROR_PATIENCE, ErrorBody, asks_to_wait, tell};
use crate::openai::echo::Echo;
use crate::openai::upstream_error::UpstreamError;
use crate::openai::verdict::{self, Evidence};
use crate::openai::{error, ratelimit, usage};
use crate::runtime::Shared;
use crate::upstreams::{Session, Upstream};
use crate::workers::walk;

/// Reads why an upstream refuses.
pub async fn refused(
    shared: &Shared,
    lease: &Lease,
    session: Session,
    mut header: Parts,
    echo: &Echo,
    deadline: Instant,
) -> Failed {
    let until = deadline.min(Instant::now() + ERROR_PATIENCE);
    let (body, rest) =
        match upstream_error::read_error(session, &mut header, until, deadline, echo).await {
            Some(ErrorBody {
                body,
                rest,
                session,
            }) => {
                if let Some(session) = session {
                    lease.release(shared, session).await;
                }
                (body, rest)
            }
            None => (Bytes::new(), None),
        };
    upstream_error::failed(lease.upstream(), header, body, rest)
}

/// An error that came under a status of success, as the error that it is.
pub fn under_success(
    upstream: &Upstream,
    error: &UpstreamError,
    whole: Option<&[u8]>,
    answer: &mut Answer,
) -> Failed {
    let usage = answer
        .events_mut()
        .and_then(|events| events.reading().usage);
    judge(upstream, error, answer, |status, wait| {
        // What it was in keeps more of it, unless that was a stream.
        let mut refusal = as_refusal(status, error, whole);
        if let Some(wait) = wait {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let seconds = HeaderValue::from(seconds);
            refusal.header.headers.insert(RETRY_AFTER, seconds);
        }
        UpstreamRefusal { usage, ..refusal }
    })
}

/// A whole response that has failed: an answer with an id, and with a usage, which passes as it came.
pub fn failed_response(
    upstream: &Upstream,
    error: &UpstreamError,
    body: Bytes,
    answer: &mut Answer,
    terms: &Terms,
) -> Failed {
    if matches!(terms.form, Form::Synthesized { .. }) {
        return under_success(upstream, error, Some(&body), answer);
    }
    let (body, usage) = walk(body.len(), || {
        let body = answer.echo.mask(body);
        let usage = usage::whole(&body);
        (body, usage)
    });
    let body = terms.rewrites.whole(&body).map_or(body, Bytes::from);
    let mut header = match terms.form {
        Form::Aggregated => headers::ours(StatusCode::OK, "application/json"),
        Form::AsItComes | Form::Synthesized { .. } => answer.header.clone(),
    };
    header.headers.remove(CONTENT_LENGTH);
    judge(upstream, error, answer, |_, _| UpstreamRefusal {
        header,
        body,
        message: error.message.clone(),
        usage,
        rest: None,
    })
}

/// Judges an error that came under a status of success. `refusal` makes what the client is told, of the
/// status that the error should have had and of the time to wait.
fn judge(
    upstream: &Upstream,
    error: &UpstreamError,
    answer: &Answer,
    refusal: impl FnOnce(StatusCode, Option<Duration>) -> UpstreamRefusal,
) -> Failed {
    let verdict = verdict::judge(&Evidence::UnderSuccess(error));
    let status = verdict::status_under_success(error, verdict.reason);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let message = error.message.as_deref();
    let wait = ratelimit::wait(&answer.header.headers, message, clock::now())
        .filter(|_| asks_to_wait(verdict.reason));
    Failed {
        told: tell(upstream, verdict.reason, refusal(status, wait)),
        wait,
        is_final: false,
        verdict,
    }
}

/// What the client is told, within a stream that has begun, of an error that came in a form which
/// clients do not know.
pub fn told_in_stream(upstream: &Upstream, error: &UpstreamError) -> Failure {
    let reason = verdict::judge(&Evidence::UnderSuccess(error)).reason;
    let status = verdict::status_under_success(error, reason);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    tell(upstream, reason, as_refusal(status, error, None))
}

/// An error that came under a status of success, as it should have come; `whole` is what it was in.
fn as_refusal(status: StatusCode, error: &UpstreamError, whole: Option<&[u8]>) -> UpstreamRefusal {
    let gathered = || {
        let message = error.message.as_deref();
        let message = message.unwrap_or("The model's provider told of an error.");
        let error = serde_json::json!({ "error": {
            "message": message,
            "type": error.kind,
            "param": null,
            "code": error.code,
        }});
        let body = error.to_string();
        error::fill_in(status, body.as_bytes()).unwrap_or(body.into_bytes())
    };
    let filled = whole.and_then(|body| error::fill_in(status, body));
    UpstreamRefusal {
        header: headers::ours(status, "application/json"),
        body: Bytes::from(filled.unwrap_or_else(gathered)),
        message: error.message.clone(),
        usage: None,
        rest: None,
    }
}
