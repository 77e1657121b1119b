//! The chunks of a chat and of a legacy completion.
//!
//! Owns which member goes into which delta. A list or a text goes into one delta only, for SDKs join what
//! is repeated. Does not handle what the other members mean: they pass as they are. Fails for an answer
//! without choices, and for a choice without a message or a text.

use std::borrow::Cow;
use std::mem;

use serde_json::value::RawValue;

use super::Events;
use crate::openai::json::{
    WalkError, index, is_null, is_object, items, members, objects, push_member, quoted,
};

/// The members that come before the content, and after it.
const BEFORE: [&str; 3] = ["reasoning_content", "reasoning", "reasoning_details"];
const TEXTS: [&str; 2] = ["content", "refusal"];
const AFTER: [&str; 2] = ["function_call", "audio"];

const EMPTY: &str = "\"\"";

type Member<'b> = (Cow<'b, str>, &'b RawValue);

/// Synthesizes the stream of a chat.
pub(super) fn synthesize_chat(
    json: &str,
    usage: bool,
    events: &mut Events,
) -> Result<(), WalkError> {
    let answer = Answer::read(json)?;
    let mut chunks = Chunks::new(&answer, "chat.completion.chunk", usage, events);
    for (place, choice) in (0..).zip(&answer.choices) {
        Choice::read(choice, place)?.synthesize_message(&mut chunks)?;
    }
    chunks.end(answer.usage)
}

/// Synthesizes the stream of a legacy completion.
pub(super) fn synthesize_completion(
    json: &str,
    usage: bool,
    events: &mut Events,
) -> Result<(), WalkError> {
    let answer = Answer::read(json)?;
    let mut chunks = Chunks::new(&answer, "text_completion", usage, events);
    for (place, choice) in (0..).zip(&answer.choices) {
        Choice::read(choice, place)?.synthesize_text(&mut chunks)?;
    }
    chunks.end(answer.usage)
}

/// The parts of an answer.
struct Answer<'b> {
    /// The members that each chunk has.
    common: Vec<Member<'b>>,
    choices: Vec<&'b RawValue>,
    usage: Option<&'b RawValue>,
    /// Unknown members, which only the first chunk has.
    others: Vec<Member<'b>>,
}

impl<'b> Answer<'b> {
    fn read(json: &'b str) -> Result<Self, WalkError> {
        let mut answer = Self {
            common: Vec::new(),
            choices: Vec::new(),
            usage: None,
            others: Vec::new(),
        };
        members(json, |name, value| {
            match &*name {
                "object" | "obfuscation" => {}
                "id" | "created" | "model" | "service_tier" | "system_fingerprint" => {
                    answer.common.push((name, value));
                }
                "choices" => {
                    return items(value.get(), |choice| {
                        answer.choices.push(choice);
                        Ok(())
                    });
                }
                "usage" => answer.usage = Some(value).filter(|usage| is_object(usage)),
                _ => answer.others.push((name, value)),
            }
            Ok(())
        })?;
        if answer.choices.is_empty() {
            return Err(WalkError::Malformed);
        }
        Ok(answer)
    }
}

/// Writes the chunks of one answer.
struct Chunks<'e> {
    events: &'e mut Events,
    /// A chunk up to its choices.
    head: String,
    /// What only the first chunk has beside them.
    once: String,
    includes_usage: bool,
}

impl<'e> Chunks<'e> {
    fn new(answer: &Answer<'_>, object: &str, usage: bool, events: &'e mut Events) -> Self {
        let mut head = String::from("{");
        let write = |out: &mut String, is_wanted: &dyn Fn(&str) -> bool| {
            for (name, value) in answer.common.iter().filter(|(name, _)| is_wanted(name)) {
                push_member(out, name, value.get());
            }
        };
        write(&mut head, &|name| name == "id");
        push_member(&mut head, "object", &format!("\"{object}\""));
        write(&mut head, &|name| name != "id");
        push_member(&mut head, "choices", "[");
        let mut once = String::new();
        for (name, value) in &answer.others {
            push_member(&mut once, name, value.get());
        }
        Self {
            events,
            head,
            once,
            includes_usage: usage,
        }
    }

    /// Writes a chunk of one choice.
    fn push(&mut self, choice: &str) -> Result<(), WalkError> {
        let once = mem::take(&mut self.once);
        let usage = if self.includes_usage {
            ",\"usage\":null"
        } else {
            ""
        };
        self.events
            .push(&[&self.head, choice, "]", usage, &once, "}"])
    }

    /// Writes the usage, if it is wanted and there is one, and the end marker.
    fn end(self, usage: Option<&RawValue>) -> Result<(), WalkError> {
        if let Some(usage) = usage.filter(|_| self.includes_usage) {
            self.events
                .push(&[&self.head, "],\"usage\":", usage.get(), "}"])?;
        }
        self.events.push(&["[DONE]"])
    }
}

/// The parts of a choice.
struct Choice<'b> {
    index: u64,
    message: Vec<Member<'b>>,
    text: Option<&'b str>,
    logprobs: Option<&'b str>,
    finish_reason: Option<&'b str>,
    others: Vec<Member<'b>>,
}

