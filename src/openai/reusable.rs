//! Which answers may be given again, and to which requests.
//!
//! Owns the tables: the members that change nothing about an answer, those that make it depend on more than the
//! request, and what of an answer forbids it. Does not handle who may get it (see `gateway::exchange::cache`), nor
//! what form equal requests have (see `canonical`). Never panics: what it cannot understand is not used again.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::canonical::{Canonical, Value};
use super::endpoint::{Exchange, Repeats};
use super::json::{is_truthy, members};
use super::references;
use super::stream_state::Stream;
use super::upstream_error::Content;

/// The members of a request that change nothing about its answer: how it is sent, who has asked, and hints for the
/// provider's own cache.
pub const UNRELATED: [&str; 7] = [
    "stream",
    "stream_options",
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// The same where an answer repeats the others, as a response does.
pub const UNRELATED_IN_RESPONSES: [&str; 2] = ["stream", "stream_options"];

/// Members with which an answer depends on what is found in the world, or in the provider's account.
const SEARCHING: [&[u8]; 8] = [
    b"web_search_options",
    b"web_search",
    b"search_parameters",
    b"enable_search",
    b"plugins",
    b"data_sources",
    b"mcp_servers",
    b"container",
];

/// Why a request's answer cannot be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The endpoint's answers never are.
    Endpoint,
    /// It is not JSON that can be compared.
    Form,
    /// It names something that is stored in the provider's account, or another model.
    References,
    /// The provider is to keep the answer, which has an effect each time.
    Stored,
    /// It searches, or runs tools at the provider.
    Searches,
}

impl Unfit {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Endpoint,
        Self::Form,
        Self::References,
        Self::Stored,
        Self::Searches,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Form => "form",
            Self::References => "references",
            Self::Stored => "stored",
            Self::Searches => "searches",
        }
    }
}

/// Whether a member of the top level changes nothing about the answer.
pub fn is_unrelated(endpoint: &Exchange, name: &str) -> bool {
    if !endpoint.has_both_forms && UNRELATED_IN_RESPONSES.contains(&name) {
        return false;
    }
    match endpoint.stream {
        Stream::Responses => UNRELATED_IN_RESPONSES.contains(&name),
        _ => UNRELATED.contains(&name),
    }
}

/// Whether an equal request has an equal answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// As far as can be said.
    Deterministic,
    /// The model may answer otherwise each time.
    MayDiffer,
}

/// The form in which a request whose answer may be used again is compared with others, and whether another answer would
/// be equal.
///
/// # Errors
/// Why not.
pub fn request(endpoint: &Exchange, body: &[u8]) -> Result<(Canonical, Certainty), Unfit> {
    if endpoint.repeats == Repeats::Never {
        return Err(Unfit::Endpoint);
    }
    let form = form(endpoint, body).ok_or(Unfit::Form)?;
    let certainty = certainty(endpoint, form.value())?;
    Ok((form, certainty))
}

/// The form in which requests are compared; `None` where there is none.
pub fn form(endpoint: &Exchange, body: &[u8]) -> Option<Canonical> {
    Canonical::of(body, |name| is_unrelated(endpoint, name)).ok()
}

fn certainty(endpoint: &Exchange, request: Value<'_>) -> Result<Certainty, Unfit> {
    let mut found = Found::default();
    if let Value::Object(members) = request {
        members.for_each(|(name, value)| found.see(name, value));
    }
    let is_kept = match endpoint.is_stored {
        true => !found.says_not_to_store,
        false => found.says_to_store,
    };
    if is_kept || found.is_in_background {
        return Err(Unfit::Stored);
    }
    if found.searches {
        return Err(Unfit::Searches);
    }
    if references::find_in(request).is_some() {
        return Err(Unfit::References);
    }
    Ok(
        match endpoint.repeats == Repeats::Always || found.is_deterministic {
            true => Certainty::Deterministic,
            false => Certainty::MayDiffer,
        },
    )
}

/// What is read of a request.
#[derive(Default)]
struct Found {
    is_deterministic: bool,
    says_to_store: bool,
    says_not_to_store: bool,
    is_in_background: bool,
    searches: bool,
}

impl Found {
    fn see(&mut self, name: &[u8], value: Value<'_>) {
        match name {
            b"temperature" => self.is_deterministic |= value == Value::Number(0.0),
            b"seed" => self.is_deterministic |= matches!(value, Value::Number(_)),
            b"store" => {
                self.says_to_store |= !matches!(value, Value::Bool(false) | Value::Null);
                self.says_not_to_store = value == Value::Bool(false);
            }
            b"background" => self.is_in_background |= value.is_truthy(),
            b"tools" => self.searches |= runs_tools(value),
            _ if SEARCHING.contains(&name) => self.searches |= value.is_truthy(),
            _ => {}
        }
    }
}

/// Whether a tool is offered that the provider runs itself: its result is not the request's alone.
fn runs_tools(tools: Value<'_>) -> bool {
    let Value::List(mut tools) = tools else {
        return tools.is_truthy();
    };
    tools.any(|tool| {
        let Value::Object(members) = tool else {
            return true;
        };
        let mut kinds = members.filter(|(name, _)| *name == b"type");
        kinds.any(|(_, kind)| !matches!(kind, Value::Text(b"function" | b"custom")))
    })
}

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
    if stream == Stream::Other {
        // Some rerankers answer with an array.
        return !matches!(text.trim_ascii(), "{}" | "[]");
    }
    let (mut has_choices, mut is_finished) = (false, false);
    let walked = members(text.trim_ascii(), |name, value| {
        match &*name {
            "choices" => has_choices = is_truthy(Some(value)),
            "status" => is_finished = matches!(value.get(), "\"completed\"" | "\"incomplete\""),
            _ => {}
        }
        Ok(())
    });
    let is_there = match stream {
        Stream::Responses => is_finished,
        _ => has_choices,
    };
    walked.is_ok() && is_there
}

