//! What an upstream says went wrong.
//!
//! Owns where the servers that we know put the parts of an error, in a whole body as in an event of
//! a stream, and whether a body complains at all. Refuses to know what is done about it. Never
//! fails: what an error does not say is not known.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::shape::{List, Object, is, object, says, string};

/// What is kept of each text, so that it can be logged and passed on.
pub(super) const MAX_TEXT_BYTES: usize = 8 << 10;

/// The `object` of an error that has no envelope, and the `type` of an event that has one.
const ERROR: &str = r#""error""#;

/// The `type` of the event that ends a response badly.
const FAILED: &str = r#""response.failed""#;

/// What an upstream says went wrong. What it does not say, or not as a text or a number, is
/// `None`; texts are cut at 8 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaint {
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

/// What nearly every complaint has in it.
static ERROR_WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(ERROR));

impl Complaint {
    /// Whether there may be one in these bytes, looked for without parsing: a key, a type or an object
    /// that is called `error`.
    pub fn may_be_in(json: &[u8]) -> bool {
        ERROR_WORD.find(json).is_some()
    }

    /// Reads a whole body; `None` for one that does not complain: an answer, a page of HTML,
    /// nothing, or what was cut before its end.
    ///
    /// A bare `{"message": "…"}` or `{"detail": "…"}` is a complaint too. Under a status of success
    /// it need not be one, so ask this there only of endpoints whose answers are known to differ.
    pub fn read(body: &[u8]) -> Option<Self> {
        let json = str::from_utf8(body).ok()?.trim_ascii_start();
        let told = if json.starts_with('[') {
            let list: List<Told<'_>> = serde_json::from_str(json).ok()?;
            list.items.into_iter().next()?
        } else {
            let Object(told) = serde_json::from_str(json).ok()?;
            told
        };
        told.complains().then(|| {
            let is_named = !is(told.kind, ERROR) && !is(told.kind, FAILED);
            Self::gather(told, is_named)
        })
    }

    /// Reads an error from an event that tells one.
    pub(super) fn in_event(json: &str) -> Self {
        let told: Told<'_> = serde_json::from_str(json).unwrap_or_default();
        // Its type is that of the event otherwise.
        let is_named = is(told.object, ERROR);
        Self::gather(told, is_named)
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

    /// Gathers an error from the `error` in it, from that of its response, from other places where
    /// one is put, and from the outermost object, each for what the one before does not say.
    fn gather(mut outer: Told<'_>, outer_has_kind: bool) -> Self {
        if !outer_has_kind {
            outer.kind = None;
        }
        let response: Option<Told<'_>> = outer.response.and_then(object);
        let failed = response.and_then(|response| response.error);
        let inner = [outer.error, failed, outer.errors, outer.detail];
        let inner: Vec<_> = inner.into_iter().flatten().filter_map(first).collect();
        let levels = || inner.iter().chain([&outer]);
        // Some servers say no more than `"error": "what happened"`.
        let said = |place: Option<&RawValue>| place.and_then(text);
        Self {
            code: levels().find_map(Told::code),
            kind: levels()
                .find_map(|told| said(told.kind))
                .or_else(|| inner.iter().find_map(Told::status_name)),
            message: said(outer.error)
                .or_else(|| levels().find_map(Told::message))
                .or_else(|| said(outer.errors))
                .or_else(|| said(outer.detail)),
            status: levels().find_map(Told::status),
        }
    }
}

/// Whether an object with these members is an error.
pub(super) fn is_error(
    error: Option<&RawValue>,
    kind: Option<&RawValue>,
    object: Option<&RawValue>,
) -> bool {
    says(error) || is(kind, ERROR) || is(kind, FAILED) || is(object, ERROR)
}

/// What we read of an error, and of what it comes in. A key that stands twice makes it unreadable.
#[derive(Default, Deserialize)]
struct Told<'b> {
    #[serde(borrow)]
    code: Option<&'b RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'b RawValue>,
    #[serde(borrow)]
    message: Option<&'b RawValue>,
    /// The message of one of several faults that a validator found.
    #[serde(borrow)]
    msg: Option<&'b RawValue>,
    /// Some servers give it a status, in one of three places, or the name of one.
    #[serde(borrow)]
    status: Option<&'b RawValue>,
    #[serde(borrow)]
    status_code: Option<&'b RawValue>,
    #[serde(borrow)]
    error: Option<&'b RawValue>,
    #[serde(borrow)]
    errors: Option<&'b RawValue>,
    #[serde(borrow)]
    detail: Option<&'b RawValue>,
    #[serde(borrow)]
    response: Option<&'b RawValue>,
    #[serde(borrow)]
    object: Option<&'b RawValue>,
    #[serde(borrow)]
    choices: Option<&'b RawValue>,
}

