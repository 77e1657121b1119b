//! What is made of an upstream's own error.
//!
//! Owns reading it, under whatever status it came, and what of it the client is told: all of it as it
//! came, unless it speaks of our account or says nothing. An error that is too long to be understood is
//! judged by its status, and what of it has not been read passes as it comes (`answer` does that). The
//! verdict says what follows, and `course` does it. Never fails: what cannot be read says nothing.

pub mod decoded;

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::response::Parts;
use http::{HeaderValue, StatusCode};
use pingora::ErrorType;

use super::exchange::attempt::{Answer, Failed, Form, Terms};
use super::failure::{Cause, Failure, Refusal, RestOfError, UpstreamFailure};
use super::headers::{self, Media};
use super::pieces::Pieces;
use crate::openai::echo::{Echo, Masking};
use crate::openai::upstream_error::Complaint;
use crate::openai::verdict::{self, Evidence, Reason};
use crate::openai::{error, ratelimit, usage};
use crate::runtime::Shared;
use crate::upstreams::{ServerLease, Session, Upstream};
use crate::workers::walk;

/// An error is read for this long, and up to this size.
pub const ERROR_PATIENCE: Duration = Duration::from_secs(5);
const MAX_ERROR_BYTES: usize = 64 << 10;
/// What is longer has this long to pass.
const LONG_ERROR_PATIENCE: Duration = Duration::from_secs(60);

/// The body of an error as the client may read it: unpacked, and without the key that was sent.
pub struct ErrorBody {
    /// All of it, or its beginning.
    pub body: Bytes,
    /// What is still to come of it, where it is too long, or comes too slowly.
    pub rest: Option<RestOfError>,
    /// The session, where all of it has been read.
    pub session: Option<Session>,
}

/// What came of reading an error.
enum Read {
    /// All of it.
    Whole(Bytes),
    /// Its beginning: it is too long, or comes too slowly.
    Beginning(Bytes),
    /// It broke off.
    Broken,
}

/// Reads why an upstream refuses.
pub async fn refused(
    shared: &Shared,
    upstream: &Upstream,
    seat: &ServerLease,
    session: Session,
    mut header: Parts,
    echo: &Echo,
    deadline: Instant,
) -> Failed {
    let until = deadline.min(Instant::now() + ERROR_PATIENCE);
    let (body, rest) = match read_error(session, &mut header, until, deadline, echo).await {
        Some(ErrorBody {
            body,
            rest,
            session,
        }) => {
            if let Some(session) = session {
                shared.connector.release(session, &seat.peer).await;
            }
            (body, rest)
        }
        None => (Bytes::new(), None),
    };
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
        wait: wait.filter(|_| asks_to_wait(verdict.reason)),
        is_final: is_final.is_some_and(|value| value.as_bytes() == b"false"),
        told: tell(
            upstream,
            verdict.reason,
            filled(upstream, header, body, complaint.message, rest),
        ),
        verdict,
    }
}

fn asks_to_wait(reason: Reason) -> bool {
    matches!(reason, Reason::RateLimited | Reason::Overloaded)
}

/// A refusal, with what its dialect is known to leave out.
pub fn filled(
    upstream: &Upstream,
    mut header: Parts,
    mut body: Bytes,
    message: Option<String>,
    rest: Option<RestOfError>,
) -> Refusal {
    if rest.is_none() {
        if upstream.dialect.fills_in_errors
            && headers::is_plain(&header.headers)
            && let Some(filled) = error::fill_in(header.status, &body)
        {
            body = Bytes::from(filled);
        }
        header.headers.remove(CONTENT_LENGTH);
    }
    Refusal {
        header,
        body,
        message,
        usage: None,
        rest,
    }
}

/// Reads the body of an error until a time; what is longer may pass until `deadline`. `None` for one
/// that breaks off.
pub async fn read_error(
    mut session: Session,
    header: &mut Parts,
    until: Instant,
    deadline: Instant,
    echo: &Echo,
) -> Option<ErrorBody> {
    let readable =
        |header: &mut Parts, body| echo.mask(decoded::plain(header, body, MAX_ERROR_BYTES));
    match read(&mut session, until).await {
        Read::Whole(body) => Some(ErrorBody {
            body: readable(header, body),
            rest: None,
            session: Some(session),
        }),
        Read::Beginning(body) if headers::is_plain(&header.headers) => {
            let mut masking = Masking::new(echo.clone());
            let body = masking.push(body);
            let until = deadline.min(Instant::now() + LONG_ERROR_PATIENCE);
            let rest = RestOfError {
                session,
                until,
                masking,
            };
            Some(ErrorBody {
                body,
                rest: Some(rest),
                session: None,
            })
        }
        // What cannot be read does not pass.
        Read::Beginning(_) => {
            session.shutdown().await;
            Some(ErrorBody {
                body: readable(header, Bytes::new()),
                rest: None,
                session: None,
            })
        }
        Read::Broken => {
            session.shutdown().await;
            None
        }
    }
}

