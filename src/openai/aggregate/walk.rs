//! Walking through JSON that is kept as text, and writing it again.
//!
//! Owns going over the members of an object and the items of an array without building a tree, so
//! that no number is reformatted and no text decoded that need not be. Refuses to know what the
//! members mean. Fails with [`Fault::Malformed`] for any other shape, and with whatever the one who
//! takes the members fails with.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Why JSON cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::openai) enum Fault {
    /// It is beyond a bound.
    TooLarge,
    /// It is not JSON, or not of the shape that was looked for.
    Malformed,
}

/// Hands on each member of an object, in their order; the value as it is written.
pub(in crate::openai) fn members<'b>(
    object: &'b str,
    on: impl FnMut(Cow<'b, str>, &'b RawValue) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut fault = None;
    let mut json = serde_json::Deserializer::from_str(object);
    let read = json.deserialize_map(Walk {
        on,
        fault: &mut fault,
    });
    let read = read.and_then(|()| json.end());
    fault.map_or(read.map_err(|_| Fault::Malformed), Err)
}

/// Hands on each item of an array, in their order, as it is written.
pub(in crate::openai) fn items<'b>(
    array: &'b str,
    mut on: impl FnMut(&'b RawValue) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut fault = None;
    let mut json = serde_json::Deserializer::from_str(array);
    let read = json.deserialize_seq(Walk {
        on: |_, item| on(item),
        fault: &mut fault,
    });
    let read = read.and_then(|()| json.end());
    fault.map_or(read.map_err(|_| Fault::Malformed), Err)
}

/// What is read of an object in one go, with the objects in it.
pub(in crate::openai) trait Shape<'b>: Default {
    /// Where the value of a member goes that is kept as it is written.
    fn place(&mut self, name: &str) -> Option<&mut Option<&'b RawValue>>;

    /// Reads the value of any other member.
    fn other<A: MapAccess<'b>>(
        &mut self,
        name: Cow<'b, str>,
        object: &mut A,
    ) -> Result<(), A::Error>;
}

/// Reads an object.
pub(in crate::openai) fn shaped<'b, T: Shape<'b>, D: Deserializer<'b>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Members<T>(PhantomData<T>);
    impl<'b, T: Shape<'b>> Visitor<'b> for Members<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'b>>(self, mut object: A) -> Result<T, A::Error> {
            let mut shape = T::default();
            while let Some(Key(name)) = object.next_key()? {
                match shape.place(&name) {
                    Some(place) => *place = Some(object.next_value()?),
                    None => shape.other(name, &mut object)?,
                }
            }
            Ok(shape)
        }
    }
    deserializer.deserialize_map(Members(PhantomData))
}

/// Hands on the objects of an array that may be missing, or null. Null among them is none.
pub(in crate::openai) fn objects<'b>(
    array: Option<&'b RawValue>,
    mut on: impl FnMut(&'b RawValue) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Some(array) = array.filter(|array| !is_null(array)) else {
        return Ok(());
    };
    items(array.get(), |item| match item {
        item if is_null(item) => Ok(()),
        item if is_object(item) => on(item),
        _ => Err(Fault::Malformed),
    })
}

/// An index, unless it is missing or null.
pub(in crate::openai) fn index(value: Option<&RawValue>) -> Result<Option<u64>, Fault> {
    let Some(value) = value.filter(|value| !is_null(value)) else {
        return Ok(None);
    };
    let index = value.get().parse().map_err(|_| Fault::Malformed)?;
    Ok(Some(index))
}

struct Walk<'f, On> {
    on: On,
    /// What the one who takes the members failed with: serde has no place for it.
    fault: &'f mut Option<Fault>,
}

impl<'b, On> Walk<'_, On>
where
    On: FnMut(Cow<'b, str>, &'b RawValue) -> Result<(), Fault>,
{
    fn hand_on<E: Error>(&mut self, key: Cow<'b, str>, value: &'b RawValue) -> Result<(), E> {
        (self.on)(key, value).map_err(|fault| {
            *self.fault = Some(fault);
            E::custom("not taken")
        })
    }
}

impl<'b, On> Visitor<'b> for Walk<'_, On>
where
    On: FnMut(Cow<'b, str>, &'b RawValue) -> Result<(), Fault>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object or array")
    }

    fn visit_map<A: MapAccess<'b>>(mut self, mut object: A) -> Result<(), A::Error> {
        while let Some((Key(key), value)) = object.next_entry()? {
            self.hand_on(key, value)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'b>>(mut self, mut array: A) -> Result<(), A::Error> {
        while let Some(item) = array.next_element()? {
            self.hand_on(Cow::Borrowed(""), item)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Key<'b>(#[serde(borrow)] Cow<'b, str>);

/// Whether a value is an object.
pub(in crate::openai) fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// Whether a value is an array.
pub(in crate::openai) fn is_array(value: &RawValue) -> bool {
    value.get().starts_with('[')
}

/// Whether a value is null.
pub(in crate::openai) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// What stands between the quotes, brackets or braces of a value.
pub(in crate::openai) fn inside(json: &str) -> &str {
    let end = json.len().saturating_sub(1);
    json.get(1..end).unwrap_or_default()
}

/// Writes the key of the next member into an object that has been opened; its value is to follow.
pub(in crate::openai) fn key(out: &mut String, key: &str) {
    separate(out);
    out.push_str(&quoted(key));
    out.push(':');
}

/// Writes a member into an object that has been opened.
pub(in crate::openai) fn member(out: &mut String, name: &str, json: &str) {
    key(out, name);
    out.push_str(json);
}

/// Writes the comma before a further member or item. No value ends with an opening bracket.
pub(in crate::openai) fn separate(out: &mut String) {
    if !out.ends_with(['{', '[']) {
        out.push(',');
    }
}

/// A text as a JSON string.
pub(in crate::openai) fn quoted(text: &str) -> String {
    // A string always serialises.
    serde_json::to_string(text).unwrap_or_default()
}

/// An object with some members replaced, or added where it has them not.
pub(in crate::openai) fn with(object: &str, replaced: &[(&str, &str)]) -> Result<String, Fault> {
    let mut out = String::with_capacity(object.len());
    out.push('{');
    let mut missing = replaced.to_vec();
    members(object, |name, value| {
        missing.retain(|(ours, _)| *ours != name);
        let ours = replaced.iter().find(|(ours, _)| *ours == name);
        member(&mut out, &name, ours.map_or(value.get(), |(_, json)| json));
        Ok(())
    })?;
    for (name, json) in missing {
        member(&mut out, name, json);
    }
    out.push('}');
    Ok(out)
}
