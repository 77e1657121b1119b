//! The events of a response.
//!
//! Owns which events an item of the output has, and what it looks like before it is done. An item without
//! texts is only added and done. Fails for a response that has not ended, and for JSON that is no response.

use serde_json::value::RawValue;

use super::Events;
use crate::openai::json::{
    WalkError, equals, is_array, members, objects, push_member, replace_members, string,
};

const EMPTY: &str = "\"\"";
const NO_TEXT: (&str, &str) = ("text", EMPTY);
const NO_REFUSAL: (&str, &str) = ("refusal", EMPTY);
const IN_PROGRESS: (&str, &str) = ("status", "\"in_progress\"");

/// Synthesizes the stream of a response. The last event has it as it came.
pub(super) fn synthesize(json: &str, events: &mut Events) -> Result<(), WalkError> {
    let mut response = Response::default();
    members(json, |name, value| {
        match &*name {
            "object" => response.object = Some(value),
            "status" => response.status = Some(value),
            "output" => response.output = Some(value),
            _ => {}
        }
        Ok(())
    })?;
    let status = response
        .status
        .and_then(string)
        .ok_or(WalkError::Malformed)?;
    let is_ended = matches!(&*status, "completed" | "incomplete" | "failed");
    let is_response = equals(response.object, "\"response\"") && response.output.is_some();
    if !is_ended || !is_response {
        return Err(WalkError::Malformed);
    }
    let mut events = Numbered { events, next: 0 };
    let begun = [
        IN_PROGRESS,
        ("output", "[]"),
        ("usage", "null"),
        ("error", "null"),
        ("incomplete_details", "null"),
        ("completed_at", "null"),
    ];
    let begun = replace_members(json, &begun)?;
    events.push("response.created", "", &[("response", &begun)])?;
    events.push("response.in_progress", "", &[("response", &begun)])?;
    let mut place: usize = 0;
    objects(response.output, |item| {
        Item::read(item, place)?.synthesize(&mut events)?;
        place += 1;
        Ok(())
    })?;
    events.push(&format!("response.{status}"), "", &[("response", json)])
}

#[derive(Default)]
struct Response<'b> {
    object: Option<&'b RawValue>,
    status: Option<&'b RawValue>,
    output: Option<&'b RawValue>,
}

/// Numbers events as it writes them.
struct Numbered<'e> {
    events: &'e mut Events,
    next: u64,
}

impl Numbered<'_> {
    /// Writes an event: its number, the members of its place, which are written already, and these.
    fn push(&mut self, kind: &str, place: &str, members: &[(&str, &str)]) -> Result<(), WalkError> {
        self.events.name(kind)?;
        let mut written = String::new();
        for (name, json) in members {
            push_member(&mut written, name, json);
        }
        let number = self.next.to_string();
        self.next += 1;
        self.events.push(&[
            "{\"type\":\"",
            kind,
            "\",\"sequence_number\":",
            &number,
            place,
            &written,
            "}",
        ])
    }

    /// Writes a whole text as one delta, unless it is empty.
    fn push_delta(
        &mut self,
        kind: &str,
        place: &str,
        text: &str,
        members: &[(&str, &str)],
    ) -> Result<(), WalkError> {
        if text == EMPTY {
            return Ok(());
        }
        self.push(kind, place, &[&[("delta", text)], members].concat())
    }
}

/// A text, which must be a string; a missing one is empty.
fn text(value: Option<&RawValue>) -> Result<&str, WalkError> {
    let json = value.map_or(EMPTY, RawValue::get);
    if json.starts_with('"') {
        Ok(json)
    } else {
        Err(WalkError::Malformed)
    }
}

/// An item of the output.
struct Item<'b> {
    json: &'b str,
    /// Where it is in the output.
    place: usize,
    kind: Option<&'b RawValue>,
    id: Option<&'b RawValue>,
    content: Option<&'b RawValue>,
    summary: Option<&'b RawValue>,
    /// The arguments of a function, or the input of a custom tool.
    called_with: Option<&'b RawValue>,
    name: Option<&'b RawValue>,
}

impl<'b> Item<'b> {
    fn read(item: &'b RawValue, place: usize) -> Result<Self, WalkError> {
        let mut read = Self {
            json: item.get(),
            place,
            kind: None,
            id: None,
            content: None,
            summary: None,
            called_with: None,
            name: None,
        };
        members(item.get(), |name, value| {
            let place = match &*name {
                "type" => &mut read.kind,
                "id" => &mut read.id,
                "content" => &mut read.content,
                "summary" => &mut read.summary,
                "arguments" | "input" => &mut read.called_with,
                "name" => &mut read.name,
                _ => return Ok(()),
            };
            *place = Some(value);
            Ok(())
        })?;
        Ok(read)
    }

    fn synthesize(&self, events: &mut Numbered<'_>) -> Result<(), WalkError> {
        let kind = self.kind.and_then(string).unwrap_or_default();
        let begun = match &*kind {
            "message" => replace_members(self.json, &[IN_PROGRESS, ("content", "[]")])?,
            "reasoning" if self.content.is_some() => {
                replace_members(self.json, &[("summary", "[]"), ("content", "[]")])?
            }
            "reasoning" => replace_members(self.json, &[("summary", "[]")])?,
            "function_call" => replace_members(self.json, &[IN_PROGRESS, ("arguments", EMPTY)])?,
            "custom_tool_call" => replace_members(self.json, &[("input", EMPTY)])?,
            _ => self.json.to_owned(),
        };
        let place = format!(",\"output_index\":{}", self.place);
        events.push("response.output_item.added", &place, &[("item", &begun)])?;
        match &*kind {
            "message" => self.synthesize_content(events)?,
            "reasoning" => {
                self.synthesize_summary(events)?;
                self.synthesize_content(events)?;
            }
            "function_call" => {
                self.synthesize_call("function_call_arguments", "arguments", events)?
            }
            "custom_tool_call" => {
                self.synthesize_call("custom_tool_call_input", "input", events)?
            }
            _ => {}
        }
        events.push("response.output_item.done", &place, &[("item", self.json)])
    }

