//! The chunks of a chat or of a legacy completion, put together.
//!
//! Owns the members of a chunk and of a choice, and when a choice is finished. Does not handle the message
//! of a choice (see `message`). Fails for a chunk that is not of the known shape, and beyond a bound.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{IgnoredAny, MapAccess};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::message::Message;
use super::value::{Budget, MemberMap, SLOT_BYTES, Unknown, Value, as_object};
use super::{Incomplete, MAX_DEPTH, MAX_ITEMS};
use crate::openai::json::{
    Fields, List, WalkError, index, is_array, is_null, is_truthy, members, push_comma, push_key,
    push_member, read_fields,
};

/// The chunks of one stream, put together.
#[derive(Default)]
pub(super) struct Chunks {
    is_chat: bool,
    /// Each member is `None` until it comes; it may come as null.
    id: Option<Value>,
    created: Option<Value>,
    model: Option<Value>,
    usage: Option<Value>,
    service_tier: Option<Value>,
    system_fingerprint: Option<Value>,
    others: MemberMap,
    choices: BTreeMap<u64, Choice>,
}

impl Chunks {
    pub(super) fn of_chat() -> Self {
        Self {
            is_chat: true,
            ..Self::default()
        }
    }

    pub(super) fn of_completion() -> Self {
        Self::default()
    }

    /// Takes the next chunk. An object that is no chunk is ignored.
    pub(super) fn see(&mut self, json: &str, budget: &mut Budget) -> Result<(), WalkError> {
        let chunk: Chunk<'_> = serde_json::from_str(json).map_err(|_| WalkError::Malformed)?;
        if !chunk.is_one() {
            return Ok(());
        }
        for (kept, value) in [
            (&mut self.id, chunk.id),
            (&mut self.created, chunk.created),
            (&mut self.model, chunk.model),
        ] {
            if let Some(value) = value {
                kept.get_or_insert_default().keep_first(value, budget)?;
            }
        }
        for (kept, value) in [
            (&mut self.usage, chunk.usage),
            (&mut self.service_tier, chunk.service_tier),
            (&mut self.system_fingerprint, chunk.system_fingerprint),
        ] {
            if let Some(value) = value {
                kept.get_or_insert_default().keep_last(value, budget)?;
            }
        }
        // Lists beside the choices are repeated, or grow, from chunk to chunk.
        chunk.unknown.each(
            &mut self.others,
            budget,
            |name, slot, value, budget| match is_array(value) || is_filtered(name) {
                true => slot.keep_truthy(value, budget),
                false => slot.keep_last(value, budget),
            },
        )?;
        let choices = chunk.choices.unwrap_or_default();
        if choices.has_more {
            return Err(WalkError::TooLarge);
        }
        let mut pieces = choices.items.into_iter();
        pieces.try_for_each(|piece| self.see_choice(piece, budget))
    }

    fn see_choice(&mut self, piece: Piece<'_>, budget: &mut Budget) -> Result<(), WalkError> {
        let index = index(piece.index)?.unwrap_or_default();
        let is_known = self.choices.contains_key(&index);
        if !is_known && self.choices.len() >= MAX_ITEMS {
            return Err(WalkError::TooLarge);
        }
        if !is_known {
            budget.take(SLOT_BYTES)?;
        }
        let is_chat = self.is_chat;
        let choice = self.choices.entry(index).or_default();
        choice.see(piece, is_chat, budget)
    }

    /// The whole answer, if each choice is finished or the end marker came.
    pub(super) fn finish(mut self, is_done: bool) -> Result<String, Incomplete> {
        if self.choices.is_empty() {
            return Err(Incomplete::Empty);
        }
        for choice in self.choices.values_mut() {
            if !choice.is_finished() && !is_done {
                return Err(Incomplete::Truncated);
            }
            choice.infer_finish_reason();
        }
        Ok(self.written())
    }

    /// The part of it that has come.
    pub(super) fn partial(&self) -> Option<String> {
        (!self.choices.is_empty()).then(|| self.written())
    }

    fn written(&self) -> String {
        let mut out = String::from("{");
        let object = if self.is_chat {
            "\"chat.completion\""
        } else {
            "\"text_completion\""
        };
        let write = |out: &mut String, name: &str, value: &Option<Value>| {
            if let Some(value) = value {
                push_key(out, name);
                value.write(out);
            }
        };
        write(&mut out, "id", &self.id);
        push_member(&mut out, "object", object);
        write(&mut out, "created", &self.created);
        write(&mut out, "model", &self.model);
        push_key(&mut out, "choices");
        out.push('[');
        for (index, choice) in &self.choices {
            push_comma(&mut out);
            choice.write(*index, self.is_chat, &mut out);
        }
        out.push(']');
        // Null means that no usage has come yet.
        if !matches!(self.usage, Some(Value::Null)) {
            write(&mut out, "usage", &self.usage);
        }
        write(&mut out, "service_tier", &self.service_tier);
        write(&mut out, "system_fingerprint", &self.system_fingerprint);
        self.others.write(&mut out);
        out.push('}');
        out
    }
}

/// The members of one chunk.
#[derive(Default)]
struct Chunk<'b> {
    id: Option<&'b RawValue>,
    object: Option<&'b RawValue>,
    created: Option<&'b RawValue>,
    model: Option<&'b RawValue>,
    choices: Option<List<Piece<'b>>>,
    usage: Option<&'b RawValue>,
    service_tier: Option<&'b RawValue>,
    system_fingerprint: Option<&'b RawValue>,
    unknown: Unknown<'b>,
}

