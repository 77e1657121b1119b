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
}
