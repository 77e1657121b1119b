//! JSON that is read and written without a tree of it.
//!
//! Owns what every reader of JSON here shares. `fields` reads the members of an object that a type
//! names, `walk` hands on every member or item, `write` builds JSON from parts that stay as they are
//! written. This file has the questions that are asked of a raw value and of JSON's bytes. Does not
//! handle what a member means (see the modules that use it), nor JSON that comes in pieces (see
//! `usage::scanner`). The readers fail for JSON of another shape; each says with what.

mod fields;
mod walk;
mod write;

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub(crate) use fields::{Fields, List, MAX_ITEMS, Object, Text, read_fields};
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
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

/// Whether more than this many objects and arrays are open at once. Counts brackets outside strings,
/// and skips strings at the speed of `memchr`.
pub(super) fn is_deeper_than(json: &[u8], levels: usize) -> bool {
    let mut depth = 0usize;
    let mut rest = json;
    loop {
        let outside = memchr(b'"', rest).unwrap_or(rest.len());
        let (structure, tail) = rest.split_at(outside);
        for byte in structure {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > levels {
                return true;
            }
        }
        let Some(string) = tail.get(1..) else {
            return false;
        };
        rest = string.get(string_length(string) + 1..).unwrap_or_default();
    }
}
