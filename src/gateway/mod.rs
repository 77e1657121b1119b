//! The edge: HTTP from clients, one file for each step of a request.
//!
//! ```text
//!               ┌ exchange/   admit → body → plan → failover → relay ─┐
//! serve → open ─┼ tunnel/     admit → target → both bodies as they come ┼→ finish
//!               ├ websocket/  admit → plan → bytes both ways ─────────┤
//!               └ models, health                                      ┘
//! ```
//!
//! `serve` is the fork; each way is a folder. What the ways share stands beside it:
//!
//! | file | what it owns |
//! |---|---|
//! | `session`, `connection` | the seam to Pingora, and the bytes below it |
//! | `framing`, `client_body` | what may be read in one way only; how a body comes |
//! | `open`, `client_address`, `admit`, `finish` | the first two steps, and the last |
//! | `context`, `meter`, `facts`, `settle` | what a request carries, what it uses, and how that is counted |
//! | `recording`, `storing` | keeping an answer to be given again |
//! | `plan`, `reserve` | the candidates of a request, in order; its limits, all at once |
//! | `quota_events` | what is told of quotas |
//! | `upstream_error` | what an upstream's error says |
//! | `failure`, `reply` | errors as HTTP, and writing answers of our own |
//! | `cors`, `redirect` | web pages of other origins, and clients that are sent to HTTPS |
//! | `headers`, `pieces`, `own_time` | which headers pass, bytes that are kept, our share of the time |
//!
//! Engines below do not know HTTP sessions with clients; nothing above knows how a request is served.

mod admit;
mod client_address;
mod client_body;
mod connection;
mod context;
mod cors;
mod exchange;
mod facts;
mod failed;
mod failure;
mod finish;
mod framing;
mod headers;
pub mod key_news;
mod lease;
mod meter;
mod models;
mod open;
mod own_time;
mod pieces;
mod plan;
pub mod quota_events;
mod recording;
mod redirect;
mod reply;
mod reserve;
mod serve;
mod session;
mod settle;
mod spool;
mod storing;
mod tunnel;
mod upstream_error;
mod websocket;

use std::pin::Pin;
use std::sync::Arc;

use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::ShutdownWatch;

use crate::observe::metrics::Shed;
use crate::runtime::Shared;
use failure::Failure;
use session::ClientSession;

pub use connection::{Connection, PREFACE_BYTES};
pub use exchange::embedding::{NoVector, embed};
pub use plan::Plan;
pub use reply::last_words;

/// What a connection over HTTP/1 is told that is not served, whatever it may ask.
pub fn refusal(what: Shed) -> Vec<u8> {
    reply::closing(&Failure::Shed(what))
}

/// What a connection is told that speaks plain HTTP where TLS is spoken.
pub fn tls_required() -> Vec<u8> {
    reply::closing(&Failure::TlsRequired)
}

/// The edge: serves the requests of [`Connection`]s, one after the other or, over HTTP/2, beside each
/// other.
pub struct Gateway {
    shared: Arc<Shared>,
    options: HttpServerOptions,
    /// The position of the listener.
    listener: usize,
}

impl Gateway {
    /// Serves from the shared state's current snapshot, behind the listener at this position of the configuration.
    pub fn new(shared: Arc<Shared>, options: HttpServerOptions, listener: usize) -> Self {
        Self {
            shared,
            options,
            listener,
        }
    }
}

impl HttpServerApp for Gateway {
    // Written as `async_trait` would, which keeps room for the session twice.
    fn process_new_http<'a, 'b, 'f>(
        self: &'a Arc<Self>,
        mut session: ServerSession,
        _shutdown: &'b ShutdownWatch,
    ) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'f>>
    where
        'a: 'f,
        'b: 'f,
    {
        Box::pin(async move {
            Connection::next_request(&session);
            let error = match session.read_request().await {
                Ok(true) => {
                    let session = ClientSession::new(session);
                    return serve::serve(session, &self.shared, self.listener).await;
                }
                Ok(false) => None,
                Err(error) => Some(error),
            };
            // What is rare has room of its own.
            Box::pin(reply::refuse_unread(
                session,
                error.as_deref(),
                &self.shared,
            ))
            .await
        })
    }

    fn h2_options(&self) -> Option<H2Options> {
        let runtime = self.shared.pin();
        let (limits, http2) = (&runtime.settings.limits, &runtime.settings.http2);
        let mut options = default_h2_options();
        // A list that is a little too long is told so in words; the library resets what is longer.
        let list = limits.http2_header.saturating_mul(2);
        options
            .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
            .max_concurrent_streams(http2.max_concurrent_streams)
            .initial_window_size(http2.initial_window)
            .initial_connection_window_size(http2.connection_window)
            .max_frame_size(http2.max_frame_size)
            .max_pending_accept_reset_streams(
                usize::try_from(http2.max_pending_resets).unwrap_or(usize::MAX),
            );
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
