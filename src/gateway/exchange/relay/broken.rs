//! How an answer ends that breaks, or whose client goes.
//!
//! Owns what the client is told in its stream, and that a stream which broke between two events may be left to another
//! upstream instead. Does not handle which upstream goes on (see `continuing`), nor the event itself (see
//! `last_event`). Fails where the client is gone, and with what cannot be told in the stream.

use std::time::Duration;

use bytes::Bytes;

use super::{Ended, Relaying};
use crate::gateway::context::Context;
use crate::gateway::exchange::answer::{Answer, EventReader};
use crate::gateway::exchange::terms::Terms;
use crate::gateway::exchange::{last_event, upstream_error};
use crate::gateway::failure::Failure;
use crate::gateway::session::{ClientSession, Part};
use crate::gateway::settle;
use crate::upstreams::Upstream;

/// A stream that has broken between two events.
pub struct Cut {
    /// What has been read.
    pub answer: Box<Answer>,
    /// The answer as far as it has come, as one body, where that is known.
    pub so_far: Option<Vec<u8>>,
    /// Why it broke.
    pub failure: Failure,
}

/// Ends a stream with what has broken it, where no upstream goes on.
pub async fn give_up(
    client: &mut ClientSession,
    context: &mut Context,
    upstream: Option<&Upstream>,
    terms: &Terms,
    cut: Cut,
) -> Result<Ended, Failure> {
    let relaying = Relaying {
        client,
        context,
        upstream,
        terms,
        answer: cut.answer,
        begin: None,
        pacing: None,
        delayed: Duration::ZERO,
        has_written_end: false,
        may_continue: false,
    };
    relaying.tell(cut.failure, true).await
}

impl Relaying<'_> {
    /// Ends an answer that has broken, or whose client has gone.
    pub(super) async fn fail(mut self, failure: Failure) -> Result<Ended, Failure> {
        let has_left = matches!(failure, Failure::ClientGone);
        if has_left && self.has_written_end {
            // Clients close as soon as they have read the end: this one has had all of its answer.
            self.answer.shutdown().await;
            self.client.close_after_answer();
            return Ok(Ended::Complete(self.answer));
        }
        if has_left && self.answer.events().is_some() && !self.answer.is_done() {
            if let Some(meter) = &mut self.context.meter {
                meter.last_event = self.answer.last_event();
            }
            return Ok(Ended::Left(self.answer));
        }
        self.answer.shutdown().await;
        let is_cut = self.may_continue && self.is_between_events(&failure);
        let events = self.answer.events().filter(|_| is_cut);
        let so_far = events.and_then(EventReader::so_far);
        if is_cut {
            self.note(false);
            return Ok(Ended::Cut(Box::new(Cut {
                answer: self.answer,
                so_far,
                failure,
            })));
        }
        self.tell(failure, false).await
    }

    /// Whether the upstream has broken off where an event of ours can follow.
    fn is_between_events(&self, failure: &Failure) -> bool {
        let events = self.answer.events();
        let is_open = events.is_some_and(|e| e.is_between_events() && !e.has_told_client());
        is_open && matches!(failure, Failure::Upstream(_)) && !self.answer.is_done()
    }

    /// Tells the client in its stream what has broken it, where it can be told.
    /// `is_noted`: whether what is known of the answer has been noted.
    async fn tell(mut self, failure: Failure, is_noted: bool) -> Result<Ended, Failure> {
        let failure = self.translated(failure);
        let event = self.last_event(&failure);
        if !is_noted {
            self.note(false);
        }
        let events = self.answer.events();
        let withheld = events.and_then(EventReader::withheld);
        let has_told = withheld.is_some() || events.is_some_and(EventReader::has_told_client);
        match (failure, event) {
            // It has told the client itself, and nothing follows.
            (Failure::Upstream(failure), _) if has_told => {
                failure.log(&self.context.request.id, self.name());
                self.context.outcome.error = Failure::Upstream(failure).api_error().code;
                settle::settle(self.context).await;
                // Clients close as soon as they have read it.
                self.context.outcome.bytes_out += withheld.as_ref().map_or(0, Bytes::len);
                let told = withheld.map(Part::Body).into_iter().collect();
                let _ = last_event::end(self.client, told).await;
                Ok(Ended::Broken)
            }
            (failure, Some(event)) => {
                last_event::tell(self.client, self.context, &failure, event).await?;
                Ok(Ended::Broken)
            }
            (failure, None) => Err(failure),
        }
    }

    /// What the client is told of a failure: of an error that a stream told, what the error says.
    fn translated(&self, failure: Failure) -> Failure {
        let events = self.answer.events();
        let untold = events.filter(|e| !e.has_told_client() && e.withheld().is_none());
        match (failure, untold.and_then(EventReader::error), self.upstream) {
            (Failure::Upstream(failure), Some(error), Some(upstream)) => {
                failure.log(&self.context.request.id, self.name());
                upstream_error::told_in_stream(upstream, error)
            }
            (failure, ..) => failure,
        }
    }

    /// The event that tells of a failure, where one can follow what has passed.
    fn last_event(&mut self, failure: &Failure) -> Option<Bytes> {
        let events = self.answer.events()?;
        let is_told = matches!(failure, Failure::Upstream(_) | Failure::Refusal(_));
        if !is_told || events.has_told_client() || !events.is_between_events() {
            return None;
        }
        let form = self.terms.stream_error;
        let event = last_event::last_event(failure, form, Some(events), self.context);
        let events = self.answer.events_mut()?;
        // Changed as the upstream's own are.
        let event = events.rewritten(event);
        Some(match events.held_text() {
            Some(held) => Bytes::from([held, event].concat()),
            None => event,
        })
    }
}
