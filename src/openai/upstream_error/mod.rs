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
    /// The HTTP status that it has, or would have had. A code that is such a number is read as this.
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

/// Some servers put it before their JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Nearly every event that reports an error has this in it.
static ERROR_WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(ERROR));

impl UpstreamError {
    /// Whether these bytes may have an error: a key, a type or an object that is called `error`. Does not
    /// parse them.
    pub fn may_be_in(json: &[u8]) -> bool {
        ERROR_WORD.find(json).is_some()
    }

    /// Reads a whole body under the status of an error. `None` for a body that reports none: an answer, a
    /// page of HTML, nothing, or JSON that was cut before its end.
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
        // Otherwise its type is that of the event.
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

    /// Whether it has nothing: no code but 0, no class, no message, no status.
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
mod tests;
