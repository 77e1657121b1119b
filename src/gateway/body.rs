//! The third step: the request's body, whole and bounded.
//!
//! Owns reading it. Refuses to know what is in it. A body of one read is taken as it is, without a
//! copy; a longer one is gathered.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora::ErrorType;
use pingora_proxy::Session;

use super::failure::{Failure, Unreadable};

/// What is set aside at once for a body that does not announce its length.
const FIRST_CAPACITY: usize = 64 << 10;

/// Reads the whole body, of `limit` bytes at most.
pub async fn read(session: &mut Session, limit: usize) -> Result<Bytes, Failure> {
    let declared = declared_length(session);
    if declared.is_some_and(|length| length > limit) {
        return Err(Failure::Unreadable(Unreadable::TooLarge { limit }));
    }
    if expects_continue(session) && session.write_continue_response().await.is_err() {
        return Err(Failure::ClientGone);
    }
    let Some(first) = next(session).await? else {
        return Ok(Bytes::new());
    };
    if first.len() <= limit && session.is_body_done() {
        return Ok(first);
    }
    let mut body = BytesMut::with_capacity(declared.unwrap_or(FIRST_CAPACITY).max(first.len()));
    body.extend_from_slice(&first);
    while body.len() <= limit {
        match next(session).await? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => return Ok(body.freeze()),
        }
    }
    Err(Failure::Unreadable(Unreadable::TooLarge { limit }))
}

/// Whether the client waits for a word from us before it sends its body.
pub fn expects_continue(session: &Session) -> bool {
    let expect = session.req_header().headers.get(EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn declared_length(session: &Session) -> Option<usize> {
    let value = session.req_header().headers.get(CONTENT_LENGTH)?;
    value.to_str().ok()?.trim().parse().ok()
}

/// Over HTTP/1 the session has a timeout for each read, set in `open`; over HTTP/2 Pingora has none.
const HTTP2_READ_TIMEOUT: Duration = Duration::from_secs(30);

async fn next(session: &mut Session) -> Result<Option<Bytes>, Failure> {
    let is_http2 = session.is_http2();
    let reading = session.downstream_session.read_request_body();
    let read = match is_http2 {
        true => {
            let read = tokio::time::timeout(HTTP2_READ_TIMEOUT, reading).await;
            read.map_err(|_| Failure::Unreadable(Unreadable::Timeout))?
        }
        false => reading.await,
    };
    read.map_err(|e| match e.etype() {
        ErrorType::ReadTimedout => Failure::Unreadable(Unreadable::Timeout),
        // A chunk that cannot be parsed: where the next request begins is unknown.
        ErrorType::Custom("InvalidChunk") => Failure::Framing("the chunked body is malformed"),
        _ => Failure::ClientGone,
    })
}
