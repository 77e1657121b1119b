//! Shapes of JSON that a derived reader alone does not hold to.
//!
//! Owns telling an object from an array, reading no more items of an array than are wanted, and
//! what of a value that was left as JSON is asked without a tree of it. Refuses to know what is in
//! them. Fails as serde does, on any other shape.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use memchr::memchr2;
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// As many items of an array are read: more choices or calls than any answer has.
pub(super) const MAX_ITEMS: usize = 128;

/// A JSON object: a derived struct alone could be read from an array as well.
pub(super) struct Object<T>(pub(super) T);

impl<'b, T: Deserialize<'b>> Deserialize<'b> for Object<T> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'b, T: Deserialize<'b>> Visitor<'b> for Members<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'b>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// The first [`MAX_ITEMS`] objects of a JSON array; none where there is null instead.
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    /// Whether the array had more of them.
    pub(super) has_more: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            has_more: false,
        }
    }
}

impl<'b, T: Deserialize<'b>> Deserialize<'b> for List<T> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'b, T: Deserialize<'b>> Visitor<'b> for Items<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array or null")
            }
            fn visit_unit<E>(self) -> Result<List<T>, E> {
                Ok(List::default())
            }
            fn visit_seq<A: SeqAccess<'b>>(self, mut array: A) -> Result<List<T>, A::Error> {
                let mut list = List::default();
                while list.items.len() < MAX_ITEMS
                    && let Some(Object(item)) = array.next_element()?
                {
                    list.items.push(item);
                }
                while array.next_element::<IgnoredAny>()?.is_some() {
                    list.has_more = true;
                }
                Ok(list)
            }
        }
        deserializer.deserialize_any(Items(PhantomData))
    }
}

/// Whether a value is there and not empty: what SDKs take for true.
pub(super) fn says(value: Option<&RawValue>) -> bool {
    let Some(json) = value.map(RawValue::get) else {
        return false;
    };
    match json.strip_prefix(['[', '{']) {
        Some(items) => !matches!(items.trim_ascii(), "]" | "}"),
        None => !matches!(json, "null" | "false" | "0" | "\"\""),
    }
}

/// A member that is there, be it null, which a derived reader takes for one that is not.
pub(super) fn as_it_stands<'b, D: Deserializer<'b>>(
    value: D,
) -> Result<Option<&'b RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// Where a part stands in the whole that it borrows from: the difference of addresses is its offset.
pub(super) fn place_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// How far it is to the quote that ends a string, whose opening quote has been passed; all of it where
/// there is none.
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

/// A value that is an object of this shape.
pub(super) fn object<'b, T: Deserialize<'b>>(value: &'b RawValue) -> Option<T> {
    let Object(read) = serde_json::from_str(value.get()).ok()?;
    Some(read)
}

/// A value that is a string.
pub(super) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'b>(#[serde(borrow)] Cow<'b, str>);
    let Text(text) = serde_json::from_str(value.get()).ok()?;
    Some(text)
}

/// Whether a value is written as this JSON. No server escapes what it has no need to.
pub(super) fn is(value: Option<&RawValue>, json: &str) -> bool {
    value.is_some_and(|value| value.get() == json)
}
