//! The edge: the only `ProxyHttp`, one file per step of a request's way.
//!
//! ```text
//! open → admit → body → plan → attempt → relay → finish
//! ```
//!
//! `exchange` walks that way and reads like it. `context` is what a request carries along,
//! `failure` turns whatever went wrong into HTTP, `answer` writes what we say ourselves, `headers`
//! decides which headers pass. Engines below know nothing of HTTP sessions; nothing above knows how
//! a request is served.

mod admit;
mod answer;
mod attempt;
mod body;
mod context;
mod exchange;
mod failure;
mod finish;
mod headers;
mod open;
mod own;
mod plan;
mod relay;

use std::sync::Arc;

use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::runtime::Shared;
use context::Context;

/// The edge.
pub struct Gateway {
    shared: Arc<Shared>,
}

impl Gateway {
    /// Serves from the shared state's current snapshot.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(&self.shared)
    }

    /// No module: each would cost every request, and compression would hold streams back.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<()> {
        open::open(session, context, &self.shared);
        Ok(())
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<bool> {
        exchange::serve(session, context, &self.shared).await
    }

    /// Only the tunnel comes here, and no path leads into it yet.
    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _context: &mut Context,
    ) -> pingora::Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::InternalError, "no path is tunnelled")
    }

    /// Reached when an answer that had begun could not be ended: the connection is dropped without
    /// a proper end, so that nobody takes the answer for complete.
    async fn fail_to_proxy(
        &self,
        _session: &mut Session,
        _error: &Error,
        _context: &mut Context,
    ) -> FailToProxy {
        FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        }
    }

    /// The access line says it, with the request's id.
    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, context: &mut Context) {
        finish::finish(session, context, &self.shared);
    }
}
