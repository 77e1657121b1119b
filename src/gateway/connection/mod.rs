//! A client's connection, watched where Pingora has no bound.
//!
//! Owns the deadline of each request's header and of a client that takes nothing of what it is sent,
//! ends a connection without a request when the process ends, and gives Pingora a header only when it is
//! whole (`head`) and a chunked body only while it is well-formed (`chunked`). A header that comes in one
//! piece and a write that is taken at once cost next to nothing here: a timer is set only for those that
//! have to be waited for. Does not handle what is said. Fails as a connection does, with an error of the
//! read or of the write; [`Connection::refused`] has what the client is told of it.

mod chunked;
mod delegated;
mod head;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use http::header::TRANSFER_ENCODING;
use parking_lot::Mutex;
use pingora::protocols::http::ServerSession;
use pingora::protocols::{Shutdown, Stream};
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::failure::Failure;
use crate::observe::metrics::Shed;
use crate::runtime::Shared;
use chunked::Chunked;
use head::{Bounds, Came, Head};

pub use head::READ_BYTES as UNCOUNTED_HEADER_BYTES;

// What a connection is doing. A number, as the gateway says it through a shared reference.
/// It is new, and nothing has come.
const NEW: u8 = 0;
/// Nothing of the next request has come.
const WAITING: u8 = 1;
/// A header has begun.
const BEGUN: u8 = 2;
/// The header is there: what is read belongs to the body.
const PASSED: u8 = 3;
/// Only the end of the connection is waited for. What comes before it is kept for the next read.
const KEEPING: u8 = 4;

/// How many bytes open a connection over HTTP/2.
pub const PREFACE_BYTES: usize = 24;

/// A connection of a client. Over HTTP/2 its opening counts as a header, and is the only one.
pub struct Connection {
    stream: Stream,
    shared: Arc<Shared>,
    phase: AtomicU8,
    /// When the header has to be there; set once it turns out that it comes in pieces.
    header: Option<Timer>,
    header_timeout: Duration,
    /// When something has to have been taken of what is sent.
    write: Option<Timer>,
    write_timeout: Duration,
    /// What is to come of HTTP/2's preface; `None` over HTTP/1.
    preface: Option<usize>,
    /// The current request's header over HTTP/1.
    head: Head,
    bounds: Bounds,
    /// The current request's body, where it comes in chunks over HTTP/1.
    body: Mutex<Option<Chunked>>,
    /// Why what came is not taken.
    refused: Option<Failure>,
    /// Comes true when connections that wait for a next request are to be closed; over HTTP/2 Pingora looks after that.
    closing: Option<Closing>,
}

