//! The error that an upstream reports.
//!
//! Owns whether a whole body or an event of a stream is an error, whatever its status, and reading its code,
//! class, message and status from the places where servers put them (`members` lists these). Does not handle
//! what an error means (see `verdict`), nor what follows (see `gateway::exchange::failover`). Never fails:
//! what an error does not say is `None`.

mod members;

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::json::{equals, is_truthy};
use members::{ERROR, ErrorMembers, RESPONSE_FAILED, bounded, error_in, first, text};

pub(super) use members::{ErrorMarkers, is_failed_choice};

/// What is kept of each text, so that it can be logged and passed on.
pub(super) const MAX_TEXT_BYTES: usize = 8 << 10;

/// The `object` of a response.
const RESPONSE: &str = r#""response""#;

/// The `status` of a response that has failed.
const FAILED: &str = r#""failed""#;

/// The error that an upstream reports. A member that is missing, or neither a text nor a number, is
/// `None`; texts are cut at 8 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamError {
    /// The cause, as in `rate_limit_exceeded`.
    pub code: Option<String>,
    /// The class, as in `server_error`.
    pub kind: Option<String>,
    /// What happened.
    pub message: Option<String>,
    /// The HTTP status that it has, or would have had. A code that is such a number is no code,
    /// but this.
    pub status: Option<u16>,
}

/// What a whole body under a status of success is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An answer: nothing in it says otherwise.
    Answer,
    /// An error in the place of an answer.
    Error(UpstreamError),
    /// A response whose `status` is `failed`: it has an error, and may have an id and a usage.
    FailedResponse(UpstreamError),
    /// Not JSON, or JSON that is neither an object nor an array, as all answers in JSON are.
    NotAnAnswer,
}

/// The form in which an event of a stream reports an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorForm {
    /// In its API's own form, which clients know.
    Api,
    /// Within a chunk of an answer: clients read only the chunk.
    Chunk,
    /// In a form of its own, which clients do not know.
    Unknown,
}

/// UTF-8's, which some servers put before their JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Nearly every event that reports an error has this in it.
static ERROR_WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(ERROR));

impl UpstreamError {
    /// Whether there may be one in these bytes, looked for without parsing: a key, a type or an object
    /// that is called `error`.
    pub fn may_be_in(json: &[u8]) -> bool {
        ERROR_WORD.find(json).is_some()
    }

    /// Reads a whole body under a status that tells of an error; `None` for one that says nothing of
    /// it: an answer, a page of HTML, nothing, or what was cut before its end.
    ///
    /// A bare `{"message": "…"}` or `{"detail": "…"}` is an error too.
    pub fn read(body: &[u8]) -> Option<Self> {
        let members = ErrorMembers::read(body)?;
        (members.has_error() || members.is_bare_error()).then(|| Self::of(members))
    }

    /// Reads an event that is not known to be a part of an answer; `None` if it reports no error.
    pub(super) fn in_unknown_event(json: &[u8]) -> Option<Self> {
        match Content::of(json) {
            Content::Error(error) | Content::FailedResponse(error) => Some(error),
            Content::Answer | Content::NotAnAnswer => None,
        }
    }

    /// Reads the error of an event that reports one.
    pub(super) fn in_event(json: &str) -> Self {
        let members: ErrorMembers<'_> = serde_json::from_str(json).unwrap_or_default();
        // Its type is that of the event otherwise.
        let is_named = equals(members.markers.object, ERROR);
        Self::collect(members, is_named)
    }

    /// An event that is called an error, and is no JSON object.
    pub(super) fn from_text(data: &[u8]) -> Self {
        let text = serde_json::from_slice(data)
            .unwrap_or_else(|_| String::from_utf8_lossy(data).into_owned());
        Self {
            message: bounded(text),
            ..Self::default()
        }
    }

    /// Whether neither text nor number in it says that something went wrong.
    fn is_empty(&self) -> bool {
        let is_empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
        let has_no_code = is_empty(&self.code) || self.code.as_deref() == Some("0");
        has_no_code && is_empty(&self.kind) && is_empty(&self.message) && self.status.is_none()
    }

    fn of(members: ErrorMembers<'_>) -> Self {
        let is_named =
            !equals(members.markers.kind, ERROR) && !equals(members.markers.kind, RESPONSE_FAILED);
        Self::collect(members, is_named)
    }

