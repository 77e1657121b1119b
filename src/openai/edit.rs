//! Changes to a request's body, at its top level.
//!
//! Owns dropping, renaming, setting and adding fields. All other bytes pass as they came, white space included, for no
//! tree is built: a provider's prompt cache finds what it has up to the first change. Below the top level only the list
//! of `stop` is read. Does not decide which target wants which change (see `config`). Fails where the body is no
//! object, where a key is not text, and beyond [`MAX_FIELDS`] fields.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::Error as _;
use serde_json::Error;
use serde_json::value::RawValue;

use super::demand::{Demand, OUTPUT_BOUNDS};
use super::json::{Text, entries, inside, items, range_in, string};

/// More fields than this are refused: they are listed in memory, and no API has a hundred.
pub const MAX_FIELDS: usize = 4096;

/// What a target wants changed in a request's body; empty for nearly all.
///
/// The changes are made in the order `default`, `set`, `stop`, `drop`, `rename`, and within each
/// in the order of its list. So all but `rename` use the client's names, and a field that
/// was added can still be renamed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits {
    /// Fields that are dropped.
    pub drop: Vec<String>,
    /// Fields that get another name: (from, to). A field that has that name already, and is
    /// not null, wins: the field that was to be renamed is then dropped.
    pub rename: Vec<(String, String)>,
    /// Fields that are set, whatever the client sent: (name, JSON value).
    pub set: Vec<(String, serde_json::Value)>,
    /// Fields that are added where the client's are absent or null.
    pub default: Vec<(String, serde_json::Value)>,
    /// Words added to `stop`, except those that it has. A `stop` that is neither a string nor an
    /// array stays as it is, for the upstream to refuse.
    pub stop: Vec<String>,
}

impl Edits {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a request may use after these changes, where it may use so much before.
    pub fn demand(&self, asked: Demand) -> Demand {
        let bound_of = |fields: &[(String, serde_json::Value)]| {
            let bounds = fields
                .iter()
                .filter(|(name, _)| OUTPUT_BOUNDS.contains(&name.as_str()));
            bounds.filter_map(|(_, value)| value.as_u64()).max()
        };
        let max_output = bound_of(&self.set)
            .or(asked.max_output)
            .or_else(|| bound_of(&self.default));
        Demand {
            max_output,
            ..asked
        }
    }

    /// Rewrites a body, whose top level must be an object (the caller has validated it with
    /// `peek`). What is added goes to the end.
    ///
    /// # Errors
    /// The body is no such object, or has more than [`MAX_FIELDS`] fields.
    pub fn apply(&self, body: &[u8]) -> Result<Vec<u8>, Error> {
        let mut fields = Fields::read(body)?;
        for (name, value) in &self.default {
            if !fields.is_set(name) {
                fields.set(name, value)?;
            }
        }
        for (name, value) in &self.set {
            fields.set(name, value)?;
        }
        if !self.stop.is_empty() {
            fields.add_stop(&self.stop)?;
        }
        for name in &self.drop {
            fields.remove(name);
        }
        for (from, to) in &self.rename {
            fields.rename(from, to)?;
        }
        Ok(fields.write())
    }
}

/// One field, the client's or ours.
struct Field<'b> {
    /// Its name, without escapes.
    name: Cow<'b, str>,
    /// Its key as written, quotes included.
    key: Cow<'b, str>,
    /// The colon, with the whitespace around it.
    colon: &'b [u8],
    /// Its value as written.
    value: Cow<'b, str>,
    /// Its place among the client's fields, and what stands between the field before it and this one; `None` for one
    /// of ours.
    place: Option<(usize, &'b [u8])>,
}

/// The fields of a body in their order; a name may occur more than once.
struct Fields<'b> {
    fields: Vec<Field<'b>>,
    /// The opening brace, and what stands before it.
    begin: &'b [u8],
    /// How many there were, and what stands behind the last of them.
    end: (usize, &'b [u8]),
}

