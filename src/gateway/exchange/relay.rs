//! The last step of an exchange: commit, and pass the answer on.
//!
//! Owns the moment of commit and what follows it. Bytes pass as they come: what is already there
//! leaves in one write, and nothing waits for more but what the answer's reader has to see whole.
//! A stream that breaks ends with an error event where it stands between two events; otherwise the
//! connection breaks as the upstream's did, so that a broken answer never looks complete. Does not handle
//! how an answer is read (see `answer`), nor how one ends that breaks (see `broken`).

mod broken;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::response::Parts;

use super::answer::{Answer, Broken, End, EventReader};
use super::last_event;
use super::pacing::{self, Pacing};
use super::terms::Terms;
use crate::gateway::context::Context;
use crate::gateway::failure::{Cause, Failure, UpstreamFailure};
use crate::gateway::headers;
use crate::gateway::session::{ClientSession, Part};
use crate::gateway::settle;
use crate::upstreams::Upstream;

pub use broken::{Cut, give_up};

/// What is gathered into one write, at most.
const MAX_WRITE_BYTES: usize = 64 << 10;

/// What is whole is not waited for.
const AT_ONCE: Duration = Duration::from_secs(60);

/// How an answer that had begun has ended.
pub enum Ended {
    /// Whole.
    Complete(Box<Answer>),
    /// Broken, and the client has been told in the stream.
    Broken,
    /// Broken between two events, and nothing has been told of it: another upstream may go on.
    Cut(Box<Cut>),
    /// With the client gone, and a rest of the stream that could be read.
    Left(Box<Answer>),
}

/// Passes an answer on to the client. A header may have been sent already, for a stream of events.
pub async fn relay(
    client: &mut ClientSession,
    context: &mut Context,
    upstream: Option<&Upstream>,
    terms: &Terms,
    mut answer: Box<Answer>,
    may_continue: bool,
) -> Result<Ended, Failure> {
    answer.prepare_header();
    let has_begun = context.outcome.is_committed();
    if has_begun && answer.events().is_none() {
        return Box::pin(refuse_form(client, context, terms, answer)).await;
    }
    let begin = (!has_begun).then(|| commit(client, context, &mut answer));
    let events = answer.events();
    let pacing = events.and_then(|_| Pacing::of(context));
    let mut relaying = Relaying {
        client,
        context,
        upstream,
        terms,
        answer,
        begin,
        pacing,
        delayed: Duration::ZERO,
        has_written_end: false,
        may_continue,
    };
    match Guard::unless_over(&mut relaying).await {
        Ok(()) => Ok(Ended::Complete(relaying.answer)),
        Err(failure) => Box::pin(relaying.fail(failure)).await,
    }
}

/// A stream has been promised, and the upstream gives none.
async fn refuse_form(
    client: &mut ClientSession,
    context: &mut Context,
    terms: &Terms,
    mut answer: Box<Answer>,
) -> Result<Ended, Failure> {
    answer.shutdown().await;
    let failure = UpstreamFailure::of(Cause::InvalidResponse, "it gave no stream of events");
    let failure = Failure::Upstream(failure);
    let event = last_event::last_event(&failure, terms.stream_error, None, context);
    last_event::tell(client, context, &failure, event).await?;
    Ok(Ended::Broken)
}

/// Notes the commit, and makes the upstream's header one for the client.
fn commit(client: &ClientSession, context: &mut Context, answer: &mut Answer) -> Part {
    let (empty, ()) = http::Response::new(()).into_parts();
    let header: Parts = std::mem::replace(&mut answer.header, empty);
    let mut header = context.header_for_client(header, client.request());
    let attempts = headers::count(context.outcome.trail.len());
    header.headers.insert(headers::ATTEMPTS, attempts);
    if let Some(from_cache) = &context.outcome.from_cache {
        from_cache.add_to(&mut header.headers);
    }
    context.commit(header.status.as_u16());
    Part::header(header)
}

/// What an answer that has broken is to the client.
fn failure(Broken { error, phase }: Broken) -> Failure {
    let failure = UpstreamFailure::read(&error, phase);
    Failure::Upstream(match failure.cause {
        Cause::Timeout(_) => failure,
        _ => UpstreamFailure::cut(&error),
    })
}

/// An answer on its way.
struct Relaying<'a> {
    client: &'a mut ClientSession,
    context: &'a mut Context,
    /// `None` where the answer was kept.
    upstream: Option<&'a Upstream>,
    terms: &'a Terms,
    answer: Box<Answer>,
    /// The header, until it has been written.
    begin: Option<Part>,
    /// What slows the stream down.
    pacing: Option<Box<Pacing>>,
    /// For how long it has been slowed down: that is not the upstream's time.
    delayed: Duration,
    /// Whether the end that the stream has told has been written.
    has_written_end: bool,
    /// Whether another upstream may go on where this one breaks.
    may_continue: bool,
}

/// Notes what is known of an answer whose task ends in the middle, so that it is settled.
struct Guard<'r, 'a> {
    relaying: &'r mut Relaying<'a>,
    is_over: bool,
}

impl<'r, 'a> Guard<'r, 'a> {
    async fn unless_over(relaying: &'r mut Relaying<'a>) -> Result<(), Failure> {
        let mut guard = Self {
            relaying,
            is_over: false,
        };
        let ran = guard.relaying.run().await;
        guard.is_over = true;
        ran
    }
}

