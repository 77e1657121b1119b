//! The message of a choice in a chat.
//!
//! Owns how each member of a delta is joined. Does not handle which call a piece belongs to (see `calls`),
//! nor how sound is joined (see `audio`). Fails for a member of an impossible shape, and beyond a bound.

use serde_json::value::RawValue;

use super::MAX_DEPTH;
use super::audio::Audio;
use super::calls::{Calls, Function};
use super::value::{Budget, MemberMap, Value, as_object};
use crate::openai::json::{WalkError, is_array, push_key};

/// The part of a message that has come.
#[derive(Default)]
pub(super) struct Message {
    role: Value,
    content: Value,
    refusal: Value,
    /// Reasoning in whichever member the upstream has it, images, annotations, and all unknown members.
    others: MemberMap,
    audio: Option<Audio>,
    function_call: Option<Function>,
    calls: Calls,
}

impl Message {
    /// Takes a member of the next delta.
    pub(super) fn see(
        &mut self,
        name: &str,
        value: &RawValue,
        budget: &mut Budget,
    ) -> Result<(), WalkError> {
        match name {
            "content" => self.see_content(value, budget),
            "role" => self.role.keep_first(value, budget),
            "refusal" => self.refusal.join(value, MAX_DEPTH, budget),
            "tool_calls" => self.calls.see(value, budget),
            "function_call" => as_object(value).map_or(Ok(()), |call| {
                let kept = self
                    .function_call
                    .get_or_insert_with(Function::with_arguments);
                kept.see(call, budget)
            }),
            "audio" => as_object(value).map_or(Ok(()), |audio| {
                let kept = self.audio.get_or_insert_default();
                kept.see(audio, budget)
            }),
            "annotations" => self.others.slot(name, budget)?.extend(value, budget),
            "obfuscation" => Ok(()),
            _ => self
                .others
                .slot(name, budget)?
                .join(value, MAX_DEPTH, budget),
        }
    }

    /// Takes a piece of the content. Some upstreams send parts instead of a text, or before it. Then the
    /// whole content is parts, in their order.
    fn see_content(&mut self, piece: &RawValue, budget: &mut Budget) -> Result<(), WalkError> {
        let json = piece.get();
        match &self.content {
            Value::List(_) if json.starts_with('"') => {
                if json == "\"\"" {
                    return Ok(());
                }
                self.content.push_items(&text_part(json), budget)
            }
            text if is_array(piece) && text.has_text() => {
                let mut json = String::new();
                text.write(&mut json);
                self.content.push_items(&text_part(&json), budget)?;
                self.content.extend(piece, budget)
            }
            _ if is_array(piece) => self.content.extend(piece, budget),
            _ => self.content.join(piece, MAX_DEPTH, budget),
        }
    }

    /// Whether it has sound, and the time when that expires has come.
    pub(super) fn expires(&self) -> bool {
        self.audio.as_ref().is_some_and(Audio::expires)
    }

    /// The finish reason that fits its members.
    pub(super) fn likely_finish_reason(&self) -> &'static str {
        if !self.calls.is_empty() {
            "tool_calls"
        } else if self.function_call.is_some() {
            "function_call"
        } else {
            "stop"
        }
    }

    /// Whether it has output besides its content. An empty content then came only with the role.
    fn has_other_output(&self) -> bool {
        let calls = !self.calls.is_empty() || self.function_call.is_some();
        calls || self.audio.is_some() || self.refusal.has_text()
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push('{');
        push_key(out, "role");
        match &self.role {
            Value::Null => out.push_str("\"assistant\""),
            role => role.write(out),
        }
        push_key(out, "content");
        match &self.content {
            Value::Text(_) if !self.content.has_text() && self.has_other_output() => {
                out.push_str("null");
            }
            content => content.write(out),
        }
        push_key(out, "refusal");
        self.refusal.write(out);
        self.others.write(out);
        if let Some(audio) = &self.audio {
            push_key(out, "audio");
            audio.write(out);
        }
        if let Some(call) = &self.function_call {
            push_key(out, "function_call");
            call.write(out);
        }
        self.calls.write(out);
        out.push('}');
    }
}

/// A text, which is a JSON string, as a part of a content.
fn text_part(json: &str) -> String {
    format!(r#"{{"type":"text","text":{json}}}"#)
}
