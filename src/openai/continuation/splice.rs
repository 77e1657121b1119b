//! The stream that goes on with a chat, as the rest of the first one.
//!
//! Owns what is changed in its events: the identity of the answer is that of the first stream, the role does not come
//! again, text that repeats the end of what has been said is left out, the usage is that of both, and the event with
//! the finish reason says that the answer was continued. Does not handle how events are framed (see `sse`), nor what
//! else they mean (see `stream_state`). Never fails: what is no chunk of a chat passes as it came.
//!
//! A repeated beginning is looked for in at most `MAX_REPEATED` characters. As much text is held until it is clear
//! that it repeats nothing.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Said;
use super::prefill::Repeats;
use crate::openai::changes::Changes;
use crate::openai::json::replace_members;
use crate::openai::sse::Event;

/// As many characters at the beginning may repeat the last words.
const MAX_REPEATED: usize = 200;
/// So many characters, and so many letters and digits among them, are no chance where a word begins with them.
const CERTAIN: usize = 8;
const CERTAIN_ALPHANUMERIC: usize = 5;
/// So many letters are a word that was cut, or the whole of a short answer.
const WORD: usize = 3;

/// What another stream is to be the rest of.
#[derive(Clone, Debug)]
pub struct Rest {
    /// What has been said.
    pub said: Said,
    /// What of it the upstream may say again.
    pub repeats: Repeats,
    /// The tokens of input and output that the first stream has used.
    pub used: (u64, u64),
    /// Whether the client gets the usage.
    pub shows_usage: bool,
}

/// Changes the events of the stream that goes on.
pub struct Splicer {
    rest: Rest,
    /// The beginning of its text, until it is clear what of it repeats something.
    held: Option<String>,
}

impl Splicer {
    /// For a stream that goes on, before its first event.
    pub fn new(rest: Rest) -> Self {
        Self {
            rest,
            held: Some(String::new()),
        }
    }

    /// The data of an event that says what has been said before.
    pub fn beginning(&self) -> Vec<u8> {
        let said = &self.rest.said;
        let delta = json!({ "role": "assistant", "content": said.text });
        let mut chunk = json!({ "choices": [{ "index": 0, "delta": delta }] });
        if let Some(chunk) = chunk.as_object_mut() {
            self.identify(chunk);
        }
        chunk.to_string().into_bytes()
    }

    /// Takes the next event. Gives its data as the client gets it, where that differs; nothing at all is empty.
    pub fn see(&mut self, event: &Event<'_>, changes: &mut Changes) -> Option<Vec<u8>> {
        let data = event.data.as_deref().ok()?;
        let (before, chunk) = match data.trim_ascii() {
            b"[DONE]" => (self.flush()?, None),
            _ => (Vec::new(), Some(self.chunk(data)?)),
        };
        let mut with = framed(&before);
        with.extend(framed(chunk.as_deref().unwrap_or(b"[DONE]")));
        changes.replace(event, Bytes::from(with));
        Some(chunk.unwrap_or(before))
    }

    /// The event with the text that is still held, where no more comes.
    pub fn finish(&mut self) -> Option<Bytes> {
        Some(Bytes::from(framed(&self.flush()?)))
    }

    fn flush(&mut self) -> Option<Vec<u8>> {
        let text = self.release();
        if text.is_empty() {
            return None;
        }
        let mut chunk = json!({
            "object": "chat.completion.chunk",
            "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }],
        });
        if let Some(chunk) = chunk.as_object_mut() {
            self.identify(chunk);
        }
        Some(chunk.to_string().into_bytes())
    }

    /// A chunk as the client gets it; empty for one of which nothing is left, `None` for what is no chunk.
    fn chunk(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let Ok(Value::Object(mut chunk)) = serde_json::from_slice(data) else {
            return self.unread_chunk(data);
        };
        chunk.get("choices")?.as_array()?;
        self.identify(&mut chunk);
        let says = self.change_choice(&mut chunk);
        let has_usage = self.change_usage(&mut chunk);
        match says || has_usage {
            true => Some(Value::Object(chunk).to_string().into_bytes()),
            false => Some(Vec::new()),
        }
    }

    /// A chunk that is JSON, and has a text that is none: half of a character, such as the first part of an emoji.
    fn unread_chunk(&self, data: &[u8]) -> Option<Vec<u8>> {
        let said = &self.rest.said;
        let members = [
            ("id", &said.id),
            ("created", &said.created),
            ("model", &said.model),
        ];
        let known = members.map(|(name, value)| Some((name, value.as_ref()?.to_string())));
        let known: Vec<(&str, String)> = known.into_iter().flatten().collect();
        let mut replaced: Vec<(&str, &str)> = Vec::new();
        replaced.extend(known.iter().map(|(name, json)| (*name, json.as_str())));
        if !self.rest.shows_usage {
            replaced.push(("usage", "null"));
        }
        let json = str::from_utf8(data)
            .ok()
            .filter(|json| json.contains("\"choices\""))?;
        replace_members(json, &replaced)
            .ok()
            .map(String::into_bytes)
    }

    fn identify(&self, chunk: &mut Map<String, Value>) {
        let said = &self.rest.said;
        for (name, value) in [
            ("id", &said.id),
            ("created", &said.created),
            ("model", &said.model),
        ] {
            match value {
                Some(value) => chunk.insert(name.to_owned(), value.clone()),
                None => chunk.remove(name),
            };
        }
    }