impl Drop for Guard<'_, '_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.relaying.note(false);
        }
    }
}

impl Relaying<'_> {
    /// Passes header and body on until the answer is complete.
    async fn run(&mut self) -> Result<(), Failure> {
        loop {
            let bytes = match self.pacing {
                Some(_) => pacing::MAX_PIECE_BYTES,
                None => MAX_WRITE_BYTES,
            };
            let gathered = self.answer.take_at_hand(bytes).await;
            let wrong = self.what_is_wrong();
            let is_complete = matches!(gathered, Ok(true)) && wrong.is_none();
            self.write(is_complete).await?;
            match (wrong, gathered) {
                (Some(failure), _) => return Err(Failure::Upstream(failure)),
                (None, Ok(true)) => return Ok(()),
                (None, Ok(false)) => {}
                (None, Err(broken)) => return Err(failure(broken)),
            }
            // What was read while the client was written to is written first.
            if !self.answer.has_ready() {
                self.next().await?;
            }
        }
    }

    /// What is wrong with an answer although its connection is well, or at its end.
    fn what_is_wrong(&self) -> Option<UpstreamFailure> {
        let events = self.answer.events()?;
        if events.error().is_some() {
            let detail = "it told an error in its stream";
            return Some(UpstreamFailure::of(Cause::Complained, detail));
        }
        let detail = "its stream ended before its end";
        (self.answer.end()? != End::Complete).then(|| UpstreamFailure::of(Cause::Cut, detail))
    }

    async fn write(&mut self, is_complete: bool) -> Result<(), Failure> {
        if self.pacing.is_some() {
            Box::pin(self.drip()).await?;
        }
        let mut tasks = Vec::from_iter(self.begin.take());
        while let Some(chunk) = self.answer.pass() {
            self.put(chunk, &mut tasks);
            // What has come since waits for its own turn.
            if self.pacing.is_some() && !is_complete {
                break;
            }
        }
        if is_complete {
            let last = self.answer.pass_last();
            if !last.is_empty() {
                self.put(last, &mut tasks);
            }
            tasks.push(Part::End);
        }
        // Clients that have read the end of a stream do not wait for the end of its connection's part.
        if is_complete || self.answer.is_done() {
            self.note(true);
            settle::settle(self.context).await;
        }
        let has_end = self.answer.is_done() && !self.answer.has_ready();
        self.send(tasks).await?;
        self.has_written_end |= has_end;
        Ok(())
    }

    /// Writes to the client, and reads on meanwhile for those that share the answer.
    async fn send(&mut self, tasks: Vec<Part>) -> Result<(), Failure> {
        let times = self.times();
        let writing = self.client.write(tasks);
        let written = self.answer.read_during(times, writing).await;
        written.map_err(|_| Failure::ClientGone)
    }

    /// How long the upstream may be silent, and when all of its time has passed.
    fn times(&self) -> (Duration, Instant) {
        let idle = self.upstream.map_or(AT_ONCE, |u| u.timeouts.idle);
        (idle, self.terms.deadline + self.delayed)
    }

    /// Writes what has come of a stream that is slowed down, piece by piece, but for the last.
    async fn drip(&mut self) -> Result<(), Failure> {
        let Some(pacing) = &mut self.pacing else {
            return Ok(());
        };
        let said = self.answer.events().map_or(0, EventReader::said_tokens);
        let mut pieces = pacing.pieces(self.answer.take_ready(), said);
        while let Some((piece, wait)) = pieces.next() {
            if !wait.is_zero() {
                let times = self.times();
                let client = &mut *self.client;
                let waiting = async {
                    tokio::select! {
                        biased;
                        () = client.left() => Err(Failure::ClientGone),
                        () = tokio::time::sleep(wait) => Ok(()),
                    }
                };
                self.answer.read_during(times, waiting).await?;
                self.answer.excuse(wait);
                self.delayed += wait;
            }
            if pieces.is_empty() {
                self.answer.put_back(piece);
                return Ok(());
            }
            let mut tasks = Vec::from_iter(self.begin.take());
            self.put(piece, &mut tasks);
            self.send(tasks).await?;
        }
        Ok(())
    }

    fn put(&mut self, chunk: Bytes, tasks: &mut Vec<Part>) {
        self.context.outcome.bytes_out += chunk.len();
        tasks.push(Part::Body(chunk));
    }

    /// Waits for the next bytes, within the upstream's timeouts and while the client is there.
    async fn next(&mut self) -> Result<(), Failure> {
        let (idle, deadline) = self.times();
        let limit = self.answer.limit(idle, deadline);
        let read = tokio::select! {
            biased;
            read = self.answer.next(limit) => read,
            () = self.client.left() => return Err(Failure::ClientGone),
        };
        read.map(drop).map_err(failure)
    }

    /// Notes what is known of the answer, of which no more is read; once, until it is settled.
    fn note(&mut self, is_whole: bool) {
        let Some(meter) = &mut self.context.meter else {
            return;
        };
        meter.last_event = self.answer.last_event();
        meter.reading = self.answer.reading(is_whole);
        if self.answer.events().is_some_and(EventReader::has_too_long) {
            let (name, id) = (self.name(), &self.context.request.id);
            log::warn!(
                "{id} upstream {name}: an event was too long to be understood, and has passed"
            );
        }
    }

    /// What gives the answer, for the log.
    fn name(&self) -> &str {
        self.upstream.map_or("cache", |upstream| &upstream.name)
    }
}
