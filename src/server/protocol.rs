//! What happens to a new connection of a client: the verdict, the TLS handshake, the version of HTTP.
//!
//! Owns their order: `arrivals.rs` judges before TLS costs anything, `handshake.rs` makes the
//! connection secure where the listener speaks TLS. Owns the look at a connection's first bytes,
//! within a bound of time: Pingora would wait for the 24 bytes of HTTP/2's preface for ever, from a
//! client that sends nothing or a shorter request. Pingora comes here once for each connection, and
//! serves all its requests before it is back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;
use tokio::time::Instant;

use super::accept::{self, Arrival, Arrivals};
use super::handshake::Handshake;
use crate::gateway::{Connection, Gateway, PREFACE_BYTES};
use crate::runtime::Shared;

/// An HTTP/2 connection without a stream is closed after this.
const IDLE_HTTP2: Duration = Duration::from_secs(75);
/// How the preface of HTTP/2 begins; no HTTP/1 request does.
const PREFACE_START: &[u8; 4] = b"PRI ";

/// The gateway, once for each version, behind the listeners of one kind.
pub struct Door {
    shared: Arc<Shared>,
    arrivals: Arc<Arrivals>,
    http1: Arc<Gateway>,
    http2: Arc<Gateway>,
    /// How TLS is spoken; `None` where it is not.
    tls: Option<Handshake>,
}

impl Door {
    /// Opens on the shared state.
    pub fn new(shared: &Arc<Shared>, arrivals: &Arc<Arrivals>) -> Self {
        let gateway = |h2c| {
            let mut options = HttpServerOptions::default();
            options.h2c = h2c;
            options.h2_idle_timeout = Some(IDLE_HTTP2);
            Arc::new(Gateway::new(Arc::clone(shared), options))
        };
        Self {
            shared: Arc::clone(shared),
            arrivals: Arc::clone(arrivals),
            http1: gateway(false),
            http2: gateway(true),
            tls: None,
        }
    }

    /// The same behind a listener of its own.
    pub fn of(&self, tls: Option<Handshake>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            arrivals: Arc::clone(&self.arrivals),
            http1: Arc::clone(&self.http1),
            http2: Arc::clone(&self.http2),
            tls,
        }
    }

    /// Makes a connection secure, where that is spoken; `None` for one that is over.
    async fn secured(&self, stream: Stream) -> Option<Stream> {
        match &self.tls {
            // On the heap, and gone when it is over: each connection would keep its room.
            Some(tls) => Box::pin(tls.secure(stream, &self.shared)).await,
            None => Some(stream),
        }
    }

    /// Serves a connection to its end.
    async fn serve(&self, mut stream: Stream, shutdown: &ShutdownWatch) {
        let deadline = Instant::now() + self.shared.pin().settings.limits.header_timeout;
        let speaks_http2 = if stream.get_ssl_digest().is_some() {
            // The handshake has settled the version.
            matches!(stream.selected_alpn_proto(), Some(ALPN::H2))
        } else {
            match tokio::time::timeout_at(deadline, speaks_http2(&mut stream)).await {
                Ok(Ok(answer)) => answer,
                // It has gone, or is too slow.
                Ok(Err(_)) | Err(_) => return,
            }
        };
        let shared = &self.shared;
        let (gateway, connection) = match speaks_http2 {
            true => (&self.http2, Connection::http2(stream, shared, deadline)),
            false => (
                &self.http1,
                Connection::http1(stream, shared, deadline, shutdown),
            ),
        };
        gateway.process_new(Box::new(connection), shutdown).await;
    }
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        match self.arrivals.judge(stream.get_socket_digest()) {
            Arrival::Admitted(_place) => {
                let stream = self.secured(stream).await?;
                self.serve(stream, shutdown).await;
            }
            // A handshake costs more than an answer that there is no time to read.
            Arrival::Refused(_, None) if self.tls.is_some() => {}
            Arrival::Refused(what, permit) => {
                let stream = self.secured(stream).await?;
                accept::refuse(stream, what, permit.is_some()).await;
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
