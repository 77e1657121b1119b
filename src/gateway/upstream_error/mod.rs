//! What an upstream's own error says.
//!
//! Owns reading its body within bounds, unpacked and without the key that was sent, and what of it the
//! client is told: all of it as it came, unless it speaks of our account or says nothing. What of a long
//! error has not been read passes as it comes (see `reply`). Does not handle what follows on it (see
//! `exchange`). Never fails: what cannot be read says nothing.

pub mod decoded;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use pingora::ErrorType;

use super::failed::Failed;
use super::failure::{Cause, Failure, RestOfError, UpstreamFailure, UpstreamRefusal};
use super::headers::{self, Media};
use super::pieces::Pieces;
use crate::clock;
use crate::openai::echo::{Echo, Masking};
use crate::openai::upstream_error::UpstreamError;
use crate::openai::verdict::{self, Evidence, Reason, Verdict};
use crate::openai::{error, ratelimit};
use crate::upstreams::{Session, Upstream};

/// An error is read for this long.
pub const ERROR_PATIENCE: Duration = Duration::from_secs(5);
/// As much is read of one.
pub const MAX_ERROR_BYTES: usize = 64 << 10;
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

/// What an error shows.
pub struct Judged {
    /// Why, and what is to be done about it.
    pub verdict: Verdict,
    /// How long the upstream asks us to wait.
    pub wait: Option<Duration>,
    /// What it says.
    message: Option<String>,
}

/// What an error makes of an attempt.
pub fn failed(
    upstream: &Upstream,
    header: Parts,
    body: Bytes,
    rest: Option<RestOfError>,
) -> Failed {
    let Judged {
        verdict,
        wait,
        message,
    } = judge(&header, &body);
    let is_final = header.headers.get(headers::SHOULD_RETRY);
    Failed {
        verdict,
        wait,
        is_final: is_final.is_some_and(|value| value.as_bytes() == b"false"),
        told: tell(
            upstream,
            verdict.reason,
            filled(upstream, header, body, message, rest),
        ),
    }
}

/// Judges an error by its header and its body, or the beginning of one.
pub fn judge(header: &Parts, body: &[u8]) -> Judged {
    let status = header.status.as_u16();
    let is_page = headers::media(&header.headers) == Media::Html;
    let error = UpstreamError::read(body).filter(|_| !is_page);
    let error = error.unwrap_or_default();
    let verdict = verdict::judge(&match is_page {
        true => Evidence::Page { status },
        false => Evidence::Answer {
            status,
            error: &error,
        },
    });
    let message = error.message;
    let wait = ratelimit::wait(&header.headers, message.as_deref(), clock::now());
    Judged {
        wait: wait.filter(|_| asks_to_wait(verdict.reason)),
        verdict,
        message,
    }
}

/// Whether a wait that comes with this reason is meant for the next request.
pub fn asks_to_wait(reason: Reason) -> bool {
    matches!(reason, Reason::RateLimited | Reason::Overloaded)
}

/// A refusal, with what its dialect is known to leave out.
fn filled(
    upstream: &Upstream,
    mut header: Parts,
    mut body: Bytes,
    message: Option<String>,
    rest: Option<RestOfError>,
) -> UpstreamRefusal {
    if rest.is_none() {
        if upstream.dialect.fills_in_errors
            && headers::is_plain(&header.headers)
            && let Some(filled) = error::fill_in(header.status, &body)
        {
            body = Bytes::from(filled);
        }
        header.headers.remove(CONTENT_LENGTH);
    }
    UpstreamRefusal {
        header,
        body,
        message,
        usage: None,
        rest,
    }
}

/// What a client is told of a refusal: what the upstream says, unless it speaks of our account. With
/// a key of the client's own it speaks of the client's.
pub fn tell(upstream: &Upstream, reason: Reason, refusal: UpstreamRefusal) -> Failure {
    let status = refusal.header.status;
    let says_nothing =
        refusal.body.is_empty() || headers::media(&refusal.header.headers) == Media::Html;
    let (cause, detail) = match reason {
        Reason::KeyRefused | Reason::OutOfCredit if upstream.keys.are_ours() => (
            Cause::Account,
            format!("the provider refused the key: {reason}, status {status}"),
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
