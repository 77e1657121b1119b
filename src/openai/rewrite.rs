//! Changes to an answer: the model's name in it, and a text before its first output.
//!
//! Owns finding the places in a JSON answer or in a stream's events, and their replacements; every other byte
//! passes as it came, for no tree is built. Does not decide what is changed (see `gateway::exchange`), nor
//! handle the bytes of a stream (see `changes`). Never fails: what is not of the known shape stays as it is.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::changes::{Change, Changes};
use super::json::{List, MAX_ITEMS, Object, range_in};
use super::patches::Patches;
use super::sse::{Event, Parser};

/// This many choices of an answer can have a prefix; others pass unchanged.
const MAX_CHOICES: usize = MAX_ITEMS;

/// What is to be changed in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrites {
    /// The model's name that it carries instead of the upstream's.
    pub model: Option<String>,
    /// Text before the first output of each choice.
    pub prefix: Option<String>,
}

impl Rewrites {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A whole JSON answer, changed; `None` when nothing in it is to be changed or it is not JSON
    /// of the known shape (then it passes as it came).
    pub fn whole(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut patches = Patches::default();
        Editor::new(self).edit(body, |part, with| patches.add(part, with));
        (!patches.is_empty()).then(|| patches.apply(body))
    }
}

/// Rewrites the events of one stream.
pub struct Rewriter {
    editor: Editor,
}

impl Rewriter {
    /// For one stream, before its first event.
    pub fn new(rewrites: &Rewrites) -> Self {
        Self {
            editor: Editor::new(rewrites),
        }
    }

    /// Takes the next event, and notes what of it is changed. Data in several lines stays, and so does
    /// an event that is too long to be read.
    pub fn see(&mut self, event: &Event<'_>, changes: &mut Changes) {
        if let (Ok(data), Some(_)) = (&event.data, event.data_at) {
            self.editor
                .edit(data, |part, with| changes.patch(event, part, with));
        }
    }

    /// An event of ours, changed as the others are.
    pub fn event(&mut self, bytes: Bytes) -> Bytes {
        let mut changes = Changes::default();
        Parser::new().push(&bytes, |event| self.see(&event, &mut changes));
        let mut patches = Patches::default();
        for Change { range, with } in changes {
            // As many bytes as there are can be counted.
            let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap_or(0));
            patches.add(start..end, with);
        }
        match patches.is_empty() {
            true => bytes,
            false => Bytes::from(patches.apply(&bytes)),
        }
    }
}

/// Finds what is to be changed, over all events of one answer.
struct Editor {
    /// The model's name as a JSON string.
    model: Option<Bytes>,
    /// The prefix as a JSON string without its closing quote: takes the place of an opening one.
    prefix: Option<Bytes>,
    /// The choices that have had their prefix, at most [`MAX_CHOICES`].
    prefixed: Vec<u64>,
}

impl Editor {
    fn new(rewrites: &Rewrites) -> Self {
        // A string always serialises.
        let json = |text: &String| serde_json::to_vec(text).unwrap_or_default();
        let open = |text: &String| {
            let mut json = json(text);
            json.pop();
            json
        };
        Self {
            model: rewrites.model.as_ref().map(json).map(Bytes::from),
            prefix: rewrites.prefix.as_ref().map(open).map(Bytes::from),
            prefixed: Vec::new(),
        }
    }

    /// Tells `change` which parts of some JSON are to be changed, and what takes their place.
    fn edit(&mut self, json: &[u8], mut change: impl FnMut(Range<usize>, Bytes)) {
        let Ok(text) = str::from_utf8(json) else {
            return;
        };
        let Ok(Object(answer)) = serde_json::from_str::<Object<Answer<'_>>>(text) else {
            return;
        };
        let range = |text: &str| range_in(json, text.as_bytes());
        if let Some(ours) = &self.model {
            for theirs in answer.models().filter(|theirs| theirs.as_bytes() != ours) {
                change(range(theirs), ours.clone());
            }
        }
        let Some(prefix) = &self.prefix else {
            return;
        };
        for choice in &answer.choices.items {
            let index = choice.index.unwrap_or_default();
            let Some(output) = choice.output().map(range) else {
                continue;
            };
            if self.prefixed.len() < MAX_CHOICES && !self.prefixed.contains(&index) {
                self.prefixed.push(index);
                change(output.start..output.start + 1, prefix.clone());
            }
        }
    }
}

/// What we read of an answer, or of an event: of chats, completions, embeddings and responses.
#[derive(Deserialize)]
struct Answer<'b> {
    #[serde(borrow)]
    model: Option<&'b RawValue>,
    #[serde(borrow)]
    response: Option<Object<Response<'b>>>,
    #[serde(borrow, default)]
    choices: List<Choice<'b>>,
}

#[derive(Deserialize)]
struct Response<'b> {
    #[serde(borrow)]
    model: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Choice<'b> {
    index: Option<u64>,
    #[serde(borrow)]
    delta: Option<Object<Message<'b>>>,
    #[serde(borrow)]
    message: Option<Object<Message<'b>>>,
    #[serde(borrow)]
    text: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Message<'b> {
    #[serde(borrow)]
    content: Option<&'b RawValue>,
}

impl<'b> Answer<'b> {
    /// The names of models in it. An empty one names none: Azure's filter has events of its own.
    fn models(&self) -> impl Iterator<Item = &'b str> {
        let inner = self.response.as_ref().and_then(|Object(inner)| inner.model);
        [self.model, inner].into_iter().flatten().filter_map(string)
    }
}

impl<'b> Choice<'b> {
    /// The JSON string that holds its output, if that is not empty.
    fn output(&self) -> Option<&'b str> {
        let content = |message: &Option<Object<Message<'b>>>| message.as_ref()?.0.content;
        let places = [content(&self.delta), content(&self.message), self.text];
        places.into_iter().flatten().find_map(string)
    }
}

/// A value's bytes if it is a string and not empty.
fn string(value: &RawValue) -> Option<&str> {
    let json = value.get();
    (json.starts_with('"') && json != "\"\"").then_some(json)
}

#[cfg(test)]
mod tests;