type Timer = Pin<Box<Sleep>>;
type Closing = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Connection {
    /// Watches a connection whose first request has to have its header by `deadline`.
    pub fn http1(
        stream: Stream,
        shared: &Arc<Shared>,
        deadline: Instant,
        shutdown: &ShutdownWatch,
    ) -> Self {
        let mut shutdown = shutdown.clone();
        // The other end is gone only with the process.
        let closing = async move { drop(shutdown.wait_for(|over| *over).await) };
        Self {
            preface: None,
            closing: Some(Box::pin(closing)),
            ..Self::http2(stream, shared, deadline)
        }
    }

    /// Watches a connection that has to open HTTP/2 by `deadline`.
    pub fn http2(stream: Stream, shared: &Arc<Shared>, deadline: Instant) -> Self {
        let limits = shared.pin().settings.limits;
        Self {
            stream,
            shared: Arc::clone(shared),
            phase: AtomicU8::new(NEW),
            header: Some(Box::pin(sleep_until(deadline))),
            header_timeout: limits.header_timeout,
            write: None,
            write_timeout: limits.write_timeout,
            preface: Some(PREFACE_BYTES),
            head: Head::new(&shared.headers),
            bounds: Bounds {
                header: limits.header,
                fields: limits.header_fields,
                total: limits.header_memory,
            },
            body: Mutex::new(None),
            refused: None,
            closing: None,
        }
    }

    /// Why the connection's last read failed, and the connection, to say so over it. `None` where there
    /// is nothing to say.
    pub fn refused(session: ServerSession) -> Option<(Stream, Option<Failure>)> {
        let ServerSession::H1(http1) = session else {
            return None;
        };
        let mut connection = http1.into_inner().into_any().downcast::<Self>().ok()?;
        *connection.phase.get_mut() = PASSED;
        let refused = connection.refused.take();
        Some((connection, refused))
    }

    /// The header of the current request as it came; `None` over HTTP/2.
    pub fn raw_header(session: &ServerSession) -> Option<&[u8]> {
        Self::below(session)?.head.header()
    }

    /// Follows the body of a request over HTTP/1 from now on, if it comes in chunks. `false` when what
    /// has come of it is malformed already.
    pub fn follow_body(session: &ServerSession) -> bool {
        let header = session.req_header();
        let Some(connection) = Self::below(session) else {
            return true;
        };
        if !header.headers.contains_key(TRANSFER_ENCODING) {
            return true;
        }
        let mut chunked = Chunked::default();
        let is_well = chunked.follow(connection.head.behind());
        *connection.body.lock() = Some(chunked);
        is_well
    }

    /// Whether the current request's body turned out to be malformed.
    pub fn has_malformed_body(session: &ServerSession) -> bool {
        Self::below(session).is_some_and(|connection| connection.refused.is_some())
    }

    /// The header has come to its end.
    pub fn header_passed(session: &ServerSession) {
        if let Some(connection) = Self::below(session) {
            connection.phase.store(PASSED, Ordering::Relaxed);
        }
    }

    /// What comes now is the next request, and nothing of the last.
    pub fn next_request(session: &ServerSession) {
        if let Some(connection) = Self::below(session)
            && connection.phase.load(Ordering::Relaxed) == PASSED
        {
            connection.phase.store(WAITING, Ordering::Relaxed);
        }
    }

    /// Whether the process is ending, so that the connection takes no other request.
    pub fn is_ending(session: &ServerSession) -> bool {
        Self::below(session).is_some_and(|connection| connection.shared.is_draining())
    }

    /// From now on a read gives nothing but the end of the connection: what comes is kept, up to
    /// `MAX_KEPT_BYTES`. Tells whether it does so, which ends with [`Self::give_kept`]. Beyond the bound
    /// the connection is not read, so that its end is not seen.
    pub fn keep_what_comes(session: &ServerSession) -> bool {
        let Some(connection) = Self::below(session) else {
            return false;
        };
        connection.phase.store(KEEPING, Ordering::Relaxed);
        true
    }

    /// Reads give what has been kept, and then what comes.
    pub fn give_kept(session: &ServerSession) {
        if let Some(connection) = Self::below(session) {
            connection.phase.store(PASSED, Ordering::Relaxed);
        }
    }

    /// There is none below a stream of HTTP/2.
    fn below(session: &ServerSession) -> Option<&Self> {
        session.stream()?.as_ref().as_any().downcast_ref()
    }

    /// Gathers a header, and passes it on when it is whole.
    fn poll_header(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if *self.phase.get_mut() == WAITING {
            // How long it may wait for a next request is Pingora's to say.
            self.header = None;
            self.head.next();
            *self.body.get_mut() = None;
        }
        let mut came = match self.head.is_empty() {
            true => Came::Part,
            false => self.head.look(&self.bounds),
        };
        loop {
            if !self.head.is_empty() {
                *self.phase.get_mut() = BEGUN;
            }
            match came {
                Came::Part => {}
                Came::Whole => {
                    self.head.give(buf);
                    return Poll::Ready(Ok(()));
                }
                Came::End => return Poll::Ready(Ok(())),
                Came::Refused(failure) => return self.refuse(failure),
            }
            came = match self.head.poll_read(cx, &mut self.stream, &self.bounds) {
                Poll::Ready(read) => read?,
                Poll::Pending => break,
            };
        }
        // Before its first request and in the middle of a header, a client cannot know that the process ends.
        if *self.phase.get_mut() == WAITING
            && let Some(closing) = &mut self.closing
            && closing.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        if *self.phase.get_mut() != WAITING {
            ready!(self.poll_deadline(cx));
            let is_silent = *self.phase.get_mut() == NEW;
            return match is_silent {
                true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                false => self.refuse(Failure::Shed(Shed::HeaderTimeout)),
            };
        }
        Poll::Pending
    }

    /// Reads the preface of HTTP/2, which counts as its header.
    fn poll_preface(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        left: usize,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        if read.is_ready() {
            let left = left.saturating_sub(came);
            self.preface = Some(left);
            *self.phase.get_mut() = if left == 0 { PASSED } else { BEGUN };
            return read;
        }
        ready!(self.poll_deadline(cx));
        if *self.phase.get_mut() == BEGUN {
            self.shared.metrics.shed(Shed::HeaderTimeout);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.header_timeout;
        let timer = self.header.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx)
    }

    /// Notes why a header is not taken. The error ends the connection.
    fn refuse(&mut self, failure: Failure) -> Poll<io::Result<()>> {
        if let Failure::Shed(what) = &failure {
            self.shared.metrics.shed(*what);
        }
        self.refused = Some(failure);
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }

    /// Reads what belongs to a body, or to the streams of HTTP/2.
    fn poll_passed(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.head.give(buf) {
            return Poll::Ready(Ok(()));
        }
        self.head.release_if_given();
        // A timer that nothing waits for still costs those who look for the next one.
        if self.header.is_some() {
            self.header = None;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(chunked) = self.body.get_mut() {
            let new = buf.filled().get(before..).unwrap_or_default();
            if !chunked.follow(new) {
                buf.set_filled(before);
                return self.refuse(Failure::Framing("the chunked body is malformed"));
            }
        }
        read
    }

    /// Keeps what comes, until the connection ends.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while ready!(self.head.poll_keep(cx, &mut self.stream))? > 0 {}
        Poll::Ready(Ok(()))
    }

    /// Bounds the time for which the other side takes nothing.
    #[inline]
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.write.is_some() {
                self.write = None;
            }
            return written;
        }
        let limit = self.write_timeout;
        let timer = self.write.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match (*this.phase.get_mut(), this.preface) {
            (PASSED, _) => this.poll_passed(cx, buf),
            (KEEPING, _) => this.poll_end(cx),
            (_, Some(left)) => this.poll_preface(cx, buf, left),
            (_, None) => this.poll_header(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.watch_write(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.watch_write(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.watch_write(cx, shut)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // What is still to be sent has the bound of a write.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}
