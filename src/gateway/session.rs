//! A client's session: the seam to Pingora.
//!
//! Owns everything that is assumed of Pingora's HTTP sessions with clients, so that a new Pingora is
//! checked in one place: how a body is read and ends, how an answer is written and ended, how a client is
//! seen to leave, and whether a connection may carry another request. Each assumption has a test here
//! that fails when it no longer holds; docs/decisions/pingora.md says what to do on a release. What
//! comes below the session, the bytes of a header and of a chunked body, is `connection`'s. Does not
//! handle what is read and written. Fails with [`Gone`] and [`BodyError`].

use std::future::{pending, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::VARY;
use http::response::Parts;
use http::{HeaderName, HeaderValue};
use pingora::ErrorType;
use pingora::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::{HttpTask, ServerSession};

use super::connection::Connection;
use crate::signature::{BodyCheck, BodyDigest};
use crate::tls::clients::ClientCertificate;

/// The client has gone, or takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Why no more of a body can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Nothing came in the time that there was.
    Late,
    /// Its chunks are not well-formed.
    Malformed,
    /// It is not the one that was signed.
    NotSigned,
    /// The client has gone.
    Gone,
}

/// A part of an answer.
pub enum Part {
    /// Its header.
    Header(Box<ResponseHeader>),
    /// Bytes of its body.
    Body(Bytes),
    /// Its end.
    End,
}

impl Part {
    /// A header.
    pub fn header(header: Parts) -> Self {
        Self::Header(Box::new(header.into()))
    }
}

/// A session with a client, of which a request has been read.
pub struct ClientSession(
    ServerSession,
    /// What the header of each answer has besides.
    Vec<(HeaderName, HeaderValue)>,
    /// What the body is checked by while it is read.
    Option<Box<BodyCheck>>,
);

impl ClientSession {
    /// Takes a session whose request's header has been read.
    pub fn new(session: ServerSession) -> Self {
        Connection::header_passed(&session);
        Self(session, Vec::new(), None)
    }

    /// Adds to the header of each answer from now on. `Vary` is extended, any other header replaced.
    pub fn add_to_answers(&mut self, headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) {
        self.1.extend(headers);
    }

    /// The header of the request.
    pub fn request(&self) -> &RequestHeader {
        self.0.req_header()
    }

    /// The same, to be changed.
    pub fn request_mut(&mut self) -> &mut RequestHeader {
        self.0.req_header_mut()
    }

    /// The header as it came; `None` over HTTP/2.
    pub fn raw_header(&self) -> Option<&[u8]> {
        Connection::raw_header(&self.0)
    }

    /// Whether the header was read as it came. Pingora writes a request line anew that it cannot parse,
    /// with what is not allowed in it encoded: the upstream would get another target than was checked.
    pub fn is_read_as_it_came(&self) -> bool {
        let http1 = self.0.as_http1();
        http1.is_none_or(|http1| Some(http1.get_headers_raw_bytes().as_ref()) == self.raw_header())
    }