impl<'b> Fields<'b> for Chunk<'b> {
    fn slot(&mut self, key: &str) -> Option<&mut Option<&'b RawValue>> {
        match key {
            "id" => Some(&mut self.id),
            "object" => Some(&mut self.object),
            "created" => Some(&mut self.created),
            "model" => Some(&mut self.model),
            "usage" => Some(&mut self.usage),
            "service_tier" => Some(&mut self.service_tier),
            "system_fingerprint" => Some(&mut self.system_fingerprint),
            _ => None,
        }
    }

    fn other<A: MapAccess<'b>>(
        &mut self,
        key: Cow<'b, str>,
        object: &mut A,
    ) -> Result<(), A::Error> {
        match &*key {
            "choices" => self.choices = Some(object.next_value()?),
            // Padding that hides the length of a piece.
            "obfuscation" => drop(object.next_value::<IgnoredAny>()?),
            _ => self.unknown.push(key, object.next_value()?),
        }
        Ok(())
    }
}

impl Chunk<'_> {
    /// Whether it is a chunk; it may have no choices.
    fn is_one(&self) -> bool {
        self.choices.is_some()
            || is_truthy(self.object)
            || is_truthy(self.usage)
            || self.unknown.has("prompt_filter_results")
    }
}

impl<'b> Deserialize<'b> for Chunk<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        read_fields(deserializer)
    }
}

/// The members of a choice in one chunk.
#[derive(Default)]
struct Piece<'b> {
    index: Option<&'b RawValue>,
    delta: Option<&'b RawValue>,
    text: Option<&'b RawValue>,
    logprobs: Option<&'b RawValue>,
    finish_reason: Option<&'b RawValue>,
    unknown: Unknown<'b>,
}

impl<'b> Fields<'b> for Piece<'b> {
    fn slot(&mut self, key: &str) -> Option<&mut Option<&'b RawValue>> {
        match key {
            "index" => Some(&mut self.index),
            "delta" => Some(&mut self.delta),
            "text" => Some(&mut self.text),
            "logprobs" => Some(&mut self.logprobs),
            "finish_reason" => Some(&mut self.finish_reason),
            _ => None,
        }
    }

    fn other<A: MapAccess<'b>>(
        &mut self,
        key: Cow<'b, str>,
        object: &mut A,
    ) -> Result<(), A::Error> {
        match &*key {
            // No member of a chunk, and the name of a member that is written here.
            "message" => drop(object.next_value::<IgnoredAny>()?),
            _ => self.unknown.push(key, object.next_value()?),
        }
        Ok(())
    }
}

impl<'b> Deserialize<'b> for Piece<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        read_fields(deserializer)
    }
}

/// The part of a choice that has come.
#[derive(Default)]
struct Choice {
    /// The message of a chat.
    message: Message,
    /// The text of a legacy completion.
    text: Value,
    logprobs: Option<MemberMap>,
    finish_reason: Value,
    others: MemberMap,
}

impl Choice {
    fn see(
        &mut self,
        piece: Piece<'_>,
        is_chat: bool,
        budget: &mut Budget,
    ) -> Result<(), WalkError> {
        if let Some(delta) = piece.delta.filter(|delta| is_chat && !is_null(delta)) {
            members(delta.get(), |name, value| {
                self.message.see(&name, value, budget)
            })?;
        }
        if let Some(text) = piece.text.filter(|_| !is_chat) {
            self.text.join(text, MAX_DEPTH, budget)?;
        }
        if let Some(logprobs) = piece.logprobs.and_then(as_object) {
            let kept = self.logprobs.get_or_insert_default();
            kept.extend(logprobs, budget)?;
        }
        let reason = piece.finish_reason;
        if let Some(reason) = reason.filter(|reason| reason.get().starts_with('"')) {
            self.finish_reason.keep_truthy(reason, budget)?;
        }
        // Lists of a choice continue: each has the items of its piece, as the ids of tokens.
        let unknown = piece.unknown;
        unknown.each(
            &mut self.others,
            budget,
            |name, slot, value, budget| match is_array(value) {
                _ if is_filtered(name) => slot.keep_truthy(value, budget),
                true => slot.join(value, MAX_DEPTH, budget),
                false => slot.keep_last(value, budget),
            },
        )
    }

    /// Whether it is finished. An answer in sound may have no finish reason: the time when it expires
    /// comes last.
    fn is_finished(&self) -> bool {
        self.has_reason() || self.message.expires()
    }

    fn has_reason(&self) -> bool {
        matches!(&self.finish_reason, Value::Whole(reason) if reason != "\"\"")
    }

    /// Adds the likely finish reason to a choice that ended well without one.
    fn infer_finish_reason(&mut self) {
        if !self.has_reason() {
            let reason = format!("\"{}\"", self.message.likely_finish_reason());
            self.finish_reason = Value::Whole(reason);
        }
    }

    fn write(&self, index: u64, is_chat: bool, out: &mut String) {
        out.push('{');
        if is_chat {
            push_member(out, "index", &index.to_string());
            push_key(out, "message");
            self.message.write(out);
        } else {
            push_key(out, "text");
            match &self.text {
                Value::Null => out.push_str("\"\""),
                text => text.write(out),
            }
            push_member(out, "index", &index.to_string());
        }
        push_key(out, "logprobs");
        match &self.logprobs {
            Some(logprobs) => {
                out.push('{');
                logprobs.write(out);
                out.push('}');
            }
            None => out.push_str("null"),
        }
        push_key(out, "finish_reason");
        match &self.finish_reason {
            reason if self.has_reason() => reason.write(out),
            _ => out.push_str("null"),
        }
        self.others.write(out);
        out.push('}');
    }
}

/// Whether a member has the results of a filter. It comes in pieces that may be empty, and the last that
/// is not empty counts.
fn is_filtered(name: &str) -> bool {
    name.ends_with("_filter_results")
}
