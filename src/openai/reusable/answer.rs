//! Which answers may be given again.
//!
//! Owns what of an answer forbids it: that it tells an error, is not finished, was filtered, or calls tools. Does not
//! handle which requests get it (see the parent). Never panics: what it cannot understand is not used again.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::IgnoredAny;

use crate::openai::endpoint::Exchange;
use crate::openai::json::{self, is_truthy, members};
use crate::openai::sse::{Event, Parser};
use crate::openai::stream_state::Stream;
use crate::openai::upstream_error::Content;

/// Why an answer is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It says nothing, tells an error, or is not finished.
    NotWhole,
    /// A filter has cut it.
    Filtered,
    /// It calls tools.
    ToolCalls,
}

impl Refused {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotWhole => "not_whole",
            Self::Filtered => "filtered",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// An answer that has come to its end.
#[derive(Clone, Copy)]
pub struct Said<'b> {
    /// JSON, or the bytes of a stream.
    pub body: &'b [u8],
    /// Whether it is a stream.
    pub is_stream: bool,
    /// Whether it is known to tell no error.
    pub is_answer: bool,
}

/// Whether an answer may be used again. `tools`: also where it calls tools.
///
/// # Errors
/// Why not.
pub fn answer(endpoint: &Exchange, said: Said<'_>, tools: bool) -> Result<(), Refused> {
    let body = said.body;
    if !said.is_stream && endpoint.answers_json && !is_whole(endpoint.stream, said) {
        return Err(Refused::NotWhole);
    }
    if body.is_empty() {
        return Err(Refused::NotWhole);
    }
    if endpoint.stream == Stream::Other {
        return Ok(());
    }
    if is_filtered(body) {
        return Err(Refused::Filtered);
    }
    if endpoint.stream != Stream::Responses && !is_finished(said) {
        return Err(Refused::NotWhole);
    }
    if said.is_stream && !has_whole_events(body) {
        return Err(Refused::NotWhole);
    }
    match tools || !calls_tools(body) {
        true => Ok(()),
        false => Err(Refused::ToolCalls),
    }
}

/// Whether a JSON answer has what each of its kind has.
fn is_whole(stream: Stream, said: Said<'_>) -> bool {
    let Ok(text) = str::from_utf8(said.body) else {
        return false;
    };
    if !said.is_answer && !matches!(Content::of(said.body), Content::Answer) {
        return false;
    }
    let text = text.trim_ascii();
    if stream == Stream::Other && text.starts_with('[') {
        // Some rerankers answer with an array.
        return json::inside(text).trim_ascii() != "";
    }
    let (mut has_choices, mut is_finished, mut is_empty) = (false, false, text == "{}");
    let walked = members(text, |name, value| {
        match &*name {
            "choices" => has_choices = value.get().starts_with('[') && is_truthy(Some(value)),
            "status" => is_finished = matches!(value.get(), "\"completed\"" | "\"incomplete\""),
            "data" | "results" => is_empty = !is_truthy(Some(value)),
            _ => {}
        }
        Ok(())
    });
    let is_there = match stream {
        Stream::Responses => is_finished,
        Stream::Chat | Stream::Completions => has_choices,
        Stream::Other => !is_empty,
    };
    walked.is_ok() && is_there
}

/// The data of the event that ends a stream.
const DONE: &[u8] = b"[DONE]";

/// Reasons for which an answer is finished that is all that its request can get. Servers have many others for one that
/// failed or was filtered.
const FINISHED: [&[u8]; 9] = [
    b"stop",
    b"length",
    b"tool_calls",
    b"function_call",
    b"eos",
    b"eos_token",
    b"stop_sequence",
    b"end_turn",
    b"max_tokens",
];

/// Whether a choice is finished, and each that tells a reason for such a one. In JSON each tells one.
fn is_finished(said: Said<'_>) -> bool {
    let length = FINISH.needle().len();
    let ends = FINISH.find_iter(said.body).map(|at| at + length);
    let mut any = false;
    for value in ends.filter_map(|end| value_behind(said.body, end)) {
        let reason = value.strip_prefix(b"\"").and_then(|rest| {
            let end = json::string_length(rest);
            rest.get(..end)
        });
        match reason {
            Some(reason) if FINISHED.contains(&reason) => any = true,
            Some(b"") if said.is_stream => {}
            None if said.is_stream && value.starts_with(b"null") => {}
            _ => return false,
        }
    }
    any
}