    /// Whether it is a stream of HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.0.is_http2()
    }

    /// The address of the other end of the connection.
    pub fn address(&self) -> Option<IpAddr> {
        let address = self.0.client_addr()?.as_inet()?;
        Some(address.ip().to_canonical())
    }

    /// The certificate that the client has shown in the handshake.
    pub fn client_certificate(&self) -> Option<Arc<ClientCertificate>> {
        let digest = self.0.digest()?.ssl_digest.as_ref()?;
        digest.extension.get::<Arc<ClientCertificate>>().cloned()
    }

    /// For how many seconds its connection is kept for a next request; `None` closes it.
    pub fn keep(&mut self, seconds: Option<u64>) {
        self.0.set_keepalive(seconds);
    }

    /// Has the connection end with the answer, whatever the client asks for.
    pub fn close_after_answer(&mut self) {
        self.0.set_keepalive(None);
    }

    /// How long the client may take nothing of what it is sent.
    pub fn set_write_timeout(&mut self, limit: Duration) {
        self.0.set_write_timeout(Some(limit));
    }

    /// How long nothing may come of what is read; for ever without a limit.
    pub fn set_read_timeout(&mut self, limit: Option<Duration>) {
        self.0.set_read_timeout(limit);
    }

    /// Follows the body from now on, if it comes in chunks. `false` when what has come of it is
    /// malformed already.
    pub fn follow_body(&self) -> bool {
        Connection::follow_body(&self.0)
    }

    /// Whether the body has been read to its end, or there is none.
    pub fn is_body_done(&mut self) -> bool {
        self.0.is_body_done()
    }

    /// Has the body be this one: its end is not read unless it is.
    pub fn expect_body(&mut self, digest: BodyDigest) {
        self.2 = Some(Box::new(BodyCheck::new(digest)));
    }

    /// Whether the body has to be a certain one, which shows at its end.
    pub fn expects_body(&self) -> bool {
        self.2.is_some()
    }

    /// The next bytes of the body, each with memory of its own; `None` at its end. May be dropped while
    /// it waits: what has been read is kept.
    ///
    /// # Errors
    /// Nothing came within the limit, its chunks are malformed, it is not the one that was signed, or the client
    /// has gone.
    pub async fn read_body(&mut self, limit: Duration) -> Result<Option<Bytes>, BodyError> {
        self.0.set_read_timeout(Some(limit));
        let is_http2 = self.0.is_http2();
        let reading = self.0.read_request_body();
        let read = match is_http2 {
            // Over HTTP/2 Pingora takes no notice of the timeout that it has been given.
            true => tokio::time::timeout(limit, reading)
                .await
                .map_err(|_| BodyError::Late)?,
            false => reading.await,
        };
        let read = read.map_err(|error| match error.etype() {
            ErrorType::ReadTimedout => BodyError::Late,
            _ if Connection::has_malformed_body(&self.0) => BodyError::Malformed,
            _ => BodyError::Gone,
        })?;
        // Over HTTP/2 it is a part of all that was read at once, and would keep that.
        let read = match is_http2 {
            true => read.map(|shared| Bytes::copy_from_slice(&shared)),
            false => read,
        };
        match self.is_as_signed(read.as_ref()) {
            true => Ok(read),
            false => Err(BodyError::NotSigned),
        }
    }

    /// Whether the body may go on like this, or end.
    fn is_as_signed(&mut self, read: Option<&Bytes>) -> bool {
        let Some(check) = &mut self.2 else {
            return true;
        };
        check.push(read.map_or(&[], |bytes| bytes));
        let is_over = read.is_none() || self.0.is_body_done();
        !is_over || check.fits()
    }

    /// Reads bytes of the body and throws them away; `None` at its end, or where there is no more.
    pub async fn discard_body(&mut self) -> Option<usize> {
        let read = self.0.read_request_body().await;
        read.ok().flatten().map(|chunk| chunk.len())
    }

    /// Tells a client that waits for it to send its body.
    ///
    /// # Errors
    /// It has gone.
    pub async fn write_continue(&mut self) -> Result<(), Gone> {
        self.0.write_continue_response().await.map_err(|_| Gone)
    }

    /// Writes parts of the answer, in one write where they fit. What is empty is left out: an empty
    /// chunk would end the body.
    ///
    /// # Errors
    /// The client has gone, or takes nothing.
    pub async fn write(&mut self, parts: Vec<Part>) -> Result<(), Gone> {
        let mut tasks = Vec::with_capacity(parts.len());
        for part in parts {
            match (part, tasks.last_mut()) {
                (Part::Header(mut header), _) => {
                    for (name, value) in &self.1 {
                        let value = match header.headers.get(VARY).filter(|_| name == VARY) {
                            Some(more) => joined(more, value),
                            None => value.clone(),
                        };
                        // There are few of them, so that it cannot be one too many.
                        let _ = header.insert_header(name, value);
                    }
                    if Connection::is_ending(&self.0) {
                        self.close_after_answer();
                    }
                    tasks.push(HttpTask::Header(header, false));
                }
                (Part::Body(bytes), _) if bytes.is_empty() => {}
                (Part::Body(bytes), _) => tasks.push(HttpTask::Body(Some(bytes), false)),
                (Part::End, Some(HttpTask::Header(_, ends) | HttpTask::Body(_, ends))) => {
                    *ends = true;
                }
                (Part::End, _) => tasks.push(HttpTask::Done),
            }
        }
        if tasks.is_empty() {
            return Ok(());
        }
        let written = self.0.response_duplex_vec(tasks).await;
        written.map(drop).map_err(|_| Gone)
    }

    /// Returns when the client has gone. May be dropped while it waits.
    pub async fn left(&mut self) {
        let event = self.0.read_body_or_idle(true).await;
        // Bytes after the request are a second one, sent before the first is answered. One byte of it
        // has been eaten by looking, so the connection ends with this answer and the client asks anew.
        let is_pipelined = matches!(&event, Err(e) if *e.etype() == ErrorType::ConnectError);
        if is_pipelined {
            self.close_after_answer();
            pending::<()>().await;
        }
    }

    /// Does some work for as long as the client is there. Bytes that it sends meanwhile are kept, and are
    /// the first to be read afterwards. A client that sends more than is kept is not seen to leave. Nor is
    /// one over HTTP/2, whose connection is not its own.
    ///
    /// # Errors
    /// It has gone; the work is dropped.
    pub async fn while_there<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Gone> {
        if !Connection::keep_what_comes(&self.0) {
            return Ok(work.await);
        }
        let done = tokio::select! {
            biased;
            _ = self.0.read_body_or_idle(true) => Err(Gone),
            done = work => Ok(done),
        };
        Connection::give_kept(&self.0);
        done
    }

    /// Ends an answer that is whole, and gives the connection back, if it may carry another request.
    pub async fn finish(self) -> Option<ReusedHttpStream> {
        let settings = HttpPersistentSettings::for_session(&self.0);
        let stream = self.0.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }

    /// Queues bytes of a connection that has been upgraded.
    pub fn queue_upgraded(&mut self, bytes: Bytes) {
        let task = HttpTask::UpgradedBody(Some(bytes), false);
        self.0.send_downstream_proxy_task(task);
    }

    /// Writes what is queued. Polled anew each time: what has been written is not written again.
    pub fn poll_write_queued(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), Gone>> {
        let written = pin!(self.0.write_downstream_proxy_tasks());
        written
            .poll(cx)
            .map(|written| written.map(drop).map_err(|_| Gone))
    }

    /// Reads bytes of a connection that has been upgraded; `None` once the client has closed or gone.
    pub fn poll_read_upgraded(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<Bytes>> {
        let read = pin!(self.0.read_request_body());
        read.poll(cx).map(|read| read.ok().flatten())
    }

    /// Says on a connection that has been upgraded that nothing more will be written.
    pub fn poll_end_upgraded(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let ended = pin!(self.0.shutdown());
        ended.poll(cx).map(drop)
    }
}

/// Two values of a header in one.
fn joined(first: &HeaderValue, second: &HeaderValue) -> HeaderValue {
    let both = [first.as_bytes(), b", ", second.as_bytes()].concat();
    HeaderValue::from_bytes(&both).unwrap_or_else(|_| first.clone())
}

/// Polls a future once. Pingora's readers of bodies may be dropped while they wait: they keep what they
/// have read.
pub async fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests;
