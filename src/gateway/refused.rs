//! What is made of an upstream's refusal.
//!
//! Owns reading its error, under whatever status it came, and what of it the client is told. Refuses to
//! know what follows: the verdict in it says. Never fails: what cannot be read says nothing.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use pingora::protocols::http::client::HttpSession;

use super::attempt::{Failed, left};
use super::failure::{Cause, Failure, Refusal, UpstreamFailure};
use super::headers::{self, Media};
use super::reading;
use crate::openai::complaint::Complaint;
use crate::openai::error;
use crate::openai::ratelimit;
use crate::openai::verdict::{self, Evidence, Reason};
use crate::runtime::Shared;
use crate::upstreams::{Seat, Session, Upstream};

/// An error is read for this long, and up to this size; what is longer says no more.
pub const ERROR_PATIENCE: Duration = Duration::from_secs(5);
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Reads why an upstream refuses.
pub async fn refused(
    shared: &Shared,
    upstream: &Upstream,
    seat: &Seat,
    mut session: Session,
    header: Parts,
    deadline: Instant,
) -> Failed {
    let until = deadline.min(Instant::now() + ERROR_PATIENCE);
    let body = read_error(&mut session, until).await;
    match body.is_some() {
        true => shared.connector.release(session, &seat.peer).await,
        false => session.shutdown().await,
    }
    let body = body.unwrap_or_default();
    let status = header.status.as_u16();
    let is_page = headers::media(&header.headers) == Media::Html;
    let complaint = Complaint::read(&body).filter(|_| !is_page);
    let complaint = complaint.unwrap_or_default();
    let verdict = verdict::judge(&match is_page {
        true => Evidence::Page { status },
        false => Evidence::Answer {
            status,
            complaint: &complaint,
        },
    });
    let message = complaint.message.as_deref();
    let wait = ratelimit::wait(&header.headers, message, SystemTime::now());
    let is_final = header.headers.get(headers::SHOULD_RETRY);
    Failed {
        wait: wait.filter(|_| matches!(verdict.reason, Reason::RateLimited | Reason::Overloaded)),
        is_final: is_final.is_some_and(|value| value.as_bytes() == b"false"),
        told: tell(
            upstream,
            verdict.reason,
            filled(upstream, header, body, complaint.message),
        ),
        verdict,
    }
}

/// A refusal, with what its dialect is known to leave out.
pub fn filled(
    upstream: &Upstream,
    mut header: Parts,
    mut body: Bytes,
    message: Option<String>,
) -> Refusal {
    if upstream.dialect.fills_in_errors
        && headers::is_plain(&header.headers)
        && let Some(filled) = error::fill_in(header.status, &body)
    {
        body = Bytes::from(filled);
    }
    header.headers.remove(CONTENT_LENGTH);
    Refusal {
        header,
        body,
        message,
    }
}

/// Reads a whole body; `None` for one that breaks, or is too long.
pub async fn read_error(session: &mut HttpSession, until: Instant) -> Option<Bytes> {
    let mut body: Vec<Bytes> = Vec::new();
    let mut length = 0;
    while !session.response_done() {
        session.set_read_timeout(Some(left(until)));
        let Some(chunk) = session.read_response_body().await.ok()? else {
            break;
        };
        length += chunk.len();
        if length > MAX_ERROR_BYTES {
            return None;
        }
        body.push(chunk);
    }
    Some(reading::joined(&body))
}

/// An error that came under a status of success.
pub fn complained(upstream: &Upstream, complaint: &Complaint, header: &Parts) -> Failed {
    let evidence = match headers::media(&header.headers) == Media::Events {
        true => Evidence::Event(complaint),
        false => Evidence::Answer {
            status: complaint.status.unwrap_or(502),
            complaint,
        },
    };
    let verdict = verdict::judge(&evidence);
    let told = as_refusal(complaint, verdict.reason);
    let told = told.map(|refusal| tell(upstream, verdict.reason, refusal));
    Failed {
        wait: complaint
            .message
            .as_deref()
            .filter(|_| verdict.reason == Reason::RateLimited)
            .and_then(ratelimit::wait_in_message),
        is_final: false,
        told: told.unwrap_or_else(|| Failure::Upstream(UpstreamFailure::unsendable())),
        verdict,
    }
}

/// What a client is told of a refusal: what the upstream says, unless it speaks of our account. With
/// a key of the client's own it speaks of the client's.
pub fn tell(upstream: &Upstream, reason: Reason, refusal: Refusal) -> Failure {
    let status = refusal.header.status;
    let says_nothing =
        refusal.body.is_empty() || headers::media(&refusal.header.headers) == Media::Html;
    let (cause, detail) = match reason {
        Reason::KeyRefused | Reason::OutOfCredit if upstream.keys.are_ours() => (
            Cause::Account,
            format!("its account does not serve us: {reason}, status {status}"),
        ),
        _ if !status.is_server_error() || !says_nothing => {
            return Failure::Refusal(Box::new(refusal));
        }
        _ => (
            match reason {
                Reason::Overloaded => Cause::Unavailable(None),
                _ => Cause::InvalidResponse,
            },
            format!("it answered with status {status} and nothing that can be passed on"),
        ),
    };
    Failure::Upstream(UpstreamFailure::of(cause, detail))
}

/// An error that came under a status of success, as it should have come.
fn as_refusal(complaint: &Complaint, reason: Reason) -> Option<Refusal> {
    let status = complaint.status.unwrap_or(match reason {
        Reason::RateLimited => 429,
        Reason::Overloaded => 503,
        Reason::ModelMissing => 404,
        Reason::BadRequest | Reason::ContextLength | Reason::ContentFilter => 400,
        _ => 502,
    });
    let error = serde_json::json!({ "error": {
        "message": complaint.message.as_deref().unwrap_or("The model's provider told of an error."),
        "type": complaint.kind,
        "param": null,
        "code": complaint.code,
    }});
    let status = StatusCode::from_u16(status).ok()?;
    let header = headers::ours(status, "application/json");
    let body = error.to_string();
    Some(Refusal {
        header,
        body: Bytes::from(error::fill_in(status, body.as_bytes()).unwrap_or(body.into_bytes())),
        message: complaint.message.clone(),
    })
}
