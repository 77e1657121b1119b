//! What the messages of a server report of their usage.
//!
//! Owns which messages of the realtime API and of responses over a socket report a usage, and putting one
//! together from its frames within a bound; of a longer one, its usage is found as it passes. What the model says
//! is kept as a sample until its response ends. Does not handle how a usage is read (see `usage`). Never fails: a
//! message that is compressed, or too long and without a usage, counts as unread.

use std::borrow::Cow;
use std::mem;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use super::frames::{Frame, Frames};
use crate::openai::estimate::Sample;
use crate::openai::usage::{StreamUsage, Usage, UsageScanner};

/// A longer message that has not named a type that is of interest is not read.
const HEAD_BYTES: usize = 64 << 10;
/// A longer message is not kept.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// The types of messages that report a usage.
const TYPES: [&str; 5] = [
    "response.done",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "conversation.item.input_audio_transcription.completed",
];

/// As they stand in a message.
static QUOTED: LazyLock<[Finder<'static>; TYPES.len()]> =
    LazyLock::new(|| TYPES.map(|kind| Finder::new(&format!("\"{kind}\"")).into_owned()));
/// The end of the types of messages with a piece of what the model says, and of those in which it is sound.
static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b".delta\""));
static SOUND: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"audio.delta\""));

/// What a message has reported.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// A response, or a transcription, has ended.
    Ended {
        /// Its usage, where it reports one.
        usage: Option<Usage>,
        /// The model that served it, where it is named.
        model: Option<String>,
    },
    /// It cannot be read: it is compressed, or too long.
    Unread,
}

/// Reads the messages of one server.
#[derive(Debug, Default)]
pub struct Messages {
    frames: Frames,
    state: State,
    /// The message so far, as far as it is kept.
    kept: Vec<u8>,
    /// What the model has said since a response has last ended.
    said: Sample,
}

/// What is done with the current message.
#[derive(Debug, Default)]
enum State {
    /// It has not told its type.
    #[default]
    Undecided,
    /// It is kept.
    Keeping,
    /// It is too long to be kept, and looked through for its usage.
    Scanning(Box<UsageScanner>),
    /// It is of no interest.
    Skipping,
    /// It would be of interest, and cannot be read.
    Unread,
}

impl Messages {
    /// Takes the next bytes, and hands on what messages report that have ended with them.
    pub fn pass(&mut self, bytes: &[u8], mut each: impl FnMut(Message)) {
        let Self {
            frames,
            state,
            kept,
            said,
        } = self;
        frames.pass_to(bytes, |frame| {
            if frame.opcode >= 0x8 {
                return;
            }
            *state = mem::take(state).after(frame, kept);
            if frame.is_final {
                // What a long message has taken is not kept for the short ones behind it.
                let message = mem::take(kept);
                if let Some(message) = ended(mem::take(state), &message, said) {
                    *said = Sample::default();
                    each(message);
                }
            }
        });
    }

    /// The frames that have passed.
    pub fn frames(&self) -> &Frames {
        &self.frames
    }

    /// What the model has said in a response that has not ended; nothing where none is open.
    pub fn unfinished(&self) -> Option<&Sample> {
        Some(&self.said).filter(|said| said.rough_tokens() > 0)
    }
}

impl State {
    fn after(self, frame: Frame<'_>, kept: &mut Vec<u8>) -> Self {
        if frame.is_compressed && frame.opcode != 0 {
            return Self::Unread;
        }
        match self {
            Self::Skipping | Self::Unread => self,
            Self::Scanning(mut scanner) => {
                scanner.push(frame.payload);
                Self::Scanning(scanner)
            }
            Self::Undecided => {
                kept.extend_from_slice(frame.payload);
                match kept.len() <= HEAD_BYTES {
                    true => Self::Undecided,
                    false if is_named(kept) => Self::Keeping.bounded(kept),
                    false => {
                        kept.clear();
                        Self::Skipping
                    }
                }
            }
            Self::Keeping => {
                kept.extend_from_slice(frame.payload);
                Self::Keeping.bounded(kept)
            }
        }
    }

    /// A message that is too long to be kept is looked through from its beginning on.
    fn bounded(self, kept: &mut Vec<u8>) -> Self {
        if kept.len() <= MAX_MESSAGE_BYTES {
            return self;
        }
        let mut scanner = Box::<UsageScanner>::default();
        scanner.push(&mem::take(kept));
        Self::Scanning(scanner)
    }
}