impl<'b> Choice<'b> {
    /// Reads a choice; a choice without an index gets its position.
    fn read(choice: &'b RawValue, place: u64) -> Result<Self, WalkError> {
        let mut read = Self {
            index: place,
            message: Vec::new(),
            text: None,
            logprobs: None,
            finish_reason: None,
            others: Vec::new(),
        };
        members(choice.get(), |name, value| {
            let json = value.get();
            match &*name {
                "index" => read.index = index(Some(value))?.unwrap_or(read.index),
                "message" => {
                    return members(json, |name, value| {
                        read.message.push((name, value));
                        Ok(())
                    });
                }
                "text" => read.text = Some(json).filter(|text| text.starts_with('"')),
                "logprobs" => read.logprobs = Some(json),
                "finish_reason" => {
                    read.finish_reason = Some(json).filter(|reason| reason.starts_with('"'));
                }
                "delta" => {}
                _ => read.others.push((name, value)),
            }
            Ok(())
        })?;
        Ok(read)
    }

    /// A member of the message that is not null.
    fn member(&self, name: &str) -> Option<&'b RawValue> {
        let (_, value) = self.message.iter().find(|(known, _)| known == name)?;
        Some(*value).filter(|value| !is_null(value))
    }

    fn synthesize_message(&self, chunks: &mut Chunks<'_>) -> Result<(), WalkError> {
        if self.message.is_empty() {
            return Err(WalkError::Malformed);
        }
        let piece = |delta: &str, logprobs| self.piece(&format!("\"delta\":{delta}"), logprobs);
        let push =
            |chunks: &mut Chunks<'_>, delta: &str, logprobs| chunks.push(&piece(delta, logprobs));
        // Of an unknown member some SDKs keep the first value of a choice, others the last.
        chunks.push(&self.with_others(piece(&self.opening(), None)))?;
        let mut logprobs = self.logprobs;
        for name in BEFORE.into_iter().chain(TEXTS).chain(AFTER) {
            let Some(value) = self.member(name).filter(|value| value.get() != EMPTY) else {
                continue;
            };
            let is_text = TEXTS.contains(&name);
            let theirs = if is_text { logprobs.take() } else { None };
            push(chunks, &format!("{{\"{name}\":{}}}", value.get()), theirs)?;
        }
        let mut place: usize = 0;
        objects(self.member("tool_calls"), |call| {
            let delta = format!("{{\"tool_calls\":[{}]}}", indexed(call, place)?);
            place += 1;
            push(chunks, &delta, None)
        })?;
        let others = self.other_members();
        if others != "{}" {
            push(chunks, &others, None)?;
        }
        let likely = if place > 0 { "tool_calls" } else { "stop" };
        chunks.push(&self.last_piece("\"delta\":{}", logprobs, likely))
    }

    fn synthesize_text(&self, chunks: &mut Chunks<'_>) -> Result<(), WalkError> {
        let text = self.text.ok_or(WalkError::Malformed)?;
        chunks.push(&self.piece(&format!("\"text\":{text}"), self.logprobs))?;
        chunks.push(&self.last_piece("\"text\":\"\"", None, "stop"))
    }

    /// The first delta: the role, the members that are null, and an empty content.
    fn opening(&self) -> String {
        let mut delta = String::from("{");
        let role = self.member("role").map_or("\"assistant\"", RawValue::get);
        push_member(&mut delta, "role", role);
        for (name, value) in self.message.iter().filter(|(name, _)| is_to_pass(name)) {
            let json = value.get();
            if json == EMPTY || name == "content" && json.starts_with('"') {
                push_member(&mut delta, name, EMPTY);
            } else if is_null(value) {
                push_member(&mut delta, name, "null");
            }
        }
        delta.push('}');
        delta
    }

    /// A delta of annotations and of all unknown members.
    fn other_members(&self) -> String {
        let has_its_own = |name: &str| {
            let known = [&BEFORE[..], &TEXTS, &AFTER];
            name == "tool_calls" || known.into_iter().flatten().any(|known| *known == name)
        };
        let mut delta = String::from("{");
        for (name, value) in &self.message {
            let is_filled = !is_null(value) && value.get() != EMPTY;
            if is_filled && is_to_pass(name) && !has_its_own(name) {
                push_member(&mut delta, name, value.get());
            }
        }
        delta.push('}');
        delta
    }

    /// The choice in a chunk that is not its last.
    fn piece(&self, member: &str, logprobs: Option<&str>) -> String {
        let index = self.index;
        let logprobs = logprobs.unwrap_or("null");
        format!(r#"{{"index":{index},{member},"logprobs":{logprobs},"finish_reason":null}}"#)
    }

    /// The choice in its last chunk, with its finish reason, or else the likely one.
    fn last_piece(&self, member: &str, logprobs: Option<&str>, likely: &str) -> String {
        let index = self.index;
        let logprobs = logprobs.unwrap_or("null");
        let likely = quoted(likely);
        let reason = self.finish_reason.unwrap_or(&likely);
        self.with_others(format!(
            r#"{{"index":{index},{member},"logprobs":{logprobs},"finish_reason":{reason}}}"#
        ))
    }

    /// A piece with the unknown members of the choice.
    fn with_others(&self, mut piece: String) -> String {
        piece.pop();
        for (name, value) in &self.others {
            push_member(&mut piece, name, value.get());
        }
        piece.push('}');
        piece
    }
}

/// Whether a member is passed on besides the role.
fn is_to_pass(name: &str) -> bool {
    !matches!(name, "role" | "obfuscation")
}

/// A call with its index among the others.
fn indexed(call: &RawValue, place: usize) -> Result<String, WalkError> {
    let mut out = String::from("{");
    push_member(&mut out, "index", &place.to_string());
    members(call.get(), |name, value| {
        if name != "index" {
            push_member(&mut out, &name, value.get());
        }
        Ok(())
    })?;
    out.push('}');
    Ok(out)
}
