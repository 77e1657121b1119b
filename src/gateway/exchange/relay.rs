//! The sixth step: commit, and pass the answer on.
//!
//! Owns the moment of commit and what follows it. Bytes pass as they come: what is already there
//! leaves in one write, and nothing waits for more but what `tap` and `rewriting` have to see whole.
//! A stream that breaks ends with an error event where it stands between two events; otherwise the
//! connection breaks as the upstream's did, so that a broken answer never looks complete.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::ServerSession;

use super::after_client::Rest;
use super::answer::events::{End, EventReader};
use super::answer::json::JsonReader;
use super::answer::rewrite::Rewriting;
use super::attempt::{Answer, Form, Terms};
use super::last_event;
use crate::gateway::context::Context;
use crate::gateway::failure::{Cause, Failure, Phase, UpstreamFailure};
use crate::gateway::pieces::Pieces;
use crate::gateway::{client_watch, headers, upstream_error};
use crate::openai::echo::Masking;
use crate::runtime::Shared;
use crate::upstreams::{Peer, Session, Upstream};

/// What is gathered into one write, at most.
const MAX_WRITE_BYTES: usize = 64 << 10;

/// A stream that has told its end gets this long to end its connection's part.
pub const AFTER_DONE: Duration = Duration::from_secs(2);

/// Where an answer comes from.
pub struct Source<'a> {
    /// Who gives it.
    pub upstream: &'a Upstream,
    /// From where.
    pub peer: &'a Peer,
    /// What is expected of it.
    pub terms: &'a Terms,
}

/// How an answer that had begun has ended.
pub enum Ended {
    /// Whole.
    Complete,
    /// Broken, and the client has been told in the stream.
    Broken,
    /// With the client gone, and a rest of the stream that could be read.
    Left(Rest),
}

/// Passes an answer on to the client. A header may have been sent already, for a stream of events.
pub async fn relay(
    client: &mut ServerSession,
    context: &mut Context,
    shared: &Shared,
    source: &Source<'_>,
    answer: Box<Answer>,
) -> Result<Ended, Failure> {
    let Source {
        upstream,
        peer,
        terms,
    } = *source;
    let has_begun = context.is_committed();
    let Answer {
        session,
        mut header,
        is_json,
        held,
        complete,
        end,
        events,
        reading,
        masking,
        ..
    } = *answer;
    let rewriting = Rewriting::new(terms, &mut header);
    // An event can be added only to a stream whose length is not announced.
    if events.is_some() {
        header.headers.remove(CONTENT_LENGTH);
    } else if has_begun && !matches!(terms.form, Form::Streamed { .. }) {
        return Box::pin(refuse_form(client, context, terms)).await;
    }
    let begin = (!has_begun).then(|| commit(client, context, header));
    let is_told = reading.is_some() || events.is_some();
    let keeps = context.is_logged();
    let mut passing = Passing {
        client,
        context,
        upstream: session,
        rewriting,
        events,
        json: (is_json && !is_told).then(|| JsonReader::new(keeps)),
        masking,
        begin,
        body: Pieces::default(),
        last_event: Instant::now(),
        has_told_end: false,
    };
    let passed = passing.run(upstream, terms, held, complete, end).await;
    let is_whole = passed.is_ok();
    if let Some(meter) = &mut passing.context.meter {
        meter.last_event = passing.events.is_some().then_some(passing.last_event);
        let json = passing.json.take();
        meter.reading = reading.or_else(|| Some(json?.finish(is_whole)));
    }
    match passed {
        Ok(()) => {
            passing.read();
            shared.connector.release(passing.upstream, peer).await;
            Ok(Ended::Complete)
        }
        Err(failure) => Box::pin(passing.fail(source, failure)).await,
    }
}

/// A stream has been promised, and the upstream gives none.
async fn refuse_form(
    client: &mut ServerSession,
    context: &mut Context,
    terms: &Terms,
) -> Result<Ended, Failure> {
    let failure = UpstreamFailure::of(Cause::InvalidResponse, "it gave no stream of events");
    let failure = Failure::Upstream(failure);
    let event = last_event::last_event(&failure, terms.stream_error, None, context);
    last_event::tell(client, context, &failure, event).await?;
    Ok(Ended::Broken)
}

/// Notes the commit, and makes the upstream's header one for the client.
fn commit(client: &ServerSession, context: &mut Context, header: Parts) -> HttpTask {
    let mut header = headers::for_client(header, client.req_header(), &context.request_id);
    let attempts = headers::count(context.trail.len());
    header.headers.insert(headers::ATTEMPTS, attempts);
    context.commit(header.status.as_u16());
    HttpTask::Header(Box::new(header.into()), false)
}