    /// The members of an event that identify the item.
    fn place(&self) -> String {
        let id = self.id.map_or(EMPTY, RawValue::get);
        format!(",\"item_id\":{id},\"output_index\":{}", self.place)
    }

    fn synthesize_content(&self, events: &mut Numbered<'_>) -> Result<(), WalkError> {
        let mut index: usize = 0;
        objects(self.content, |part| {
            let place = format!("{},\"content_index\":{index}", self.place());
            index += 1;
            ContentPart::read(part)?.synthesize(&place, events)
        })
    }

    fn synthesize_summary(&self, events: &mut Numbered<'_>) -> Result<(), WalkError> {
        let mut index: usize = 0;
        objects(self.summary, |part| {
            let place = format!("{},\"summary_index\":{index}", self.place());
            index += 1;
            let read = ContentPart::read(part)?;
            let begun = replace_members(part.get(), &[NO_TEXT])?;
            let text = text(read.text)?;
            let (added, done) = ([("part", &*begun)], [("part", part.get())]);
            events.push("response.reasoning_summary_part.added", &place, &added)?;
            events.push_delta("response.reasoning_summary_text.delta", &place, text, &[])?;
            let members = [("text", text)];
            events.push("response.reasoning_summary_text.done", &place, &members)?;
            events.push("response.reasoning_summary_part.done", &place, &done)
        })
    }

    /// Writes the arguments or the input of a call.
    fn synthesize_call(
        &self,
        event: &str,
        name: &str,
        events: &mut Numbered<'_>,
    ) -> Result<(), WalkError> {
        let text = text(self.called_with)?;
        let place = self.place();
        events.push_delta(&format!("response.{event}.delta"), &place, text, &[])?;
        let mut members = vec![(name, text)];
        if let Some(called) = self.name.filter(|_| name == "arguments") {
            members.push(("name", called.get()));
        }
        events.push(&format!("response.{event}.done"), &place, &members)
    }
}

/// A part of a content or of a summary.
struct ContentPart<'b> {
    json: &'b str,
    kind: Option<&'b RawValue>,
    text: Option<&'b RawValue>,
    refusal: Option<&'b RawValue>,
    annotations: Option<&'b RawValue>,
    logprobs: Option<&'b RawValue>,
}

impl<'b> ContentPart<'b> {
    fn read(part: &'b RawValue) -> Result<Self, WalkError> {
        let mut read = Self {
            json: part.get(),
            kind: None,
            text: None,
            refusal: None,
            annotations: None,
            logprobs: None,
        };
        members(part.get(), |name, value| {
            let place = match &*name {
                "type" => &mut read.kind,
                "text" => &mut read.text,
                "refusal" => &mut read.refusal,
                "annotations" => &mut read.annotations,
                "logprobs" => &mut read.logprobs,
                _ => return Ok(()),
            };
            *place = Some(value);
            Ok(())
        })?;
        Ok(read)
    }

    fn synthesize(&self, place: &str, events: &mut Numbered<'_>) -> Result<(), WalkError> {
        let kind = self.kind.and_then(string).unwrap_or_default();
        let begun = match &*kind {
            "output_text" => replace_members(
                self.json,
                &[NO_TEXT, ("annotations", "[]"), ("logprobs", "[]")],
            )?,
            "reasoning_text" => replace_members(self.json, &[NO_TEXT])?,
            "refusal" => replace_members(self.json, &[NO_REFUSAL])?,
            _ => self.json.to_owned(),
        };
        events.push("response.content_part.added", place, &[("part", &begun)])?;
        match &*kind {
            "output_text" => self.synthesize_output(place, events)?,
            "reasoning_text" => {
                let text = text(self.text)?;
                events.push_delta("response.reasoning_text.delta", place, text, &[])?;
                events.push("response.reasoning_text.done", place, &[("text", text)])?;
            }
            "refusal" => {
                let text = text(self.refusal)?;
                events.push_delta("response.refusal.delta", place, text, &[])?;
                events.push("response.refusal.done", place, &[("refusal", text)])?;
            }
            _ => {}
        }
        events.push("response.content_part.done", place, &[("part", self.json)])
    }

    fn synthesize_output(&self, place: &str, events: &mut Numbered<'_>) -> Result<(), WalkError> {
        let text = text(self.text)?;
        let logprobs = self.logprobs.filter(|logprobs| is_array(logprobs));
        let logprobs = ("logprobs", logprobs.map_or("[]", RawValue::get));
        events.push_delta("response.output_text.delta", place, text, &[logprobs])?;
        self.synthesize_annotations(place, events)?;
        events.push(
            "response.output_text.done",
            place,
            &[("text", text), logprobs],
        )
    }

    fn synthesize_annotations(
        &self,
        place: &str,
        events: &mut Numbered<'_>,
    ) -> Result<(), WalkError> {
        let mut index: usize = 0;
        objects(self.annotations, |annotation| {
            let place = format!("{place},\"annotation_index\":{index}");
            index += 1;
            let members = [("annotation", annotation.get())];
            events.push("response.output_text.annotation.added", &place, &members)
        })
    }
}
