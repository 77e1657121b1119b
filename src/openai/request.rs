//! What we read in a request's JSON body.
//!
//! Owns finding `model` and `stream` at the top level without a tree, so that their bytes can be replaced
//! while every other byte stays. `store`, `prompt_cache_key` and `user`, by which an account and a server are
//! chosen, and the members that `streaming` needs, are read too; no value of these is refused. Does not
//! decide whether a body may leave its model out (see `gateway::plan`). Fails for a body that can be read in
//! two ways: a key that we act on twice, or in another case; nesting beyond [`MAX_DEPTH`].

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;

use super::demand::{self, Demand};
use super::json::{self, Text, equals, is_deeper_than, range_in, read_fields};
use super::model_name::{self, MAX_NAME_BYTES, NameError};
use super::slot::Slot;
use super::streaming::{self, Streaming};

/// Deeper nesting than this is refused before anything is allocated.
pub const MAX_DEPTH: usize = 64;

/// What we read of a request, at its top level.
#[derive(Debug, PartialEq, Eq)]
pub struct Peek<'b> {
    /// The requested model; `None` where it is left out, or null.
    pub model: Option<Cow<'b, str>>,
    /// The range of its JSON string in the body, or where it can be added.
    pub slot: Slot,
    /// Whether and how it asks for a stream.
    pub streaming: Streaming,
    /// Whether the answer is to be kept, so that it can be asked for by its id.
    pub store: bool,
    /// Its `prompt_cache_key`, as it stands in the body: requests of one are best served by one account.
    pub prompt_cache_key: Option<&'b [u8]>,
    /// Its `user`, as it stands in the body.
    pub user: Option<&'b [u8]>,
    /// What it may use.
    pub demand: Demand,
}

/// Why a body cannot be served.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Not UTF-8; how many bytes of it are.
    NotUtf8(usize),
    /// Not JSON; the parser's message.
    NotJson(String),
    /// JSON, but no object.
    NotAnObject,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// A key that we act on stands twice.
    Duplicate(&'static str),
    /// A key that differs from one that we act on by its case alone.
    Shadowed(&'static str),
    /// A key's value has the wrong type.
    WrongType(&'static str, &'static str),
    /// The model's name cannot be one.
    Model(NameError),
}

/// The keys that we act on.
const ACTED_ON: [&str; 2] = ["model", "stream"];

/// Reads what we need from a body.
///
/// # Errors
/// See [`BodyError`].
pub fn peek(body: &[u8]) -> Result<Peek<'_>, BodyError> {
    // All of it, not only what is read here: a character that was cut short can hide a quote from one
    // reader and not from another.
    let text = str::from_utf8(body).map_err(|e| BodyError::NotUtf8(e.valid_up_to()))?;
    if is_deeper_than(body, MAX_DEPTH) {
        return Err(BodyError::TooDeep);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let fields: Fields<'_> = read_fields(&mut deserializer)
        .and_then(|fields| deserializer.end().map(|()| fields))
        .map_err(|e| not_json(body, &e))?;
    fields.read(body)
}

/// A model's name as the JSON string that replaces the client's.
pub fn rewritten_model(model: &str) -> Vec<u8> {
    // A string always serialises.
    serde_json::to_vec(model).unwrap_or_default()
}

fn not_json(body: &[u8], error: &serde_json::Error) -> BodyError {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if error.is_data() && first.is_some_and(|byte| *byte != b'{') {
        return BodyError::NotAnObject;
    }
    BodyError::NotJson(error.to_string())
}

/// The raw values of the keys that we act on.
#[derive(Default)]
struct Fields<'b> {
    values: [Option<&'b RawValue>; ACTED_ON.len()],
    streaming: streaming::StreamingMembers<'b>,
    demand: demand::DemandMembers<'b>,
    store: Option<&'b RawValue>,
    prompt_cache_key: Option<&'b RawValue>,
    user: Option<&'b RawValue>,
    duplicate: Option<&'static str>,
    shadowed: Option<&'static str>,
}

impl<'b> json::Fields<'b> for Fields<'b> {
    fn slot(&mut self, key: &str) -> Option<&mut Option<&'b RawValue>> {
        let mut acted_on = ACTED_ON.iter().zip(&mut self.values);
        match acted_on.find(|(name, _)| key.eq_ignore_ascii_case(name)) {
            Some((name, value)) if key == *name => {
                if value.is_some() {
                    self.duplicate = Some(*name);
                }
                Some(value)
            }
            Some((name, _)) => {
                self.shadowed = Some(*name);
                None
            }
            None => match key {
                "store" => Some(&mut self.store),
                "prompt_cache_key" => Some(&mut self.prompt_cache_key),
                "user" => Some(&mut self.user),
                "stream_options" => Some(&mut self.streaming.options),
                "best_of" => Some(&mut self.streaming.best_of),
                "background" => Some(&mut self.streaming.background),
                "audio" => Some(&mut self.streaming.audio),
                "max_tokens" => Some(&mut self.demand.max_tokens),
                "max_completion_tokens" => Some(&mut self.demand.max_completion_tokens),
                "max_output_tokens" => Some(&mut self.demand.max_output_tokens),
                "n" => Some(&mut self.demand.choices),
                "tools" => Some(&mut self.demand.tools),
                _ => None,
            },
        }
    }
}

