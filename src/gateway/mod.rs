//! The edge: the only `ProxyHttp`, one file per step of a request's way.
//!
//! ```text
//! open → serve ─┬ exchange:  admit → body → plan → course → relay ──┬→ finish
//!               ├ tunnel:    admit → Pingora carries both bodies ───┤
//!               ├ websocket: admit → plan → bytes both ways ────────┤
//!               └ own:       health, models ────────────────────────┘
//! ```
//!
//! `serve` is the fork, and the ways read like it. `course` goes from candidate to candidate:
//! `outgoing` says what one is asked, `attempt` asks it, `hold` waits until it has said something,
//! `refused` reads why it will not, `awake` keeps the client from giving up meanwhile (`waiting` sees it
//! go); `convert` gives an answer another form; `tap` understands a stream as it passes, `reading` a
//! JSON answer. `drain` reads on for who has left, `settle` counts what was used.
//! `context` is what a request carries along, `connection` watches what they all come over,
//! `failure` turns whatever went wrong into HTTP, `answer` writes what we say ourselves, `headers`
//! decides which headers pass. Engines below know nothing of HTTP sessions; nothing above knows how
//! a request is served.

mod admit;
mod answer;
mod attempt;
mod awake;
mod body;
mod connection;
mod context;
mod convert;
mod course;
mod drain;
mod exchange;
mod failure;
mod finish;
mod headers;
mod hold;
mod models;
mod open;
mod outgoing;
mod plan;
mod reading;
mod refused;
mod relay;
mod rewriting;
mod serve;
mod settle;
mod tap;
mod tunnel;
mod waiting;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::Error;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::observe::metrics::Shed;
use crate::runtime::Shared;
use context::Context;
use failure::Failure;

pub use connection::{Connection, PREFACE_BYTES};

/// What a connection over HTTP/1 is told that is not served, whatever it may ask.
pub fn refusal(what: Shed) -> Vec<u8> {
    answer::closing(&Failure::Shed(what))
}

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
        serve::serve(session, context, &self.shared).await
    }

    // From here to `fail_to_proxy`: the tunnel.

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<Box<HttpPeer>> {
        tunnel::peer(context)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        tunnel::unconnected(context, error)
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        header: &mut RequestHeader,
        context: &mut Context,
    ) -> pingora::Result<()> {
        tunnel::head(header, context)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        context: &mut Context,
    ) -> pingora::Result<()> {
        tunnel::pass(body.as_ref(), end, context)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        header: &mut ResponseHeader,
        context: &mut Context,
    ) -> pingora::Result<()> {
        tunnel::commit(session, header, context)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        context: &mut Context,
    ) -> pingora::Result<Option<Duration>> {
        context.bytes_out += body.as_ref().map_or(0, Bytes::len);
        Ok(None)
    }

    /// Reached by the tunnel, and when an answer that had begun could not be ended: then the
    /// connection is dropped without a proper end, so that nobody takes the answer for complete.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        match context.tunnel {
            Some(_) => tunnel::fail(session, error, context).await,
            None => FailToProxy {
                error_code: 0,
                can_reuse_downstream: false,
            },
        }
    }

    /// The access line says it, with the request's id.
    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, context: &mut Context) {
        finish::finish(session, context, &self.shared);
        Connection::request_over(session);
    }
}
