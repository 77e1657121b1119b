//! Server-sent events, read from bytes that pass elsewhere.
//!
//! Owns where lines and events end, and the fields of an event. It only observes: no byte is changed or kept
//! back by it. Does not handle what an event means (see `stream_state`), nor whether it is UTF-8 or JSON.
//! Never fails: any bytes, cut into chunks anywhere, give the same events; of an event beyond
//! [`MAX_EVENT_BYTES`] only that it is too long is known.

use std::borrow::Cow;
use std::iter;

use bytes::Bytes;
use memchr::{memchr, memchr2};

use super::json::range_in;

/// The most bytes of an event that are read, its blank line and comments included. A parser holds
/// no more than this, but for what a growing buffer has in reserve; and while it reports an event
/// of several data lines, these joined.
pub const MAX_EVENT_BYTES: usize = 8 << 20;

/// A stream may begin with it; it belongs to no line.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One event that has data; an event without data is not reported.
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
    /// The offset in the stream after its blank line. Where that ends in CRLF, the LF comes after this
    /// offset, so that it is not waited for; see [`Parser::boundary`].
    pub end: u64,
}

impl Event<'_> {
    /// An event with its name and this data, as it is written.
    pub fn written(&self, data: &[u8]) -> Bytes {
        let mut text = Vec::with_capacity(data.len() + 16);
        if let Some(name) = self.name {
            text.extend([b"event: ", name, b"\n"].concat());
        }
        for line in data.split(|byte| *byte == b'\n') {
            text.extend([b"data: ", line, b"\n"].concat());
        }
        text.push(b'\n');
        Bytes::from(text)
    }

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
        // The buffer is kept for the next event, and freed between events: a stream may pause for long.
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

/// The position in a stream, so that it can come in any pieces.
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
    /// Finds the first event that ends in these bytes: how many of them belong to it, and its
    /// range in the stream. They follow the bytes of the last call or, if an event was found
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

    /// The part that has come of the event that has begun.
    pub(super) fn begun(&self) -> Frame {
        Frame {
            start: self.boundary,
            end: self.position,
        }
    }
}

/// The range of an event in the stream.
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
            // Between a CR and its LF there seems to be a blank line, which has no meaning.
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
mod tests;