impl<'b> Fields<'b> {
    fn read(self, body: &'b [u8]) -> Result<Peek<'b>, BodyError> {
        if let Some(name) = self.duplicate {
            return Err(BodyError::Duplicate(name));
        }
        if let Some(name) = self.shadowed {
            return Err(BodyError::Shadowed(name));
        }
        let [model, stream] = self.values;
        let best_of = self.streaming.best_of;
        let streaming = streaming::StreamingMembers {
            stream,
            ..self.streaming
        };
        let streaming = streaming.read(body);
        let streaming = streaming.ok_or(BodyError::WrongType("stream", "a boolean"))?;
        let (model, slot) = match model {
            Some(value) => (name(value)?, Slot::of_value(range(body, value))),
            None => (None, absent(body)),
        };
        Ok(Peek {
            model,
            slot,
            streaming,
            store: equals(self.store, "true"),
            demand: self.demand.read(best_of),
            prompt_cache_key: said(self.prompt_cache_key),
            user: said(self.user),
        })
    }
}

/// The JSON of a value that says something.
fn said(value: Option<&RawValue>) -> Option<&[u8]> {
    let json = value?.get().as_bytes();
    (!matches!(json, b"null" | b"\"\"")).then_some(json)
}

/// The most bytes that a name of [`MAX_NAME_BYTES`] has in JSON: its quotes, and an escape for each byte.
const MAX_NAME_JSON_BYTES: usize = 2 + 6 * MAX_NAME_BYTES;

/// The name that a model's value gives.
fn name(value: &RawValue) -> Result<Option<Cow<'_, str>>, BodyError> {
    let json = value.get();
    if json.starts_with('"') && json.len() > MAX_NAME_JSON_BYTES {
        return Err(BodyError::Model(NameError::TooLong));
    }
    let name: Option<Text<'_>> =
        serde_json::from_str(json).map_err(|_| BodyError::WrongType("model", "a string"))?;
    let Some(Text(name)) = name else {
        return Ok(None);
    };
    model_name::check(&name).map_err(BodyError::Model)?;
    Ok(Some(name))
}

fn range(body: &[u8], value: &RawValue) -> Range<u64> {
    let range = range_in(body, value.get().as_bytes());
    range.start as u64..range.end as u64
}

/// Where a body that names no model can name one: as the first of its members.
fn absent(body: &[u8]) -> Slot {
    let is_blank = |byte: &&u8| byte.is_ascii_whitespace();
    let at = body.iter().take_while(is_blank).count() + 1;
    let members = body.get(at..).unwrap_or_default();
    let after = match members.iter().find(|byte| !is_blank(byte)) {
        Some(b'}') => "",
        _ => ",",
    };
    Slot::absent(at as u64, "\"model\":", after)
}

#[cfg(test)]
#[allow(clippy::too_many_lines)]
mod tests;
