//! What is understood of a stream while it passes.
//!
//! Owns telling when a stream has really begun, what it is that goes wrong in it, how it ends and what it
//! has used; and that only whole events pass, so that one of ours can stand between any two of them.
//! Bytes pass as they came, but for a usage that the client has not asked for. Refuses to know where
//! they come from and go to. Never fails: what cannot be understood passes, or is dropped where the
//! operator wants that.

use std::mem;
use std::ops::Range;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::held::Held;
use super::json::Reading;
use crate::openai::aggregate::Aggregator;
use crate::openai::echo::{Echo, Masking};
use crate::openai::failed_response;
use crate::openai::hidden_usage::{self, HiddenUsage};
use crate::openai::sse::{Event, Parser};
use crate::openai::stream_state::{Ending, Meaning, Stream, StreamState};
use crate::openai::text_sample::Said;
use crate::openai::upstream_error::{Complaint, Telling};
use crate::openai::usage::StreamUsage;
use crate::workers::walk;

/// As much of an event that has not ended is held; of a longer one what is there passes.
const MAX_HELD_BYTES: usize = 64 << 10;
const DONE: &[u8] = b"data: [DONE]\n\n";

/// One stream's understanding.
pub struct EventReader {
    parser: Parser,
    held: Held,
    heard: Heard,
    /// The last event has got the blank line that it lacked.
    has_ended_event: bool,
    /// The key that the upstream was asked with.
    echo: Echo,
    /// Masks it once an event tells an error, or passes before all of it could be read.
    masking: Option<Box<Masking>>,
}

/// What is wanted of a stream besides its bytes.
#[derive(Clone, Copy)]
pub struct Wants {
    /// What its events are.
    pub stream: Stream,
    /// Whether events that cannot be read are kept from the client.
    pub drops_malformed: bool,
    /// Whether the usage is kept from the client, who has not asked for it.
    pub hides_usage: bool,
    /// Whether the whole answer is put together.
    pub gathers: bool,
}

/// What the events of a stream have said.
struct Heard {
    wants: Wants,
    progress: StreamState,
    stream_usage: StreamUsage,
    said: Said,
    /// What there is of the answer, where it is wanted, and of a response in case that it breaks.
    aggregator: Option<Aggregator>,
    /// The number of the next event, where they are numbered.
    next_number: u64,
    events: usize,
    has_output: bool,
    /// An event was too long to be read.
    has_too_long: bool,
    complaint: Option<Complaint>,
    /// How that was told.
    telling: Option<Telling>,
}

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

impl EventReader {
    /// For one stream, from its first byte.
    pub fn new(wants: Wants, echo: Echo) -> Self {
        Self {
            echo,
            masking: None,
            parser: Parser::new(),
            held: Held::default(),
            has_ended_event: false,
            heard: Heard {
                wants,
                progress: StreamState::new(wants.stream),
                stream_usage: StreamUsage::default(),
                said: Said::new(wants.stream),
                aggregator: match (wants.gathers, wants.stream) {
                    (true, stream) => Aggregator::for_stream(stream),
                    (false, Stream::Responses) => Some(Aggregator::for_failure()),
                    (false, _) => None,
                },
                next_number: 0,
                events: 0,
                has_output: false,
                has_too_long: false,
                complaint: None,
                telling: None,
            },
        }
    }

