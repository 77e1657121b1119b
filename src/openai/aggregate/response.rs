//! The events of a response, put together.
//!
//! Owns the terminal event, which has the whole response, and what the earlier events add where it lacks
//! the output or has not come: the items that are done, and the texts of the others. Does not handle an
//! item's content (see `item`). Fails for an event that cannot be read, and beyond a bound.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;

use serde_json::value::RawValue;

use super::Incomplete;
use super::item::{Item, Part, TextEvent};
use super::value::{Budget, SLOT_BYTES, Value, as_object};
use crate::openai::json::{
    WalkError, index, is_array, is_truthy, members, push_comma, push_member, replace_members,
    string,
};

/// In a response that is kept for its failure, what it repeats of its request is dropped if it is longer.
const MAX_ECHO_BYTES: usize = 4 << 10;

/// The events of one response.
#[derive(Default)]
pub(super) struct Response {
    /// As the terminal event has it, its output included.
    whole: Option<String>,
    /// As the last event before the terminal one had it.
    latest: Value,
    /// By their index in the output.
    items: BTreeMap<u64, Item>,
    has_events: bool,
    /// Whether the output was put together from the items.
    is_rebuilt: bool,
    /// Whether it is kept only for the case that it breaks.
    is_for_failure: bool,
    /// It has ended, and there is nothing more to keep.
    is_over: bool,
}

/// The members of one event.
#[derive(Default)]
struct Event<'b> {
    kind: Option<&'b RawValue>,
    response: Option<&'b RawValue>,
    output_index: Option<&'b RawValue>,
    /// The index within the item.
    place: Option<&'b RawValue>,
    item: Option<&'b RawValue>,
    delta: Option<&'b RawValue>,
    annotation: Option<&'b RawValue>,
    /// The text that is done, by the names that its events use.
    done: [(&'static str, Option<&'b RawValue>); 4],
}

impl Response {
    /// A response that is kept for the case that it breaks.
    pub(super) fn for_failure() -> Self {
        Self {
            is_for_failure: true,
            ..Self::default()
        }
    }

    /// Takes the next event. Events after the terminal one are ignored.
    pub(super) fn see(&mut self, json: &str, budget: &mut Budget) -> Result<(), WalkError> {
        let event = Event::read(json)?;
        self.has_events = true;
        let kind = event.kind.and_then(string).ok_or(WalkError::Malformed)?;
        let response = || {
            event
                .response
                .and_then(as_object)
                .ok_or(WalkError::Malformed)
        };
        match &*kind {
            _ if self.is_over => Ok(()),
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.end(response()?.get(), budget)
            }
            "response.created" | "response.queued" | "response.in_progress" => {
                let response = match self.is_for_failure {
                    true => Cow::Owned(without_echo(response()?.get())?),
                    false => Cow::Borrowed(response()?.get()),
                };
                self.latest.set(&response, budget)
            }
            "response.output_item.added" | "response.output_item.done" => {
                let json = event.item.and_then(as_object).ok_or(WalkError::Malformed)?;
                self.item(&event, budget)?.set(json, budget)
            }
            kind => {
                let Some((part, text_event)) = Part::of(kind) else {
                    return Ok(());
                };
                let place = index(event.place)?.filter(|_| part.is_in_list());
                let place = (part, place.unwrap_or_default());
                let value = event.text(text_event);
                self.item(&event, budget)?
                    .see(place, text_event, value, budget)
            }
        }
    }

    /// Keeps the whole response, and drops everything else.
    fn end(&mut self, response: &str, budget: &mut Budget) -> Result<(), WalkError> {
        self.is_over = true;
        let whole = match self.is_for_failure {
            true => None,
            // Some upstreams send the output only in the items before.
            false if !self.items.is_empty() && !has_output(response)? => {
                self.is_rebuilt = true;
                Some(replace_members(
                    response,
                    &[("output", &self.output("completed"))],
                )?)
            }
            false => Some(response.to_owned()),
        };
        budget.give_back(self.latest.bytes());
        for item in mem::take(&mut self.items).into_values() {
            budget.give_back(item.bytes());
        }
        self.latest = Value::Null;
        budget.take(whole.as_ref().map_or(0, String::len))?;
        self.whole = whole;
        Ok(())
    }

    fn item(&mut self, event: &Event<'_>, budget: &mut Budget) -> Result<&mut Item, WalkError> {
        let index = index(event.output_index)?.unwrap_or_default();
        if !self.items.contains_key(&index) {
            budget.take(SLOT_BYTES)?;
        }
        Ok(self.items.entry(index).or_default())
    }

    /// The items as an array. Items that were still in progress get `status`.
    fn output(&self, status: &str) -> String {
        let mut output = String::from("[");
        for item in self.items.values() {
            if let Some(json) = item.written(status) {
                push_comma(&mut output);
                output.push_str(&json);
            }
        }
        output.push(']');
        output
    }

    /// The whole response as the terminal event has it, byte for byte except an output that it lacks.
    pub(super) fn finish(self, is_malformed: bool) -> Result<String, Incomplete> {
        match self.whole {
            // What could not be read may have been a part of the output.
            Some(_) if self.is_rebuilt && is_malformed => Err(Incomplete::Malformed),
            Some(whole) => Ok(whole),
            None if self.has_events => Err(Incomplete::Truncated),
            None => Err(Incomplete::Empty),
        }
    }

    /// The whole response, or its last state with the output that came.
    pub(super) fn partial(&self) -> Option<String> {
        let Value::Whole(latest) = &self.latest else {
            return self.whole.clone();
        };
        replace_members(latest, &[("output", &self.output("incomplete"))]).ok()
    }
}

impl<'b> Event<'b> {
    fn read(json: &'b str) -> Result<Self, WalkError> {
        let mut event = Self {
            done: ["text", "refusal", "arguments", "input"].map(|name| (name, None)),
            ..Self::default()
        };
        members(json, |name, value| {
            let place = match &*name {
                "type" => &mut event.kind,
                "response" => &mut event.response,
                "output_index" => &mut event.output_index,
                "content_index" | "summary_index" => &mut event.place,
                "item" => &mut event.item,
                "delta" => &mut event.delta,
                "annotation" => &mut event.annotation,
                name => match event.done.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, place)) => place,
                    None => return Ok(()),
                },
            };
            *place = Some(value);
            Ok(())
        })?;
        Ok(event)
    }

    /// The member that has the text, its delta or its annotation.
    fn text(&self, text_event: TextEvent) -> Option<&'b RawValue> {
        match text_event {
            TextEvent::Delta => self.delta,
            TextEvent::Annotation => self.annotation.and_then(as_object),
            TextEvent::Done(name) => {
                let done = self.done.iter().find(|(known, _)| *known == name);
                done.and_then(|(_, value)| *value)
            }
        }
    }
}

/// Whether a response has an output.
fn has_output(response: &str) -> Result<bool, WalkError> {
    let mut has_output = false;
    members(response, |name, value| {
        has_output |= name == "output" && is_truthy(Some(value));
        Ok(())
    })?;
    Ok(has_output)
}

/// A response without its long members, which repeat the request: instructions and tools.
fn without_echo(response: &str) -> Result<String, WalkError> {
    let mut out = String::from("{");
    members(response, |name, value| {
        let json = match value.get() {
            json if json.len() <= MAX_ECHO_BYTES => json,
            _ if is_array(value) => "[]",
            _ => "null",
        };
        push_member(&mut out, &name, json);
        Ok(())
    })?;
    out.push('}');
    Ok(out)
}
