//! Values that grow piece by piece.
//!
//! Owns how a piece is joined to a value, and how much memory that takes. A text is kept as it is written,
//! without its closing quote: a piece is added by copying it, and a character whose escapes were cut in two
//! is whole again. Does not handle which member follows which rule (see `chunks`, `message`, `calls`).
//! Fails when a bound is reached; the value then stays as it was.

mod items;

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{MAX_DEPTH, MAX_ITEMS};
use crate::openai::json::{
    WalkError, inside, is_array, is_null, is_object, is_truthy, members, push_key,
};
use items::Items;

/// The bytes that a member, a call or a choice counts for, besides its own.
pub(super) const SLOT_BYTES: usize = 1 << 10;

/// The bound on the bytes that are kept.
pub(super) struct Budget {
    left: usize,
    all: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            left: bytes,
            all: bytes,
        }
    }

    /// How many bytes are kept.
    pub(super) fn spent(&self) -> usize {
        self.all.saturating_sub(self.left)
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), WalkError> {
        self.left = self.left.checked_sub(bytes).ok_or(WalkError::TooLarge)?;
        Ok(())
    }

    pub(super) fn give_back(&mut self, bytes: usize) {
        self.left += bytes;
    }

    /// Takes what a value needs that replaces another.
    fn exchange(&mut self, old: usize, new: usize) -> Result<(), WalkError> {
        self.take(new.saturating_sub(old))?;
        self.give_back(old.saturating_sub(new));
        Ok(())
    }
}

/// The part of a value that has come.
#[derive(Default)]
pub(super) enum Value {
    /// Nothing, or null.
    #[default]
    Null,
    /// Any value, as it is written.
    Whole(String),
    /// A string, without its closing quote.
    Text(String),
    /// The items of an array, without its brackets.
    List(String),
    /// An array whose items may come in pieces.
    Items(Box<Items>),
    /// An object that has come in several pieces.
    Object(MemberMap),
}

impl Value {
    /// Keeps the first value that is not empty.
    pub(super) fn keep_first(
        &mut self,
        value: &RawValue,
        budget: &mut Budget,
    ) -> Result<(), WalkError> {
        if matches!(self, Self::Whole(kept) if !matches!(kept.as_str(), "\"\"" | "0")) {
            return Ok(());
        }
        self.keep_last(value, budget)
    }

    /// Keeps the last value that is not null.
    pub(super) fn keep_last(
        &mut self,
        value: &RawValue,
        budget: &mut Budget,
    ) -> Result<(), WalkError> {
        if is_null(value) {
            return Ok(());
        }
        self.set(value.get(), budget)
    }

    /// Keeps the last value that is not empty: an empty string, object or array replaces nothing.
    pub(super) fn keep_truthy(
        &mut self,
        value: &RawValue,
        budget: &mut Budget,
    ) -> Result<(), WalkError> {
        if matches!(self, Self::Null) || is_truthy(Some(value)) {
            return self.keep_last(value, budget);
        }
        Ok(())
    }

    /// Joins a piece to the value: strings and arrays are concatenated, objects merged, and any other value
    /// is replaced. Below `depth` levels the last object or array is kept whole.
    pub(super) fn join(
        &mut self,
        piece: &RawValue,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<(), WalkError> {
        let json = piece.get();
        let opening = json.as_bytes().first();
        match (&mut *self, opening) {
            (_, Some(b'n')) => Ok(()),
            (_, Some(b'"')) => self.push_text(inside(json), budget),
            (Self::Items(kept), Some(b'[')) => kept.extend(piece, depth, budget),
            (_, Some(b'[')) if depth > 0 => {
                let mut items = Box::<Items>::default();
                items.extend(piece, depth, budget)?;
                budget.give_back(self.bytes());
                *self = Self::Items(items);
                Ok(())
            }
            (Self::Object(kept), Some(b'{')) => kept.join(json, depth, budget),
            (Self::Whole(kept), Some(b'{')) if depth > 0 && kept.starts_with('{') => {
                let mut merged = MemberMap::default();
                merged.join(kept, depth, budget)?;
                budget.give_back(kept.len());
                merged.join(json, depth, budget)?;
                *self = Self::Object(merged);
                Ok(())
            }
            _ => self.set(json, budget),
        }
    }

    /// Appends the items of an array; joins a piece that is no array.
    pub(super) fn extend(
        &mut self,
        piece: &RawValue,
        budget: &mut Budget,
    ) -> Result<(), WalkError> {
        if !is_array(piece) {
            return self.join(piece, MAX_DEPTH, budget);
        }
        self.push_items(inside(piece.get()).trim_ascii(), budget)
    }

    /// Appends items, as they are written.
    pub(super) fn push_items(&mut self, items: &str, budget: &mut Budget) -> Result<(), WalkError> {
        match self {
            Self::List(_) if items.is_empty() => {}
            Self::List(kept) => {
                budget.take(items.len() + 1)?;
                if !kept.is_empty() {
                    kept.push(',');
                }
                kept.push_str(items);
            }
            _ => {
                budget.exchange(self.bytes(), items.len())?;
                *self = Self::List(items.to_owned());
            }
        }
        Ok(())
    }

    /// Appends the text between the quotes of a string.
    pub(super) fn push_text(&mut self, inner: &str, budget: &mut Budget) -> Result<(), WalkError> {
        if let Self::Text(kept) = self {
            budget.take(inner.len())?;
            kept.push_str(inner);
        } else {
            budget.exchange(self.bytes(), inner.len() + 1)?;
            *self = Self::Text(format!("\"{inner}"));
        }
        Ok(())
    }

    /// Replaces the value.
    pub(super) fn set(&mut self, json: &str, budget: &mut Budget) -> Result<(), WalkError> {
        match self {
            // Most repeated values are the same.
            Self::Whole(kept) if kept == json => {}
            _ => {
                budget.exchange(self.bytes(), json.len())?;
                *self = Self::Whole(json.to_owned());
            }
        }
        Ok(())
    }

    /// Whether it is a text, and not an empty one.
    pub(super) fn has_text(&self) -> bool {
        matches!(self, Self::Text(text) if text.len() > 1)
    }

    /// Whether it is an object, and not this one.
    pub(super) fn is_other_object(&self, object: &RawValue) -> bool {
        matches!(self, Self::Whole(kept) if kept.starts_with('{') && kept != object.get())
    }

    /// How many bytes it counts for.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Whole(kept) | Self::Text(kept) | Self::List(kept) => kept.len(),
            Self::Items(kept) => kept.bytes(),
            Self::Object(kept) => kept.bytes(),
        }
    }

    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Whole(kept) => out.push_str(kept),
            Self::Text(kept) => {
                out.push_str(kept);
                out.push('"');
            }
            Self::List(items) => {
                out.push('[');
                out.push_str(items);
                out.push(']');
            }
            Self::Items(kept) => kept.write(out),
            Self::Object(kept) => {
                out.push('{');
                kept.write(out);
                out.push('}');
            }
        }
    }
}

