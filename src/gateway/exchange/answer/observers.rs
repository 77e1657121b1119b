//! What the events of a stream say, event by event.
//!
//! Owns the observers of a stream and the order in which they see each event, framed once: usage, text
//! for an estimate, aggregation, hiding of a usage that was not asked for, rewriting, and the stream's
//! state (output, errors, its end). Each may change the event or put others in its place. Does not
//! handle bytes (see `events`), nor what single events mean (see `openai`). Never fails: what cannot be
//! understood passes, or is dropped where the operator wants that.

use std::mem;

use bytes::Bytes;

use crate::gateway::exchange::terms::Wants;
use crate::gateway::meter::Reading;
use crate::openai::aggregate::Aggregator;
use crate::openai::changes::Changes;
use crate::openai::continuation::{Rest, Splicer};
use crate::openai::failed_response;
use crate::openai::hidden_usage::{self, HiddenUsage};
use crate::openai::rewrite::{Rewriter, Rewrites};
use crate::openai::sse::Event;
use crate::openai::stream_state::{Ending, Meaning, Stream, StreamState};
use crate::openai::text_sample::TextSample;
use crate::openai::upstream_error::{ErrorForm, UpstreamError};
use crate::openai::usage::{self, StreamUsage, Usage};
use crate::workers::walk;

const DONE: &[u8] = b"data: [DONE]\n\n";

/// How a stream has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should, or as well as can be told.
    Complete,
    /// Before its end.
    Truncated,
    /// Without saying anything.
    Empty,
}

/// The observers of one stream, and what they have learnt.
pub struct Observers {
    wants: Wants,
    state: StreamState,
    usage: StreamUsage,
    sample: TextSample,
    /// What there is of the answer, where it is wanted, and of a response in case that it breaks.
    aggregator: Option<Aggregator>,
    rewriter: Option<Box<Rewriter>>,
    /// What makes it the rest of another stream.
    splicer: Option<Box<Splicer>>,
    /// The number of the next event, where they are numbered.
    next_number: u64,
    events: usize,
    has_output: bool,
    /// An event was too long to be read.
    has_too_long: bool,
    error: Option<UpstreamError>,
    /// How that was told.
    error_form: Option<ErrorForm>,
    /// The event that told it, where clients know its form and it was kept from them.
    withheld: Option<Bytes>,
}

impl Observers {
    /// For one stream, before its first event.
    pub fn new(wants: Wants, rewrites: &Rewrites) -> Self {
        Self {
            wants,
            state: StreamState::new(wants.stream),
            usage: StreamUsage::default(),
            sample: TextSample::new(wants.stream),
            aggregator: match (wants.aggregates, wants.stream) {
                (true, stream) => Aggregator::for_stream(stream),
                (false, Stream::Responses) => Some(Aggregator::for_failure()),
                (false, _) => wants.may_go_on.then(Aggregator::for_continuation),
            },
            rewriter: (!rewrites.is_empty()).then(|| Box::new(Rewriter::new(rewrites))),
            splicer: None,
            next_number: 0,
            events: 0,
            has_output: false,
            has_too_long: false,
            error: None,
            error_form: None,
            withheld: None,
        }
    }

    /// Makes the stream the rest of another one.
    pub fn go_on(&mut self, rest: Rest) {
        let splicer = Splicer::new(rest);
        if let Some(aggregator) = &mut self.aggregator {
            // One that is too large says so at its end.
            let _ = aggregator.see(&splicer.beginning());
        }
        self.splicer = Some(Box::new(splicer));
    }

    /// Takes the next event, and notes what of it is changed. Tells whether it could be read.
    pub fn see(&mut self, event: &Event<'_>, changes: &mut Changes) -> bool {
        walk(event.bytes(), || self.observe(event, changes))
    }

    fn observe(&mut self, event: &Event<'_>, changes: &mut Changes) -> bool {
        self.events += 1;
        match &event.data {
            Ok(data) => self.look(event, data, changes),
            Err(_) => self.has_too_long = true,
        }
        // All but the first and the last events of a stream, which are not worth parsing.
        if self.has_output && !self.wants.drops_malformed && self.state.can_skip(event) {
            return true;
        }
        match self.state.see(event) {
            Meaning::Lifecycle => {}
            Meaning::Output => self.has_output = true,
            Meaning::Done => self.has_output |= self.state.is_finished(),
            Meaning::Malformed => {
                if self.wants.drops_malformed {
                    changes.replace(event, Bytes::new());
                }
                return false;
            }
            Meaning::Error(error) => {
                let data = event.data.as_deref().unwrap_or_default();
                let typed = self.wants.stream == Stream::Responses;
                let error_form = ErrorForm::of(event.name, data, typed);
                // Clients would take it for a part of the answer, and find nothing in it.
                let is_unknown = error_form == ErrorForm::Unknown;
                if is_unknown || self.wants.may_go_on {
                    changes.replace(event, Bytes::new());
                }
                if self.wants.may_go_on && !is_unknown {
                    self.withheld = Some(event.written(data));
                }
                self.error = Some(error);
                self.error_form = Some(error_form).filter(|_| !self.wants.may_go_on);
            }
        }
        true
    }