    /// Reads an error from the `error` in it, from that of its response, from other places where one
    /// is put, and from the outermost object. Each place supplies what the places before it lack.
    fn collect(mut outer: ErrorMembers<'_>, outer_has_kind: bool) -> Self {
        if !outer_has_kind {
            outer.markers.kind = None;
        }
        let choice = outer.failed_choice();
        let of_choice = choice.as_ref().and_then(|choice| choice.error);
        let of_groq = error_in(outer.markers.x_groq);
        let inner = [
            outer.markers.error,
            error_in(outer.response),
            of_choice,
            of_groq,
            outer.markers.base_resp,
            outer.errors,
            outer.detail,
        ];
        let inner: Vec<_> = inner.into_iter().flatten().filter_map(first).collect();
        let levels = || inner.iter().chain([&outer]);
        // Some servers send only `"error": "what happened"`.
        let read = |place: Option<&RawValue>| place.and_then(text);
        let finish = || choice.as_ref()?.own_code();
        Self {
            code: levels()
                .find_map(ErrorMembers::code)
                .or_else(|| read(finish())),
            kind: levels()
                .find_map(ErrorMembers::kind)
                .or_else(|| inner.iter().find_map(ErrorMembers::status_name)),
            message: read(outer.markers.error)
                .or_else(|| levels().find_map(ErrorMembers::message))
                .or_else(|| read(of_choice))
                .or_else(|| read(of_groq))
                .or_else(|| read(outer.errors))
                .or_else(|| read(outer.detail)),
            status: levels().find_map(ErrorMembers::status),
        }
    }
}

impl Content {
    /// Reads a whole body.
    ///
    /// A bare `{"message": "…"}` or `{"detail": "…"}` is an error here too, unless there is an answer
    /// beside it.
    pub fn of(body: &[u8]) -> Self {
        // Readers of JSON are allowed to pass over a byte order mark, and those of clients do.
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let Some(members) = ErrorMembers::read(body) else {
            // JSON allows a key to stand twice.
            let is_container = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
            let is_json = || serde_json::from_slice::<IgnoredAny>(body).is_ok();
            return match is_container && is_json() {
                true => Self::Answer,
                false => Self::NotAnAnswer,
            };
        };
        if equals(members.markers.object, RESPONSE) && equals(members.status, FAILED) {
            return Self::FailedResponse(UpstreamError::of(members));
        }
        let has_answer = members.has_answer();
        if !members.has_error() && (has_answer || !members.is_bare_error()) {
            return Self::Answer;
        }
        // Some servers put an empty error beside each answer.
        let may_be_empty = has_answer && members.failed_choice().is_none();
        let error = UpstreamError::of(members);
        match may_be_empty && error.is_empty() {
            true => Self::Answer,
            false => Self::Error(error),
        }
    }
}