async fn read(session: &mut Session, until: Instant) -> Read {
    let mut body = Pieces::default();
    let mut length = 0;
    while !session.response_done() {
        match session.read_body(until).await {
            Ok(Some(chunk)) => {
                length += chunk.len();
                body.push(chunk);
            }
            Ok(None) => break,
            Err(e) if *e.etype() == ErrorType::ReadTimedout && length > 0 => {
                return Read::Beginning(body.join());
            }
            Err(_) => return Read::Broken,
        }
        if length > MAX_ERROR_BYTES {
            return Read::Beginning(body.join());
        }
    }
    Read::Whole(body.join())
}

/// An error that came under a status of success, as the error that it is.
pub fn complained(upstream: &Upstream, complaint: &Complaint, answer: &mut Answer) -> Failed {
    // What it was in keeps more of it, unless that was a stream.
    let (whole, usage) = match &mut answer.events {
        Some(events) => (None, events.reading().usage),
        None => (Some(answer.echo.mask(answer.held.join())), None),
    };
    under_success(upstream, complaint, answer, |status, wait| {
        let mut refusal = as_refusal(status, complaint, whole.as_deref());
        if let Some(wait) = wait {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let seconds = HeaderValue::from(seconds);
            refusal.header.headers.insert(RETRY_AFTER, seconds);
        }
        Refusal { usage, ..refusal }
    })
}

/// A whole response that has failed: an answer with an id, and with a usage, which passes as it came.
pub fn failed_response(
    upstream: &Upstream,
    complaint: &Complaint,
    body: Bytes,
    answer: &mut Answer,
    terms: &Terms,
) -> Failed {
    if matches!(terms.form, Form::Streamed { .. }) {
        return complained(upstream, complaint, answer);
    }
    let (body, usage) = walk(body.len(), || {
        let body = answer.echo.mask(body);
        let usage = usage::whole(&body);
        (body, usage)
    });
    let body = terms.rewrites.whole(&body).map_or(body, Bytes::from);
    let mut header = match terms.form {
        Form::Gathered => headers::ours(StatusCode::OK, "application/json"),
        Form::AsItComes | Form::Streamed { .. } => answer.header.clone(),
    };
    header.headers.remove(CONTENT_LENGTH);
    under_success(upstream, complaint, answer, |_, _| Refusal {
        header,
        body,
        message: complaint.message.clone(),
        usage,
        rest: None,
    })
}

/// Judges an error that came under a status of success. `refusal` makes what the client is told, of the
/// status that the error should have had and of the time to wait.
fn under_success(
    upstream: &Upstream,
    complaint: &Complaint,
    answer: &Answer,
    refusal: impl FnOnce(StatusCode, Option<Duration>) -> Refusal,
) -> Failed {
    let verdict = verdict::judge(&Evidence::UnderSuccess(complaint));
    let status = verdict::status_under_success(complaint, verdict.reason);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let message = complaint.message.as_deref();
    let wait = ratelimit::wait(&answer.header.headers, message, SystemTime::now())
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
pub fn told_in_stream(upstream: &Upstream, complaint: &Complaint) -> Failure {
    let reason = verdict::judge(&Evidence::UnderSuccess(complaint)).reason;
    let status = verdict::status_under_success(complaint, reason);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    tell(upstream, reason, as_refusal(status, complaint, None))
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

/// An error that came under a status of success, as it should have come; `whole` is what it was in.
fn as_refusal(status: StatusCode, complaint: &Complaint, whole: Option<&[u8]>) -> Refusal {
    let gathered = || {
        let message = complaint.message.as_deref();
        let message = message.unwrap_or("The model's provider told of an error.");
        let error = serde_json::json!({ "error": {
            "message": message,
            "type": complaint.kind,
            "param": null,
            "code": complaint.code,
        }});
        let body = error.to_string();
        error::fill_in(status, body.as_bytes()).unwrap_or(body.into_bytes())
    };
    let filled = whole.and_then(|body| error::fill_in(status, body));
    Refusal {
        header: headers::ours(status, "application/json"),
        body: Bytes::from(filled.unwrap_or_else(gathered)),
        message: complaint.message.clone(),
        usage: None,
        rest: None,
    }
}
