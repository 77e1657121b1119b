//! Connections to the operator's listener.
//!
//! Owns their limits: how many there are at a time, and how long each request may take, from the end of the one before
//! to the end of its answer; an order takes as long as it takes. A connection above the limit, or from an address that
//! may not come, is closed at once. Does not handle what is served (see `admin`). Fails by closing the connection.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ReusedHttpStream, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::sync::Semaphore;

use super::accept;
use crate::admin::Admin;
use crate::runtime::Shared;

/// The most connections at a time: a few scrapers and people. They take no descriptor from clients.
pub const MAX_CONNECTIONS: usize = 64;

/// How long somebody may wait until an order is carried out: longer than `server.upgrade_timeout` should be.
const LONGEST_ORDER: Duration = Duration::from_secs(600);

/// The application of the operator's listener, behind its limits.
pub struct Operator {
    shared: Arc<Shared>,
    permits: Semaphore,
}

impl Operator {
    /// Serves from the shared state.
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            permits: Semaphore::new(MAX_CONNECTIONS),
        }
    }

    /// Whether a connection may come from its address.
    fn permits_address(&self, stream: &Stream) -> bool {
        let runtime = self.shared.pin();
        let Some(rules) = &runtime.settings.admin_addresses else {
            return true;
        };
        let socket = stream.get_socket_digest();
        let address = socket.and_then(|socket| accept::address(&socket));
        let may = rules.permit(address);
        if !may {
            self.shared.metrics.callers().admin_addresses.inc();
        }
        may
    }
}

#[async_trait]
impl ServerApp for Operator {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        if !self.permits_address(&stream) {
            return None;
        }
        let _permit = self.permits.try_acquire().ok()?;
        // One for each connection: it knows whether this one waits for an order.
        let admin = Arc::new(Admin::new(Arc::clone(&self.shared)));
        let mut next = Some(ReusedHttpStream::new(stream, None));
        while let Some(connection) = next {
            let (stream, settings) = connection.consume();
            let mut session = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
            let limit = self.shared.pin().settings.limits.header_timeout;
            let mut served = pin!(admin.process_new_http(session, shutdown));
            next = match tokio::time::timeout(limit, &mut served).await {
                Ok(next) => next,
                Err(_) if admin.is_carrying_out() => {
                    tokio::time::timeout(LONGEST_ORDER, served).await.ok()?
                }
                Err(_) => return None,
            };
        }
        None
    }
}
