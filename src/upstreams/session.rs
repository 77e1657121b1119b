//! One request's session with an upstream, and whether its connection may carry another.
//!
//! A connection that is used again must stand exactly between two messages, or one caller's request is
//! answered with what was another's. So it goes back to the pool only when the request was sent whole,
//! the end of the answer can be told in one way only and has been read, and no byte has come behind it.
//! Everything else closes it. Owns that decision, and every read of an answer: each has a deadline, hints are
//! passed over, what is read without a pause yields from time to time, and each piece of a body owns its
//! memory. `connector` owns the pool. Does not know what answers mean. Fails with Pingora's errors.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, Method, StatusCode};
use pingora::protocols::Stream;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1Session;
use pingora::{Error, ErrorType, Result};

use super::deadline::{self, MAX_HINTS, NO_ANSWER};
use crate::workers;

/// What a request is written to: an HTTP/1 connection, or a stream of a connection that speaks HTTP/2.
pub(super) enum Wire {
    Http1(Stream),
    Http2(Box<HttpSession>),
}

/// A request's session with an upstream.
pub struct Session {
    http: Box<HttpSession>,
    is_sent: bool,
    is_head: bool,
    /// What has ended the answer in place of its end; the next read gives it.
    broken: Option<Box<Error>>,
    /// How many headers have come.
    headers: usize,
    /// How long the last piece of the body was.
    last_bytes: usize,
}

impl Session {
    /// A session of which only a part of the request has been sent.
    pub(super) fn new(mut http: Box<HttpSession>, method: &Method) -> Self {
        // Every read has a deadline of its own.
        http.set_read_timeout(None);
        Self {
            http,
            is_sent: false,
            is_head: *method == Method::HEAD,
            broken: None,
            headers: 0,
            last_bytes: 0,
        }
    }

    /// A session whose answer is no WebSocket, although one was asked for. Its connection is not used again.
    pub fn of_declined(http1: Box<Http1Session>) -> Self {
        Self::new(Box::new(HttpSession::H1(*http1)), &Method::GET)
    }

    /// Notes that the whole request has been sent.
    pub(super) fn sent_whole(&mut self) {
        self.is_sent = true;
    }

    /// Sends a part of the request's body.
    ///
    /// # Errors
    /// The connection's.
    pub async fn write_body(&mut self, chunk: Bytes) -> Result<()> {
        self.http.write_request_body(chunk, false).await
    }

    /// Ends the request's body.
    ///
    /// # Errors
    /// The connection's, and that the body was shorter than its header says.
    pub async fn finish_body(&mut self) -> Result<()> {
        self.http.finish_request_body().await?;
        self.is_sent = true;
        Ok(())
    }

    /// Whether the answer has come to its end. To Pingora a stream of HTTP/2 that was reset has ended
    /// like one that is complete.
    pub fn response_done(&mut self) -> bool {
        let HttpSession::H2(http2) = &mut *self.http else {
            return self.http.response_done();
        };
        match http2.check_response_end_or_error() {
            Ok(is_done) => is_done,
            Err(error) => {
                self.broken.get_or_insert(error);
                false
            }
        }
    }

    /// The header of the answer. May be dropped while it waits.
    ///
    /// # Errors
    /// The connection's, a timeout, and what is no answer: hints without end, or another protocol that was not
    /// asked for.
    pub async fn header(&mut self, until: Instant) -> Result<Parts> {
        loop {
            match self.http.response_header() {
                None => {}
                Some(header) if !header.status.is_informational() => {
                    return Ok(header.as_owned_parts());
                }
                Some(header) if header.status == StatusCode::SWITCHING_PROTOCOLS => {
                    let what = "it switched protocols unasked";
                    return Error::e_explain(ErrorType::Custom(NO_ANSWER), what);
                }
                Some(_) if self.headers > MAX_HINTS => {
                    let what = "it sent hints without end";
                    return Error::e_explain(ErrorType::Custom(NO_ANSWER), what);
                }
                Some(_) => {}
            }
            deadline::reading(until, self.http.read_response_header()).await?;
            self.headers += 1;
        }
    }

    /// The next bytes of the answer's body; `None` at its end. May be dropped while it waits.
    ///
    /// # Errors
    /// The connection's, and a timeout.
    pub async fn read_body(&mut self, until: Instant) -> Result<Option<Bytes>> {
        workers::yield_after(self.last_bytes).await;
        self.last_bytes = 0;
        deadline::reading(until, self.read()).await
    }