    /// Takes the next bytes, and puts into `out` what can pass: whole events, up to the first that
    /// tells an error, and that too where clients know its form. Gives how many events have ended in
    /// these bytes.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> usize {
        let heard = &mut self.heard;
        if heard.complaint.is_some() {
            return 0;
        }
        let (before, passed) = (heard.events, out.len());
        let (mut kept_back, mut last) = (Vec::new(), None);
        self.parser.push(&chunk, |event| {
            if heard.complaint.is_none() {
                let end = event.end;
                walk(event.bytes(), || heard.hear(&event, &mut kept_back));
                last = heard.complaint.is_some().then_some(end);
            }
        });
        self.held.put(chunk);
        let until = last.unwrap_or_else(|| self.parser.boundary());
        self.pass(until, kept_back, out);
        let is_too_long = self.heard.complaint.is_none() && self.held.len > MAX_HELD_BYTES;
        if is_too_long {
            self.held.release(u64::MAX, out);
        }
        self.mask(is_too_long, out, passed);
        self.heard.events - before
    }

    /// Masks the key in an error, and in what has passed with it or may be the beginning of one.
    fn mask(&mut self, is_unread: bool, out: &mut Vec<Bytes>, passed: usize) {
        if let Some(complaint) = &mut self.heard.complaint {
            self.echo.mask_complaint(complaint);
        }
        if self.masking.is_none() && (is_unread || self.heard.complaint.is_some()) {
            self.masking = Some(Box::new(Masking::new(self.echo.clone())));
        }
        if let Some(masking) = &mut self.masking {
            masking.mask_pieces(out, passed);
        }
    }

    /// Lets everything pass that stands before an offset in the stream, but for what is kept back.
    fn pass(&mut self, until: u64, kept_back: Vec<Range<u64>>, out: &mut Vec<Bytes>) {
        let passed = out.len();
        let is_cut = !kept_back.is_empty();
        for range in kept_back {
            self.held.release(range.start, out);
            self.held.keep_back(range.end);
        }
        self.held.release(until, out);
        if is_cut {
            join(out, passed);
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
        let heard = &mut self.heard;
        // Some upstreams forget the blank line behind their last event.
        let Some(event) = self
            .parser
            .unfinished()
            .filter(|_| heard.complaint.is_none())
        else {
            return heard.end(false, out);
        };
        // Behind any but the last it was cut; of one that is too long nothing is known.
        let is_cut = event.data.is_ok();
        let mut kept_back = Vec::new();
        // One that was cut within its data is no event, whatever its name says.
        if !is_whole(&event) || !heard.hear(&event, &mut kept_back) {
            return heard.end(true, out);
        }
        let passed = out.len();
        self.pass(u64::MAX, kept_back, out);
        if out.len() > passed {
            out.push(Bytes::from_static(b"\n\n"));
            self.has_ended_event = true;
        }
        self.heard.end(is_cut, out)
    }

    /// How many events have come.
    pub fn events(&self) -> usize {
        self.heard.events
    }

    /// Whether the model has said something.
    pub fn has_output(&self) -> bool {
        self.heard.has_output
    }

    /// Whether it had more in one event than is read, so that not all of it is understood.
    pub fn has_too_long(&self) -> bool {
        self.heard.has_too_long
    }

    /// The error that an event told.
    pub fn complaint(&self) -> Option<&Complaint> {
        self.heard.complaint.as_ref()
    }

    /// What there is of an answer that has broken, where it can be told, and the number of the event that
    /// tells it.
    pub fn broken(&self) -> (Option<Bytes>, u64) {
        let heard = &self.heard;
        let aggregator = heard.aggregator.as_ref();
        let partial = aggregator
            .and_then(|aggregator| walk(aggregator.held_bytes(), || aggregator.partial()));
        let partial = partial.map(|partial| self.without_key(partial));
        (partial, heard.next_number)
    }

    /// Whether that error has passed in a form by which clients know it.
    pub fn has_told_client(&self) -> bool {
        self.heard.telling == Some(Telling::InApiForm)
    }

    /// What is known of it, now that no more of it is read.
    pub fn reading(&mut self) -> Reading {
        let ending = self.heard.progress.ending();
        let is_whole = matches!(ending, Ending::Complete | Ending::Unmarked);
        let gathers = self.heard.wants.gathers;
        let gathered = self.gathered().filter(|_| gathers);
        let answer = gathered.and_then(|aggregator| {
            walk(aggregator.held_bytes(), || match is_whole {
                true => aggregator.finish().ok(),
                false => aggregator.partial(),
            })
        });
        let answer = answer.map(|answer| self.without_key(answer));
        Reading {
            usage: self.heard.stream_usage.usage(),
            said: mem::replace(&mut self.heard.said, Said::new(Stream::Other)).into_sample(),
            answer,
            is_whole,
            is_error: false,
        }
    }

    /// An answer of which an event may have told an error.
    fn without_key(&self, answer: Vec<u8>) -> Bytes {
        match self.heard.complaint {
            Some(_) => walk(answer.len(), || self.echo.mask(Bytes::from(answer))),
            None => Bytes::from(answer),
        }
    }

    /// The whole answer as far as it has come, where that was wanted and it is not too large.
    pub fn gathered(&mut self) -> Option<Aggregator> {
        self.heard.aggregator.take()
    }

    /// Whether all that has passed are whole events, so that one of ours can follow.
    pub fn is_between_events(&self) -> bool {
        self.has_ended_event || self.held.start <= self.parser.boundary()
    }

    /// Whether the stream has told its end, so that nothing more is waited for.
    pub fn is_done(&self) -> bool {
        self.heard.progress.is_done()
    }

    /// Whether all has been said, so that nothing is missed if no more comes.
    pub fn is_finished(&self) -> bool {
        self.is_done() || self.heard.has_output && self.heard.progress.is_finished()
    }
}

