//! A response: its last event holds all of it.
//!
//! Owns finding the terminal event, and what can be told of a response that has none: the items that
//! are done, and of others the texts that came. Refuses to know what an item is beyond these.
//! Fails for what is no event, and beyond a bound.

use std::collections::BTreeMap;
use std::mem;

use serde_json::value::RawValue;

use super::super::shape::string;
use super::Incomplete;
use super::value::{Budget, SLOT_BYTES, Value, as_object};
use super::walk::{Fault, index, inside, members, separate, with};

/// The events of one response.
#[derive(Default)]
pub(super) struct Response {
    /// As the terminal event has it.
    whole: Option<String>,
    /// As the last event before that had it.
    latest: Value,
    /// By their places in the output.
    items: BTreeMap<u64, Item>,
    has_events: bool,
}

/// An item of the output, as far as it has come.
#[derive(Default)]
struct Item {
    json: Value,
    /// The texts that came since, by the member and the place in it.
    texts: BTreeMap<(Part, u64), Value>,
}

/// What a text is a part of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Output,
    Refusal,
    Reasoning,
    Summary,
    Arguments,
    Input,
}

impl Part {
    fn of(event: &str) -> Option<Self> {
        Some(match event {
            "response.output_text.delta" => Self::Output,
            "response.refusal.delta" => Self::Refusal,
            "response.reasoning_text.delta" => Self::Reasoning,
            "response.reasoning_summary_text.delta" => Self::Summary,
            "response.function_call_arguments.delta" => Self::Arguments,
            "response.custom_tool_call_input.delta" => Self::Input,
            _ => return None,
        })
    }

