//! Which requests are equal: a form of JSON in which they are the same bytes.
//!
//! Owns that form. The order of members and white space count for nothing, text counts as what it says and not as how
//! it is escaped, a whole number as its value, and one with a fraction or an exponent as the float of 64 bits that
//! every reader makes of it. A name that stands twice stays twice, in its order, for servers disagree about which one
//! counts. Each value has its length before it, so `read` finds its way without looking at every byte. Does not handle
//! which members are left out (see `reusable` and `question`). Fails for what is not a JSON object, and for what it
//! would have to round: a number beyond 64 bits, half of a character, or very deep nesting.

mod read;

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::json::Text;

pub use read::Value;

/// Objects are sorted down to this level: each level moves what is in it once more. Below it, the order of members
/// counts.
const MAX_SORTED_LEVELS: usize = 16;
/// Up to here a float of 64 bits has every whole number.
const MAX_WHOLE_FLOAT: u64 = 1 << 53;
/// A float from here on may stand for a whole number that has been rounded.
const LEAST_ROUNDED: f64 = (1_u128 << 64) as f64;

/// What a value begins with. Behind it stand eight bytes: the length of what follows, or a float; a whole number has
/// sixteen.
mod tag {
    pub const NULL: u8 = b'n';
    pub const FALSE: u8 = b'f';
    pub const TRUE: u8 = b't';
    pub const FLOAT: u8 = b'#';
    pub const WHOLE: u8 = b'i';
    pub const TEXT: u8 = b'"';
    pub const LIST: u8 = b'[';
    pub const OBJECT: u8 = b'{';
}

/// The canonical form of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical(Vec<u8>);

impl Canonical {
    /// Of a request, without the members of its top level that `is_left_out` names.
    ///
    /// # Errors
    /// It is not a JSON object, or has no such form.
    pub fn of(body: &[u8], is_left_out: impl Fn(&str) -> bool) -> Result<Self, NotCanonical> {
        let text = str::from_utf8(body).map_err(|_| NotCanonical)?;
        // The lengths take more than the quotes and commas that are left out.
        let mut out = Vec::with_capacity(body.len() * 2);
        let mut json = serde_json::Deserializer::from_str(text);
        let writer = Writer {
            out: &mut out,
            level: 0,
        };
        let read = json.deserialize_map(Whole {
            writer,
            is_left_out,
        });
        read.and_then(|()| json.end()).map_err(|_| NotCanonical)?;
        Ok(Self(out))
    }

    /// The bytes that equal requests have in common.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The object that it is.
    pub fn value(&self) -> Value<'_> {
        Value::of(&self.0)
    }
}

/// The SHA-256 of the canonical form of one value.
///
/// # Errors
/// It has no such form.
pub fn hash(value: &RawValue) -> Result<[u8; 32], NotCanonical> {
    let json = value.get();
    let mut out = Vec::with_capacity(json.len());
    let writer = Writer {
        out: &mut out,
        // It stands where that of a member would.
        level: 1,
    };
    let read = writer.deserialize(&mut serde_json::Deserializer::from_str(json));
    read.map_err(|_| NotCanonical)?;
    Ok(Sha256::digest(&out).into())
}

/// JSON that has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCanonical;

/// Writes the form of a request.
struct Whole<'o, L> {
    writer: Writer<'o>,
    is_left_out: L,
}

impl<'b, L: Fn(&str) -> bool> Visitor<'b> for Whole<'_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'b>>(self, object: A) -> Result<(), A::Error> {
        self.writer.write_members(object, self.is_left_out)
    }
}

/// Writes the form of a value behind what has been written.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// How many objects and arrays it is in.
    level: usize,
}

/// Where a member has been written.
struct Member {
    /// Its name and its value.
    whole: Range<usize>,
    /// The end of the name.
    name_end: usize,
}

