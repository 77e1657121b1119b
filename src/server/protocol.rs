//! A client's new connection: a proxy's header, admission, the TLS handshake, the version of HTTP.
//!
//! Owns their order: `proxy_protocol` reads the client's address from a proxy, where the listener wants that, `accept`
//! decides before TLS costs anything, and `handshake` makes the handshake where the listener speaks TLS. Owns the look
//! at a connection's first bytes, within
//! `header_timeout`: Pingora would wait without end for the 24 bytes of HTTP/2's preface from a client
//! that sends nothing or a shorter request. Pingora calls this once for each connection, and all its
//! requests are served within the call. Fails by closing the connection.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;
use tokio::time::Instant;

use super::accept::{self, Admission, ConnectionLimiter};
use super::handshake::Handshake;
use super::proxy_protocol;
use crate::gateway::{Connection, Gateway, PREFACE_BYTES};
use crate::runtime::Shared;

/// An HTTP/2 connection without streams is closed after this.
const IDLE_HTTP2: Duration = Duration::from_secs(75);
/// The first bytes of HTTP/2's preface. No HTTP/1 request begins with them.
const PREFACE_START: &[u8; 4] = b"PRI ";

/// The application behind a client listener: the gateway, once for each version of HTTP.
pub struct ClientApp {
    shared: Arc<Shared>,
    limiter: Arc<ConnectionLimiter>,
    /// The position of the listener.
    listener: usize,
    http1: Arc<Gateway>,
    http2: Arc<Gateway>,
    /// `None` on a cleartext listener.
    tls: Option<Arc<Handshake>>,
    /// Comes true when connections that wait for a next request over HTTP/1 are to be closed.
    idle: ShutdownWatch,
}

impl ClientApp {
    /// Serves from the shared state, on the listener at this position of the configuration, with these TLS settings.
    pub fn new(
        shared: &Arc<Shared>,
        limiter: &Arc<ConnectionLimiter>,
        (listener, tls): (usize, Option<Arc<Handshake>>),
        idle: ShutdownWatch,
    ) -> Self {
        let gateway = |h2c| {
            let mut options = HttpServerOptions::default();
            options.h2c = h2c;
            options.h2_idle_timeout = Some(IDLE_HTTP2);
            Arc::new(Gateway::new(Arc::clone(shared), options, listener))
        };
        Self {
            shared: Arc::clone(shared),
            limiter: Arc::clone(limiter),
            listener,
            http1: gateway(false),
            http2: gateway(true),
            tls,
            idle,
        }
    }

    /// Finds out who calls, and whether it may, and decides on its connection. `None`: the connection is over.
    async fn admit(&self, stream: Stream) -> Option<(Stream, Admission)> {
        let socket = stream.get_socket_digest();
        if !self.expects_proxy() {
            let may = self.limiter.permits(self.listener, socket.as_deref());
            let admission = may.then(|| self.limiter.admit(socket.as_deref()))?;
            return Some((stream, admission));
        }
        if !proxy_protocol::permits(socket.as_deref(), &self.shared) {
            return None;
        }
        // It counts while its header is read; for its client, as soon as that is known.
        let admission = self.limiter.admit(socket.as_deref());
        // On the heap: else each connection would keep the future's memory to its end.
        let stream = Box::pin(proxy_protocol::accept(stream, &self.shared)).await?;
        let socket = stream.get_socket_digest();
        let may = self.limiter.permits(self.listener, socket.as_deref());
        let admission = may.then(|| self.limiter.count(admission, socket.as_deref()))?;
        Some((stream, admission))
    }

    /// Whether a proxy says first whose connection it is.
    fn expects_proxy(&self) -> bool {
        let runtime = self.shared.pin();
        let listener = runtime.settings.listener(self.listener);
        listener.is_some_and(|listener| listener.proxy_protocol)
    }

    /// Makes the TLS handshake where the listener speaks TLS. `None`: the connection is over.
    async fn with_handshake(&self, stream: Stream) -> Option<Stream> {
        match &self.tls {
            // On the heap, for the same reason.
            Some(tls) => Box::pin(tls.accept(stream, &self.shared)).await,
            None => Some(stream),
        }
    }

    /// Serves a connection to its end.
    async fn serve(&self, mut stream: Stream, shutdown: &ShutdownWatch) {
        let deadline = Instant::now() + self.shared.pin().settings.limits.header_timeout;
        let speaks_http2 = if stream.get_ssl_digest().is_some() {
            // The handshake has negotiated the version.
            matches!(stream.selected_alpn_proto(), Some(ALPN::H2))
        } else {
            match tokio::time::timeout_at(deadline, speaks_http2(&mut stream)).await {
                Ok(Ok(answer)) => answer,
                // The client has left, or is too slow.
                Ok(Err(_)) | Err(_) => return,
            }
        };
        let shared = &self.shared;
        // Over HTTP/2, a client learns which of its requests are served: nothing is gained by waiting.
        let (gateway, connection, shutdown) = match speaks_http2 {
            true => {
                let connection = Connection::http2(stream, shared, deadline);
                (&self.http2, connection, shutdown)
            }
            false => {
                let connection = Connection::http1(stream, shared, deadline, &self.idle);
                (&self.http1, connection, &self.idle)
            }
        };
        gateway.process_new(Box::new(connection), shutdown).await;
    }
}

#[async_trait]
impl ServerApp for ClientApp {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let (stream, admission) = self.admit(stream).await?;
        match admission {
            Admission::Admitted(_permit) => {
                let stream = self.with_handshake(stream).await?;
                self.serve(stream, shutdown).await;
            }
            // Without time to read the answer, it is not worth a handshake.
            Admission::Refused(_, None) if self.tls.is_some() => {}
            Admission::Refused(limit, permit) => {
                let stream = self.with_handshake(stream).await?;
                accept::refuse(stream, limit, permit.is_some()).await;
            }
        }
        None
    }
}

async fn speaks_http2(stream: &mut Stream) -> std::io::Result<bool> {
    let mut start = [0; PREFACE_START.len()];
    stream.try_peek(&mut start).await?;
    if start != *PREFACE_START {
        return Ok(false);
    }
    stream.try_peek(&mut [0; PREFACE_BYTES]).await
}
