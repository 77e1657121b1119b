//! The sixth step: commit, and pass the answer on.
//!
//! Owns the moment of commit and what follows it. Bytes pass as they come: what is already there
//! leaves in one write, and nothing waits for more but what `rewriting` has to see whole. A stream that breaks ends with an error event
//! when it stands between two events; otherwise the connection breaks as the upstream's did, so
//! that a broken answer never looks complete.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use pingora::ErrorType;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::client::HttpSession;
use pingora_proxy::Session;

use super::attempt::{self, Answer, Terms};
use super::context::Context;
use super::failure::{Cause, Failure, Phase, UpstreamFailure};
use super::headers;
use super::rewriting::Rewriting;
use crate::runtime::Shared;

/// What is gathered into one write, at most.
const MAX_WRITE_BYTES: usize = 64 << 10;

/// Passes an answer on to the client.
pub async fn relay(
    client: &mut Session,
    context: &mut Context,
    shared: &Shared,
    terms: &Terms<'_>,
    mut answer: Answer,
) -> Result<(), Failure> {
    let mut upstream = answer.session;
    let rewriting = Rewriting::new(terms, &mut answer.header);
    let header = headers::for_client(answer.header, client.req_header(), &context.request_id);
    let header = header.ok_or_else(unsendable)?;
    // An event can be added only to a stream whose length has not been announced.
    let takes_events = headers::is_event_stream(&header.headers)
        && !header.headers.contains_key(http::header::CONTENT_LENGTH);
    context.commit(header.status.as_u16());
    let header = HttpTask::Header(Box::new(header), false);
    let mut passed = EventBoundary::default();
    let passing = Passing {
        client,
        context,
        upstream: &mut upstream,
        rewriting,
        boundary: &mut passed,
    };
    let Err(failure) = passing.run(terms, header, answer.first).await else {
        shared.connector.release(upstream, &answer.peer).await;
        return Ok(());
    };
    upstream.shutdown().await;
    match failure {
        Failure::Upstream(failure) if takes_events && passed.is_between_events() => {
            end_with_error(client, context, terms, failure).await
        }
        failure => Err(failure),
    }
}

/// An answer on its way.
struct Passing<'a> {
    client: &'a mut Session,
    context: &'a mut Context,
    upstream: &'a mut HttpSession,
    rewriting: Rewriting,
    boundary: &'a mut EventBoundary,
}

impl Passing<'_> {
    /// Passes header and body on until the answer is complete.
    async fn run(
        mut self,
        terms: &Terms<'_>,
        header: HttpTask,
        first: Option<Bytes>,
    ) -> Result<(), Failure> {
        let mut tasks = vec![header];
        let mut next = first;
        loop {
            let gathered = gather(self.upstream, next, &mut tasks).await;
            let complete = matches!(gathered, Ok(true));
            self.write(std::mem::take(&mut tasks), complete).await?;
            match gathered {
                Ok(true) => return Ok(()),
                Ok(false) => next = self.read(terms).await?,
                Err(e) => return Err(Failure::Upstream(UpstreamFailure::cut(&e))),
            }
        }
    }

    async fn write(&mut self, mut tasks: Vec<HttpTask>, complete: bool) -> Result<(), Failure> {
        for task in &mut tasks {
            if let HttpTask::Body(Some(chunk), _) = task {
                *chunk = self.rewriting.push(std::mem::take(chunk));
                self.context.bytes_out += chunk.len();
                self.boundary.pass(chunk);
            }
        }
        if complete {
            let last = self.rewriting.finish();
            self.context.bytes_out += last.len();
            tasks.push(HttpTask::Body(Some(last), false));
        }
        // What waits for the rest of its event leaves nothing to be sent.
        tasks.retain(|task| !matches!(task, HttpTask::Body(Some(chunk), _) if chunk.is_empty()));
        if complete {
            tasks.push(HttpTask::Done);
        }
        if tasks.is_empty() {
            return Ok(());
        }
        let written = self.client.write_response_tasks(tasks).await;
        written.map(drop).map_err(|_| Failure::ClientGone)
    }

    /// Waits for the next bytes, within the upstream's timeouts and while the client is there.
    async fn read(&mut self, terms: &Terms<'_>) -> Result<Option<Bytes>, Failure> {
        let idle = terms.upstream.timeouts.idle;
        let total = attempt::left(terms.deadline);
        let (limit, phase) = match idle < total {
            true => (idle, Phase::Idle),
            false => (total, Phase::Total),
        };
        self.upstream.set_read_timeout(Some(limit));
        tokio::select! {
            biased;
            read = self.upstream.read_response_body() => read.map_err(|e| {
                Failure::Upstream(match e.etype() {
                    ErrorType::ReadTimedout => UpstreamFailure::read(&e, phase),
                    _ => UpstreamFailure::cut(&e),
                })
            }),
            () = client_left(self.client) => Err(Failure::ClientGone),
        }
    }
}

