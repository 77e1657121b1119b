//! JSON that is read and written without a tree of it.
//!
//! Owns what every reader of JSON here shares. `fields` reads the members of an object that a type names, `walk` hands
//! on every member or item, `write` builds JSON from parts that stay as they are written, `nesting` finds the ends of
//! strings and values in bytes that may come in pieces. This file has the questions that are asked of a raw value and
//! of JSON's bytes. Does not handle what a member means (see the modules that use it). The readers fail for JSON of
//! another shape; each says with what.

mod fields;
mod nesting;
mod walk;
mod write;

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub(crate) use fields::{Fields, List, MAX_ITEMS, Object, Text, read_fields};
pub(super) use nesting::Nesting;
pub(super) use walk::{WalkError, entries, index, items, members, objects};
pub(super) use write::{push_comma, push_key, push_member, quoted, replace_members};

/// Whether a value is there and not empty: what SDKs take for true.
pub(super) fn is_truthy(value: Option<&RawValue>) -> bool {
    let Some(json) = value.map(RawValue::get) else {
        return false;
    };
    match json.strip_prefix(['[', '{']) {
        Some(items) => !matches!(items.trim_ascii(), "]" | "}"),
        None => !matches!(json, "null" | "false" | "0" | "\"\""),
    }
}

/// Whether a value is written as this JSON. No server escapes what it has no need to.
pub(super) fn equals(value: Option<&RawValue>, json: &str) -> bool {
    value.is_some_and(|value| value.get() == json)
}

/// Whether a value is missing or null.
pub(super) fn is_absent(value: Option<&RawValue>) -> bool {
    value.is_none_or(is_null)
}

/// Whether a value is an object.
pub(super) fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// Whether a value is an array.
pub(super) fn is_array(value: &RawValue) -> bool {
    value.get().starts_with('[')
}

/// Whether a value is null.
pub(super) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// A value that is an object of this shape.
pub(super) fn object<'b, T: Deserialize<'b>>(value: &'b RawValue) -> Option<T> {
    let Object(read) = serde_json::from_str(value.get()).ok()?;
    Some(read)
}

/// A value that is a string.
pub(super) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let Text(text) = serde_json::from_str(value.get()).ok()?;
    Some(text)
}

/// What stands between the quotes, brackets or braces of a value.
pub(super) fn inside(json: &str) -> &str {
    let end = json.len().saturating_sub(1);
    json.get(1..end).unwrap_or_default()
}

/// For `deserialize_with`: keeps a member that is null, which a derived reader takes for one that is
/// missing.
pub(super) fn keep_null<'b, D: Deserializer<'b>>(
    value: D,
) -> Result<Option<&'b RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// Where a part stands in the whole that it borrows from: the difference of addresses is its offset.
pub(super) fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// The length of a string whose opening quote has been passed, up to its closing quote; the length of
/// all bytes where there is none.
pub(crate) fn string_length(bytes: &[u8]) -> usize {
    Nesting::default().end_string(bytes).unwrap_or(bytes.len())
}

/// Whether more than this many objects and arrays are open at once. Counts brackets outside strings,
/// and skips strings at the speed of `memchr`. Most bodies have too few brackets for that, which is
/// found at a small part of the cost.
pub(super) fn is_deeper_than(json: &[u8], levels: usize) -> bool {
    if count_openings(json) <= levels {
        return false;
    }
    let levels = levels as u64;
    let deeper = Nesting::default().pass_until(json, |depth| depth > levels);
    deeper.is_some()
}

/// The number of bytes that open a bracket, in strings or outside. The count of each chunk fits into a
/// byte, so that the compiler compares many bytes at a time.
fn count_openings(json: &[u8]) -> usize {
    // One bit tells `[` from `{`.
    let is_opening = |byte: &u8| u8::from(byte | 0x20 == b'{');
    let chunks = json.chunks(usize::from(u8::MAX));
    let counts = chunks.map(|chunk| chunk.iter().map(is_opening).sum::<u8>());
    counts.map(usize::from).sum()
}