/// The members of an object, at most [`MAX_ITEMS`], in the order in which they came first.
#[derive(Default)]
pub(super) struct MemberMap(Vec<(String, Value)>);

impl MemberMap {
    /// The value of a member, which is null if it is new.
    pub(super) fn slot(
        &mut self,
        name: &str,
        budget: &mut Budget,
    ) -> Result<&mut Value, WalkError> {
        let known = self.0.iter().position(|(known, _)| known == name);
        let at = known.unwrap_or(self.0.len());
        if known.is_none() {
            if at >= MAX_ITEMS {
                return Err(WalkError::TooLarge);
            }
            budget.take(name.len() + SLOT_BYTES)?;
            self.0.push((name.to_owned(), Value::Null));
        }
        let (_, value) = self.0.get_mut(at).ok_or(WalkError::TooLarge)?;
        Ok(value)
    }

    /// The value of a member that has come.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let known = self.0.iter().find(|(known, _)| known == name);
        known.map(|(_, value)| value)
    }

    /// Joins the members of an object to those that have come.
    fn join(&mut self, object: &str, depth: usize, budget: &mut Budget) -> Result<(), WalkError> {
        let below = depth.saturating_sub(1);
        members(object, |name, value| {
            self.slot(&name, budget)?.join(value, below, budget)
        })
    }

    /// Joins an object whose arrays continue from piece to piece.
    pub(super) fn extend(
        &mut self,
        object: &RawValue,
        budget: &mut Budget,
    ) -> Result<(), WalkError> {
        members(object.get(), |name, value| {
            self.slot(&name, budget)?.extend(value, budget)
        })
    }

    pub(super) fn bytes(&self) -> usize {
        let one = |(name, value): &(String, Value)| name.len() + SLOT_BYTES + value.bytes();
        self.0.iter().map(one).sum()
    }

    /// Writes them into an object that has been opened.
    pub(super) fn write(&self, out: &mut String) {
        self.write_if(out, |_| true);
    }

    /// Writes those of them whose names are wanted.
    pub(super) fn write_if(&self, out: &mut String, is_wanted: impl Fn(&str) -> bool) {
        for (name, value) in self.0.iter().filter(|(name, _)| is_wanted(name)) {
            push_key(out, name);
            value.write(out);
        }
    }
}

/// MemberMap of unknown meaning, of one object as it came; up to one more than can be kept.
#[derive(Default)]
pub(super) struct Unknown<'b>(Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'b> Unknown<'b> {
    pub(super) fn push(&mut self, name: Cow<'b, str>, value: &'b RawValue) {
        if self.0.len() <= MAX_ITEMS {
            self.0.push((name, value));
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Hands on each, with its value among those that are kept.
    pub(super) fn each(
        self,
        kept: &mut MemberMap,
        budget: &mut Budget,
        on: impl Fn(&str, &mut Value, &RawValue, &mut Budget) -> Result<(), WalkError>,
    ) -> Result<(), WalkError> {
        if self.0.len() > MAX_ITEMS {
            return Err(WalkError::TooLarge);
        }
        for (name, value) in self.0 {
            on(&name, kept.slot(&name, budget)?, value, budget)?;
        }
        Ok(())
    }
}

/// A value that is an object.
pub(super) fn as_object(value: &RawValue) -> Option<&RawValue> {
    is_object(value).then_some(value)
}
