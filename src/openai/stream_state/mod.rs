//! What the events of an upstream's stream mean while an answer is held back.
//!
//! Owns the difference between output and what comes before it, errors in a stream that began well, and
//! whether a stream is complete. Keeps no text of an answer. Does not handle how events are framed (see
//! `sse`), nor what an error says (see `upstream_error`). Never fails: an event of an unknown shape is
//! [`Meaning::Malformed`]. A value of an unknown shape in the place of output is output, since nothing may
//! be held back for ever only because it is new.

mod members;

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::value::RawValue;

use super::json::{List, MAX_ITEMS, is_null, is_truthy, string};
use super::sse::{Event, TooLong};
use super::upstream_error::UpstreamError;
use members::{Choice, EventMembers};

/// This many choices of an answer are tracked.
const MAX_CHOICES: usize = MAX_ITEMS;

static FINISH_REASON: LazyLock<Finder<'static>> =
    LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static INDEX: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"index\""));
/// What the events of images, of sound and of transcriptions have.
static TYPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"type\""));
/// What an answer in sound has instead of a finish reason.
static EXPIRES_AT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"expires_at\""));

/// The bytes from the value on, of each member with this key, at any level.
fn values<'d>(key: &'d Finder<'static>, data: &'d [u8]) -> impl Iterator<Item = &'d [u8]> {
    let length = key.needle().len();
    key.find_iter(data).filter_map(move |at| {
        let behind = data.get(at + length..)?.trim_ascii_start();
        Some(behind.strip_prefix(b":")?.trim_ascii_start())
    })
}

/// Which API a stream is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Chat completions.
    Chat,
    /// Legacy completions.
    Completions,
    /// Responses.
    Responses,
    /// Images, transcription, speech and all others: their events are not distinguished.
    Other,
}

/// What one event means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// No output yet: roles, empty deltas, usage, filter results, changes of state.
    Lifecycle,
    /// Real output, or that a choice has been finished.
    Output,
    /// The end marker `[DONE]`, or the event that ends a response well.
    Done,
    /// An error.
    Error(UpstreamError),
    /// Not JSON, or of no shape that is known.
    Malformed,
}

impl Meaning {
    /// The error in an event without a type, if there is one; else the meaning itself.
    fn or_error(self, is_unknown: bool, data: &[u8]) -> Self {
        let error = is_unknown.then(|| UpstreamError::in_unknown_event(data));
        error.flatten().map_or(self, Self::Error)
    }
}

/// How a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its end marker or its terminal event.
    Complete,
    /// Only `[DONE]` is missing, which can be added: each choice that began is finished.
    Unmarked,
    /// Before its end.
    Truncated,
    /// With an error that it reported.
    Failed,
    /// Not known: its API has no end that we know, or it held more than we read.
    Unknown,
}

/// What the events of one stream have meant so far.
pub struct StreamState {
    stream: Stream,
    /// The choices that began, at most [`MAX_CHOICES`], and whether each is finished.
    choices: Vec<(u64, bool)>,
    /// Something was not read: a choice beyond the bound, an invalid index, an event that was too long.
    has_unknown: bool,
    /// A terminal event came.
    completed: bool,
    /// `[DONE]` or a terminal event came.
    done: bool,
    /// An error came before that.
    failed: bool,
}