impl ErrorForm {
    /// The form of an event's error. `typed`: whether its API names its events, errors too.
    pub fn of(name: Option<&[u8]>, data: &[u8], typed: bool) -> Self {
        let members: ErrorMembers<'_> = serde_json::from_slice(data).unwrap_or_default();
        let has_type =
            equals(members.markers.kind, ERROR) || equals(members.markers.kind, RESPONSE_FAILED);
        let is_in_form = match typed {
            true => has_type || name == Some(b"error"),
            false => is_truthy(members.markers.error),
        };
        match is_in_form {
            true => Self::Api,
            false if is_truthy(members.choices) => Self::Chunk,
            false => Self::Unknown,
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::too_many_lines)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_error_beside_an_answer_and_a_byte_order_mark_change_nothing() {
        for answer in [
            r#"{"choices":[{"message":{}}],"error":{"code":null,"message":null}}"#,
            r#"{"choices":[{"message":{}}],"error":{"code":0,"message":""}}"#,
            "\u{feff}{\"choices\":[{\"message\":{}}]}",
        ] {
            let content = Content::of(answer.as_bytes());
            assert!(matches!(content, Content::Answer), "{answer}: {content:?}");
        }
        let failed = "\u{feff}{\"error\":{\"message\":\"no\"}}";
        assert!(matches!(Content::of(failed.as_bytes()), Content::Error(_)));
        let both = r#"{"choices":[{"message":{}}],"error":{"message":"no"}}"#;
        assert!(matches!(Content::of(both.as_bytes()), Content::Error(_)));
    }

    fn told(code: &str, kind: &str, message: &str, status: u16) -> UpstreamError {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        UpstreamError {
            code: text(code),
            kind: text(kind),
            message: text(message),
            status: Some(status).filter(|status| *status > 0),
        }
    }

    #[test]
    fn a_body_that_complains_is_read() {
        for (body, expected) in [
            (
                r#"{"error":{"message":"m","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
                told("model_not_found", "invalid_request_error", "m", 0),
            ),
            (
                r#"{"error":{"code":"401","message":"Access denied"}}"#,
                told("", "", "Access denied", 401),
            ),
            (
                r#" {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"} "#,
                told("", "overloaded_error", "Overloaded", 0),
            ),
            (
                r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[]}}]"#,
                told("", "RESOURCE_EXHAUSTED", "m", 429),
            ),
            (
                r#"{"error":{"code":400,"message":"m","type":"t","status":"INVALID_ARGUMENT"}}"#,
                told("", "t", "m", 400),
            ),
            (
                r#"{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}"#,
                told("", "BadRequestError", "m", 400),
            ),
            (
                r#"{"object":"error","message":"m","type":"service_tier_capacity_exceeded","code":"3505"}"#,
                told("3505", "service_tier_capacity_exceeded", "m", 0),
            ),
            (r#"{"error":"m"}"#, told("", "", "m", 0)),
            (r#"{"code":"c","error":"m"}"#, told("c", "", "m", 0)),
            (r#"{"error":[{"message":"m"}]}"#, told("", "", "m", 0)),
            (r#"{"error":true}"#, told("", "", "", 0)),
            (r#"{"type":"error"}"#, told("", "", "", 0)),
            (r#"{"detail":"Not Found"}"#, told("", "", "Not Found", 0)),
            (
                r#"{"detail":[{"loc":["body","model"],"msg":"field required","type":"missing"},{"msg":"x"}]}"#,
                told("", "missing", "field required", 0),
            ),
            (
                r#"{"detail":{"code":"c","message":"m"}}"#,
                told("c", "", "m", 0),
            ),
            (
                r#"{"type":"about:blank","title":"t","status":403,"detail":"d"}"#,
                told("", "about:blank", "d", 403),
            ),
            (r#"{"message":"m","detail":"d"}"#, told("", "", "m", 0)),
            (
                r#"{"message":"m","type":"t","code":"InvalidApiKey","status":"failed"}"#,
                told("InvalidApiKey", "t", "m", 0),
            ),
            (r#"{"errors":{"message":"m"}}"#, told("", "", "m", 0)),
            (r#"{"errors":"m"}"#, told("", "", "m", 0)),
            (
                r#"{"success":false,"result":null,"errors":[{"code":7003,"message":"m"}]}"#,
                told("7003", "", "m", 0),
            ),
            (
                r#"{"object":"response","status":"failed","error":{"code":"server_error","message":"m"},"output":[]}"#,
                told("server_error", "", "m", 0),
            ),
            (
                r#"{"error":"m","error_type":"overloaded"}"#,
                told("", "overloaded", "m", 0),
            ),
            (
                r#"{"error":{"message":"m","http_status_code":422}}"#,
                told("", "", "m", 422),
            ),
            (
                r#"{"error_code":336003,"error_msg":"m"}"#,
                told("336003", "", "m", 0),
            ),
            (
                r#"{"code":20012,"message":"m","data":null}"#,
                told("20012", "", "m", 0),
            ),
            (r#"{"code":50007,"msg":"m"}"#, told("50007", "", "m", 0)),
            (
                r#"{"id":"x","choices":null,"base_resp":{"status_code":1008,"status_msg":"m"}}"#,
                told("1008", "", "m", 0),
            ),
            (
                r#"{"event":"error","status":429,"code":"c","message":"m"}"#,
                told("c", "", "m", 429),
            ),
            (
                r#"{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"error","error":{"code":502,"message":"m"}}]}"#,
                told("", "", "m", 502),
            ),
            (
                r#"{"choices":[{"finish_reason":"stop","error":"m"}]}"#,
                told("", "", "m", 0),
            ),
            (
                r#"{"choices":[{"finish_reason":"error"}]}"#,
                told("", "", "", 0),
            ),
            (
                r#"{"choices":[{"finish_reason":"insufficient_system_resource"}]}"#,
                told("insufficient_system_resource", "", "", 0),
            ),
            (
                r#"{"choices":[{"delta":{}}],"x_groq":{"id":"r","error":"m"}}"#,
                told("", "", "m", 0),
            ),
        ] {
            let body = body.as_bytes();
            let shown = String::from_utf8_lossy(body);
            assert_eq!(UpstreamError::read(body), Some(expected.clone()), "{shown}");
            // Neither does any of them pass for an answer.
            let (Content::Error(told) | Content::FailedResponse(told)) = Content::of(body) else {
                panic!("{shown}");
            };
            assert_eq!(told, expected, "{shown}");
        }
    }

    #[test]
    fn a_whole_body_is_an_answer_or_an_error_or_neither() {
        for answer in [
            r#"{"id":"c","object":"chat.completion","choices":[{"finish_reason":"stop","error":null}]}"#,
            r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":"error"}]}"#,
            r#"{"choices":[{"finish_reason":"length"}],"base_resp":{"status_code":0,"status_msg":""}}"#,
            r#"{"choices":[],"x_groq":{"id":"r","error":null}}"#,
            r#"{"object":"response","status":"completed","error":null}"#,
            r#"{"object":"response","status":"incomplete","error":null}"#,
            r#"{"code":0,"message":"success","data":[{"embedding":[1]}]}"#,
            r#"{"message":"ok","results":[{"index":0}]}"#,
            r#"{"text":"hello","detail":"low"}"#,
            r#"{"a":1,"a":2,"error":null,"error":null}"#,
            " {} ",
            "[]",
            "[1]",
        ] {
            assert_eq!(Content::of(answer.as_bytes()), Content::Answer, "{answer}");
        }
        for other in [
            "",
            " ",
            "\"overloaded\"",
            "null",
            "7",
            "Internal Server Error",
            "<html><body>502</body></html>",
            r#"{"choices":[{"message":{"content":"x"}}"#,
            r#"{"choices":[]}}"#,
            r#"{"choices":[]} <html>"#,
        ] {
            let content = Content::of(other.as_bytes());
            assert_eq!(content, Content::NotAnAnswer, "{other}");
        }
        assert_eq!(
            Content::of(br#"{"text":"\xff"}"#),
            Content::NotAnAnswer,
            "an escape that JSON does not have"
        );
        assert_eq!(Content::of(b"{\"text\":\"\xff\"}"), Content::Answer);
        let failed = br#"{"object":"response","status":"failed","error":null}"#;
        let expected = Content::FailedResponse(told("", "", "", 0));
        assert_eq!(Content::of(failed), expected);
    }

    #[test]
    fn a_body_that_does_not_complain_is_none() {
        let cases: [&[u8]; 24] = [
            b"",
            b" ",
            b"<html><body>502 Bad Gateway</body></html>",
            b"Internal Server Error",
            b"null",
            b"7",
            br#""error""#,
            b"{}",
            b"[]",
            b"[[]]",
            br#"["error"]"#,
            br#"[{"embedding":[0.1]}]"#,
            br#"{"error":{"message":"cut"#,
            br#"{"error":null}"#,
            br#"{"error":{}}"#,
            br#"{"error":[]}"#,
            br#"{"error":""}"#,
            br#"{"error":false}"#,
            br#"{"message":"","detail":null,"errors":[]}"#,
            br#"{"id":"c","object":"chat.completion","choices":[{"message":{"content":"x"}}]}"#,
            br#"{"choices":[],"message":"x"}"#,
            br#"{"object":"batch","errors":{"data":[{"message":"x"}]}}"#,
            br#"{"message":{"role":"assistant","content":"x"},"done":true}"#,
            b"{\"error\":\"\xff\"}",
        ];
        for body in cases {
            let shown = String::from_utf8_lossy(body);
            assert_eq!(UpstreamError::read(body), None, "{shown}");
        }
    }

    #[test]
    fn the_texts_of_a_body_are_bounded() {
        let long = "é".repeat(MAX_TEXT_BYTES);
        let json =
            format!(r#"{{"error":{{"message":"x{long}","code":"{long}","status":"{long}"}}}}"#);
        let error = UpstreamError::read(json.as_bytes()).unwrap();
        for text in [error.message, error.code, error.kind] {
            let bytes = text.unwrap().len();
            assert!((MAX_TEXT_BYTES - 1..=MAX_TEXT_BYTES).contains(&bytes));
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        for (open, close) in [("[", "]"), ("{\"error\":", "}")] {
            let nested = open.repeat(100_000) + "1" + &close.repeat(100_000);
            UpstreamError::read(nested.as_bytes());
            let inner = format!(r#"{{"error":{nested},"detail":{nested}}}"#);
            assert_eq!(
                UpstreamError::read(inner.as_bytes()),
                Some(UpstreamError::default())
            );
        }
    }
}
