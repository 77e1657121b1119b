//! One item of a response's output.
//!
//! Owns the item as it was added or done, and the texts and annotations that came for what it lacks. Does
//! not handle which event belongs to which item (see `response`). Fails beyond a bound.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::value::{Budget, SLOT_BYTES, Value};
use crate::openai::json::{WalkError, equals, inside, is_truthy, members, replace_members};

/// An item of the output.
#[derive(Default)]
pub(super) struct Item {
    json: Value,
    /// The texts that came since, by the member and the index in it.
    texts: BTreeMap<(Part, u64), Text>,
}

/// The part of a text that has come.
#[derive(Default)]
struct Text {
    text: Value,
    annotations: Value,
}

impl Text {
    fn bytes(&self) -> usize {
        SLOT_BYTES + self.text.bytes() + self.annotations.bytes()
    }
}

/// The kind of a text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Output,
    Refusal,
    Reasoning,
    Summary,
    Arguments,
    Input,
}

/// The prefix of a text's events, its kind, and the member that has it when it is done.
const TEXTS: [(&str, Part, &str); 6] = [
    ("response.output_text.", Part::Output, "text"),
    ("response.refusal.", Part::Refusal, "refusal"),
    ("response.reasoning_text.", Part::Reasoning, "text"),
    ("response.reasoning_summary_text.", Part::Summary, "text"),
    (
        "response.function_call_arguments.",
        Part::Arguments,
        "arguments",
    ),
    ("response.custom_tool_call_input.", Part::Input, "input"),
];

/// The types of items that consist of such texts. Only these may be `completed` or `incomplete`.
const WITH_TEXTS: [&str; 3] = ["\"message\"", "\"reasoning\"", "\"function_call\""];

/// What an event has of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TextEvent {
    /// The next piece.
    Delta,
    /// All of it, in this member.
    Done(&'static str),
    /// An annotation of it.
    Annotation,
}

impl Part {
    /// What an event has of which text; `None` for an event without a text.
    pub(super) fn of(event: &str) -> Option<(Self, TextEvent)> {
        TEXTS.iter().find_map(|(prefix, part, member)| {
            let text_event = match event.strip_prefix(prefix)? {
                "delta" => TextEvent::Delta,
                "done" => TextEvent::Done(member),
                "annotation.added" => TextEvent::Annotation,
                _ => return None,
            };
            Some((*part, text_event))
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
    pub(super) fn is_in_list(self) -> bool {
        !matches!(self, Self::Arguments | Self::Input)
    }

    /// The JSON of a text.
    fn written(self, text: &Text) -> String {
        let mut json = String::new();
        match &text.text {
            Value::Null => json.push_str("\"\""),
            text => text.write(&mut json),
        }
        let mut annotations = String::new();
        match &text.annotations {
            Value::Null => annotations.push_str("[]"),
            list => list.write(&mut annotations),
        }
        match self {
            Self::Output => {
                format!(r#"{{"type":"output_text","text":{json},"annotations":{annotations}}}"#)
            }
            Self::Refusal => format!(r#"{{"type":"refusal","refusal":{json}}}"#),
            Self::Reasoning => format!(r#"{{"type":"reasoning_text","text":{json}}}"#),
            Self::Summary => format!(r#"{{"type":"summary_text","text":{json}}}"#),
            Self::Arguments | Self::Input => json,
        }
    }
}

impl Item {
    /// Takes the item as it was added, or is done. The pieces of texts that it has itself are dropped.
    pub(super) fn set(&mut self, json: &RawValue, budget: &mut Budget) -> Result<(), WalkError> {
        let mut has: Vec<&'static str> = Vec::new();
        members(json.get(), |name, value| {
            let known = TEXTS.iter().map(|(_, part, _)| part.member());
            has.extend(known.filter(|known| *known == name && is_truthy(Some(value))));
            Ok(())
        })?;
        self.texts.retain(|(part, _), text| {
            let is_kept = !has.contains(&part.member());
            if !is_kept {
                budget.give_back(text.bytes());
            }
            is_kept
        });
        self.json.set(json.get(), budget)
    }

    /// Takes what an event has of a text.
    pub(super) fn see(
        &mut self,
        place: (Part, u64),
        event: TextEvent,
        value: Option<&RawValue>,
        budget: &mut Budget,
    ) -> Result<(), WalkError> {
        let Some(value) = value.filter(|value| is_truthy(Some(value))) else {
            return Ok(());
        };
        if !self.texts.contains_key(&place) {
            budget.take(SLOT_BYTES)?;
        }
        let text = self.texts.entry(place).or_default();
        let json = value.get();
        match event {
            TextEvent::Annotation => text.annotations.push_items(json, budget),
            _ if !json.starts_with('"') => Ok(()),
            TextEvent::Delta => text.text.push_text(inside(json), budget),
            TextEvent::Done(_) => {
                text.text.set("null", budget)?;
                text.text.push_text(inside(json), budget)
            }
        }
    }

    /// How many bytes it counts for.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.texts.values().map(Text::bytes);
        SLOT_BYTES + self.json.bytes() + texts.sum::<usize>()
    }

    /// The item with the texts that came. An item that was still in progress gets `status`. `None` for an item
    /// of which only texts have come: its type is not known.
    pub(super) fn written(&self, status: &str) -> Option<String> {
        let Value::Whole(json) = &self.json else {
            return None;
        };
        let mut replaced: Vec<(&str, String)> = Vec::new();
        for ((part, _), text) in &self.texts {
            let json = part.written(text);
            match replaced.last_mut() {
                Some((name, list)) if *name == part.member() => {
                    list.insert(list.len() - 1, ',');
                    list.insert_str(list.len() - 1, &json);
                }
                _ if part.is_in_list() => replaced.push((part.member(), format!("[{json}]"))),
                _ => replaced.push((part.member(), json)),
            }
        }
        let (mut is_in_progress, mut has_end) = (false, false);
        members(json, |name, value| {
            is_in_progress |= name == "status" && equals(Some(value), "\"in_progress\"");
            has_end |= name == "type" && WITH_TEXTS.contains(&value.get());
            Ok(())
        })
        .ok()?;
        if is_in_progress && has_end {
            replaced.push(("status", format!("\"{status}\"")));
        }
        let replaced: Vec<_> = replaced
            .iter()
            .map(|(name, json)| (*name, json.as_str()))
            .collect();
        replace_members(json, &replaced).ok()
    }
}
