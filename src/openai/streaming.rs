//! Whether a request asks for a stream, and how to change that.
//!
//! Owns `stream` and `stream_options` in a request's body: turning a stream on or off, and asking for the
//! usage at its end. Does not decide which is wanted (see `gateway::exchange::outgoing`). Never fails:
//! options of an unknown shape stay as they are, for the upstream to refuse.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{equals, is_truthy, keep_null, object, range_in};
use super::patches::Patches;

const OPTIONS: &str = r#"{"include_usage":true}"#;

/// What a body says of streaming, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streaming {
    /// Whether a stream is requested.
    pub is_requested: bool,
    /// Whether the usage is requested at the end of it.
    pub includes_usage: bool,
    /// Whether the answer could be streamed; some members prevent it.
    pub is_possible: bool,
    /// Where the value of `stream` stands.
    flag: Option<Range<usize>>,
    options: Option<OptionsValue>,
    /// Where the body's last brace stands.
    end: usize,
}

/// The value of `stream_options`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OptionsValue {
    value: Range<usize>,
    usage: UsageSlot,
}

/// Where in `stream_options` the usage can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum UsageSlot {
    /// In place of all of it: it is null.
    Whole,
    /// In place of the value of `include_usage`.
    Member(Range<usize>),
    /// As its first member.
    First,
    /// Nowhere: it is no object.
    Nowhere,
}

/// What an upstream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamMode {
    /// For a stream, or for one answer.
    pub stream: bool,
    /// For the usage at the end of a stream.
    pub usage: bool,
}

/// The members of a body that speak of streaming, as they stand in it.
#[derive(Default)]
pub(super) struct StreamingMembers<'b> {
    pub(super) stream: Option<&'b RawValue>,
    pub(super) options: Option<&'b RawValue>,
    /// A stream cannot have what these ask for.
    pub(super) best_of: Option<&'b RawValue>,
    pub(super) background: Option<&'b RawValue>,
    pub(super) audio: Option<&'b RawValue>,
}

impl StreamingMembers<'_> {
    /// Reads them in the body that they stand in; `None` where `stream` is no boolean.
    pub(super) fn read(&self, body: &[u8]) -> Option<Streaming> {
        let is_requested = match self.stream.map(RawValue::get) {
            None | Some("false" | "null") => false,
            Some("true") => true,
            Some(_) => return None,
        };
        let range = |value: &RawValue| range_in(body, value.get().as_bytes());
        let end = body.iter().rposition(|byte| *byte == b'}');
        let mut includes_usage = false;
        let options = self.options.map(|value| {
            let members: Option<OptionMembers<'_>> = object(value);
            let usage = match members.map(|members| members.include_usage) {
                None if value.get() == "null" => UsageSlot::Whole,
                None => UsageSlot::Nowhere,
                Some(None) => UsageSlot::First,
                Some(Some(member)) => {
                    includes_usage = member.get() == "true";
                    UsageSlot::Member(range(member))
                }
            };
            let value = range(value);
            OptionsValue { value, usage }
        });
        Some(Streaming {
            is_requested,
            includes_usage,
            is_possible: !is_truthy(self.audio)
                && !is_truthy(self.background)
                && self.best_of.is_none_or(|_| equals(self.best_of, "1")),
            flag: self.stream.map(range),
            options,
            end: end.unwrap_or(body.len()),
        })
    }
}

/// What we read of `stream_options`.
#[derive(Deserialize)]
struct OptionMembers<'b> {
    #[serde(borrow, default, deserialize_with = "keep_null")]
    include_usage: Option<&'b RawValue>,
}

impl Streaming {
    /// Of a form: whether its answer is streamed cannot be changed.
    pub fn of_form(is_requested: bool) -> Self {
        Self {
            is_requested,
            ..Self::default()
        }
    }

    /// Adds the changes to the body after which it asks for this.
    pub fn patch(&self, body: &[u8], mode: StreamMode, patches: &mut Patches) {
        let mut added = String::new();
        if mode.stream != self.is_requested {
            let value = if mode.stream { "true" } else { "false" };
            match &self.flag {
                Some(flag) => patches.add(flag.clone(), Bytes::from_static(value.as_bytes())),
                None => added.extend([",\"stream\":", value]),
            }
        }
        let wants_usage = mode.stream && mode.usage && !self.includes_usage;
        match &self.options {
            None if wants_usage => added.extend([",\"stream_options\":", OPTIONS]),
            Some(options) if wants_usage => options.patch(body, patches),
            // Servers refuse them where no stream is asked for.
            Some(options) if self.is_requested && !mode.stream => {
                patches.add(options.value.clone(), Bytes::from_static(b"null"));
            }
            _ => {}
        }
        if !added.is_empty() {
            patches.add(self.end..self.end, Bytes::from(added));
        }
    }
}

