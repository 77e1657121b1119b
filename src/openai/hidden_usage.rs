//! The usage in a stream whose client has not asked for it.
//!
//! Owns finding what such a client must not see: an event that has nothing but the usage, and the member in
//! all other events. Every other byte passes. Does not decide which client that is (see
//! `gateway::exchange::outgoing`). Never fails: an event of an unknown shape has nothing to hide.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{Object, is_truthy, keep_null, range_in};

/// In nearly every event of such a stream: the usage is still to come.
const NOT_YET: &[u8] = b",\"usage\":null";
const PADDING: &[u8] = b",\"obfuscation\":\"";
const KEY: &[u8] = b"\"usage\"";

/// What of an event is kept from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HiddenUsage {
    /// Nothing.
    Nothing,
    /// This part of its data.
    Part(Range<usize>),
    /// The whole event.
    All,
}

/// The part of an event's data that the client has not asked for; `key` is the position of its first key
/// `usage` (see `usage::find_key`).
pub fn find(data: &[u8], key: usize) -> HiddenUsage {
    let comma = key.saturating_sub(1);
    let rest = data.get(comma..).unwrap_or_default();
    if let Some(rest) = rest.strip_prefix(NOT_YET)
        && is_end(rest)
    {
        return HiddenUsage::Part(comma..comma + NOT_YET.len());
    }
    parse(data).unwrap_or(HiddenUsage::Nothing)
}

/// Whether nothing else follows that could be the end of an inner object.
fn is_end(rest: &[u8]) -> bool {
    let rest = match rest.strip_prefix(PADDING) {
        Some(padding) => match memchr::memchr2(b'"', b'\\', padding) {
            Some(end) => padding.get(end..).unwrap_or_default().strip_prefix(b"\""),
            None => None,
        },
        None => Some(rest),
    };
    rest == Some(b"}")
}

#[derive(Deserialize)]
struct Chunk<'b> {
    #[serde(borrow, default, deserialize_with = "keep_null")]
    usage: Option<&'b RawValue>,
    #[serde(borrow)]
    choices: Option<&'b RawValue>,
}

fn parse(data: &[u8]) -> Option<HiddenUsage> {
    let text = str::from_utf8(data).ok()?;
    let Object(chunk): Object<Chunk<'_>> = serde_json::from_str(text).ok()?;
    let usage = chunk.usage?.get();
    let has_choices = is_truthy(Some(chunk.choices?));
    if usage.starts_with('{') && !has_choices {
        return Some(HiddenUsage::All);
    }
    let Range { start, end } = range_in(data, usage.as_bytes());
    let before = data.get(..start)?.trim_ascii_end().strip_suffix(b":")?;
    let before = before.trim_ascii_end().strip_suffix(KEY)?.trim_ascii_end();
    let after = data.get(end..)?;
    Some(HiddenUsage::Part(match before.strip_suffix(b",") {
        Some(before) => before.len()..end,
        None => {
            let blank = after.len() - after.trim_ascii_start().len();
            let comma = after.trim_ascii_start().starts_with(b",");
            before.len()..end + blank + usize::from(comma)
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::super::usage::find_key;
    use super::*;

    /// What the client sees of an event; nothing where it is kept back.
    fn seen(data: &str) -> Option<String> {
        let Some(key) = find_key(data.as_bytes()) else {
            return Some(data.to_owned());
        };
        match find(data.as_bytes(), key) {
            HiddenUsage::Nothing => Some(data.to_owned()),
            HiddenUsage::All => None,
            HiddenUsage::Part(range) => Some([&data[..range.start], &data[range.end..]].concat()),
        }
    }

    #[test]
    fn the_member_is_kept_back_and_nothing_else() {
        for (data, expected) in [
            (r#"{"choices":[{}],"usage":null}"#, r#"{"choices":[{}]}"#),
            (
                r#"{"choices":[{}],"usage":null,"obfuscation":"x1Y"}"#,
                r#"{"choices":[{}],"obfuscation":"x1Y"}"#,
            ),
            (
                r#"{"choices":[{}], "usage" : {"prompt_tokens":1} , "id":"c"}"#,
                r#"{"choices":[{}] , "id":"c"}"#,
            ),
            (
                r#"{ "usage": null, "choices":[{}]}"#,
                r#"{ "choices":[{}]}"#,
            ),
            (r#"{"usage":null,"choices":[]}"#, r#"{"choices":[]}"#),
            (
                r#"{"choices":[],"prompt_filter_results":[],"usage":null}"#,
                r#"{"choices":[],"prompt_filter_results":[]}"#,
            ),
        ] {
            let seen = seen(data).unwrap();
            assert_eq!(seen, expected, "{data}");
            assert!(
                serde_json::from_str::<serde_json::Value>(&seen).is_ok(),
                "{seen}"
            );
        }
    }

    #[test]
    fn an_event_for_the_usage_alone_is_kept_back_whole() {
        for data in [
            r#"{"choices":[],"usage":{"prompt_tokens":1}}"#,
            r#"{"usage":{"prompt_tokens":1},"choices": [ ]}"#,
        ] {
            assert_eq!(seen(data), None, "{data}");
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for data in [
            r#"{"choices":[{"delta":{"content":",\"usage\":null"}}]}"#,
            r#"{"choices":[{"usage":null}]}"#,
            r#"{"choices":[{"delta":{},"usage":null}],"usage":7"#,
            r#"{"usage":{"prompt_tokens":1}}"#,
            r#"[",\"usage\":null"]"#,
            "[DONE]",
            "",
        ] {
            assert_eq!(seen(data).as_deref(), Some(data));
        }
        let padded = r#"{"choices":[{"x":{"usage":null,"obfuscation":"a"}}]}"#;
        assert_eq!(seen(padded).as_deref(), Some(padded));
    }
}
