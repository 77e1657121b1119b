//! What the messages of a server report of their usage.
//!
//! Owns which messages of the realtime API and of responses over a socket report a usage, and putting one
//! together from its frames within a bound. A message is looked into only where its beginning names a type
//! that reports one. Does not handle how a usage is read (see `usage`). Never fails: a message that is
//! compressed, or too long, counts as unread.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use super::frames::{Frame, Frames};
use crate::openai::usage::{StreamUsage, Usage};

/// In so many bytes a message tells its type.
const HEAD_BYTES: usize = 512;
/// A longer message is not read.
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

/// What a message has reported.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// A response, or a transcription, has ended; with its usage, where it reports one.
    Ended(Option<Usage>),
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
}

/// What is done with the current message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It has not told its type.
    #[default]
    Undecided,
    /// It is kept.
    Keeping,
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
        } = self;
        frames.pass_to(bytes, |frame| {
            if frame.opcode >= 0x8 {
                return;
            }
            *state = state.after(frame, kept);
            if frame.is_final {
                if let Some(message) = ended(*state, kept) {
                    each(message);
                }
                *state = State::default();
                // What a long message has taken is not kept for the short ones behind it.
                *kept = Vec::new();
            }
        });
    }

    /// The frames that have passed.
    pub fn frames(&self) -> &Frames {
        &self.frames
    }
}

impl State {
    fn after(self, frame: Frame<'_>, kept: &mut Vec<u8>) -> Self {
        if frame.is_compressed && frame.opcode == 0x1 {
            return Self::Unread;
        }
        match self {
            Self::Skipping | Self::Unread => return self,
            Self::Undecided | Self::Keeping => {}
        }
        if frame.opcode == 0x2 {
            return Self::Skipping;
        }
        let bound = match self {
            Self::Keeping => MAX_MESSAGE_BYTES,
            _ => HEAD_BYTES,
        };
        let room = bound.saturating_sub(kept.len());
        let (head, rest) = frame.payload.split_at(frame.payload.len().min(room));
        kept.extend_from_slice(head);
        if rest.is_empty() {
            return self;
        }
        if self == Self::Keeping {
            return Self::Unread;
        }
        match is_named(kept) {
            true => Self::Keeping.after(
                Frame {
                    payload: rest,
                    ..frame
                },
                kept,
            ),
            false => Self::Skipping,
        }
    }
}

/// What a message reports that has ended.
fn ended(state: State, kept: &[u8]) -> Option<Message> {
    match state {
        State::Skipping => None,
        State::Unread => Some(Message::Unread),
        State::Undecided | State::Keeping => {
            if !is_named(kept) || !is_of_interest(kept) {
                return None;
            }
            let mut usage = StreamUsage::default();
            usage.see(kept);
            Some(Message::Ended(usage.usage()))
        }
    }
}

fn is_named(head: &[u8]) -> bool {
    QUOTED.iter().any(|kind| kind.find(head).is_some())
}

/// Whether the type itself is one of them, and not a text within the message.
fn is_of_interest(message: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Typed<'m> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'m, str>,
    }
    let typed: Option<Typed<'_>> = serde_json::from_slice(message).ok();
    typed.is_some_and(|message| TYPES.contains(&message.kind.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::websocket::text_frame;

    const DONE: &str = r#"{"type":"response.done","event_id":"e","response":{"status":"completed","usage":{"total_tokens":7,"input_tokens":5,"output_tokens":2}}}"#;

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

    fn used(input: u64, output: u64) -> Message {
        Message::Ended(Some(Usage {
            input,
            output,
            ..Usage::default()
        }))
    }

    #[test]
    fn a_response_that_has_ended_reports_its_usage_over_any_chunks() {
        let delta = format!(
            r#"{{"type":"response.output_audio.delta","delta":"{}"}}"#,
            "A".repeat(5000)
        );
        let quoting = r#"{"type":"response.output_text.delta","delta":"\"response.done\" "}"#;
        let long = DONE.replace(r#""e""#, &format!(r#""{}""#, "e".repeat(3000)));
        let without = r#"{"response":{"usage":null},"type":"response.failed"}"#;
        let messages = [&delta, DONE, quoting, &long, without, "{", ""];
        let bytes: Vec<u8> = messages
            .iter()
            .flat_map(|message| text_frame(message.as_bytes()))
            .collect();
        for size in [1, 2, 3, 7, 500, 513, 1 << 20] {
            let expected = [used(5, 2), used(5, 2), Message::Ended(None)];
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
        assert_eq!(reported(&bytes, 3), [used(5, 2)]);
    }

    #[test]
    fn a_message_that_is_compressed_or_too_long_is_counted_as_unread() {
        let mut compressed = text_frame(b"xyz");
        compressed[0] |= 0x40;
        assert_eq!(reported(&compressed, 2), [Message::Unread]);
        let most = format!("{DONE}{}", " ".repeat(MAX_MESSAGE_BYTES - DONE.len()));
        assert_eq!(reported(&text_frame(most.as_bytes()), 4096), [used(5, 2)]);
        let longer = format!("{most} ");
        let found = reported(&text_frame(longer.as_bytes()), 4096);
        assert_eq!(found, [Message::Unread]);
        let mut binary = text_frame(DONE.as_bytes());
        binary[0] = 0x82;
        assert_eq!(reported(&binary, 50), []);
    }
}
