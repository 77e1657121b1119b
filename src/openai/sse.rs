//! Server-sent events, read from bytes that pass elsewhere.
//!
//! Owns where lines and events end, and the fields of an event. It only observes: no byte is changed or kept
//! back by it. Does not handle what an event means (see `stream_state`), nor whether it is UTF-8 or JSON.
//! Never fails: any bytes, cut into chunks anywhere, give the same events; of an event beyond
//! [`MAX_EVENT_BYTES`] only that it is too long is known.

use std::borrow::Cow;
use std::iter;

use memchr::{memchr, memchr2};

use super::json::range_in;

/// The most bytes of an event that are read, its blank line and comments included. A parser holds
/// no more than this, but for what a growing buffer has in reserve; and while it reports an event
/// of several data lines, these joined.
pub const MAX_EVENT_BYTES: usize = 8 << 20;

/// May stand at the start of a stream, and belongs to no line.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One event that has data; what has none means nothing, and is not reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of its `event:`, unless that is empty.
    pub name: Option<&'a [u8]>,
    /// Its `data:` lines, joined with LF; borrowed if there is only one.
    pub data: Result<Cow<'a, [u8]>, TooLong>,
    /// The offset in the stream at which its data stands, if that is one line.
    pub data_at: Option<u64>,
    /// The offset in the stream at which it begins.
    pub start: u64,
    /// The offset in the stream just behind its blank line. Where that ends in CRLF, the LF comes
    /// after this, so that it is not waited for; see [`Parser::boundary`].
    pub end: u64,
}

impl Event<'_> {
    /// How many bytes of the stream it takes.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.end.saturating_sub(self.start)).unwrap_or(usize::MAX)
    }
}

/// An event is longer than [`MAX_EVENT_BYTES`], and its name and data are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Reads the events of one stream.
#[derive(Default)]
pub struct Parser {
    framing: Framing,
    /// The beginning of an event, unless it is already too long.
    held: Vec<u8>,
}

impl Parser {
    /// A parser for one stream, from its first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, and reports each event that ends in them. Only what is left of an
    /// event that does not end is copied.
    pub fn push(&mut self, chunk: &[u8], mut on: impl FnMut(Event<'_>)) {
        let mut rest = chunk;
        while let Some((length, frame)) = self.framing.event_end(rest) {
            let (bytes, after) = rest.split_at(length);
            rest = after;
            let event = if self.held.is_empty() || frame.is_too_long() {
                bytes
            } else {
                self.held.extend_from_slice(bytes);
                &self.held
            };
            if let Some(event) = frame.read(event) {
                on(event);
            }
            self.held.clear();
        }
        // What one event took is there for the next, but not for none: a stream may say nothing for
        // long.
        if self.is_between_events() || self.framing.begun().is_too_long() {
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(rest);
        }
    }

    /// Where the last event ended, or the LF that still came for it. Up to this offset the stream
    /// can be passed on, and nothing is cut in two.
    pub fn boundary(&self) -> u64 {
        self.framing.boundary
    }

    /// Whether no event has begun since the last one ended, so that another can be put here. If
    /// the stream ends otherwise, its end is not clean.
    pub fn is_between_events(&self) -> bool {
        self.framing.position == self.framing.boundary
    }

    /// The event that there would be if a blank line came now. No client dispatches it, and it may
    /// be cut anywhere; but some upstreams forget the blank line after their last event.
    pub fn unfinished(&self) -> Option<Event<'_>> {
        self.framing.begun().read(&self.held)
    }
}

/// Where in a stream we are, so that it can come in any pieces.
#[derive(Default)]
pub(super) struct Framing {
    line: Line,
    /// How many bytes of the stream have come.
    position: u64,
    /// Where in the stream the last event ended.
    boundary: u64,
}

#[derive(Clone, Copy, Default)]
enum Line {
    /// At the start of a line.
    #[default]
    Start,
    /// The same, but after a CR: a LF still belongs to it.
    AfterCr,
    /// The same, after the CR that has ended an event.
    AfterLastCr,
    /// Within a line.
    Within,
}

