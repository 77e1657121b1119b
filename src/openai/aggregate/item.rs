//! One item of a response's output, as far as it has come.
//!
//! Owns what its events make of it: the item as it was added or done, and the texts and annotations that have
//! come for what it lacks. Which event is of which item is known to `response`. Fails beyond a bound.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::value::{Budget, SLOT_BYTES, Value};
use crate::openai::json::{WalkError, equals, inside, is_truthy, members, replace_members};

/// An item of the output.
#[derive(Default)]
pub(super) struct Item {
    json: Value,
    /// What came since, by the member and the place in it.
    texts: BTreeMap<(Part, u64), Text>,
}

/// A text, as far as it has come.
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

/// What a text is a part of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Output,
    Refusal,
    Reasoning,
    Summary,
    Arguments,
    Input,
}

/// How the events of a text begin, what it is a part of, and which member has it when it is done.
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

/// The types of items that are made of such texts: all of them may be `completed` or `incomplete`, as others
/// may not.
const WITH_TEXTS: [&str; 3] = ["\"message\"", "\"reasoning\"", "\"function_call\""];

/// What an event tells of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// More of it.
    More,
    /// All of it, in this member.
    Done(&'static str),
    /// An annotation of it.
    Annotation,
}

impl Part {
    /// What an event tells of which text; `None` for an event of no text.
    pub(super) fn of(event: &str) -> Option<(Self, Told)> {
        TEXTS.iter().find_map(|(prefix, part, member)| {
            let told = match event.strip_prefix(prefix)? {
                "delta" => Told::More,
                "done" => Told::Done(member),
                "annotation.added" => Told::Annotation,
                _ => return None,
            };
            Some((*part, told))
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

    /// What a text is written as.
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
    /// Takes the item as it was added, or is done. What has come of the texts that it has itself is no longer
    /// needed.
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

    /// Takes what an event tells of a text.
    pub(super) fn see(
        &mut self,
        place: (Part, u64),
        told: Told,
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
        match told {
            Told::Annotation => text.annotations.push_items(json, budget),
            _ if !json.starts_with('"') => Ok(()),
            Told::More => text.text.push_text(inside(json), budget),
            Told::Done(_) => {
                text.text.set("null", budget)?;
                text.text.push_text(inside(json), budget)
            }
        }
    }

    /// How many bytes it has been counted for.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.texts.values().map(Text::bytes);
        SLOT_BYTES + self.json.bytes() + texts.sum::<usize>()
    }

    /// The item with the texts that came; `status` is its status where it was still in progress. `None` for an
    /// item of which only texts have come: what it is is not known.
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
