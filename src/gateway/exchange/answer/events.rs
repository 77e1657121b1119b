//! A stream of events on its way through.
//!
//! Owns that only whole events pass, so that one of ours can stand between any two of them: where each
//! begins and ends, what is held until then, what the observers want changed, and masking the key in an
//! error. Does not handle what events say (see `observers`), nor where the bytes come from and go to
//! (see the answer). Never fails.

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::held::HeldBytes;
use super::observers::{End, Observers};
use crate::gateway::exchange::terms::Wants;
use crate::gateway::meter::Reading;
use crate::openai::aggregate::Aggregator;
use crate::openai::changes::Changes;
use crate::openai::continuation::Rest;
use crate::openai::echo::{Echo, Masking};
use crate::openai::rewrite::Rewrites;
use crate::openai::sse::{Event, MAX_EVENT_BYTES, Parser};
use crate::openai::upstream_error::UpstreamError;
use crate::workers::walk;

/// As much of an event that has not ended is held; of a longer one what is there passes.
const MAX_HELD_BYTES: usize = 64 << 10;

/// Reads one stream.
pub struct EventReader {
    parser: Parser,
    held: HeldBytes,
    observers: Observers,
    /// The last event has got the blank line that it lacked.
    has_ended_event: bool,
    /// The key that the upstream was asked with.
    echo: Echo,
    /// Masks it once an event tells an error, or passes before all of it could be read.
    masking: Option<Box<Masking>>,
}

impl EventReader {
    /// For one stream, from its first byte.
    pub fn new(wants: Wants, rewrites: &Rewrites, echo: Echo) -> Self {
        Self {
            parser: Parser::new(),
            held: HeldBytes::default(),
            observers: Observers::new(wants, rewrites),
            has_ended_event: false,
            echo,
            masking: None,
        }
    }

    /// Makes the stream the rest of another one. To be called before its first byte.
    pub fn go_on(&mut self, rest: Rest) {
        self.observers.go_on(rest);
    }