    /// Changes the choice of a chunk. Tells whether it says anything.
    fn change_choice(&mut self, chunk: &mut Map<String, Value>) -> bool {
        let choices = chunk.get_mut("choices").and_then(Value::as_array_mut);
        let Some(choice) = choices.and_then(|all| all.first_mut()?.as_object_mut()) else {
            return false;
        };
        let is_last = choice
            .get("finish_reason")
            .is_some_and(|reason| !is_empty(reason));
        let mut delta = match choice.remove("delta") {
            Some(Value::Object(delta)) => delta,
            _ => Map::new(),
        };
        delta.remove("role");
        let text = match delta.remove("content") {
            Some(Value::String(text)) => self.take(&text),
            Some(Value::Null) | None => String::new(),
            Some(other) => {
                // Parts of another kind pass as they came.
                delta.insert("content".to_owned(), other);
                String::new()
            }
        };
        let says_more = delta.values().any(|value| !is_empty(value));
        // Reasoning may come before the text. What is called comes behind it.
        let calls = ["tool_calls", "function_call"].iter().any(|name| {
            let call = delta.get(*name);
            call.is_some_and(|call| !is_empty(call))
        });
        let text = match is_last || calls {
            true => text + &self.release(),
            false => text,
        };
        let says = is_last || says_more || !text.is_empty();
        if !text.is_empty() {
            delta.insert("content".to_owned(), Value::String(text));
        }
        choice.insert("delta".to_owned(), Value::Object(delta));
        if is_last {
            let note = json!({ "continued": true });
            chunk.insert("x_tollgate".to_owned(), note);
        }
        says
    }

    /// Adds up the usage. Tells whether the client gets one.
    fn change_usage(&self, chunk: &mut Map<String, Value>) -> bool {
        if !self.rest.shows_usage {
            chunk.remove("usage");
            return false;
        }
        let Some(usage) = chunk.get_mut("usage").and_then(Value::as_object_mut) else {
            return false;
        };
        let (input, output) = self.rest.used;
        for (name, more) in [
            ("prompt_tokens", input),
            ("completion_tokens", output),
            ("total_tokens", input.saturating_add(output)),
        ] {
            if let Some(tokens) = usage.get(name).and_then(Value::as_u64) {
                usage.insert(name.to_owned(), tokens.saturating_add(more).into());
            }
        }
        true
    }

    /// Takes a piece of text; gives what of it can pass.
    fn take(&mut self, piece: &str) -> String {
        let Some(held) = &mut self.held else {
            return piece.to_owned();
        };
        held.push_str(piece);
        match may_repeat_more(&self.rest.said.text, held, self.rest.repeats) {
            true => String::new(),
            false => self.release(),
        }
    }

    /// The text that is held, without what it repeats. From now on nothing is held.
    fn release(&mut self) -> String {
        let held = self.held.take().unwrap_or_default();
        let repeated = repeated(&self.rest.said.text, &held, self.rest.repeats);
        held.get(repeated..).unwrap_or_default().to_owned()
    }
}

/// An event with this data; nothing for none.
fn framed(data: &[u8]) -> Vec<u8> {
    match data.is_empty() {
        true => Vec::new(),
        false => [b"data: ", data, b"\n\n"].concat(),
    }
}

/// Whether a member says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The ends of a text that a beginning may repeat, the longest first.
fn ends(text: &str) -> impl Iterator<Item = &str> {
    let from = text.char_indices().rev().take(MAX_REPEATED).last();
    let tail = from.and_then(|(at, _)| text.get(at..)).unwrap_or_default();
    tail.char_indices()
        .filter_map(move |(at, _)| tail.get(at..))
}

/// Whether what follows a beginning may show that more of it is repeated.
fn may_repeat_more(text: &str, beginning: &str, repeats: Repeats) -> bool {
    let is_longer = |end: &str| end.len() > beginning.len() && end.starts_with(beginning);
    match repeats {
        Repeats::Nothing => false,
        Repeats::All => is_longer(text),
        Repeats::Words => is_longer(text) || ends(text).any(is_longer),
    }
}

/// How many bytes at the beginning repeat what was said.
fn repeated(text: &str, beginning: &str, repeats: Repeats) -> usize {
    let all = beginning.starts_with(text) && alphanumeric(text) >= WORD;
    match repeats {
        Repeats::Nothing => 0,
        Repeats::All => match beginning.starts_with(text) {
            true => text.len(),
            false => 0,
        },
        Repeats::Words if all => text.len(),
        Repeats::Words => {
            let mut ends = ends(text).filter(|end| beginning.starts_with(end));
            ends.find(|end| is_repetition(text, end))
                .map_or(0, str::len)
        }
    }
}

/// Whether an end of a text that comes again was said twice, and does not come so by chance, as in code, tables and
/// numbers.
fn is_repetition(text: &str, end: &str) -> bool {
    let before = text.strip_suffix(end).unwrap_or_default();
    let begins_word =
        end.starts_with(char::is_alphanumeric) && !before.ends_with(char::is_alphanumeric);
    let characters = end.chars().count();
    // A space would stand before another word: this is the same one.
    let is_word = end.chars().all(char::is_alphabetic) && characters >= WORD;
    begins_word && (is_word || characters >= CERTAIN && alphanumeric(end) >= CERTAIN_ALPHANUMERIC)
}

fn alphanumeric(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphanumeric()).count()
}

#[cfg(test)]
mod tests;