    /// Has the data of an event looked at by each observer that does not ask for the stream's state.
    fn look(&mut self, event: &Event<'_>, data: &[u8], changes: &mut Changes) {
        let mention = usage::find_key(data);
        if let Some(at) = mention {
            self.usage.see_at(data, at);
        }
        self.sample.see(event);
        if self.wants.stream == Stream::Responses {
            let number = failed_response::sequence_number(data).unwrap_or(self.next_number);
            self.next_number = number.saturating_add(1);
        }
        let splicer = self.splicer.as_mut();
        let spliced = splicer.and_then(|splicer| splicer.see(event, changes));
        if let Some(aggregator) = &mut self.aggregator {
            // One that is too large says so at its end.
            let _ = aggregator.see(spliced.as_deref().unwrap_or(data));
        }
        if let Some(rewriter) = &mut self.rewriter {
            rewriter.see(event, changes);
        }
        if let Some(at) = mention.filter(|_| self.wants.hides_usage) {
            match hidden_usage::find(data, at) {
                HiddenUsage::All => changes.replace(event, Bytes::new()),
                HiddenUsage::Part(part) => changes.patch(event, part, Bytes::new()),
                HiddenUsage::Nothing => {}
            }
        }
    }

    /// No event follows. `is_cut` says that one had begun.
    pub fn end(&mut self, is_cut: bool, out: &mut Vec<Bytes>) -> End {
        out.extend(self.splicer.as_mut().and_then(|splicer| splicer.finish()));
        match self.state.ending() {
            _ if self.error.is_some() => End::Truncated,
            _ if !self.has_output => End::Empty,
            Ending::Unmarked => {
                out.push(Bytes::from_static(DONE));
                End::Complete
            }
            Ending::Complete => End::Complete,
            Ending::Unknown if !is_cut => End::Complete,
            Ending::Unknown | Ending::Truncated | Ending::Failed => End::Truncated,
        }
    }

    /// The event with text of a stream that goes on with another one, which is held still.
    pub fn held_text(&mut self) -> Option<Bytes> {
        self.splicer.as_mut()?.finish()
    }

    /// How many events have come.
    pub fn events(&self) -> usize {
        self.events
    }

    /// How many tokens the model may have said, from the length of what it has said.
    pub fn said_tokens(&self) -> u64 {
        self.sample.rough_tokens()
    }

    /// Whether the model has said something.
    pub fn has_output(&self) -> bool {
        self.has_output
    }

    /// Whether an event was longer than is read, so that not all is understood.
    pub fn has_too_long(&self) -> bool {
        self.has_too_long
    }

    /// Whether events are changed as a whole, so that they are held until they are whole.
    pub fn rewrites(&self) -> bool {
        self.rewriter.is_some() || self.splicer.is_some()
    }

    /// The error that an event told.
    pub fn error(&self) -> Option<&UpstreamError> {
        self.error.as_ref()
    }

    /// The same, to be masked.
    pub fn error_mut(&mut self) -> Option<&mut UpstreamError> {
        self.error.as_mut()
    }

    /// Whether that error was told in a form by which clients know it.
    pub fn has_told_client(&self) -> bool {
        self.error_form == Some(ErrorForm::Api)
    }

    /// The event with an error that was kept from the client, where clients know its form.
    pub fn withheld(&self) -> Option<&Bytes> {
        self.withheld.as_ref()
    }

    /// Whether the stream has told its end, so that nothing more is waited for.
    pub fn is_done(&self) -> bool {
        self.state.is_done()
    }

    /// Whether all has been said, so that nothing is missed if no more comes.
    pub fn is_finished(&self) -> bool {
        self.is_done() || self.has_output && self.state.is_finished()
    }

    /// An event of ours, changed as the upstream's own are.
    pub fn rewritten(&mut self, event: Bytes) -> Bytes {
        match &mut self.rewriter {
            Some(rewriter) => rewriter.event(event),
            None => event,
        }
    }

    /// What there is of an answer that has broken, where it can be told, and the number of the event
    /// that tells it.
    pub fn partial(&self) -> (Option<Vec<u8>>, u64) {
        let aggregator = self.aggregator.as_ref();
        let partial = aggregator
            .and_then(|aggregator| walk(aggregator.held_bytes(), || aggregator.partial()));
        (partial, self.next_number)
    }

    /// All that has come of an answer that another upstream may go on with; `None` where something of it is not known.
    pub fn so_far(&self) -> Option<Vec<u8>> {
        let aggregator = self.aggregator.as_ref().filter(|_| self.wants.may_go_on)?;
        walk(aggregator.held_bytes(), || aggregator.so_far())
    }

    /// The whole answer as far as it has come, where that was wanted and it is not too large.
    pub fn aggregated(&mut self) -> Option<Aggregator> {
        self.aggregator.take()
    }

    /// What is known of the answer, now that no more of it is read.
    pub fn reading(&mut self) -> Reading {
        let is_whole = matches!(self.state.ending(), Ending::Complete | Ending::Unmarked);
        let aggregated = self.aggregated().filter(|_| self.wants.aggregates);
        let answer = aggregated.and_then(|aggregator| {
            walk(aggregator.held_bytes(), || match is_whole {
                true => aggregator.finish().ok(),
                false => aggregator.partial(),
            })
        });
        let said_tokens = self.said_tokens();
        let sample = mem::replace(&mut self.sample, TextSample::new(Stream::Other));
        Reading {
            usage: self.usage.usage().map(|usage| match is_whole {
                true => usage,
                false => at_least(usage, said_tokens),
            }),
            sample: sample.into_sample(),
            answer: answer.map(Bytes::from),
            is_whole,
            is_error: false,
            recorded: None,
        }
    }
}

/// A usage that was told before the end, of an answer that broke: some upstreams tell one at the beginning, without the
/// output.
fn at_least(usage: Usage, said_tokens: u64) -> Usage {
    match usage.output < said_tokens / 4 {
        true => Usage {
            output: said_tokens,
            is_estimated: true,
            ..usage
        },
        false => usage,
    }
}
