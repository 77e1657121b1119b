//! Comments for a client that waits for a stream to begin.
//!
//! Owns when they are sent: clients and proxies give up on a connection on which nothing comes. The first
//! comment commits the answer to a stream of events, so every later failure is told within the stream.
//! Fails when the client has gone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::response::Parts;
use http::{HeaderValue, StatusCode};

use crate::gateway::context::Context;
use crate::gateway::failure::Failure;
use crate::gateway::headers;
use crate::gateway::session::{ClientSession, Part};

const COMMENT: Bytes = Bytes::from_static(b": keepalive\n\n");

/// When the next comment is due.
pub struct Keepalive {
    every: Option<Duration>,
    next: Option<Instant>,
}

impl Keepalive {
    /// A comment each time that nothing has come for so long; none at all where that is `None`.
    pub fn new(every: Option<Duration>) -> Self {
        Self {
            next: every.map(|every| Instant::now() + every),
            every,
        }
    }

    /// Waits until a comment is due.
    pub async fn due(&self) {
        match self.next {
            Some(next) => tokio::time::sleep_until(next.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Sends a comment; the first with a header, which commits.
    pub async fn send(
        &mut self,
        client: &mut ClientSession,
        context: &mut Context,
    ) -> Result<(), Failure> {
        let mut tasks = Vec::with_capacity(2);
        if !context.outcome.is_committed() {
            let header = header(client, context);
            context.commit(StatusCode::OK.as_u16());
            tasks.push(Part::header(header));
        }
        context.outcome.bytes_out += COMMENT.len();
        tasks.push(Part::Body(COMMENT));
        self.next = self.every.map(|every| Instant::now() + every);
        let written = client.write(tasks).await;
        written.map_err(|_| Failure::ClientGone)
    }
}

fn header(client: &ClientSession, context: &Context) -> Parts {
    let mut header = headers::ours(StatusCode::OK, "text/event-stream; charset=utf-8");
    let no_cache = HeaderValue::from_static("no-cache");
    header.headers.insert(CACHE_CONTROL, no_cache);
    context.header_for_client(header, client.request())
}
