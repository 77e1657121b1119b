//! A stream, synthesized from a whole answer.
//!
//! Owns the events that a server would have sent for an answer. The official SDKs put them together to the
//! same answer, and nothing of it is lost. Does not decide when a stream is synthesized (see
//! `gateway::exchange`). Fails for an answer that is not of the known shape.

mod chunks;
mod response;

use serde_json::value::RawValue;

use super::json::WalkError;
use super::stream_state::Stream;

/// The most bytes of events that are made of one answer. An answer with so many
/// parts that it needs more gets no stream.
pub const MAX_SYNTHESIZED_BYTES: usize = 128 << 20;

/// The events of the stream that would have ended in this answer, as they go over the wire; `None`
/// when it is not of the known shape or needs more than [`MAX_SYNTHESIZED_BYTES`], and for
/// [`Stream::Other`].
///
/// `include_usage`: whether a chat or a legacy completion reports its usage, in a chunk of its own. A
/// response always does.
pub fn synthesize(stream: Stream, answer: &[u8], include_usage: bool) -> Option<Vec<u8>> {
    synthesize_within(MAX_SYNTHESIZED_BYTES, stream, answer, include_usage)
}

fn synthesize_within(
    limit: usize,
    stream: Stream,
    answer: &[u8],
    include_usage: bool,
) -> Option<Vec<u8>> {
    let answer: &RawValue = serde_json::from_slice(answer).ok()?;
    let answer = on_one_line(answer.get());
    let mut events = Events {
        out: String::new(),
        limit,
    };
    let written = match stream {
        Stream::Chat => chunks::synthesize_chat(&answer, include_usage, &mut events),
        Stream::Completions => chunks::synthesize_completion(&answer, include_usage, &mut events),
        Stream::Responses => response::synthesize(&answer, &mut events),
        Stream::Other => return None,
    };
    written.ok()?;
    Some(events.out.into_bytes())
}

/// Valid JSON without white space between its parts: a line break would end the data of an event.
fn on_one_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_text, mut is_escaped) = (false, false);
    for letter in json.chars() {
        if in_text || !letter.is_ascii_whitespace() {
            out.push(letter);
        }
        in_text ^= letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
    }
    out
}

/// Events, as they go over the wire.
struct Events {
    out: String,
    limit: usize,
}

impl Events {
    /// Writes an event without a name.
    fn push(&mut self, data: &[&str]) -> Result<(), WalkError> {
        self.write("data: ")?;
        for part in data {
            self.write(part)?;
        }
        self.write("\n\n")
    }

    /// Writes the line that names the event to follow.
    fn name(&mut self, name: &str) -> Result<(), WalkError> {
        self.write("event: ")?;
        self.write(name)?;
        self.write("\n")
    }

    fn write(&mut self, text: &str) -> Result<(), WalkError> {
        if text.len() > self.limit - self.out.len() {
            return Err(WalkError::TooLarge);
        }
        self.out.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
