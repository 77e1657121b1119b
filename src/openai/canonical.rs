//! Which requests are equal: a form of JSON in which they are the same bytes.
//!
//! Owns that form. The order of members and white space count for nothing, text counts as what it says and not as
//! how it is escaped, a whole number as its value, and one with a fraction or an exponent as the float of 64 bits that
//! every reader makes of it. A name that stands twice stays twice, in its order, for servers disagree about which one
//! counts. Does not handle which members are left out (see `reusable` and `question`). Fails for what is not a JSON
//! object, and for what it would have to round: a number beyond 64 bits, half of a character, or very deep nesting.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::json::Text;

/// Objects are sorted down to this level: each level moves what is in it once more. Below it, the order of members
/// counts.
const MAX_SORTED_LEVELS: usize = 16;
/// Up to here a float of 64 bits has every whole number.
const MAX_WHOLE_FLOAT: u64 = 1 << 53;
/// A float from here on may stand for a whole number that has been rounded.
const LEAST_ROUNDED: f64 = (1_u128 << 64) as f64;

/// The canonical form of a request, without the members of its top level that `is_left_out` names.
///
/// # Errors
/// It is not a JSON object, or has no such form.
pub fn form(body: &[u8], is_left_out: impl Fn(&str) -> bool) -> Result<Vec<u8>, NotCanonical> {
    let text = str::from_utf8(body).map_err(|_| NotCanonical)?;
    let mut out = Vec::with_capacity(body.len());
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Value {
        out: &mut out,
        level: 0,
    };
    let read = json.deserialize_map(Whole { value, is_left_out });
    read.and_then(|()| json.end()).map_err(|_| NotCanonical)?;
    Ok(out)
}

/// The SHA-256 of the canonical form of one value.
///
/// # Errors
/// It has no such form.
pub fn hash(value: &RawValue) -> Result<[u8; 32], NotCanonical> {
    let json = value.get();
    let mut out = Vec::with_capacity(json.len());
    let value = Value {
        out: &mut out,
        // It stands where that of a member would.
        level: 1,
    };
    let read = value.deserialize(&mut serde_json::Deserializer::from_str(json));
    read.map_err(|_| NotCanonical)?;
    Ok(Sha256::digest(&out).into())
}

/// JSON that has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCanonical;

/// Writes the form of a request.
struct Whole<'o, L> {
    value: Value<'o>,
    is_left_out: L,
}

impl<'b, L: Fn(&str) -> bool> Visitor<'b> for Whole<'_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'b>>(self, object: A) -> Result<(), A::Error> {
        self.value.write_members(object, self.is_left_out)
    }
}

/// Writes the form of a value behind what has been written.
struct Value<'o> {
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

