//! Connections to upstreams, pooled by address.
//!
//! Owns getting one and giving it back. A pooled HTTP/1 connection, which nearly every request
//! gets, is taken on a way of its own: the future that can also connect and shake hands is tens of
//! kilobytes, would be moved from step to step with each request, and would be kept by each open
//! stream. It is built on the heap only when there is something to connect.

use std::time::Duration;

use pingora::Result;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::{Connector as AnyConnector, v1};
use pingora::protocols::http::client::HttpSession;

use super::Peer;

/// Idle connections that are kept, over all upstreams, for each version of HTTP.
const IDLE_CONNECTIONS: usize = 1024;
/// A write to an upstream that moves nothing for this long has failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens and keeps connections.
pub struct Connector {
    http1: v1::Connector,
    any: AnyConnector,
}

impl Default for Connector {
    fn default() -> Self {
        let options = ConnectorOptions::new(IDLE_CONNECTIONS);
        Self {
            http1: v1::Connector::new(Some(options.clone())),
            any: AnyConnector::new(Some(options)),
        }
    }
}

impl Connector {
    /// A connection to `peer`, and whether it has been used before.
    ///
    /// # Errors
    /// What Pingora says of a connection that could not be made.
    pub async fn connect(&self, peer: &Peer) -> Result<(HttpSession, bool)> {
        let (mut session, reused) = if peer.http2 {
            Box::pin(self.any.get_http_session(&peer.http)).await?
        } else if let Some(pooled) = self.http1.reused_http_session(&peer.http).await {
            (HttpSession::H1(pooled), true)
        } else {
            let (session, reused) = Box::pin(self.http1.get_http_session(&peer.http)).await?;
            (HttpSession::H1(session), reused)
        };
        session.set_write_timeout(Some(WRITE_TIMEOUT));
        Ok((session, reused))
    }

    /// Takes back a connection whose answer has been read to its end.
    pub async fn release(&self, session: HttpSession, peer: &Peer) {
        let idle = peer.http.options.idle_timeout;
        match session {
            HttpSession::H1(session) => {
                let http1 = &self.http1;
                http1.release_http_session(session, &peer.http, idle).await;
            }
            other => self.any.release_http_session(other, &peer.http, idle).await,
        }
    }
}