impl OptionsValue {
    /// Asks for the usage.
    fn patch(&self, body: &[u8], patches: &mut Patches) {
        let at = self.value.start + 1;
        match &self.usage {
            UsageSlot::Whole => {
                patches.add(self.value.clone(), Bytes::from_static(OPTIONS.as_bytes()))
            }
            UsageSlot::Member(value) => patches.add(value.clone(), Bytes::from_static(b"true")),
            UsageSlot::First => {
                let rest = body.get(at..).unwrap_or_default().trim_ascii_start();
                let member: &[u8] = match rest.first() {
                    Some(b'}') => b"\"include_usage\":true",
                    _ => b"\"include_usage\":true,",
                };
                patches.add(at..at, Bytes::from_static(member));
            }
            UsageSlot::Nowhere => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::peek;
    use super::*;

    /// What becomes of a body that is to ask like this.
    fn ask(body: &str, stream: bool, usage: bool) -> String {
        let streaming = peek(body.as_bytes()).unwrap().streaming;
        let mut patches = Patches::default();
        streaming.patch(body.as_bytes(), StreamMode { stream, usage }, &mut patches);
        String::from_utf8(patches.apply(body.as_bytes())).unwrap()
    }

    #[test]
    fn who_asks_alike_already_is_left_alone() {
        for (body, stream, usage) in [
            (r#"{"model":"m"}"#, false, true),
            (r#"{"model":"m","stream":true}"#, true, false),
            (
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
                true,
                true,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":7}"#,
                true,
                true,
            ),
            (
                r#"{"model":"m","stream_options":{"include_usage":true}}"#,
                false,
                false,
            ),
        ] {
            assert_eq!(ask(body, stream, usage), body);
        }
    }

    #[test]
    fn the_usage_of_a_stream_is_asked_for_wherever_that_can_be_said() {
        for (rest, expected) in [
            (" }\n", ",\"stream_options\":{\"include_usage\":true}}\n"),
            (
                ",\"stream_options\": null}",
                ",\"stream_options\": {\"include_usage\":true}}",
            ),
            (
                ",\"stream_options\": { }}",
                ",\"stream_options\": {\"include_usage\":true }}",
            ),
            (
                ",\"stream_options\":{\"include_usage\": false,\"x\":{}}}",
                ",\"stream_options\":{\"include_usage\": true,\"x\":{}}}",
            ),
            (
                ",\"stream_options\":{\"include_usage\":null}}",
                ",\"stream_options\":{\"include_usage\":true}}",
            ),
            (
                ",\"stream_options\":{ \"include_obfuscation\":false}}",
                ",\"stream_options\":{\"include_usage\":true, \"include_obfuscation\":false}}",
            ),
        ] {
            let head = "{\"model\":\"m\",\"stream\":true";
            let asked = ask(&[head, rest].concat(), true, true);
            assert_eq!(asked.replace(" ,", ","), [head, expected].concat());
            assert!(peek(asked.as_bytes()).unwrap().streaming.includes_usage);
        }
    }

    #[test]
    fn a_stream_is_asked_for_in_place_of_one_answer() {
        for (body, expected) in [
            (
                r#"{"model":"m"}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream":false,"model":"m"}"#,
                r#"{"stream":true,"model":"m","stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"m","stream": null,"stream_options":null}"#,
                r#"{"model":"m","stream": true,"stream_options":{"include_usage":true}}"#,
            ),
        ] {
            assert_eq!(ask(body, true, true), expected);
        }
        assert_eq!(
            ask(r#"{"model":"m"}"#, true, false),
            r#"{"model":"m","stream":true}"#
        );
    }

    #[test]
    fn one_answer_is_asked_for_in_place_of_a_stream() {
        let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        let expected = r#"{"model":"m","stream":false,"stream_options":null}"#;
        assert_eq!(ask(body, false, true), expected);
    }

    #[test]
    fn not_all_can_be_streamed() {
        for (member, is_possible) in [
            ("\"best_of\":2", false),
            ("\"best_of\":1", true),
            ("\"background\":true", false),
            ("\"background\":false", true),
            ("\"audio\":{\"format\":\"mp3\"}", false),
            ("\"audio\":null", true),
        ] {
            let body = format!("{{\"model\":\"m\",{member}}}");
            let streaming = peek(body.as_bytes()).unwrap().streaming;
            assert_eq!(streaming.is_possible, is_possible, "{member}");
        }
    }
}