impl Value<'_> {
    fn inner(&mut self) -> Value<'_> {
        Value {
            out: self.out,
            level: self.level + 1,
        }
    }

    /// With its length, so that no other text and what follows it are the same bytes.
    fn write_text(&mut self, text: &str) {
        self.out.push(b'"');
        self.out
            .extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.out.extend_from_slice(text.as_bytes());
    }

    fn write_float(&mut self, number: f64) {
        self.out.push(b'#');
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
                self.out.push(b'i');
                self.out.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    fn write_members<'b, A: MapAccess<'b>>(
        mut self,
        mut object: A,
        is_left_out: impl Fn(&str) -> bool,
    ) -> Result<(), A::Error> {
        self.out.push(b'{');
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
        self.out.push(b'}');
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

impl<'b> DeserializeSeed<'b> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.out.push(b'n');
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.out.push(if value { b't' } else { b'f' });
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
        self.out.push(b'[');
        while list.next_element_seed(self.inner())?.is_some() {}
        self.out.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'b>>(self, object: A) -> Result<(), A::Error> {
        self.write_members(object, |_| false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body: &str) -> Vec<u8> {
        form(body.as_bytes(), |name| name == "left_out").unwrap()
    }

    #[test]
    fn equal_requests_have_one_form() {
        for (one, other) in [
            (
                r#"{"a":1,"b":[true,null]}"#,
                "{ \"b\" : [ true , null ],\n\"a\":1 }",
            ),
            (
                r#"{"m":[{"role":"user","content":"x"}]}"#,
                r#"{"m":[{"content":"x","role":"user"}]}"#,
            ),
            (r#"{"a":"\u4f60\u00e9\/"}"#, r#"{"a":"你é/"}"#),
            (r#"{"\u0061":1}"#, r#"{"a":1}"#),
            (r#"{"a":1}"#, r#"{"a":1.0}"#),
            (r#"{"a":0}"#, r#"{"a":-0.0}"#),
            (r#"{"a":0.7}"#, r#"{"a":7e-1}"#),
            (r#"{"a":0.1000000000000000055}"#, r#"{"a":0.1}"#),
            (
                r#"{"b":{"d":1,"c":[{"f":1,"e":2}]},"a":{}}"#,
                r#"{"a":{},"b":{"c":[{"e":2,"f":1}],"d":1}}"#,
            ),
            (r#"{"a":1,"left_out":5}"#, r#"{"left_out":[{}],"a":1}"#),
        ] {
            assert_eq!(written(one), written(other), "{one} {other}");
        }
    }

    #[test]
    fn others_have_others() {
        for (one, other) in [
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":1}"#, r#"{"A":1}"#),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
            (r#"{"a":[1,[2]]}"#, r#"{"a":[[1],2]}"#),
            (r#"{"a":null}"#, r"{}"),
            (r#"{"a":null}"#, r#"{"a":"null"}"#),
            (r#"{"a":{"left_out":1}}"#, r#"{"a":{}}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#"{"a":"b\",\"c"}"#, r#"{"a":"b","c":""}"#),
            // The same float, and not the same number.
            (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#),
            (
                r#"{"a":18446744073709551615}"#,
                r#"{"a":18446744073709551614}"#,
            ),
            (r#"{"a":-9007199254740993}"#, r#"{"a":-9007199254740992}"#),
            (r#"{"a":"x "}"#, r#"{"a":"x"}"#),
        ] {
            assert_ne!(written(one), written(other), "{one} {other}");
        }
    }

    #[test]
    fn deep_objects_keep_their_order_and_lose_their_white_space() {
        let nested = |inner: &str| {
            let (open, close) = ("[".repeat(20), "]".repeat(20));
            format!("{{\"a\":{open}{inner}{close}}}")
        };
        let compact = nested(r#"{"b":"x \" y","a":1}"#);
        assert_eq!(
            written(&compact),
            written(&nested("{ \"b\" : \"x \\\" y\",\n \"a\" :1}"))
        );
        assert_ne!(
            written(&compact),
            written(&nested(r#"{"a":1,"b":"x \" y"}"#))
        );
        assert_ne!(
            written(&compact),
            written(&nested(r#"{"b":"x \"y","a":1}"#))
        );
    }

    #[test]
    fn a_value_has_the_hash_of_its_form() {
        let hashed = |json: &str| {
            let value: Box<RawValue> = serde_json::from_str(json).unwrap();
            hash(&value).unwrap()
        };
        let equal = [r#"{"a":1,"b":["x"]}"#, r#"{ "b": ["\u0078"], "a": 1.0 }"#];
        assert_eq!(hashed(equal[0]), hashed(equal[1]));
        for other in [
            "1",
            "\"1\"",
            "[1]",
            "null",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1}"#,
        ] {
            assert_ne!(hashed(other), hashed(equal[0]), "{other}");
        }
        assert_ne!(hashed("1"), hashed("\"1\""));
    }

    #[test]
    fn what_is_no_object_or_would_be_rounded_has_none() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for body in [
            "[]",
            "1",
            "",
            "{",
            "{\"a\":}",
            "{} x",
            r#"{"a":18446744073709551616}"#,
            r#"{"a":-1e30}"#,
            r#"{"a":1e400}"#,
            r#"{"a":"\ud800"}"#,
            &deep,
        ] {
            assert_eq!(
                form(body.as_bytes(), |_| false),
                Err(NotCanonical),
                "{body}"
            );
        }
        assert_eq!(form(b"{\"\xff\":1}", |_| false), Err(NotCanonical));
    }
}