/// Whether each event of a stream can be read, and none follows the end that it has told.
pub fn has_whole_events(body: &[u8]) -> bool {
    let (mut are_whole, mut is_done) = (true, false);
    let mut see = |event: &Event<'_>| {
        // What is in one that is too long is not known, as for everything else that reads it.
        let Ok(data) = &event.data else {
            return;
        };
        let data = data.trim_ascii();
        let is_end = data == DONE;
        let is_json = || serde_json::from_slice::<IgnoredAny>(data).is_ok();
        are_whole &= data.is_empty() || !is_done && (is_end || is_json());
        is_done |= is_end;
    };
    let mut parser = Parser::new();
    parser.push(body, |event| see(&event));
    if let Some(event) = parser.unfinished() {
        see(&event);
    }
    are_whole
}

/// A name or value that stands for a filter. Within text its quotes would be escaped.
static FILTER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"content_filter\""));
static FILTERED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"filtered\""));
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"finish_reason\""));
static TOOLS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| {
    [
        "\"tool_calls\"",
        "\"function_call\"",
        "\"custom_tool_call\"",
    ]
    .map(Finder::new)
});

fn is_filtered(body: &[u8]) -> bool {
    FILTER.find(body).is_some()
        || FILTERED
            .find_iter(body)
            .filter_map(|at| value_behind(body, at + FILTERED.needle().len()))
            .any(|value| value.starts_with(b"true"))
}

/// Whether it has calls of tools: as the name of a member that is not empty, or as a value.
fn calls_tools(body: &[u8]) -> bool {
    TOOLS.iter().any(|name| {
        let length = name.needle().len();
        name.find_iter(body).any(|at| {
            let value = value_behind(body, at + length);
            value.is_none_or(|value| !value.starts_with(b"null") && !is_empty_list(value))
        })
    })
}

/// The beginning of the value of the member whose name ends here; `None` where it is no name.
fn value_behind(body: &[u8], end: usize) -> Option<&[u8]> {
    let rest = body.get(end..)?.trim_ascii_start();
    Some(rest.strip_prefix(b":")?.trim_ascii_start())
}