/// What a message reports that has ended. What the model says in it is added to what it has said.
fn ended(state: State, message: &[u8], said: &mut Sample) -> Option<Message> {
    match state {
        State::Skipping => None,
        State::Unread => Some(Message::Unread),
        State::Scanning(scanner) => Some(match scanner.usage() {
            Some(usage) => Message::Ended {
                usage: Some(usage),
                model: None,
            },
            None => Message::Unread,
        }),
        State::Undecided | State::Keeping => {
            if !is_named(message) {
                if DELTA.find(message).is_some() && SOUND.find(message).is_none() {
                    said.add_answer(message);
                }
                return None;
            }
            let typed: Typed<'_> = serde_json::from_slice(message).ok()?;
            if !TYPES.contains(&typed.kind.as_ref()) {
                return None;
            }
            let mut usage = StreamUsage::default();
            usage.see(message);
            Some(Message::Ended {
                usage: usage.usage(),
                model: typed.response.and_then(|response| response.model),
            })
        }
    }
}

fn is_named(head: &[u8]) -> bool {
    QUOTED.iter().any(|kind| kind.find(head).is_some())
}

/// What is read of a message.
#[derive(Deserialize)]
struct Typed<'m> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'m, str>,
    #[serde(default)]
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    model: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::websocket::text_frame;

    const DONE: &str = r#"{"type":"response.done","event_id":"e","response":{"model":"m","usage":{"total_tokens":7,"input_tokens":5,"output_tokens":2}}}"#;

    /// What these bytes report, in chunks of a size.
    fn reported(bytes: &[u8], size: usize) -> Vec<Message> {
        let mut messages = Messages::default();
        let mut found = Vec::new();
        for chunk in bytes.chunks(size) {
            messages.pass(chunk, |message| found.push(message));
        }
        assert!(messages.frames().is_between());
        found
    }

    fn used(input: u64, output: u64, model: Option<&str>) -> Message {
        Message::Ended {
            usage: Some(Usage {
                input,
                output,
                ..Usage::default()
            }),
            model: model.map(str::to_owned),
        }
    }

    #[test]
    fn a_response_that_has_ended_reports_its_usage_over_any_chunks() {
        let delta = format!(
            r#"{{"type":"response.output_audio.delta","delta":"{}"}}"#,
            "A".repeat(5000)
        );
        let quoting = r#"{"type":"response.output_text.delta","delta":"\"response.done\""}"#;
        let long = DONE.replace(r#""e""#, &format!(r#""{}""#, "e".repeat(3000)));
        let late = r#"{"response":{"usage":null},"type":"response.failed"}"#;
        let messages = [&delta, DONE, quoting, &long, late, "{", ""];
        let bytes: Vec<u8> = messages
            .iter()
            .flat_map(|message| text_frame(message.as_bytes()))
            .collect();
        for size in [1, 2, 3, 7, 500, 513, 1 << 20] {
            let failed = Message::Ended {
                usage: None,
                model: None,
            };
            let expected = [used(5, 2, Some("m")), used(5, 2, Some("m")), failed];
            assert_eq!(reported(&bytes, size), expected, "by {size}");
        }
    }

    #[test]
    fn a_message_may_come_in_several_frames_with_control_frames_between_them() {
        let (one, two) = DONE.as_bytes().split_at(40);
        let mut first = text_frame(one);
        first[0] &= 0x7f;
        let mut last = text_frame(two);
        last[0] = 0x80;
        let ping = [0x89, 0];
        let bytes = [&first[..], &ping, &last].concat();
        assert_eq!(reported(&bytes, 3), [used(5, 2, Some("m"))]);
    }

    #[test]
    fn a_message_that_is_too_long_to_be_kept_reports_its_usage_all_the_same() {
        let spaces = " ".repeat(MAX_MESSAGE_BYTES - DONE.len());
        let most = DONE.replacen(',', &format!(",{spaces}"), 1);
        let found = reported(&text_frame(most.as_bytes()), 4096);
        assert_eq!(found, [used(5, 2, Some("m"))]);
        let longer = DONE.replacen(',', &format!(",{spaces} "), 1);
        let found = reported(&text_frame(longer.as_bytes()), 4096);
        assert_eq!(found, [used(5, 2, None)]);
        let without = longer.replace("usage", "other");
        let found = reported(&text_frame(without.as_bytes()), 4096);
        assert_eq!(found, [Message::Unread]);
    }

    #[test]
    fn a_message_that_is_compressed_is_counted_as_unread() {
        let mut compressed = text_frame(b"xyz");
        compressed[0] |= 0x40;
        assert_eq!(reported(&compressed, 2), [Message::Unread]);
    }

    #[test]
    fn what_is_said_in_a_response_that_has_not_ended_is_known() {
        let mut messages = Messages::default();
        let say = |kind: &str| {
            let text = "word ".repeat(40);
            text_frame(format!(r#"{{"type":"{kind}","delta":"{text}"}}"#).as_bytes())
        };
        messages.pass(&say("response.output_audio.delta"), |_| {});
        assert_eq!(messages.unfinished(), None);
        messages.pass(&say("response.output_text.delta"), |_| {});
        assert!(
            messages
                .unfinished()
                .is_some_and(|said| said.rough_tokens() >= 50)
        );
        messages.pass(&text_frame(DONE.as_bytes()), |_| {});
        assert_eq!(messages.unfinished(), None);
    }
}