impl<'b> Fields<'b> {
    fn read(body: &'b [u8]) -> Result<Self, Error> {
        let (mut fields, mut end) = (Vec::new(), 0);
        entries(body, |key: &'b RawValue, value| {
            if fields.len() == MAX_FIELDS {
                let refusal = format_args!("more than {MAX_FIELDS} fields");
                return Err(Error::custom(refusal));
            }
            let (key, value) = (key.get(), value.get());
            // Both borrow from the body, and the colon is between them.
            let range = |text: &str| range_in(body, text.as_bytes());
            let colon = body.get(range(key).end..range(value).start);
            let Text(name) = serde_json::from_str(key)?;
            let before = body.get(end..range(key).start);
            end = range(value).end;
            fields.push(Field {
                place: Some((fields.len(), before.unwrap_or_default())),
                name,
                key: Cow::Borrowed(key),
                colon: colon.unwrap_or(b":"),
                value: Cow::Borrowed(value),
            });
            Ok(())
        })?;
        let end = (fields.len(), body.get(end..).unwrap_or_default());
        let brace = body.iter().position(|byte| *byte == b'{').unwrap_or(0);
        let begin = body.get(..=brace).unwrap_or_default();
        Ok(Self { fields, begin, end })
    }

    fn named(&mut self, name: &str) -> impl Iterator<Item = &mut Field<'b>> {
        let fields = self.fields.iter_mut();
        fields.filter(move |field| field.name == name)
    }

    /// Whether there is a field of this name that is not null.
    fn is_set(&self, name: &str) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|field| field.name == name && field.value != "null")
    }

    fn remove(&mut self, name: &str) {
        self.fields.retain(|field| field.name != name);
    }

    /// Replaces all fields of this name by one.
    fn set(&mut self, name: &'b str, value: &impl Serialize) -> Result<(), Error> {
        self.remove(name);
        self.fields.push(Field {
            name: Cow::Borrowed(name),
            key: Cow::Owned(serde_json::to_string(name)?),
            colon: b":",
            value: Cow::Owned(serde_json::to_string(value)?),
            place: None,
        });
        Ok(())
    }

    fn add_stop(&mut self, words: &[String]) -> Result<(), Error> {
        if !self.is_set("stop") {
            return self.set("stop", &words);
        }
        for field in self.named("stop") {
            if let Some(list) = with_words(&field.value, words)? {
                field.value = Cow::Owned(list);
            }
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &'b str) -> Result<(), Error> {
        if from == to || self.named(from).next().is_none() {
            return Ok(());
        }
        if self.is_set(to) {
            self.remove(from);
            return Ok(());
        }
        // The fields that have that name are null, and no name should occur twice.
        self.remove(to);
        let key = serde_json::to_string(to)?;
        for field in self.named(from) {
            field.name = Cow::Borrowed(to);
            field.key = Cow::Owned(key.clone());
        }
        Ok(())
    }

    fn write(&self) -> Vec<u8> {
        let parts = |field: &'_ Field<'_>| {
            let before = field.place.map_or(1, |(_, before)| before.len() + 1);
            before + field.key.len() + field.colon.len() + field.value.len()
        };
        let length: usize = self.fields.iter().map(parts).sum();
        let (count, end) = self.end;
        let mut out = Vec::with_capacity(length + self.begin.len() + end.len());
        // The place that the next of the client's fields has where nothing was changed before it.
        let mut next = Some(0);
        for (nth, field) in self.fields.iter().enumerate() {
            match field.place {
                Some((place, before)) if next == Some(place) => out.extend_from_slice(before),
                _ if nth == 0 => out.extend_from_slice(self.begin),
                _ => out.push(b','),
            }
            next = field.place.map(|(place, _)| place + 1);
            out.extend_from_slice(field.key.as_bytes());
            out.extend_from_slice(field.colon);
            out.extend_from_slice(field.value.as_bytes());
        }
        match next == Some(count) {
            true => out.extend_from_slice(end),
            false => {
                if out.is_empty() {
                    out.extend_from_slice(self.begin);
                }
                out.push(b'}');
            }
        }
        out
    }
}

/// The list that `stop` becomes with our words, or nothing where it stays as it is. The client's
/// own elements keep their bytes.
fn with_words(stop: &str, words: &[String]) -> Result<Option<String>, Error> {
    let elements = match stop.as_bytes().first() {
        Some(b'"') => stop,
        Some(b'[') => inside(stop),
        _ => return Ok(None),
    };
    let mut list = ["[", elements, "]"].concat();
    let mut missing: Vec<&str> = words.iter().map(String::as_str).collect();
    items(&list, |element| {
        // An element that is no string, or no text, is none of our words.
        if let Some(word) = string(element) {
            missing.retain(|ours| *ours != word);
        }
        Ok::<(), Error>(())
    })?;
    if missing.is_empty() {
        return Ok(None);
    }
    list.pop();
    if !elements.trim_ascii().is_empty() {
        list.push(',');
    }
    let ours = serde_json::to_string(&missing)?;
    list.push_str(ours.strip_prefix('[').unwrap_or_default());
    Ok(Some(list))
}

#[cfg(test)]
mod tests;