impl StreamState {
    /// For one stream, from its first event.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            choices: Vec::new(),
            has_unknown: false,
            completed: false,
            done: false,
            failed: false,
        }
    }

    /// Takes the next event.
    pub fn see(&mut self, event: &Event<'_>) -> Meaning {
        let data = match &event.data {
            Ok(data) => data.trim_ascii(),
            // An event of megabytes has output.
            Err(TooLong) => {
                self.has_unknown = true;
                return Meaning::Output;
            }
        };
        // SDKs compare no more than this either.
        if data.starts_with(b"[DONE]") {
            self.done = true;
            return Meaning::Done;
        }
        let meaning = self.read(event.name, data);
        // SDKs do not read on after the end.
        self.failed |= matches!(meaning, Meaning::Error(_)) && !self.done;
        meaning
    }

    /// Whether an event only adds to the output of a choice that has begun, as nearly all events of a stream
    /// do, and so need not be seen. This is decided without parsing, and for every doubtful event it is
    /// `false`. It is wrong only for what no server sends: data that is no JSON, keys with escapes, more
    /// choices than any answer has, an event whose name is not its type.
    pub fn can_skip(&self, event: &Event<'_>) -> bool {
        let Ok(data) = &event.data else {
            return false;
        };
        let is_object = data.first() == Some(&b'{') && data.last() == Some(&b'}');
        if !is_object || event.name == Some(b"error") || UpstreamError::may_be_in(data) {
            return false;
        }
        match self.stream {
            Stream::Chat | Stream::Completions => {
                let finishes = values(&FINISH_REASON, data)
                    .any(|value| !value.starts_with(b"null"))
                    || EXPIRES_AT.find(data).is_some();
                let is_first = |value: &[u8]| {
                    value.first() == Some(&b'0') && matches!(value.get(1), Some(b',' | b'}' | b' '))
                };
                let only_first_began = matches!(self.choices.as_slice(), [(0, _)]);
                if !only_first_began || finishes {
                    return false;
                }
                // What has no choice may be an error without an envelope.
                let mut indexes = values(&INDEX, data);
                indexes.next().is_some_and(is_first) && indexes.all(is_first)
            }
            Stream::Responses => event.name.is_some_and(|name| name.ends_with(b".delta")),
            Stream::Other => TYPE.find(data).is_some(),
        }
    }

    /// Whether the output is there in full: each choice that began has its finish reason, or the
    /// response is completed. A choice that has not begun is not counted.
    pub fn is_finished(&self) -> bool {
        let all = !self.choices.is_empty() && self.choices.iter().all(|(_, finished)| *finished);
        self.completed || all && !self.has_unknown
    }

    /// Whether the end marker or the terminal event came.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// How the stream has ended, if no event comes any more.
    pub fn ending(&self) -> Ending {
        match self.stream {
            _ if self.failed => Ending::Failed,
            // A marker that some upstreams add does not end the response.
            Stream::Responses if self.completed => Ending::Complete,
            Stream::Responses if !self.has_unknown => Ending::Truncated,
            Stream::Responses => Ending::Unknown,
            _ if self.done => Ending::Complete,
            Stream::Other => Ending::Unknown,
            Stream::Chat | Stream::Completions if self.is_finished() => Ending::Unmarked,
            Stream::Chat | Stream::Completions if self.has_unknown => Ending::Unknown,
            Stream::Chat | Stream::Completions => Ending::Truncated,
        }
    }

    fn read(&mut self, name: Option<&[u8]>, data: &[u8]) -> Meaning {
        let named_error = name == Some(b"error");
        let read = |json| {
            let event: EventMembers<'_> = serde_json::from_str(json).ok()?;
            Some((json, event))
        };
        match str::from_utf8(data).ok().and_then(read) {
            Some((json, event)) if named_error || event.markers.has_error() => {
                Meaning::Error(UpstreamError::in_event(json))
            }
            Some((json, event)) => match self.stream {
                Stream::Chat | Stream::Completions => self.read_chunk(json, &event),
                Stream::Responses => self.read_response(name, &event),
                Stream::Other => Meaning::Output,
            }
            .or_error(event.is_untyped() && name.is_none(), data),
            None if named_error => Meaning::Error(UpstreamError::from_text(data)),
            None if self.stream == Stream::Other => Meaning::Output.or_error(true, data),
            None => Meaning::Malformed.or_error(true, data),
        }
    }

    /// Reads an event of a chat or of a legacy completion.
    fn read_chunk(&mut self, json: &str, event: &EventMembers<'_>) -> Meaning {
        let choices = match event.choices.filter(|choices| !is_null(choices)) {
            Some(choices) => serde_json::from_str::<List<Choice<'_>>>(choices.get()).ok(),
            // `null` is how some servers write a list that is empty.
            None => event.is_chunk().then(List::default),
        };
        let Some(choices) = choices else {
            return Meaning::Malformed;
        };
        if !choices.items.is_empty() && choices.items.iter().all(Choice::has_failed) {
            return Meaning::Error(UpstreamError::in_event(json));
        }
        self.has_unknown |= choices.has_more;
        let mut meaning = Meaning::Lifecycle;
        for choice in &choices.items {
            let (has_output, finished) = choice.read();
            self.note(choice.index, finished);
            if has_output || finished {
                meaning = Meaning::Output;
            }
        }
        meaning
    }

    /// Notes that a choice has begun, or that it is finished.
    fn note(&mut self, index: Option<&RawValue>, finished: bool) {
        let Ok(index) = index.map_or("0", RawValue::get).parse::<u64>() else {
            self.has_unknown = true;
            return;
        };
        let mut known = self.choices.iter_mut();
        if let Some((_, noted)) = known.find(|(known, _)| *known == index) {
            *noted |= finished;
        } else if self.choices.len() < MAX_CHOICES {
            self.choices.push((index, finished));
        } else {
            self.has_unknown = true;
        }
    }

    /// Reads an event of a response.
    ///
    /// A type that we do not know is output: there are more of them every few months, and while one
    /// is held back the client waits and a timeout for the first output runs. Passing it costs
    /// only the chance to try another upstream.
    fn read_response(&mut self, name: Option<&[u8]>, event: &EventMembers<'_>) -> Meaning {
        let named = || str::from_utf8(name?).ok().map(Cow::Borrowed);
        let Some(kind) = event.markers.kind.and_then(string).or_else(named) else {
            return Meaning::Malformed;
        };
        match kind.as_ref() {
            "response.completed" | "response.incomplete" => {
                self.completed = true;
                self.done = true;
                return Meaning::Done;
            }
            "keepalive" | "ping" => return Meaning::Lifecycle,
            "response.output_text.annotation.added" => return Meaning::Output,
            // The tools are listed before the model is asked.
            listed if listed.starts_with("response.mcp_list_tools.") => return Meaning::Lifecycle,
            _ => {}
        }
        let is_empty = match kind.rsplit('.').next() {
            Some("created" | "queued" | "in_progress" | "added") => true,
            Some("delta") => !is_truthy(event.delta),
            _ => false,
        };
        if is_empty {
            Meaning::Lifecycle
        } else {
            Meaning::Output
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines
)]
mod tests;