fn is_empty_list(value: &[u8]) -> bool {
    let inside = value.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
    inside.is_some_and(|inside| inside.starts_with(b"]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::reusable::tests::{CHAT, RESPONSES, at};

    fn refused(path: &str, body: &str, is_stream: bool, tools: bool) -> Option<&'static str> {
        let said = Said {
            body: body.as_bytes(),
            is_stream,
            is_answer: false,
        };
        answer(at(path), said, tools).err().map(Refused::name)
    }

    #[test]
    fn an_answer_is_used_again_where_it_is_whole() {
        for (path, body) in [
            (
                CHAT,
                r#"{"choices":[{"message":{"content":"say \"tool_calls\": now","tool_calls":null},"finish_reason":"stop"}]}"#,
            ),
            (
                CHAT,
                r#"{"choices":[{"finish_reason" : "length","message":{"tool_calls": [ ]},"content_filter_results":{"hate":{"filtered":false}}}]}"#,
            ),
            (RESPONSES, r#"{"status":"completed","output":[]}"#),
            ("/v1/rerank", r#"[{"index":0}]"#),
            ("/v1/embeddings", r#"{"data":[{"embedding":[1]}]}"#),
            (
                "/v1/images/generations",
                r#"{"created":1,"data":[{"url":"u"}]}"#,
            ),
        ] {
            assert_eq!(refused(path, body, false, false), None, "{body}");
        }
        for (path, body) in [
            (CHAT, r#"{"choices":[]}"#),
            (CHAT, "{}"),
            (CHAT, r#"{"error":{"message":"no"}}"#),
            (CHAT, r#"{"choices":[{}]"#),
            (CHAT, r#"{"choices":[{}]}"#),
            (CHAT, r#"{"choices":"x","finish_reason":"stop"}"#),
            (CHAT, r#"{"choices":[{"finish_reason":null}]}"#),
            (
                CHAT,
                r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":null}]}"#,
            ),
            (CHAT, r#"{"choices":[{"finish_reason":"network_error"}]}"#),
            (CHAT, r#"{"choices":[{"finish_reason":"sensitive"}]}"#),
            (CHAT, r#"{"choices":[{"finish_reason":"SAFETY"}]}"#),
            (
                CHAT,
                r#"{"choices":[{"message":{"content":"\"finish_reason\":\"stop\""}}]}"#,
            ),
            (RESPONSES, r#"{"status":"in_progress"}"#),
            (RESPONSES, r#"{"output":[]}"#),
            ("/v1/embeddings", "{}"),
            ("/v1/embeddings", r#"{"data":[]}"#),
            ("/v1/images/generations", r#"{"data":null}"#),
            ("/v1/moderations", r#"{"results":[]}"#),
            ("/v1/rerank", " [ ] "),
            ("/v1/audio/speech", ""),
        ] {
            assert_eq!(
                refused(path, body, false, true),
                Some("not_whole"),
                "{body}"
            );
        }
    }

    #[test]
    fn a_stream_is_used_again_where_it_is_finished_and_nothing_follows_its_end() {
        let said = "data: {\"choices\":[{\"delta\":{\"content\":\"a [DONE]\"},\"finish_reason\":null}]}\n\n";
        let finished = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let blank = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"\"}]}\n\n";
        let filtered = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"sensitive\"}]}\n\n";
        let (done, error) = (
            "data: [DONE]\n\n",
            "data: {\"error\":{\"message\":\"no\"}}\n\n",
        );
        for (parts, is_whole) in [
            (&[said, finished, done][..], true),
            (&[said, finished], true),
            (&[said, blank, finished, done], true),
            (&[said, done], false),
            (&[said, filtered, done], false),
            (&[said, finished, done, error], false),
            (&[said, "data: {\"choices\":\n\n", finished, done], false),
            (
                &[
                    ": begun\n\n",
                    said,
                    "event: x\n\n",
                    finished,
                    done,
                    ": end\n\n",
                ],
                true,
            ),
        ] {
            let refused = refused(CHAT, &parts.concat(), true, true);
            assert_eq!(refused.is_none(), is_whole, "{parts:?}");
        }
    }

    #[test]
    fn filters_and_calls_of_tools_are_seen_in_both_forms() {
        for (body, is_stream) in [
            (r#"{"choices":[{"finish_reason":"content_filter"}]}"#, false),
            (
                r#"{"choices":[{"content_filter_results":{"hate":{"filtered" : true}}}]}"#,
                false,
            ),
            (
                "data: {\"choices\":[{\"finish_reason\":\"content_filter\"}]}\n\n",
                true,
            ),
        ] {
            assert_eq!(
                refused(CHAT, body, is_stream, true),
                Some("filtered"),
                "{body}"
            );
        }
        for (body, is_stream) in [
            (
                r#"{"choices":[{"message":{"tool_calls":[{"id":"1"}]},"finish_reason":"tool_calls"}]}"#,
                false,
            ),
            (
                r#"{"choices":[{"message":{"function_call": {"name":"f"}},"finish_reason":"stop"}]}"#,
                false,
            ),
            (
                "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{}]}}]}\n\n\
                 data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
                true,
            ),
            (
                "data: {\"choices\":[{\"finish_reason\":\"tool_calls\"}]}\n\n",
                true,
            ),
        ] {
            assert_eq!(
                refused(CHAT, body, is_stream, false),
                Some("tool_calls"),
                "{body}"
            );
            assert_eq!(refused(CHAT, body, is_stream, true), None, "{body}");
        }
        let response = r#"{"status":"completed","output":[{"type":"function_call"}]}"#;
        assert_eq!(
            refused(RESPONSES, response, false, false),
            Some("tool_calls")
        );
    }
}
