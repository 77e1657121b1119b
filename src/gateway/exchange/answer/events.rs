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
        if out.len() > passed {
            out.push(Bytes::from_static(b"\n\n"));
            self.has_ended_event = true;
        }
        self.observers.end(is_cut, out)
    }

    /// How many events have come.
    pub fn events(&self) -> usize {
        self.observers.events()
    }

    /// Whether the model has said something.
    pub fn has_output(&self) -> bool {
        self.observers.has_output()
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
mod tests {
    use super::*;
    use crate::gateway::pieces::JOIN_BELOW;
    use crate::openai::dialect::Dialect;
    use crate::openai::stream_state::Stream;

    const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    const HI: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
    const STOP: &str =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const MARK: &str = "data: [DONE]\n\n";
    const ERROR: &str = "data: {\"error\":{\"message\":\"m\",\"code\":\"c\"}}\n\n";
    const JUNK: &str = "data: {\"choi\n\n";

    fn rewriting() -> EventReader {
        let rewrites = Rewrites {
            model: Some("ours".to_owned()),
            prefix: Some("> ".to_owned()),
        };
        let wants = Wants {
            stream: Stream::Chat,
            drops_malformed: false,
            hides_usage: true,
            aggregates: false,
        };
        EventReader::new(wants, &rewrites, echo())
    }

    #[test]
    fn a_stream_is_changed_alike_however_it_is_cut() {
        let role = ROLE.replace("{\"choices\"", "{\"model\":\"up\",\"choices\"");
        let hi = HI.replace("}]}", "}],\"model\":\"up\",\"usage\":null}");
        let comment = ": {\"model\":\"up\"}\n\n";
        let stream = [&role, comment, &hi, STOP, MARK].concat();
        let expected = [
            &role.replace("\"up\"", "\"ours\""),
            comment,
            &HI.replace("hi", "> hi")
                .replace("}]}", "}],\"model\":\"ours\"}"),
            STOP,
            MARK,
        ]
        .concat();
        for ends in ["\n", "\r\n"] {
            let (stream, expected) = (stream.replace('\n', ends), expected.replace('\n', ends));
            for size in 1..=stream.len() {
                let passed = pass(&mut rewriting(), &stream, size);
                assert_eq!(
                    passed,
                    (expected.clone(), End::Complete),
                    "pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn an_event_that_is_to_be_changed_is_held_for_as_long_as_it_is_read() {
        let text = "x".repeat(4 * MAX_HELD_BYTES);
        let long = |model: &str| {
            let hi = HI.replace("hi", &text);
            hi.replace("}]}", &format!("}}],\"model\":\"{model}\"}}"))
        };
        let stream = [&long("up"), STOP, MARK].concat();
        let (passed, end) = pass(&mut rewriting(), &stream, 1000);
        let expected = long("ours").replacen(&text, &format!("> {text}"), 1);
        assert_eq!(passed, [&expected, STOP, MARK].concat());
        assert_eq!(end, End::Complete);
        let beyond = format!("data: {}", "x".repeat(MAX_EVENT_BYTES));
        let mut out = Vec::new();
        rewriting().push(Bytes::from(beyond.clone()), &mut out);
        assert_eq!(out.concat(), beyond.as_bytes());
    }

    #[test]
    fn nothing_is_changed_in_an_event_whose_beginning_has_passed() {
        let error = format!(
            "data: {{\"detail\":\"{}\"}}\n\n",
            "x".repeat(2 * MAX_HELD_BYTES)
        );
        let stream = [HI, &error].concat();
        let (passed, end) = pass(&mut events(false, true), &stream, 1000);
        assert_eq!((passed, end), (stream, End::Truncated));
    }

    fn events(drops_malformed: bool, hides_usage: bool) -> EventReader {
        let wants = Wants {
            stream: Stream::Chat,
            drops_malformed,
            hides_usage,
            aggregates: false,
        };
        EventReader::new(wants, &Rewrites::default(), echo())
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
                let told = events.error().unwrap().message.clone().unwrap();
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
                assert!(events.error().is_some());
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
        assert_eq!(events.held.len(), long.len());
        assert!(events.held.count() <= MAX_HELD_BYTES / JOIN_BELOW);
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