/// An answer on its way.
struct Passing<'a> {
    client: &'a mut ServerSession,
    context: &'a mut Context,
    upstream: Session,
    rewriting: Rewriting,
    events: Option<Box<EventReader>>,
    json: Option<JsonReader>,
    /// Masks the key in a long answer that may be an error.
    masking: Option<Masking>,
    /// The header, until it has been written.
    begin: Option<HttpTask>,
    /// What of the body is to be written next.
    body: Pieces,
    /// When the upstream has last sent an event, or anything where there are none.
    last_event: Instant,
    /// Whether the end that the stream has told has been written.
    has_told_end: bool,
}

impl Passing<'_> {
    /// Notes what is known of a stream that is not read on.
    fn read(&mut self) {
        let Some(events) = &mut self.events else {
            return;
        };
        if events.has_too_long() {
            let name = self.context.upstream.as_ref().map_or("-", |u| &u.name);
            let id = &self.context.request_id;
            log::warn!(
                "{id} upstream {name}: an event was too long to be understood, and has passed"
            );
        }
        if let Some(meter) = &mut self.context.meter {
            meter.reading = Some(events.reading());
        }
    }

    /// Ends an answer that has broken, or whose client has gone.
    async fn fail(mut self, source: &Source<'_>, failure: Failure) -> Result<Ended, Failure> {
        if matches!(failure, Failure::ClientGone) && self.has_told_end {
            // Clients close as soon as they have read the end: this one has had all of its answer.
            self.upstream.shutdown().await;
            self.read();
            self.client.set_keepalive(None);
            return Ok(Ended::Complete);
        }
        if matches!(failure, Failure::ClientGone)
            && let Some(events) = self.events.take_if(|events| !events.is_done())
        {
            let session = self.upstream;
            return Ok(Ended::Left(Rest { session, events }));
        }
        self.upstream.shutdown().await;
        let name = &source.upstream.name;
        let events = self.events.as_deref();
        let has_told = events.is_some_and(EventReader::has_told_client);
        let can_follow = events.is_some_and(EventReader::is_between_events);
        let failure = match (failure, events.and_then(EventReader::complaint)) {
            (Failure::Upstream(failure), Some(complaint)) if !has_told => {
                failure.log(&self.context.request_id, name);
                upstream_error::told_in_stream(source.upstream, complaint)
            }
            (failure, _) => failure,
        };
        let event = match &failure {
            Failure::Upstream(_) | Failure::Refusal(_) if can_follow && !has_told => {
                let form = source.terms.stream_error;
                let event = last_event::last_event(&failure, form, events, self.context);
                // Changed as the upstream's own are.
                Some(self.rewriting.push(event))
            }
            _ => None,
        };
        self.read();
        match (failure, event) {
            // It has told the client itself, and nothing follows.
            (Failure::Upstream(failure), _) if has_told => {
                failure.log(&self.context.request_id, name);
                self.context.error = Failure::Upstream(failure).api_error().code;
                // Clients close as soon as they have read it.
                let _ = last_event::end(self.client, Vec::new()).await;
                Ok(Ended::Broken)
            }
            (failure, Some(event)) => {
                last_event::tell(self.client, self.context, &failure, event).await?;
                Ok(Ended::Broken)
            }
            (failure, _) => Err(failure),
        }
    }

    /// Passes header and body on until the answer is complete.
    async fn run(
        &mut self,
        upstream: &Upstream,
        terms: &Terms,
        mut held: Pieces,
        complete: bool,
        end: Option<End>,
    ) -> Result<(), Failure> {
        while let Some(chunk) = held.pop() {
            self.put(chunk);
        }
        let mut gathered = match complete {
            true => Ok(true),
            false => self.gather(0).await,
        };
        loop {
            let broke = self.is_over(&gathered, complete, end);
            let is_complete = matches!(gathered, Ok(true)) && broke.is_none();
            if is_complete {
                if let Some(mut masking) = self.masking.take() {
                    self.put(masking.finish());
                }
                let last = self.rewriting.finish();
                self.put_last(last);
            }
            self.write(is_complete).await?;
            match (broke, gathered) {
                (Some(failure), _) => return Err(Failure::Upstream(failure)),
                (None, Ok(true)) => return Ok(()),
                (None, Ok(false)) => {}
                (None, Err(e)) => return Err(Failure::Upstream(UpstreamFailure::cut(&e))),
            }
            gathered = match self.next(upstream, terms).await? {
                Some(chunk) => {
                    let length = self.take(chunk);
                    self.gather(length).await
                }
                None => Ok(true),
            };
        }
    }

    /// What is wrong with an answer although its connection is well, or at its end.
    fn is_over(
        &mut self,
        gathered: &pingora::Result<bool>,
        was_complete: bool,
        end: Option<End>,
    ) -> Option<UpstreamFailure> {
        let events = self.events.as_mut()?;
        if events.complaint().is_some() {
            let detail = "it told an error in its stream";
            return Some(UpstreamFailure::of(Cause::Complained, detail));
        }
        if !matches!(gathered, Ok(true)) {
            return None;
        }
        let end = match (was_complete, end) {
            (true, end) => end?,
            (false, _) => {
                let mut rest = Vec::new();
                let end = events.finish(&mut rest);
                rest.into_iter().for_each(|chunk| self.put(chunk));
                end
            }
        };
        let detail = "its stream ended before its end";
        (end != End::Complete).then(|| UpstreamFailure::of(Cause::Cut, detail))
    }

    /// Takes bytes of the upstream's. Gives how many there are.
    fn take(&mut self, chunk: Bytes) -> usize {
        let length = chunk.len();
        let Some(events) = &mut self.events else {
            self.last_event = Instant::now();
            self.put(chunk);
            return length;
        };
        let mut passed = Vec::new();
        if events.push(chunk, &mut passed) > 0 {
            self.last_event = Instant::now();
        }
        for chunk in passed {
            self.put(chunk);
        }
        length
    }

    /// Takes bytes that may pass.
    fn put(&mut self, mut chunk: Bytes) {
        if let Some(masking) = &mut self.masking {
            chunk = masking.push(chunk);
        }
        if let Some(json) = &mut self.json {
            json.push(&chunk);
        }
        let chunk = self.rewriting.push(chunk);
        self.put_last(chunk);
    }

    fn put_last(&mut self, chunk: Bytes) {
        // What waits for the rest of its event leaves nothing to be sent.
        if !chunk.is_empty() {
            self.context.bytes_out += chunk.len();
            self.body.push(chunk);
        }
    }

    async fn write(&mut self, is_complete: bool) -> Result<(), Failure> {
        let mut tasks = Vec::from_iter(self.begin.take());
        while let Some(chunk) = self.body.pop() {
            tasks.push(HttpTask::Body(Some(chunk), false));
        }
        tasks.extend(is_complete.then_some(HttpTask::Done));
        if tasks.is_empty() {
            return Ok(());
        }
        let written = self.client.response_duplex_vec(tasks).await;
        self.has_told_end |= written.is_ok() && self.is_done();
        written.map(drop).map_err(|_| Failure::ClientGone)
    }

    /// Takes whatever is there already, behind `length` bytes that have been taken. Tells whether
    /// the answer is complete; on an error what came before it has been taken.
    async fn gather(&mut self, mut length: usize) -> pingora::Result<bool> {
        while length < MAX_WRITE_BYTES {
            if self.upstream.response_done() {
                return Ok(true);
            }
            match self.upstream.read_at_hand().await {
                None => return Ok(false),
                Some(Ok(None)) => return Ok(true),
                Some(Ok(Some(chunk))) => length += self.take(chunk),
                Some(Err(e)) if self.is_finished() => {
                    log::debug!("{} after its end: {e}", self.context.request_id);
                    return Ok(true);
                }
                Some(Err(e)) => return Err(e),
            }
        }
        Ok(self.upstream.response_done())
    }

    /// Whether the stream has told its end.
    fn is_done(&self) -> bool {
        self.events.as_ref().is_some_and(|events| events.is_done())
    }

    /// Whether all has been said: what its connection does then is of no matter.
    fn is_finished(&self) -> bool {
        self.events
            .as_ref()
            .is_some_and(|events| events.is_finished())
    }

    /// Waits for the next bytes, within the upstream's timeouts and while the client is there.
    async fn next(&mut self, upstream: &Upstream, terms: &Terms) -> Result<Option<Bytes>, Failure> {
        let idle = match self.is_done() {
            true => Instant::now() + AFTER_DONE,
            false => self.last_event + upstream.timeouts.idle,
        };
        let (until, phase) = match idle < terms.deadline {
            true => (idle, Phase::Idle),
            false => (terms.deadline, Phase::Total),
        };
        let read = tokio::select! {
            biased;
            read = self.upstream.read_body(until) => read,
            () = client_watch::client_left(self.client) => return Err(Failure::ClientGone),
        };
        match read {
            Err(_) if self.is_finished() => Ok(None),
            read => read.map_err(|e| {
                let failure = UpstreamFailure::read(&e, phase);
                Failure::Upstream(match failure.cause {
                    Cause::Timeout(_) => failure,
                    _ => UpstreamFailure::cut(&e),
                })
            }),
        }
    }
}