/// A name or value that stands for a filter. Within text its quotes would be escaped.
static FILTER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"content_filter\""));
static FILTERED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"filtered\""));
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
    use crate::openai::endpoint::Endpoint;

    fn at(path: &str) -> &'static Exchange {
        match Endpoint::find(path) {
            Some(Endpoint::Exchange(exchange)) => exchange,
            other => unreachable!("{other:?}"),
        }
    }

    const CHAT: &str = "/v1/chat/completions";
    const RESPONSES: &str = "/v1/responses";

    fn unfit(path: &str, body: &str) -> Option<&'static str> {
        match request(at(path), body.as_bytes()) {
            Ok((_, Certainty::Deterministic)) => None,
            Ok((_, Certainty::MayDiffer)) => Some("may differ"),
            Err(unfit) => Some(unfit.name()),
        }
    }

    #[test]
    fn a_request_is_deterministic_with_temperature_0_or_a_seed() {
        for body in [
            r#"{"temperature":0}"#,
            r#"{"temperature":0.0}"#,
            r#"{"seed":7,"temperature":1}"#,
            r#"{"temperature":0,"tools":[{"type":"function"},{"type":"custom"},{"function":{}}]}"#,
            r#"{"temperature":0,"store":false}"#,
            r#"{"temperature":0,"web_search_options":null,"plugins":[]}"#,
        ] {
            assert_eq!(unfit(CHAT, body), None, "{body}");
        }
        for body in [
            "{}",
            r#"{"temperature":0.1}"#,
            r#"{"temperature":null,"seed":null}"#,
            r#"{"temperature":"0"}"#,
        ] {
            assert_eq!(unfit(CHAT, body), Some("may differ"), "{body}");
        }
        for path in ["/v1/embeddings", "/v1/moderations", "/v1/rerank"] {
            assert_eq!(unfit(path, "{}"), None, "{path}");
        }
        for path in ["/v1/audio/speech", "/v1/images/generations"] {
            assert_eq!(unfit(path, "{}"), Some("may differ"), "{path}");
        }
        assert_eq!(unfit("/v1/audio/transcriptions", "{}"), Some("endpoint"));
        assert_eq!(unfit("/v1/responses/compact", "{}"), Some("endpoint"));
    }

    #[test]
    fn what_depends_on_more_than_the_request_is_not_used_again() {
        for (path, body, why) in [
            (CHAT, r#"{"seed":1,"store":true}"#, "stored"),
            (CHAT, r#"{"seed":1,"store":"yes"}"#, "stored"),
            (RESPONSES, r#"{"temperature":0}"#, "stored"),
            (RESPONSES, r#"{"temperature":0,"store":null}"#, "stored"),
            (
                RESPONSES,
                r#"{"temperature":0,"store":false,"background":true}"#,
                "stored",
            ),
            (
                RESPONSES,
                r#"{"temperature":0,"store":false,"previous_response_id":"r"}"#,
                "references",
            ),
            (
                CHAT,
                r#"{"seed":1,"web_search_options":{"x":1}}"#,
                "searches",
            ),
            (
                CHAT,
                r#"{"seed":1,"tools":[{"type":"web_search"}]}"#,
                "searches",
            ),
            (CHAT, r#"{"seed":1,"tools":[7]}"#, "searches"),
            (CHAT, "[1]", "form"),
        ] {
            assert_eq!(unfit(path, body), Some(why), "{body}");
        }
        assert_eq!(unfit(RESPONSES, r#"{"temperature":0,"store":false}"#), None);
    }

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
                r#"{"choices":[{"message":{"content":"say \"tool_calls\": now","tool_calls":null}}]}"#,
            ),
            (
                CHAT,
                r#"{"choices":[{"message":{"tool_calls": [ ]},"content_filter_results":{"hate":{"filtered":false}}}]}"#,
            ),
            (RESPONSES, r#"{"status":"completed","output":[]}"#),
            ("/v1/rerank", r#"[{"index":0}]"#),
            ("/v1/embeddings", r#"{"data":[]}"#),
        ] {
            assert_eq!(refused(path, body, false, false), None, "{body}");
        }
        for (path, body) in [
            (CHAT, r#"{"choices":[]}"#),
            (CHAT, "{}"),
            (CHAT, r#"{"error":{"message":"no"}}"#),
            (CHAT, r#"{"choices":[{}]"#),
            (RESPONSES, r#"{"status":"in_progress"}"#),
            (RESPONSES, r#"{"output":[]}"#),
            ("/v1/embeddings", "{}"),
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
                r#"{"choices":[{"message":{"tool_calls":[{"id":"1"}]}}]}"#,
                false,
            ),
            (
                r#"{"choices":[{"message":{"function_call": {"name":"f"}}}]}"#,
                false,
            ),
            (
                "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{}]}}]}\n\n",
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
