//! The clients' door: which version of HTTP a new connection speaks.
//!
//! Owns the look at a connection's first bytes, within a bound of time. Pingora would wait for the
//! 24 bytes of HTTP/2's preface for ever, from a client that sends nothing or a shorter request.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ServerApp};
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};

use crate::gateway::Gateway;
use crate::runtime::Shared;

/// A connection that has not begun a request by then is closed.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// An HTTP/2 connection without a stream is closed after this.
const IDLE_HTTP2: Duration = Duration::from_secs(75);
/// How the preface of HTTP/2 begins; no HTTP/1 request does.
const PREFACE_START: &[u8; 4] = b"PRI ";
const PREFACE_BYTES: usize = 24;

/// The gateway, once for each version.
pub struct Door {
    http1: Arc<HttpProxy<Gateway>>,
    http2: Arc<HttpProxy<Gateway>>,
}

impl Door {
    /// Opens on the shared state.
    pub fn new(shared: &Arc<Shared>) -> Self {
        let conf = Arc::new(ServerConf::default());
        let proxy = |h2c| {
            let mut options = HttpServerOptions::default();
            options.h2c = h2c;
            options.h2_idle_timeout = Some(IDLE_HTTP2);
            let mut proxy = http_proxy(&conf, Gateway::new(Arc::clone(shared)));
            proxy.server_options = Some(options);
            Arc::new(proxy)
        };
        Self {
            http1: proxy(false),
            http2: proxy(true),
        }
    }
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        // Over TLS the handshake has settled the version.
        let proxy = if stream.get_ssl_digest().is_some() {
            &self.http2
        } else {
            let looked = tokio::time::timeout(FIRST_BYTES, speaks_http2(&mut stream)).await;
            match looked.ok()?.ok()? {
                true => &self.http2,
                false => &self.http1,
            }
        };
        proxy.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.http1.http_cleanup().await;
        self.http2.http_cleanup().await;
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