    /// The member of the item that it is in.
    fn member(self) -> &'static str {
        match self {
            Self::Output | Self::Refusal | Self::Reasoning => "content",
            Self::Summary => "summary",
            Self::Arguments => "arguments",
            Self::Input => "input",
        }
    }

    /// Whether that member is a list of such parts, and not the text itself.
    fn is_in_list(self) -> bool {
        !matches!(self, Self::Arguments | Self::Input)
    }

    /// What a text is written as.
    fn written(self, text: &str) -> String {
        match self {
            Self::Output => format!(r#"{{"type":"output_text","text":{text},"annotations":[]}}"#),
            Self::Refusal => format!(r#"{{"type":"refusal","refusal":{text}}}"#),
            Self::Reasoning => format!(r#"{{"type":"reasoning_text","text":{text}}}"#),
            Self::Summary => format!(r#"{{"type":"summary_text","text":{text}}}"#),
            Self::Arguments | Self::Input => text.to_owned(),
        }
    }
}

/// The members of one event.
#[derive(Default)]
struct Event<'b> {
    kind: Option<&'b RawValue>,
    response: Option<&'b RawValue>,
    output_index: Option<&'b RawValue>,
    /// The place within the item.
    place: Option<&'b RawValue>,
    item: Option<&'b RawValue>,
    delta: Option<&'b RawValue>,
}

impl Response {
    /// Takes the next event. Behind the terminal one, none is taken.
    pub(super) fn see(&mut self, json: &str, budget: &mut Budget) -> Result<(), Fault> {
        let mut event = Event::default();
        members(json, |name, value| {
            let place = match &*name {
                "type" => &mut event.kind,
                "response" => &mut event.response,
                "output_index" => &mut event.output_index,
                "content_index" | "summary_index" => &mut event.place,
                "item" => &mut event.item,
                "delta" => &mut event.delta,
                _ => return Ok(()),
            };
            *place = Some(value);
            Ok(())
        })?;
        self.has_events = true;
        let kind = event.kind.and_then(string).ok_or(Fault::Malformed)?;
        match &*kind {
            _ if self.whole.is_some() => Ok(()),
            "response.completed" | "response.incomplete" | "response.failed" => {
                let response = event.response.and_then(as_object);
                self.end(response.ok_or(Fault::Malformed)?.get(), budget)
            }
            "response.created" | "response.queued" | "response.in_progress" => {
                let response = event.response.and_then(as_object);
                self.latest
                    .set(response.ok_or(Fault::Malformed)?.get(), budget)
            }
            "response.output_item.added" | "response.output_item.done" => {
                self.see_item(&event, budget)
            }
            kind => Part::of(kind).map_or(Ok(()), |part| self.see_text(part, &event, budget)),
        }
    }

    /// Keeps the whole response, and nothing else any more.
    fn end(&mut self, response: &str, budget: &mut Budget) -> Result<(), Fault> {
        budget.give_back(self.latest.bytes());
        for item in mem::take(&mut self.items).into_values() {
            budget.give_back(item.bytes());
        }
        self.latest = Value::Null;
        budget.take(response.len())?;
        self.whole = Some(response.to_owned());
        Ok(())
    }

    fn item(&mut self, event: &Event<'_>, budget: &mut Budget) -> Result<&mut Item, Fault> {
        let index = index(event.output_index)?.unwrap_or_default();
        if !self.items.contains_key(&index) {
            budget.take(SLOT_BYTES)?;
        }
        Ok(self.items.entry(index).or_default())
    }

    /// Takes an item that has begun, or that is done: then it holds all its texts.
    fn see_item(&mut self, event: &Event<'_>, budget: &mut Budget) -> Result<(), Fault> {
        let json = event.item.and_then(as_object).ok_or(Fault::Malformed)?;
        let item = self.item(event, budget)?;
        for text in mem::take(&mut item.texts).into_values() {
            budget.give_back(SLOT_BYTES + text.bytes());
        }
        item.json.set(json.get(), budget)
    }

    fn see_text(
        &mut self,
        part: Part,
        event: &Event<'_>,
        budget: &mut Budget,
    ) -> Result<(), Fault> {
        let place = index(event.place)?.filter(|_| part.is_in_list());
        let place = (part, place.unwrap_or_default());
        let item = self.item(event, budget)?;
        if !item.texts.contains_key(&place) {
            budget.take(SLOT_BYTES)?;
        }
        let text = item.texts.entry(place).or_default();
        match event.delta.map(RawValue::get) {
            Some(delta) if delta.starts_with('"') => text.push_text(inside(delta), budget),
            _ => Ok(()),
        }
    }

    /// The whole response as the terminal event has it, byte for byte.
    pub(super) fn finish(self) -> Result<String, Incomplete> {
        let lacking = if self.has_events {
            Incomplete::Truncated
        } else {
            Incomplete::Empty
        };
        self.whole.ok_or(lacking)
    }

    /// The whole response, or the last that was said of it with the output that came.
    pub(super) fn partial(self) -> Option<String> {
        let Value::Whole(latest) = &self.latest else {
            return self.whole;
        };
        let mut output = String::from("[");
        for item in self.items.values() {
            if let Some(json) = item.written() {
                separate(&mut output);
                output.push_str(&json);
            }
        }
        output.push(']');
        with(latest, &[("output", &output)]).ok()
    }
}

impl Item {
    fn bytes(&self) -> usize {
        let texts = self.texts.values().map(|text| SLOT_BYTES + text.bytes());
        SLOT_BYTES + self.json.bytes() + texts.sum::<usize>()
    }

    /// The item with the texts that came.
    fn written(&self) -> Option<String> {
        let Value::Whole(json) = &self.json else {
            return None;
        };
        let mut replaced: Vec<(&str, String)> = Vec::new();
        for ((part, _), text) in &self.texts {
            let mut json = String::new();
            text.write(&mut json);
            let json = part.written(&json);
            match replaced.last_mut() {
                Some((name, list)) if *name == part.member() => {
                    list.insert(list.len() - 1, ',');
                    list.insert_str(list.len() - 1, &json);
                }
                _ if part.is_in_list() => replaced.push((part.member(), format!("[{json}]"))),
                _ => replaced.push((part.member(), json)),
            }
        }
        let replaced: Vec<_> = replaced
            .iter()
            .map(|(name, json)| (*name, json.as_str()))
            .collect();
        with(json, &replaced).ok()
    }
}