    /// Takes the next bytes, and puts into `out` what can pass: whole events, up to the first that
    /// tells an error, and that too where clients know its form. Gives how many events have ended in
    /// these bytes.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> usize {
        let observers = &mut self.observers;
        if observers.error().is_some() {
            return 0;
        }
        let (before, passed) = (observers.events(), out.len());
        let (mut changes, mut last) = (Changes::default(), None);
        self.parser.push(&chunk, |event| {
            if observers.error().is_none() {
                observers.see(&event, &mut changes);
                last = observers.error().is_some().then_some(event.end);
            }
        });
        self.held.put(chunk);
        let until = last.unwrap_or_else(|| self.parser.boundary());
        self.held.pass(until, changes, out);
        let is_too_long = last.is_none() && self.held.len() > self.max_held_bytes();
        if is_too_long {
            self.held.release(u64::MAX, out);
        }
        self.mask(is_too_long, out, passed);
        self.observers.events() - before
    }

    /// An event that is to be changed is held for as long as it is read.
    fn max_held_bytes(&self) -> usize {
        match self.observers.rewrites() {
            true => MAX_EVENT_BYTES,
            false => MAX_HELD_BYTES,
        }
    }

    /// Masks the key in an error, and in what has passed with it or may be the beginning of one.
    fn mask(&mut self, is_unread: bool, out: &mut Vec<Bytes>, passed: usize) {
        let error = self.observers.error_mut();
        let is_error = error.is_some();
        if let Some(error) = error {
            self.echo.mask_error(error);
        }
        if self.masking.is_none() && (is_unread || is_error) {
            self.masking = Some(Box::new(Masking::new(self.echo.clone())));
        }
        if let Some(masking) = &mut self.masking {
            masking.mask_pieces(out, passed);
        }
    }

    /// No more bytes come: what is left of them, and what the stream lacks to be complete.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) -> End {
        let passed = out.len();
        let end = self.end(out);
        self.mask(false, out, passed);
        let rest = self.masking.as_mut().map(|masking| masking.finish());
        out.extend(rest.filter(|rest| !rest.is_empty()));
        end
    }

    fn end(&mut self, out: &mut Vec<Bytes>) -> End {
        let observers = &mut self.observers;
        // Some upstreams forget the blank line behind their last event.
        let Some(event) = self
            .parser
            .unfinished()
            .filter(|_| observers.error().is_none())
        else {
            return observers.end(false, out);
        };
        // Behind any but the last it was cut; of one that is too long nothing is known.
        let is_cut = event.data.is_ok();
        let mut changes = Changes::default();
        // One that was cut within its data is no event, whatever its name says.
        if !is_whole(&event) || !observers.see(&event, &mut changes) {
            return observers.end(true, out);
        }
        let passed = out.len();
        self.held.pass(u64::MAX, changes, out);
        if let Some(last) = out.get(passed..).and_then(<[Bytes]>::last) {
            // Clients that split a stream at blank lines would find the third line end in the next event.
            out.push(match last.ends_with(b"\n") {
                true => Bytes::from_static(b"\n"),
                false => Bytes::from_static(b"\n\n"),
            });
            self.has_ended_event = true;
        }
        self.observers.end(is_cut, out)
    }

    /// The event with text of a stream that goes on with another one, which is held still.
    pub fn held_text(&mut self) -> Option<Bytes> {
        self.observers.held_text()
    }

    /// How many events have come.
    pub fn events(&self) -> usize {
        self.observers.events()
    }

    /// Whether the model has said something.
    pub fn has_output(&self) -> bool {
        self.observers.has_output()
    }

    /// How many tokens the model may have said, from the length of what it has said.
    pub fn said_tokens(&self) -> u64 {
        self.observers.said_tokens()
    }

    /// Whether an event was longer than is read, so that not all is understood.
    pub fn has_too_long(&self) -> bool {
        self.observers.has_too_long()
    }

    /// The error that an event told.
    pub fn error(&self) -> Option<&UpstreamError> {
        self.observers.error()
    }

    /// Whether that error has passed in a form by which clients know it.
    pub fn has_told_client(&self) -> bool {
        self.observers.has_told_client()
    }

    /// The event with an error that was kept from the client, where clients know its form. The key in it is masked.
    pub fn withheld(&self) -> Option<Bytes> {
        let withheld = self.observers.withheld()?.clone();
        Some(walk(withheld.len(), || self.echo.mask(withheld)))
    }

    /// Whether all that has passed are whole events, so that one of ours can follow.
    pub fn is_between_events(&self) -> bool {
        self.has_ended_event || self.held.start() <= self.parser.boundary()
    }

    /// Whether the stream has told its end, so that nothing more is waited for.
    pub fn is_done(&self) -> bool {
        self.observers.is_done()
    }

    /// Whether all has been said, so that nothing is missed if no more comes.
    pub fn is_finished(&self) -> bool {
        self.observers.is_finished()
    }

    /// An event of ours, changed as the upstream's own are.
    pub fn rewritten(&mut self, event: Bytes) -> Bytes {
        self.observers.rewritten(event)
    }

    /// What there is of an answer that has broken, where it can be told, and the number of the event
    /// that tells it.
    pub fn partial(&self) -> (Option<Bytes>, u64) {
        let (partial, number) = self.observers.partial();
        (
            partial.map(|partial| self.without_key(Bytes::from(partial))),
            number,
        )
    }

    /// All that has come of an answer that another upstream may go on with; `None` where something of it is not known.
    pub fn so_far(&self) -> Option<Vec<u8>> {
        self.observers.so_far()
    }

    /// The whole answer as far as it has come, where that was wanted and it is not too large.
    pub fn aggregated(&mut self) -> Option<Aggregator> {
        self.observers.aggregated()
    }

    /// What is known of the answer, now that no more of it is read.
    pub fn reading(&mut self) -> Reading {
        let reading = self.observers.reading();
        let answer = reading.answer.map(|answer| self.without_key(answer));
        Reading { answer, ..reading }
    }

    /// An answer of which an event may have told an error.
    fn without_key(&self, answer: Bytes) -> Bytes {
        match self.error() {
            Some(_) => walk(answer.len(), || self.echo.mask(answer)),
            None => answer,
        }
    }
}

/// Whether the data of an event that has no blank line behind it has come to its end.
fn is_whole(event: &Event<'_>) -> bool {
    let Ok(data) = &event.data else {
        return true;
    };
    data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

#[cfg(test)]
mod tests;