/// Whether the data of an event that has no blank line behind it has come to its end.
fn is_whole(event: &Event<'_>) -> bool {
    let Ok(data) = &event.data else {
        return true;
    };
    data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

impl Heard {
    /// Takes the next event, and notes what of it does not pass. Tells whether it could be read.
    fn hear(&mut self, event: &Event<'_>, kept_back: &mut Vec<Range<u64>>) -> bool {
        self.events += 1;
        self.has_too_long |= event.data.is_err();
        if let Ok(data) = &event.data {
            self.note(event, data);
            match self.wants.hides_usage.then(|| hidden_usage::find(data)) {
                Some(HiddenUsage::All) => kept_back.push(event.start..event.end),
                Some(HiddenUsage::Part(part)) => kept_back.extend(
                    event
                        .data_at
                        .map(|at| at + part.start as u64..at + part.end as u64),
                ),
                Some(HiddenUsage::Nothing) | None => {}
            }
        }
        // All but the first and the last events of a stream, which are not worth parsing.
        if self.has_output
            && !self.wants.drops_malformed
            && self.progress.is_more_of_the_same(event)
        {
            return true;
        }
        match self.progress.see(event) {
            Meaning::Lifecycle => {}
            Meaning::Output => self.has_output = true,
            Meaning::Done => self.has_output |= self.progress.is_finished(),
            Meaning::Malformed => {
                if self.wants.drops_malformed {
                    kept_back.retain(|part| part.start < event.start);
                    kept_back.push(event.start..event.end);
                }
                return false;
            }
            Meaning::Error(told) => {
                let data = event.data.as_deref().unwrap_or_default();
                let typed = self.wants.stream == Stream::Responses;
                let telling = Telling::of(event.name, data, typed);
                // Clients would take it for a part of the answer, and find nothing in it.
                if telling == Telling::Otherwise {
                    kept_back.retain(|part| part.start < event.start);
                    kept_back.push(event.start..event.end);
                }
                self.complaint = Some(told);
                self.telling = Some(telling);
            }
        }
        true
    }

    /// Notes what is to be known of the answer when it is over.
    fn note(&mut self, event: &Event<'_>, data: &[u8]) {
        self.stream_usage.see(data);
        self.said.see(event);
        if self.wants.stream == Stream::Responses {
            let number = failed_response::sequence_number(data).unwrap_or(self.next_number);
            self.next_number = number.saturating_add(1);
        }
        if let Some(aggregator) = &mut self.aggregator {
            // One that is too large says so at its end.
            let _ = aggregator.see(data);
        }
    }

    fn end(&mut self, cut: bool, out: &mut Vec<Bytes>) -> End {
        match self.progress.ending() {
            _ if self.complaint.is_some() => End::Truncated,
            _ if !self.has_output => End::Empty,
            Ending::Unmarked => {
                out.push(Bytes::from_static(DONE));
                End::Complete
            }
            Ending::Complete => End::Complete,
            Ending::Unknown if !cut => End::Complete,
            Ending::Unknown | Ending::Truncated | Ending::Failed => End::Truncated,
        }
    }
}

/// Makes one of what has been added: each piece would cost a write.
fn join(out: &mut Vec<Bytes>, from: usize) {
    if out.len() > from + 1 {
        let joined = out.split_off(from).concat();
        out.push(Bytes::from(joined));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::pieces::JOIN_BELOW;
    use crate::openai::dialect::Dialect;

    const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    const HI: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
    const STOP: &str =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const MARK: &str = "data: [DONE]\n\n";
    const ERROR: &str = "data: {\"error\":{\"message\":\"m\",\"code\":\"c\"}}\n\n";
    const JUNK: &str = "data: {\"choi\n\n";

    fn events(drops_malformed: bool, hides_usage: bool) -> EventReader {
        let wants = Wants {
            stream: Stream::Chat,
            drops_malformed,
            hides_usage,
            gathers: false,
        };
        EventReader::new(wants, echo())
    }

    const KEY: &str = "sk-canary-0123456789";

    fn echo() -> Echo {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {KEY}").parse().unwrap());
        Echo::sent(&headers, &Dialect::default())
    }

    #[test]
    fn the_key_is_masked_in_an_error_and_in_nothing_before_it() {
        let said = HI.replace("hi", KEY);
        let error = ERROR.replace("\"m\"", &format!("\"Bearer {KEY}\""));
        let stars = "*".repeat(KEY.len());
        for ends in ["\n\n", ""] {
            let stream = [&said, error.trim_end(), ends].concat();
            for size in 1..=error.len() {
                let mut events = events(false, false);
                let (passed, end) = pass(&mut events, &stream, size);
                let error = [error.trim_end(), "\n\n"].concat().replace(KEY, &stars);
                assert!(passed.ends_with(&error), "pieces of {size}: {passed}");
                assert_eq!(end, End::Truncated);
                let told = events.complaint().unwrap().message.clone().unwrap();
                assert_eq!(told, format!("Bearer {stars}"));
            }
        }
        // What the model says is not looked through.
        let mut events = events(false, false);
        let healthy = [&said, STOP, MARK].concat();
        assert_eq!(pass(&mut events, &healthy, healthy.len()).0, healthy);
    }

    #[test]
    fn the_key_is_masked_in_what_passes_before_it_could_be_read() {
        let stars = "*".repeat(KEY.len());
        let text = |key: &str| format!("{}{key} and {key}", "x".repeat(MAX_HELD_BYTES));
        let error = |key: &str| ERROR.replace("\"m\"", &format!("\"{}\"", text(key)));
        let stream = [HI, &error(KEY)].concat();
        for size in [7, 1000, 1 << 20] {
            let passed = pass(&mut events(false, false), &stream, size);
            assert_eq!(passed, ([HI, &error(&stars)].concat(), End::Truncated));
        }
    }

    /// What passes of a stream that comes in pieces of `size` bytes, and how it ends.
    fn pass(events: &mut EventReader, stream: &str, size: usize) -> (String, End) {
        let mut out = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            events.push(Bytes::copy_from_slice(piece), &mut out);
        }
        let end = events.finish(&mut out);
        (String::from_utf8(out.concat()).unwrap(), end)
    }

    fn check(stream: &str, drops: bool, passes: &str, end: End) {
        for size in 1..=stream.len() {
            let mut events = events(drops, false);
            let passed = pass(&mut events, stream, size);
            assert_eq!(passed, (passes.to_owned(), end), "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_whole_passes_as_it_came() {
        for stream in [
            [ROLE, HI, STOP, MARK].concat(),
            [": ping\r\n\r\n", HI, STOP, MARK, ": after\n\n"].concat(),
            [HI, STOP, MARK].concat().replace('\n', "\r\n"),
        ] {
            check(&stream, false, &stream, End::Complete);
        }
    }

    #[test]
    fn a_missing_mark_is_supplied_and_a_missing_blank_line_too() {
        let stream = [HI, STOP].concat();
        check(&stream, false, &[HI, STOP, MARK].concat(), End::Complete);
        let stream = [HI, STOP, "data: [DONE]"].concat();
        check(&stream, false, &[HI, STOP, MARK].concat(), End::Complete);
    }

    #[test]
    fn what_breaks_off_does_not_look_complete() {
        check(
            &[ROLE, HI].concat(),
            false,
            &[ROLE, HI].concat(),
            End::Truncated,
        );
        let cut = [HI, "data: {\"choices\":[{\"ind"].concat();
        check(&cut, false, HI, End::Truncated);
    }

    #[test]
    fn nothing_follows_an_error() {
        let stream = [HI, ERROR, MARK].concat();
        check(&stream, false, &[HI, ERROR].concat(), End::Truncated);
    }

    #[test]
    fn an_error_that_clients_do_not_know_is_kept_back_and_one_in_a_chunk_is_not() {
        for (error, passes, is_known) in [
            ("data: {\"error\":\"m\"}\n\n", true, true),
            (
                "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"error\"}]}\n\n",
                true,
                false,
            ),
            ("event: error\ndata: {\"message\":\"m\"}\n\n", false, false),
            ("event: error\ndata: m\n\n", false, false),
            ("data: {\"detail\":\"m\"}\n\n", false, false),
            ("error: {\"message\":\"m\"}\n\n", false, false),
        ] {
            let stream = [HI, error, MARK].concat();
            let expected = [HI, if passes { error } else { "" }].concat();
            for size in 1..=stream.len() {
                let mut events = events(false, true);
                let passed = pass(&mut events, &stream, size);
                assert_eq!(passed, (expected.clone(), End::Truncated), "{error}");
                assert!(events.complaint().is_some());
                assert_eq!(events.has_told_client(), is_known, "{error}");
            }
        }
    }

    #[test]
    fn roles_and_marks_alone_say_nothing() {
        check(ROLE, false, ROLE, End::Empty);
        check(MARK, false, MARK, End::Empty);
        check("", false, "", End::Empty);
    }

    #[test]
    fn what_cannot_be_read_passes_or_is_dropped() {
        let stream = [HI, JUNK, JUNK, STOP, MARK].concat();
        check(&stream, false, &stream, End::Complete);
        check(&stream, true, &[HI, STOP, MARK].concat(), End::Complete);
    }

    #[test]
    fn a_usage_that_was_not_asked_for_is_kept_back_and_read() {
        let none =
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n";
        let last =
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
        let finished = STOP.replace("]}\n", "],\"usage\":null}\n");
        let stream = [ROLE, none, &finished, last, MARK].concat();
        for ends in ["\n", "\r\n"] {
            let stream = stream.replace('\n', ends);
            let expected = [ROLE, HI, STOP, MARK].concat().replace('\n', ends);
            for size in 1..=stream.len() {
                let mut events = events(false, true);
                assert_eq!(
                    pass(&mut events, &stream, size),
                    (expected.clone(), End::Complete)
                );
                let usage = events.reading().usage.unwrap();
                assert_eq!((usage.input, usage.output), (3, 2));
            }
        }
        let unmarked = [HI, &finished].concat();
        let cut = unmarked.trim_end().to_owned();
        let passed = pass(&mut events(false, true), &cut, cut.len());
        assert_eq!(passed, ([HI, STOP, MARK].concat(), End::Complete));
    }

    #[test]
    fn an_event_that_comes_byte_by_byte_is_held_in_few_pieces() {
        let mut events = events(false, false);
        let mut out = Vec::new();
        let long = format!("data: {}", "x".repeat(MAX_HELD_BYTES - 10));
        for byte in long.bytes() {
            events.push(Bytes::from(vec![byte]), &mut out);
        }
        assert_eq!(events.held.len, long.len());
        assert!(events.held.pieces.iter().count() <= MAX_HELD_BYTES / JOIN_BELOW);
        events.push(Bytes::from_static(b"\n\n"), &mut out);
        assert_eq!(out.concat(), [&long, "\n\n"].concat().as_bytes());
    }

    #[test]
    fn an_event_beyond_the_bound_passes_in_pieces() {
        let mut events = events(false, false);
        let mut out = Vec::new();
        events.push(Bytes::from_static(HI.as_bytes()), &mut out);
        assert!(events.is_between_events());
        let long = Bytes::from(format!("data: {}", "x".repeat(MAX_HELD_BYTES)));
        let length = long.len();
        events.push(long, &mut out);
        assert_eq!(out.concat().len(), HI.len() + length);
        assert!(!events.is_between_events());
        events.push(Bytes::from_static(b"\n\n"), &mut out);
        assert!(events.is_between_events());
    }
}
