//! Which requests are equal: a form of JSON in which they are the same bytes.
//!
//! Owns that form. The order of members and white space count for nothing, text counts as what it says and not as
//! how it is escaped, a number as its value where a float of 64 bits has all of it. A name that stands twice stays
//! twice, in its order, for servers disagree about which one counts. Does not handle which members are left out
//! (see `reusable` and `question`). Fails for what is not a JSON object.

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::json::{self, WalkError, items, members};

/// Objects are sorted down to this level: each level costs one more reading of what is in it. Below it, the order
/// of members counts.
const MAX_SORTED_LEVELS: usize = 16;
/// A number of so many characters has no more digits than a float of 64 bits tells apart.
const MAX_EXACT_CHARACTERS: usize = 15;

/// A member of an object: its name and its value.
type Member<'b> = (Cow<'b, str>, &'b RawValue);

/// Hands the parts of a request's canonical form to `sink`, without the members of its top level that `is_left_out`
/// names. Two requests are equal where the parts, put together, are.
///
/// # Errors
/// It is not a JSON object.
pub fn write(
    body: &[u8],
    is_left_out: impl Fn(&str) -> bool,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), NotCanonical> {
    let text = str::from_utf8(body).map_err(|_| NotCanonical)?;
    let members = sorted(text, is_left_out).map_err(|_| NotCanonical)?;
    write_members(&members, 1, sink).map_err(|_| NotCanonical)
}

/// The SHA-256 of the canonical form of one value.
///
/// # Errors
/// A member's name in it cannot be read.
pub fn hash(value: &RawValue) -> Result<[u8; 32], NotCanonical> {
    let mut hash = Sha256::new();
    // The value stands where that of a member would.
    let written = write_value(value, 1, &mut |part| hash.update(part));
    written.map_err(|_| NotCanonical)?;
    Ok(hash.finalize().into())
}

/// A body that is not a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCanonical;

/// The members of an object by their names. Those with the same name stay in their order.
fn sorted(object: &str, is_left_out: impl Fn(&str) -> bool) -> Result<Vec<Member<'_>>, WalkError> {
    let mut found: Vec<Member<'_>> = Vec::new();
    members(object, |name: Cow<'_, str>, value| {
        if !is_left_out(&name) {
            found.push((name, value));
        }
        Ok(())
    })?;
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

fn write_members(
    members: &[Member<'_>],
    level: usize,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), WalkError> {
    sink(b"{");
    for (name, value) in members {
        write_text(name, sink);
        write_value(value, level, sink)?;
    }
    sink(b"}");
    Ok(())
}

fn write_value(
    value: &RawValue,
    level: usize,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), WalkError> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'{') if level < MAX_SORTED_LEVELS => {
            write_members(&sorted(json, |_| false)?, level + 1, sink)?;
        }
        Some(b'[') if level < MAX_SORTED_LEVELS => {
            sink(b"[");
            items(json, |item| write_value(item, level + 1, sink))?;
            sink(b"]");
        }
        Some(b'{' | b'[') => write_compact(json, sink),
        Some(b'"') => match json::string(value) {
            Some(text) => write_text(&text, sink),
            // Half of a character, which JSON can write and no text can have.
            None => write_scalar(json, sink),
        },
        Some(b'-' | b'0'..=b'9') => match exact(json) {
            Some(number) => {
                sink(b"#");
                sink(&number.to_bits().to_le_bytes());
            }
            None => write_scalar(json, sink),
        },
        _ => write_scalar(json, sink),
    }
    Ok(())
}

/// With its length, so that no other text and what follows it are the same bytes.
fn write_text(text: &str, sink: &mut dyn FnMut(&[u8])) {
    sink(b"\"");
    sink(&(text.len() as u64).to_le_bytes());
    sink(text.as_bytes());
}

fn write_scalar(json: &str, sink: &mut dyn FnMut(&[u8])) {
    sink(b"=");
    sink(&(json.len() as u64).to_le_bytes());
    sink(json.as_bytes());
}

/// The number, where no other number of so few characters is the same float.
fn exact(json: &str) -> Option<f64> {
    let number: f64 = json.parse().ok()?;
    // Zero has two signs, which no parameter tells apart.
    (json.len() <= MAX_EXACT_CHARACTERS && number.is_finite()).then_some(number + 0.0)
}

/// As it stands, without the white space between its parts.
fn write_compact(json: &str, sink: &mut dyn FnMut(&[u8])) {
    let (mut in_text, mut is_escaped, mut start) = (false, false, 0);
    let bytes = json.as_bytes();
    sink(b"<");
    for (at, byte) in bytes.iter().enumerate() {
        if !in_text && byte.is_ascii_whitespace() {
            sink(bytes.get(start..at).unwrap_or_default());
            start = at + 1;
        }
        in_text ^= *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    sink(bytes.get(start..).unwrap_or_default());
    sink(b">");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let left_out = |name: &str| name == "left_out";
        write(body.as_bytes(), left_out, &mut |part| {
            out.extend_from_slice(part);
        })
        .unwrap();
        out
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
            (r#"{"a":1,"left_out":5}"#, r#"{"left_out":[{}],"a":1}"#),
        ] {
            assert_eq!(form(one), form(other), "{one} {other}");
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
            (r#"{"a":0.1000000000000000055}"#, r#"{"a":0.1}"#),
            (r#"{"a":1e400}"#, r#"{"a":1e401}"#),
            // Halves of characters.
            (r#"{"a":"\ud800"}"#, r#"{"a":"\ud801"}"#),
            (r#"{"a":"x "}"#, r#"{"a":"x"}"#),
        ] {
            assert_ne!(form(one), form(other), "{one} {other}");
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
            form(&compact),
            form(&nested("{ \"b\" : \"x \\\" y\",\n \"a\" :1}"))
        );
        assert_ne!(form(&compact), form(&nested(r#"{"a":1,"b":"x \" y"}"#)));
        assert_ne!(form(&compact), form(&nested(r#"{"b":"x \"y","a":1}"#)));
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
    fn what_is_no_object_has_none() {
        for body in ["[]", "1", "", "{", "{\"a\":}", "{} x"] {
            let written = write(body.as_bytes(), |_| false, &mut |_| {});
            assert_eq!(written, Err(NotCanonical), "{body}");
        }
        assert_eq!(
            write(b"{\"\xff\":1}", |_| false, &mut |_| {}),
            Err(NotCanonical)
        );
    }
}