    /// The same, as far as it has come already; `None` where nothing has, or where the task has read enough for
    /// now. Nothing is waited for, so no deadline is looked at: a read that waits has to follow.
    pub async fn read_at_hand(&mut self) -> Option<Result<Option<Bytes>>> {
        let read = async {
            workers::yield_after(self.last_bytes).await;
            self.last_bytes = 0;
            self.read().await
        };
        let mut read = pin!(read);
        poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let mut piece = self.http.read_response_body().await?;
        if let (HttpSession::H2(_), Some(shared)) = (&*self.http, &mut piece) {
            // It is a part of all that was read at once, and would keep that. Over HTTP/1 Pingora copies.
            *shared = Bytes::copy_from_slice(shared);
        }
        self.last_bytes = piece.as_ref().map_or(0, Bytes::len);
        Ok(piece)
    }

    /// Closes the connection, or the stream of one.
    pub async fn shutdown(&mut self) {
        self.http.shutdown().await;
    }

    /// The connection, where another request may follow on it.
    pub(super) async fn reusable(self) -> Option<Wire> {
        match *self.http {
            HttpSession::H1(mut http1) => {
                // Whether a body follows an answer to HEAD is for the upstream to know.
                if !self.is_sent || self.is_head || !has_certain_end(&http1) {
                    http1.shutdown().await;
                    return None;
                }
                // It looks at what the upstream says of the connection, at the end of the body, and
                // at bytes behind it.
                http1.respect_keepalive();
                http1.reuse().await.map(Wire::Http1)
            }
            // A stream of HTTP/2 ends by itself; one that is given up is reset.
            mut other => {
                if !self.is_sent {
                    other.shutdown().await;
                }
                Some(Wire::Http2(Box::new(other)))
            }
        }
    }
}

/// Whether the end of an answer can be told in one way only.
fn has_certain_end(http1: &Http1Session) -> bool {
    let Some(header) = http1.resp_header() else {
        return false;
    };
    // What breaks the rule that these have no body is read as the next answer.
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
    !bodiless.contains(&header.status)
        && is_framed_once(&header.headers, &http1.get_headers_raw_bytes())
}

/// Whether a header frames its body by one line: a length, or `chunked`. Pingora drops a length beside
/// `Transfer-Encoding`; the raw header still has it.
fn is_framed_once(headers: &HeaderMap, raw: &[u8]) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {
            let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
            let is_number = |value: &[u8]| value.iter().all(u8::is_ascii_digit);
            let is_one = lengths
                .next()
                .is_some_and(|value| is_number(value.as_bytes()));
            is_one && lengths.next().is_none()
        }
        (Some(coding), None) => {
            coding.as_bytes().eq_ignore_ascii_case(b"chunked") && !names_a_length(raw)
        }
        (Some(_), Some(_)) => false,
    }
}

fn names_a_length(raw: &[u8]) -> bool {
    let name = CONTENT_LENGTH.as_str().as_bytes();
    raw.split(|byte| *byte == b'\n').any(|line| {
        let head = line.get(..name.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_certain(lines: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        let mut raw = "HTTP/1.1 200 OK\r\n".to_owned();
        let is_chunked = lines.iter().any(|(name, _)| *name == "transfer-encoding");
        for (name, value) in lines {
            raw.push_str(&format!("{name}: {value}\r\n"));
            // As Pingora does.
            if !(is_chunked && *name == "content-length") {
                headers.append(*name, value.parse().unwrap());
            }
        }
        is_framed_once(&headers, raw.as_bytes())
    }

    #[test]
    fn an_answer_with_one_framing_has_a_certain_end() {
        assert!(is_certain(&[("content-length", "5")]));
        assert!(is_certain(&[("transfer-encoding", "Chunked")]));
    }

    #[test]
    fn an_answer_that_can_be_read_in_two_ways_has_none() {
        for lines in [
            &[("content-length", "5"), ("content-length", "5")][..],
            &[("content-length", "5, 5")],
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            &[("transfer-encoding", "identity")],
            &[],
        ] {
            assert!(!is_certain(lines), "{lines:?}");
        }
    }
}