impl Writer<'_> {
    fn inner(&mut self) -> Writer<'_> {
        Writer {
            out: self.out,
            level: self.level + 1,
        }
    }

    /// Writes the beginning of a value. Gives where its content begins.
    fn begin(&mut self, tag: u8, length: usize) -> usize {
        self.out.push(tag);
        self.out.extend_from_slice(&(length as u64).to_le_bytes());
        self.out.len()
    }

    /// All of a value has been written: puts its length before it.
    fn end(&mut self, start: usize) {
        let length = (self.out.len() - start) as u64;
        let before = self.out.get_mut(..start);
        if let Some(place) = before.and_then(<[u8]>::last_chunk_mut) {
            *place = length.to_le_bytes();
        }
    }

    fn write_text(&mut self, text: &str) {
        self.begin(tag::TEXT, text.len());
        self.out.extend_from_slice(text.as_bytes());
    }

    fn write_float(&mut self, number: f64) {
        self.out.push(tag::FLOAT);
        // Zero has two signs, which no parameter tells apart.
        self.out
            .extend_from_slice(&(number + 0.0).to_bits().to_le_bytes());
    }

    /// As a float where that has all of it: `1` and `1.0` are equal.
    #[expect(
        clippy::cast_precision_loss,
        reason = "there is none up to this number"
    )]
    fn write_whole(&mut self, number: i128) {
        match number.unsigned_abs() <= u128::from(MAX_WHOLE_FLOAT) {
            true => self.write_float(number as f64),
            false => {
                self.out.push(tag::WHOLE);
                self.out.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    fn write_members<'b, A: MapAccess<'b>>(
        mut self,
        mut object: A,
        is_left_out: impl Fn(&str) -> bool,
    ) -> Result<(), A::Error> {
        let content = self.begin(tag::OBJECT, 0);
        let mut members = Vec::new();
        while let Some(Text(name)) = object.next_key()? {
            if is_left_out(&name) {
                object.next_value::<IgnoredAny>()?;
                continue;
            }
            let start = self.out.len();
            self.write_text(&name);
            let name_end = self.out.len();
            object.next_value_seed(self.inner())?;
            let whole = start..self.out.len();
            members.push(Member { whole, name_end });
        }
        if self.level < MAX_SORTED_LEVELS {
            sort(self.out, members);
        }
        self.end(content);
        Ok(())
    }
}

/// Sorts members, which are the last that has been written, by their names. Those with the same name stay in their
/// order.
fn sort(out: &mut Vec<u8>, mut members: Vec<Member>) {
    let name = |member: &Member| out.get(member.whole.start..member.name_end);
    let by_name = |one: &Member, other: &Member| name(one).cmp(&name(other));
    if members.is_sorted_by(|one, other| by_name(one, other) != Ordering::Greater) {
        return;
    }
    let start = members.first().map_or(0, |first| first.whole.start);
    members.sort_by(by_name);
    let parts = members
        .iter()
        .filter_map(|member| out.get(member.whole.clone()));
    let sorted = parts.collect::<Vec<_>>().concat();
    out.truncate(start);
    out.extend_from_slice(&sorted);
}

impl<'b> DeserializeSeed<'b> for Writer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Writer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.out.push(tag::NULL);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.out.push(if value { tag::TRUE } else { tag::FALSE });
        Ok(())
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        self.write_text(text);
        Ok(())
    }

    fn visit_u64<E: Error>(mut self, number: u64) -> Result<(), E> {
        self.write_whole(number.into());
        Ok(())
    }

    fn visit_i64<E: Error>(mut self, number: i64) -> Result<(), E> {
        self.write_whole(number.into());
        Ok(())
    }

    fn visit_f64<E: Error>(mut self, number: f64) -> Result<(), E> {
        if number.abs() >= LEAST_ROUNDED {
            return Err(E::custom("a number beyond 64 bits"));
        }
        self.write_float(number);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'b>>(mut self, mut list: A) -> Result<(), A::Error> {
        let content = self.begin(tag::LIST, 0);
        while list.next_element_seed(self.inner())?.is_some() {}
        self.end(content);
        Ok(())
    }

    fn visit_map<A: MapAccess<'b>>(self, object: A) -> Result<(), A::Error> {
        self.write_members(object, |_| false)
    }
}

#[cfg(test)]
mod tests;