impl Told<'_> {
    /// Whether a whole body says that something went wrong. What says what it is (a batch, a chat)
    /// may have errors or a message among the things that it tells.
    fn complains(&self) -> bool {
        let is_bare = self.object.is_none() && self.choices.is_none();
        let says_so = says(self.errors)
            || says(self.detail)
            || self.message.is_some_and(|message| text(message).is_some());
        is_error(self.error, self.kind, self.object) || is_bare && says_so
    }

    fn code(&self) -> Option<String> {
        let code = self.code.and_then(text)?;
        status(&code).is_none().then_some(code)
    }

    fn message(&self) -> Option<String> {
        [self.message, self.msg]
            .into_iter()
            .flatten()
            .find_map(text)
    }

    fn status(&self) -> Option<u16> {
        let places = [self.status, self.status_code, self.code];
        let mut told = places.into_iter().flatten().filter_map(text);
        told.find_map(|text| status(&text))
    }

    /// A status that is a name, as in `RESOURCE_EXHAUSTED`.
    fn status_name(&self) -> Option<String> {
        let name = bounded(string(self.status?)?.into_owned())?;
        status(&name).is_none().then_some(name)
    }
}

/// An object, or the first of several.
fn first<'b>(value: &'b RawValue) -> Option<Told<'b>> {
    let list = || -> Option<List<Told<'b>>> { serde_json::from_str(value.get()).ok() };
    object(value).or_else(|| list()?.items.into_iter().next())
}

/// What a string or a number says, unless it is empty.
fn text(value: &RawValue) -> Option<String> {
    let json = value.get();
    let is_number = json.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let text = if is_number {
        json.to_owned()
    } else {
        string(value)?.into_owned()
    };
    bounded(text)
}

fn bounded(mut text: String) -> Option<String> {
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    Some(text).filter(|text| !text.is_empty())
}

fn status(text: &str) -> Option<u16> {
    let status = text.parse().ok()?;
    (400..600).contains(&status).then_some(status)
}

#[cfg(test)]
#[allow(clippy::too_many_lines)]
mod tests {
    use super::*;

    fn told(code: &str, kind: &str, message: &str, status: u16) -> Complaint {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Complaint {
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
        ] {
            assert_eq!(Complaint::read(body.as_bytes()), Some(expected), "{body}");
        }
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
            assert_eq!(Complaint::read(body), None, "{shown}");
        }
    }

    #[test]
    fn the_texts_of_a_body_are_bounded() {
        let long = "é".repeat(MAX_TEXT_BYTES);
        let json =
            format!(r#"{{"error":{{"message":"x{long}","code":"{long}","status":"{long}"}}}}"#);
        let complaint = Complaint::read(json.as_bytes()).unwrap();
        for text in [complaint.message, complaint.code, complaint.kind] {
            let bytes = text.unwrap().len();
            assert!((MAX_TEXT_BYTES - 1..=MAX_TEXT_BYTES).contains(&bytes));
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        for (open, close) in [("[", "]"), ("{\"error\":", "}")] {
            let nested = open.repeat(100_000) + "1" + &close.repeat(100_000);
            Complaint::read(nested.as_bytes());
            let inner = format!(r#"{{"error":{nested},"detail":{nested}}}"#);
            assert_eq!(
                Complaint::read(inner.as_bytes()),
                Some(Complaint::default())
            );
        }
    }
}
