//! The edge: one file per step of a request's way.
//!
//! ```text
//! serve → open ─┬ exchange:  admit → body → plan → course → relay ──┬→ finish
//!               ├ tunnel:    admit → target → carry ────────────────┤
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

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;

use crate::observe::metrics::Shed;
use crate::runtime::Shared;
use failure::Failure;

pub use answer::last_words;
pub use connection::{Connection, PREFACE_BYTES};
pub use plan::Plan;

/// What a connection over HTTP/1 is told that is not served, whatever it may ask.
pub fn refusal(what: Shed) -> Vec<u8> {
    answer::closing(&Failure::Shed(what))
}

/// The edge: serves the requests of [`Connection`]s, one after the other or, over HTTP/2, beside each
/// other.
pub struct Gateway {
    shared: Arc<Shared>,
    options: HttpServerOptions,
}

impl Gateway {
    /// Serves from the shared state's current snapshot.
    pub fn new(shared: Arc<Shared>, options: HttpServerOptions) -> Self {
        Self { shared, options }
    }
}

#[async_trait]
impl HttpServerApp for Gateway {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        Connection::next_request(&session);
        match session.read_request().await {
            Ok(true) => serve::serve(session, &self.shared).await,
            Ok(false) => None,
            Err(error) => {
                Box::pin(answer::refuse_unreadable(session, &error)).await;
                None
            }
        }
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
