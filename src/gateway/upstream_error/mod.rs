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

use super::failure::{Cause, Failure, Refusal, RestOfError, UpstreamFailure};
use super::headers::{self, Media};
use super::pieces::Pieces;
use crate::openai::echo::{Echo, Masking};
use crate::openai::error;
use crate::openai::verdict::Reason;
use crate::upstreams::{Session, Upstream};

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
