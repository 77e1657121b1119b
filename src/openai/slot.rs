//! The place in a request's body where its model is named, or can be.
//!
//! Owns the bytes that go around a name which is added where the client left it out. Does not find the place
//! (see `request` for JSON, `form` for forms). Cannot fail.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

/// The place of the model's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What a name takes the place of, in bytes from the body's start; empty where none stands. In
    /// JSON the quotes belong to it.
    pub range: Range<u64>,
    before: Cow<'static, str>,
    after: &'static str,
}

impl Slot {
    /// The place of a name that stands in the body.
    pub fn of_value(range: Range<u64>) -> Self {
        Self {
            range,
            before: Cow::Borrowed(""),
            after: "",
        }
    }

    /// A place where a name can be added between these texts.
    pub fn absent(at: u64, before: impl Into<Cow<'static, str>>, after: &'static str) -> Self {
        Self {
            range: at..at,
            before: before.into(),
            after,
        }
    }

    /// What stands in the range once the model has this name, written as the body's form wants it.
    pub fn filled(&self, name: Vec<u8>) -> Bytes {
        if self.before.is_empty() {
            return Bytes::from(name);
        }
        Bytes::from([self.before.as_bytes(), &name, self.after.as_bytes()].concat())
    }

    /// A body with the name in its place, in three pieces; a place that is not in the body is its end.
    pub fn filled_in(&self, body: &Bytes, name: Vec<u8>) -> Vec<Bytes> {
        let within = |at: u64| usize::try_from(at).map_or(body.len(), |at| at.min(body.len()));
        let Range { start, end } = self.range;
        vec![
            body.slice(..within(start)),
            self.filled(name),
            body.slice(within(end).max(within(start))..),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_takes_the_place_of_another_or_is_added() {
        let body = Bytes::from_static(b"{\"model\":\"a\", \"n\": 1.50 }");
        let slot = Slot::of_value(9..12);
        let filled = slot.filled_in(&body, b"\"b\"".to_vec());
        assert_eq!(filled.concat(), b"{\"model\":\"b\", \"n\": 1.50 }");
        let slot = Slot::absent(1, "\"model\":", ",");
        let filled = slot.filled_in(&body.slice(..1), b"1".to_vec());
        assert_eq!(filled.concat(), b"{\"model\":1,");
        assert_eq!(
            Slot::of_value(40..50).filled_in(&body, Vec::new()).concat(),
            body
        );
    }
}