/// Puts `first` and whatever is there already behind it into `tasks`. Tells whether the answer is
/// complete; on an error what came before it is in `tasks`.
async fn gather(
    upstream: &mut HttpSession,
    first: Option<Bytes>,
    tasks: &mut Vec<HttpTask>,
) -> pingora::Result<bool> {
    let Some(first) = first else {
        return Ok(true);
    };
    let mut gathered = first.len();
    tasks.push(HttpTask::Body(Some(first), false));
    // Nothing is waited for below, so no timer is needed.
    upstream.set_read_timeout(None);
    while gathered < MAX_WRITE_BYTES {
        if upstream.response_done() {
            return Ok(true);
        }
        match now_or_never(upstream.read_response_body()).await {
            None => return Ok(false),
            Some(Ok(None)) => return Ok(true),
            Some(Ok(Some(chunk))) => {
                gathered += chunk.len();
                tasks.push(HttpTask::Body(Some(chunk), false));
            }
            Some(Err(e)) => return Err(e),
        }
    }
    Ok(upstream.response_done())
}

/// Polls a future once. Pingora's body readers may be dropped while they wait: they keep what they
/// have read.
pub async fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

async fn end_with_error(
    client: &mut Session,
    context: &mut Context,
    terms: &Terms<'_>,
    failure: UpstreamFailure,
) -> Result<(), Failure> {
    failure.log(&context.request_id, &terms.upstream.name);
    let error = Failure::Upstream(failure).api_error();
    context.error = error.code;
    let event = Bytes::from(error.event(terms.stream_error));
    context.bytes_out += event.len();
    let tasks = vec![HttpTask::Body(Some(event), false), HttpTask::Done];
    let written = client.write_response_tasks(tasks).await;
    written.map(drop).map_err(|_| Failure::ClientGone)
}

/// Returns when the client has gone.
pub async fn client_left(client: &mut Session) {
    let event = client.downstream_session.read_body_or_idle(true).await;
    // Bytes after the request are a second one, sent before the first is answered. One byte of it
    // has been eaten by looking, so the connection ends with this answer and the client asks anew.
    let pipelined = matches!(&event, Err(e) if *e.etype() == ErrorType::ConnectError);
    if pipelined {
        client.set_keepalive(None);
        std::future::pending::<()>().await;
    }
}

fn unsendable() -> Failure {
    Failure::Upstream(UpstreamFailure {
        cause: Cause::InvalidResponse,
        detail: "its header cannot be written as HTTP".to_owned(),
    })
}

/// Knows whether the bytes passed so far end with a complete event.
#[derive(Default)]
struct EventBoundary {
    tail: [u8; 4],
}

impl EventBoundary {
    fn pass(&mut self, chunk: &[u8]) {
        for byte in chunk.iter().skip(chunk.len().saturating_sub(4)) {
            self.tail.rotate_left(1);
            let [.., last] = &mut self.tail;
            *last = *byte;
        }
    }

    fn is_between_events(&self) -> bool {
        let tail = &self.tail;
        *tail == [0; 4]
            || tail.ends_with(b"\n\n")
            || tail.ends_with(b"\r\r")
            || tail.ends_with(b"\n\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_event_is_known_over_any_chunks() {
        for (chunks, between) in [
            (&["data: x\n", "\n"][..], true),
            (&["data: x\r\n\r", "\n"], true),
            (&["data: x\r", "\r"], true),
            (&["data: x\n"], false),
            (&["data: x\n\ndata"], false),
            (&[], true),
        ] {
            let mut boundary = EventBoundary::default();
            chunks.iter().for_each(|c| boundary.pass(c.as_bytes()));
            assert_eq!(boundary.is_between_events(), between, "{chunks:?}");
        }
    }
}
