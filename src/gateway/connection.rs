//! A client's connection, watched for slowness where Pingora has no bound.
//!
//! Owns the deadline of each request's header, and of a client that takes nothing of what it is
//! sent; that one without a request ends with the process; and giving a request's header again, to
//! Pingora's proxy, which reads it itself. Pingora bounds each read of a header but not all of them, and writes an answer's header
//! and its last bytes without any bound. A header that comes in one piece and a write that is taken
//! at once cost next to nothing here: a timer is set only for those that have to be waited for.
//! Refuses to know what is said, but that the gateway tells it where a header ends. Fails as a
//! connection does: with an error of the read or of the write.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::protocols::http::ServerSession;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::answer;
use super::failure::Failure;
use crate::observe::metrics::Shed;
use crate::runtime::Shared;

// What a connection is doing. A number, as the gateway says it through a shared reference.
/// It is new, and nothing has come.
const NEW: u8 = 0;
/// Nothing of the next request has come.
const WAITING: u8 = 1;
/// A header has begun.
const BEGUN: u8 = 2;
/// The header is there: what is read belongs to the body.
const PASSED: u8 = 3;

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
    /// What has been read of the current request, up to and with its header's end.
    begun: Vec<u8>,
    /// What is read once more.
    again: Bytes,
    /// Comes true when the process is to end; over HTTP/2 Pingora looks after that.
    closing: Option<Closing>,
}

type Timer = Pin<Box<Sleep>>;
type Closing = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// As many bytes of memory a connection keeps for the beginning of its next request.
const BEGUN_BYTES: usize = 4 << 10;

impl Connection {
    /// Watches a connection whose first request has to have its header by `deadline`.
    pub fn http1(
        stream: Stream,
        shared: &Arc<Shared>,
        deadline: Instant,
        shutdown: &ShutdownWatch,
    ) -> Self {
        let mut shutdown = shutdown.clone();
        let closing = async move {
            // The other end is gone only with the process.
            let _ = shutdown.wait_for(|over| *over).await;
        };
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
            begun: Vec::new(),
            again: Bytes::new(),
            closing: None,
        }
    }

    /// The session of a request as if nothing of it had been read. Over HTTP/2 that is the session
    /// itself, for its header is there before anybody asks.
    pub fn rewound(session: ServerSession) -> Option<ServerSession> {
        let ServerSession::H1(http1) = session else {
            return Some(session);
        };
        let mut connection = http1.into_inner().into_any().downcast::<Self>().ok()?;
        connection.again = Bytes::from(std::mem::take(&mut connection.begun));
        Some(ServerSession::new_http1(connection))
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

    /// There is none below a stream of HTTP/2.
    fn below(session: &ServerSession) -> Option<&Self> {
        session.stream()?.as_ref().as_any().downcast_ref()
    }

    fn poll_header(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        if let Some(closing) = &mut self.closing {
            if came > 0 {
                let bytes = buf.filled().get(before..);
                self.begun.extend_from_slice(bytes.unwrap_or_default());
            } else if read.is_pending() && closing.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
        }
        let phase = self.phase.get_mut();
        if *phase == WAITING {
            // How long it may wait for a next request is Pingora's to say.
            self.header = None;
        }
        if came > 0 && *phase != BEGUN {
            *phase = BEGUN;
        } else if *phase == WAITING || (read.is_ready() && came == 0) {
            return read;
        } else {
            let limit = self.header_timeout;
            let timer = self.header.get_or_insert_with(|| Box::pin(sleep(limit)));
            if timer.as_mut().poll(cx).is_ready() {
                return self.give_up(cx);
            }
        }
        if let Some(left) = &mut self.preface {
            *left = left.saturating_sub(came);
            if *left == 0 {
                *self.phase.get_mut() = PASSED;
            }
        }
        read
    }

    /// Ends a connection whose header did not come in time.
    fn give_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if *self.phase.get_mut() == BEGUN {
            self.shared.metrics.shed(Shed::HeaderTimeout);
            if self.preface.is_none() {
                let answer = answer::closing(&Failure::Shed(Shed::HeaderTimeout));
                // It fits into the buffer, which Pingora flushes when it closes the connection.
                let _ = Pin::new(&mut self.stream).poll_write(cx, &answer);
            }
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
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
        if !this.again.is_empty() {
            let bytes = this.again.split_to(this.again.len().min(buf.remaining()));
            buf.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        let phase = *this.phase.get_mut();
        if phase != BEGUN {
            // Nobody reads the last header again, however long it was.
            this.begun.clear();
            this.begun.shrink_to(BEGUN_BYTES);
        }
        if phase != PASSED {
            return this.poll_header(cx, buf);
        }
        // A timer that nobody waits for still costs those who look for the next one.
        if this.header.is_some() {
            this.header = None;
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
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

// What is left is the connection's below.

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Connection {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.stream.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

/// Nobody looks ahead once the version is known.
impl Peek for Connection {}
