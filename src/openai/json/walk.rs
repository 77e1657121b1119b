//! Walking over every member of an object and every item of an array.
//!
//! Owns handing them on in their order, as they are written: no number is reformatted, and no text is
//! decoded that need not be. Does not handle what they mean (see the callers). Fails with the caller's
//! own error, which it makes of a parser's error for JSON of another shape.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::Deserializer as _;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::de::Read;
use serde_json::value::RawValue;

use super::{Text, is_null, is_object};

/// Why JSON cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::openai) enum WalkError {
    /// It is beyond a bound.
    TooLarge,
    /// It is not JSON, or not of the expected shape.
    Malformed,
}

impl From<serde_json::Error> for WalkError {
    fn from(_: serde_json::Error) -> Self {
        Self::Malformed
    }
}

/// Hands on each member of an object, in their order.
pub(in crate::openai) fn members<'b>(
    object: &'b str,
    mut on: impl FnMut(Cow<'b, str>, &'b RawValue) -> Result<(), WalkError>,
) -> Result<(), WalkError> {
    let take = |Text(key), value| on(key, value);
    walk_object(Deserializer::from_str(object), take)
}

/// Hands on each member of an object, in their order, with the key as `K` reads it: as it is written,
/// where that is a raw value.
pub(in crate::openai) fn entries<'b, K: Deserialize<'b>, E: From<serde_json::Error>>(
    object: &'b [u8],
    on: impl FnMut(K, &'b RawValue) -> Result<(), E>,
) -> Result<(), E> {
    walk_object(Deserializer::from_slice(object), on)
}

/// Hands on each item of an array, in their order.
pub(in crate::openai) fn items<'b, E: From<serde_json::Error>>(
    array: &'b str,
    on: impl FnMut(&'b RawValue) -> Result<(), E>,
) -> Result<(), E> {
    let mut failure = None;
    let mut json = Deserializer::from_str(array);
    let read = json.deserialize_seq(Items {
        on,
        failure: &mut failure,
    });
    let read = read.and_then(|()| json.end());
    failure.map_or(read.map_err(E::from), Err)
}

/// Hands on the objects of an array that may be missing, or null. An item that is null is skipped.
pub(in crate::openai) fn objects<'b>(
    array: Option<&'b RawValue>,
    mut on: impl FnMut(&'b RawValue) -> Result<(), WalkError>,
) -> Result<(), WalkError> {
    let Some(array) = array.filter(|array| !is_null(array)) else {
        return Ok(());
    };
    items(array.get(), |item| match item {
        item if is_null(item) => Ok(()),
        item if is_object(item) => on(item),
        _ => Err(WalkError::Malformed),
    })
}

/// An index, unless it is missing or null.
pub(in crate::openai) fn index(value: Option<&RawValue>) -> Result<Option<u64>, WalkError> {
    let Some(value) = value.filter(|value| !is_null(value)) else {
        return Ok(None);
    };
    let index = value.get().parse().map_err(|_| WalkError::Malformed)?;
    Ok(Some(index))
}

fn walk_object<'b, R: Read<'b>, K: Deserialize<'b>, E: From<serde_json::Error>>(
    mut json: Deserializer<R>,
    on: impl FnMut(K, &'b RawValue) -> Result<(), E>,
) -> Result<(), E> {
    let mut failure = None;
    let read = json.deserialize_map(Members {
        on,
        failure: &mut failure,
        key: PhantomData,
    });
    let read = read.and_then(|()| json.end());
    failure.map_or(read.map_err(E::from), Err)
}

struct Members<'f, K, E, On> {
    on: On,
    /// What the caller failed with: serde has no place for it.
    failure: &'f mut Option<E>,
    key: PhantomData<K>,
}

impl<'b, K, E, On> Visitor<'b> for Members<'_, K, E, On>
where
    K: Deserialize<'b>,
    On: FnMut(K, &'b RawValue) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'b>>(mut self, mut object: A) -> Result<(), A::Error> {
        while let Some((key, value)) = object.next_entry()? {
            let taken = (self.on)(key, value);
            taken.map_err(|failure| stop(self.failure, failure))?;
        }
        Ok(())
    }
}

struct Items<'f, E, On> {
    on: On,
    failure: &'f mut Option<E>,
}

impl<'b, E, On> Visitor<'b> for Items<'_, E, On>
where
    On: FnMut(&'b RawValue) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'b>>(mut self, mut array: A) -> Result<(), A::Error> {
        while let Some(item) = array.next_element()? {
            let taken = (self.on)(item);
            taken.map_err(|failure| stop(self.failure, failure))?;
        }
        Ok(())
    }
}

/// Keeps the caller's error, and ends the walk.
fn stop<E, S: Error>(kept: &mut Option<E>, failure: E) -> S {
    *kept = Some(failure);
    S::custom("stopped by the caller")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_their_order_and_as_they_are_written() {
        let mut seen = Vec::new();
        let walked = members(
            r#"{"a": 1.50 ,"\u0062":[ 2 ],"a":"\u00e9"}"#,
            |key, value| {
                seen.push(format!("{key}={}", value.get()));
                Ok(())
            },
        );
        assert_eq!(walked, Ok(()));
        assert_eq!(seen, ["a=1.50", "b=[ 2 ]", r#"a="\u00e9""#]);
    }

    #[test]
    fn another_shape_and_what_follows_the_end_are_malformed() {
        for json in ["[]", "null", "{", "{} {}"] {
            let walked = members(json, |_, _| Ok(()));
            assert_eq!(walked, Err(WalkError::Malformed), "{json}");
        }
        for json in ["{}", "null", "[1", "[] 1"] {
            let walked = items::<WalkError>(json, |_| Ok(()));
            assert_eq!(walked, Err(WalkError::Malformed), "{json}");
        }
    }

    #[test]
    fn the_callers_error_ends_the_walk() {
        let mut count = 0;
        let walked = items("[1,2,3", |_| {
            count += 1;
            Err(WalkError::TooLarge)
        });
        assert_eq!((walked, count), (Err(WalkError::TooLarge), 1));
    }
}