impl Framing {
    /// Finds the first event that ends in these bytes: how many of them belong to it, and where it
    /// stands in the stream. They follow the bytes of the last call or, if an event was found
    /// there, that event.
    ///
    /// A CR ends an event at once. A LF that belongs to it counts as an event of its own, so
    /// that it need not be waited for, and makes no difference if it comes late.
    pub(super) fn event_end(&mut self, bytes: &[u8]) -> Option<(usize, Frame)> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(length) = memchr2(b'\r', b'\n', rest) else {
                self.line = Line::Within;
                break;
            };
            at += length + 1;
            let cr = rest.get(length) == Some(&b'\r');
            let blank = length == 0
                && match self.line {
                    Line::Within => false,
                    Line::AfterCr => cr,
                    Line::Start | Line::AfterLastCr => true,
                };
            self.line = match (cr, blank) {
                (true, true) => Line::AfterLastCr,
                (true, false) => Line::AfterCr,
                (false, _) => Line::Start,
            };
            if blank {
                self.position += at as u64;
                let frame = self.begun();
                self.boundary = self.position;
                return Some((at, frame));
            }
        }
        self.position += bytes.len() as u64;
        None
    }

    /// The event that has begun, as far as it has come.
    pub(super) fn begun(&self) -> Frame {
        Frame {
            start: self.boundary,
            end: self.position,
        }
    }
}

/// Where in the stream an event stands.
pub(super) struct Frame {
    start: u64,
    end: u64,
}

impl Frame {
    pub(super) fn is_too_long(&self) -> bool {
        self.end - self.start > MAX_EVENT_BYTES as u64
    }

    /// The fields of this event, each with its name and value, in these bytes of it. A comment has
    /// an empty name.
    pub(super) fn fields<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
        let marked = bytes
            .strip_prefix(BYTE_ORDER_MARK)
            .filter(|_| self.start == 0);
        let mut rest = marked.unwrap_or(bytes);
        iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            // What stands between a CR and its LF looks like a blank line, and says nothing.
            rest = after.get(1..).unwrap_or_default();
            Some(field(line))
        })
    }

    /// The fields of an event; `None` if it has no data.
    fn read<'b>(&self, bytes: &'b [u8]) -> Option<Event<'b>> {
        let end = self.end;
        if self.is_too_long() {
            return Some(Event {
                name: None,
                data: Err(TooLong),
                data_at: None,
                start: self.start,
                end,
            });
        }
        let mut name = None;
        let mut data: Option<Cow<'b, [u8]>> = None;
        for (field, value) in self.fields(bytes) {
            match (field, &mut data) {
                (b"event", _) => name = Some(value).filter(|name| !name.is_empty()),
                (b"data", None) => data = Some(Cow::Borrowed(value)),
                // llama.cpp used to report an error like this, which no client reads.
                (b"error", None) => {
                    name = Some(field);
                    data = Some(Cow::Borrowed(value));
                }
                (b"data", Some(lines)) => {
                    let lines = lines.to_mut();
                    lines.push(b'\n');
                    lines.extend_from_slice(value);
                }
                _ => {}
            }
        }
        let data = data?;
        let data_at = match &data {
            // One that is empty need not borrow from the event.
            Cow::Borrowed(line) if !line.is_empty() => {
                Some(self.start + range_in(bytes, line).start as u64)
            }
            _ => None,
        };
        Some(Event {
            name,
            data: Ok(data),
            data_at,
            start: self.start,
            end,
        })
    }
}

fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = memchr(b':', line) else {
        return (line, &[]);
    };
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default();
    (name, value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::mem;

    use super::*;

    /// An event on its own: its name, its data unless it is too long, its end.
    type Seen = (Option<Vec<u8>>, Option<Vec<u8>>, u64);

    fn seen(event: Event<'_>) -> Seen {
        let name = event.name.map(<[u8]>::to_vec);
        (name, event.data.ok().map(Cow::into_owned), event.end)
    }

    /// All that is to be known of a stream that comes in these chunks.
    #[derive(Debug, PartialEq, Eq)]
    struct Outcome {
        events: Vec<Seen>,
        unfinished: Option<Seen>,
        boundary: u64,
        is_between_events: bool,
    }

    fn read<'b>(chunks: impl IntoIterator<Item = &'b [u8]>) -> Outcome {
        let mut parser = Parser::new();
        let mut events = Vec::new();
        for chunk in chunks {
            parser.push(chunk, |event| events.push(seen(event)));
            assert!(parser.held.capacity() <= 2 * MAX_EVENT_BYTES);
        }
        Outcome {
            events,
            unfinished: parser.unfinished().map(seen),
            boundary: parser.boundary(),
            is_between_events: parser.is_between_events(),
        }
    }

    /// The standard's own way to read, one byte after the other, with a line's ends counted by it.
    fn read_slowly(input: &[u8]) -> Outcome {
        let mut outcome = Outcome {
            events: Vec::new(),
            unfinished: None,
            boundary: 0,
            is_between_events: true,
        };
        let (mut line, mut name, mut data) = (Vec::new(), Vec::new(), Vec::new());
        let (mut after_cr, mut line_start) = (false, 0);
        let take = |line: &mut Vec<u8>, name: &mut Vec<u8>, data: &mut Vec<u8>| {
            let line = mem::take(line);
            let mut parts = line.splitn(2, |byte| *byte == b':');
            let field = parts.next().unwrap_or_default();
            let value = parts.next().unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value).to_vec();
            match field {
                b"event" => *name = value,
                b"data" => data.extend([value, vec![b'\n']].concat()),
                b"error" if data.is_empty() => {
                    *name = field.to_vec();
                    data.extend([value, vec![b'\n']].concat());
                }
                _ => {}
            }
        };
        let event = |name: &mut Vec<u8>, data: &mut Vec<u8>, end| {
            let name = Some(mem::take(name)).filter(|name| !name.is_empty());
            let mut data = mem::take(data);
            data.pop().map(|_| (name, Some(data), end))
        };
        for (at, byte) in input.iter().enumerate() {
            let end = at as u64 + 1;
            if *byte == b'\n' && mem::take(&mut after_cr) {
                line_start = end;
                if outcome.boundary == at as u64 {
                    outcome.boundary = end;
                }
                continue;
            }
            after_cr = *byte == b'\r';
            if !matches!(byte, b'\r' | b'\n') {
                line.push(*byte);
                if line == BYTE_ORDER_MARK && at == 2 {
                    line.clear();
                }
                continue;
            }
            if line_start == at as u64 {
                outcome.events.extend(event(&mut name, &mut data, end));
                outcome.boundary = end;
            } else {
                take(&mut line, &mut name, &mut data);
            }
            line_start = end;
        }
        take(&mut line, &mut name, &mut data);
        let length = input.len() as u64;
        outcome.unfinished = event(&mut name, &mut data, length);
        outcome.is_between_events = outcome.boundary == length;
        outcome
    }

    fn events(input: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).unwrap();
        let events = read([input]).events.into_iter();
        events
            .map(|(name, data, _)| (text(name), text(data)))
            .collect()
    }

    fn check(input: &[u8], expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, data)| ((*name).to_owned(), (*data).to_owned()))
            .collect();
        assert_eq!(events(input), expected, "{}", input.escape_ascii());
        check_cuts(input);
    }

    /// Checks that a stream gives the same whole, cut in two anywhere, and byte by byte.
    fn check_cuts(input: &[u8]) {
        let expected = read_slowly(input);
        let shown = input.escape_ascii();
        for cut in 0..=input.len() {
            let (head, tail) = input.split_at(cut);
            assert_eq!(read([head, b"", tail]), expected, "{shown} cut at {cut}");
        }
        assert_eq!(read(input.chunks(1)), expected, "{shown} in bytes");
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        check(
            b"data: YHOO\ndata: +2\ndata: 10\n\n",
            &[("", "YHOO\n+2\n10")],
        );
        check(
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            &[("", "first event"), ("", "second event"), ("", " third event")],
        );
        check(b"data\n\ndata\ndata\n\ndata:", &[("", ""), ("", "\n")]);
        check(
            b"data:test\n\ndata: test\n\n",
            &[("", "test"), ("", "test")],
        );
        check(
            b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
            &[("add", "73857293"), ("remove", "2153")],
        );
    }

    #[test]
    fn a_field_that_is_called_an_error_is_an_event_of_that_name() {
        check(
            b"data: x\n\nerror: {\"code\":500}\n\ndata: y\nerror: z\n\n",
            &[("", "x"), ("error", "{\"code\":500}"), ("", "y")],
        );
    }

    #[test]
    fn lines_end_in_lf_or_cr_or_both() {
        for end in ["\n", "\r", "\r\n"] {
            let input = "event: a\ndata: x\n: y\n\n\n\ndata: z\n\n".replace('\n', end);
            check(input.as_bytes(), &[("a", "x"), ("", "z")]);
        }
        check(
            b"data: x\n\r\ndata: y\r\rdata: z\r\n\n",
            &[("", "x"), ("", "y"), ("", "z")],
        );
    }

    #[test]
    fn only_the_fields_that_are_meant_are_read() {
        for nothing in [
            "",
            ":",
            ":x",
            "x",
            "id: 1",
            "retry: 1",
            "event: x",
            "event",
            "Data: x",
            " data: x",
            "database: x",
            "data : x",
            "dat",
            "\0",
        ] {
            check(format!("{nothing}\n\n").as_bytes(), &[]);
            let beside = format!("{nothing}\ndata: a:b\n{nothing}\n\n");
            let name = if nothing == "event: x" { "x" } else { "" };
            check(beside.as_bytes(), &[(name, "a:b")]);
        }
        check(
            b"event: a\nevent: b\ndata: x\n\ndata: y\n\n",
            &[("b", "x"), ("", "y")],
        );
        check(b"event: a\nevent:\ndata: x\n\n", &[("", "x")]);
        check(b"event: a\n\ndata: x\n\n", &[("", "x")]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_at_the_start_alone() {
        check(b"\xEF\xBB\xBFdata: x\n\n", &[("", "x")]);
        check(b"\xEF\xBB\xBF\r\n\r\ndata: x\n\n", &[("", "x")]);
        check(b"\xEF\xBB\xBF\xEF\xBB\xBFdata: x\n\n", &[]);
        check(b"\n\xEF\xBB\xBFdata: x\n\n", &[]);
        check(b"data: x\n\n\xEF\xBB\xBFdata: x\n\n", &[("", "x")]);
        check(b"\xEF\xBBdata: x\n\n", &[]);
    }

    #[test]
    fn bytes_that_are_no_text_are_given_as_they_came() {
        let input = b"event: \xff\ndata: \xe2\x82\ndata: \xac\0\n\n\xff\xfe\n\ndata: \x80";
        check_cuts(input);
        let outcome = read([&input[..]]);
        let expected = (
            Some(b"\xff".to_vec()),
            Some(b"\xe2\x82\n\xac\0".to_vec()),
            28,
        );
        assert_eq!(outcome.events, [expected]);
    }

    #[test]
    fn random_streams_are_read_as_the_standard_says_in_random_chunks() {
        const PIECES: [&[u8]; 16] = [
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"\r\n\r\n",
            b"\r\r",
            b":",
            b" ",
            b"data",
            b"data: ",
            b"data: {\"a\":1}\n\n",
            b"event: x",
            b"event",
            b"x",
            b"\xEF\xBB\xBF",
            b"\xff",
        ];
        let mut seed = 1u64;
        let mut below = |bound: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % bound
        };
        let mut dispatched = 0;
        for _ in 0..30_000 {
            let pieces: Vec<_> = (0..below(24)).map(|_| PIECES[below(16)]).collect();
            let input = pieces.concat();
            let expected = read_slowly(&input);
            for longest in [1, 4, 32] {
                let mut rest = &input[..];
                let mut chunks = Vec::new();
                while !rest.is_empty() {
                    let (chunk, after) = rest.split_at(below(longest + 1).min(rest.len()));
                    chunks.push(chunk);
                    rest = after;
                }
                assert_eq!(read(chunks), expected, "{}", input.escape_ascii());
            }
            dispatched += expected.events.len();
        }
        // Events have to be common, or the test says little.
        assert!(dispatched > 10_000, "{dispatched}");
    }

    #[test]
    fn bytes_can_be_passed_on_up_to_where_an_event_ends() {
        let mut parser = Parser::new();
        let mut ends = Vec::new();
        let mut push = |bytes: &[u8]| {
            parser.push(bytes, |event| ends.push(event.end));
            (
                mem::take(&mut ends),
                parser.boundary(),
                parser.is_between_events(),
            )
        };
        assert_eq!(push(b""), (vec![], 0, true));
        assert_eq!(push(b"data: x\n"), (vec![], 0, false));
        assert_eq!(push(b"\ndata: y\n\n: z"), (vec![9, 18], 18, false));
        assert_eq!(push(b"\n\n"), (vec![], 23, true));
        // Nobody waits for the LF of the last CRLF, but it goes with its event if it is there.
        assert_eq!(push(b"data: x\r\n\r"), (vec![33], 33, true));
        assert_eq!(push(b"\n"), (vec![], 34, true));
        assert_eq!(push(b"data: x\r\n\r\n"), (vec![44], 45, true));
    }

    #[test]
    fn text_without_a_blank_line_is_there_to_be_asked_for() {
        for (input, data) in [
            ("data: [DONE]", Some("[DONE]")),
            ("data: [DONE]\n", Some("[DONE]")),
            ("data: [DONE]\r\n", Some("[DONE]")),
            ("data: x\n\ndata: {\"a\":", Some("{\"a\":")),
            ("dat", None),
            (": bye", None),
        ] {
            let outcome = read([input.as_bytes()]);
            let unfinished = outcome.unfinished.and_then(|(_, data, _)| data);
            assert_eq!(unfinished.as_deref(), data.map(str::as_bytes), "{input}");
            assert!(!outcome.is_between_events, "{input}");
        }
        for input in ["", "data: x\n\n", ": bye\r\r"] {
            let outcome = read([input.as_bytes()]);
            assert_eq!(
                (outcome.unfinished, outcome.is_between_events),
                (None, true)
            );
        }
    }

    #[test]
    fn nothing_is_copied_of_an_event_that_lies_within_a_chunk() {
        let chunk = b"a: b\n\nevent: x\ndata: y\n\ndata: z\ndata: z\n\ndata: rest";
        let within = |part: &[u8]| chunk.as_ptr_range().contains(&part.as_ptr());
        let mut parser = Parser::new();
        let mut borrowed = Vec::new();
        parser.push(chunk, |event| {
            borrowed.push(matches!(&event.data, Ok(Cow::Borrowed(data)) if within(data)));
            assert!(event.name.is_none_or(within));
        });
        assert_eq!(borrowed, [true, false]);
        assert_eq!(parser.held, b"data: rest");
        parser.push(b"\n\n", |event| {
            assert_eq!(event.data.unwrap(), &b"rest"[..])
        });
        assert_eq!(parser.held.capacity(), 0);
    }

    /// An event of so many bytes, and what its data is.
    fn long_event(bytes: usize, end: &str) -> (Vec<u8>, Vec<u8>) {
        let data = vec![b'x'; bytes - "data:".len() - end.len()];
        ([b"data:", &data[..], end.as_bytes()].concat(), data)
    }

    #[test]
    fn of_an_event_beyond_the_bound_only_that_is_known() {
        const MAX: u64 = MAX_EVENT_BYTES as u64;
        for end in ["\n\n", "\r\r"] {
            let (longest, data) = long_event(MAX_EVENT_BYTES, end);
            let (longer, _) = long_event(MAX_EVENT_BYTES + 1, end);
            let comment = [b":".repeat(MAX_EVENT_BYTES), b"\n\n".to_vec()].concat();
            let input = [
                &longest,
                &longer,
                &b"\n"[..],
                &comment,
                b"data: y\n\ndata",
                &longest,
            ];
            let input = input.concat();
            let ends = [MAX, 2 * MAX + 1, 3 * MAX + 4, 3 * MAX + 13];
            let said = [Some(data), None, None, Some(b"y".to_vec())];
            for size in [input.len(), MAX_EVENT_BYTES, 99_991] {
                let outcome = read(input[..input.len() - 1].chunks(size));
                let events = outcome.events.into_iter().map(|(_, data, end)| (data, end));
                let expected = said.iter().cloned().zip(ends);
                assert!(events.eq(expected), "{end:?} in pieces of {size}");
                assert_eq!(outcome.unfinished, Some((None, None, 4 * MAX + 16)));
                assert_eq!(outcome.boundary, ends[3]);
            }
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut parser = Parser::new();
        let chunk = vec![b'x'; 1 << 16];
        for _ in 0..1 << 14 {
            parser.push(&chunk, |_| unreachable!());
            assert!(parser.held.capacity() <= 2 * MAX_EVENT_BYTES);
        }
        assert_eq!(parser.held.capacity(), 0);
        let mut too_long = Vec::new();
        parser.push(b"\n\ndata: x\n\n", |event| {
            too_long.push(event.data.is_err())
        });
        assert_eq!(too_long, [true, false]);
        assert!(parser.is_between_events());
    }

    #[test]
    fn a_long_event_in_single_bytes_is_read_once() {
        let (event, data) = long_event(MAX_EVENT_BYTES, "\n\n");
        let outcome = read(event.chunks(1));
        assert!(outcome.events == [(None, Some(data), MAX_EVENT_BYTES as u64)]);
    }
}
