//! The members in which servers report an error.
//!
//! Owns, as data, which members of a body, of an event and of a choice say that something went wrong,
//! and which have its code, its class, its message and its status. Does not handle which of several
//! counts (see `upstream_error`). Never fails: a member that is missing is `None`.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::MAX_TEXT_BYTES;
use crate::openai::json::{
    Fields, List, equals, is_absent, is_truthy, object, read_fields, string,
};

/// The `object` of an error that has no envelope, the `type` of an event that has one, and the
/// `finish_reason` of a choice that has failed.
pub(super) const ERROR: &str = r#""error""#;

/// The `type` of the event that ends a response badly.
pub(super) const RESPONSE_FAILED: &str = r#""response.failed""#;

/// Finish reasons of a failure, as JSON: OpenRouter's and vLLM's, that of engines for a request that
/// they gave up, `DeepSeek`'s for a lack of resources.
const FAILED_FINISHES: [&str; 3] = [ERROR, r#""abort""#, r#""insufficient_system_resource""#];

/// Texts that the choices of a failed answer have: [`ERROR`] as a key or a reason, or another reason.
static FAILURE_WORDS: LazyLock<[Finder<'static>; FAILED_FINISHES.len()]> =
    LazyLock::new(|| FAILED_FINISHES.map(Finder::new));

/// From this number on, a status code is no HTTP status, but a provider's own code.
const FIRST_OWN_CODE: u32 = 1000;

/// The members by which an object says that it is an error, whatever else it may be.
#[derive(Default)]
pub(in crate::openai) struct ErrorMarkers<'b> {
    pub(in crate::openai) error: Option<&'b RawValue>,
    pub(in crate::openai) kind: Option<&'b RawValue>,
    pub(in crate::openai) object: Option<&'b RawValue>,
    /// Some servers put the event's name into the data.
    pub(in crate::openai) event: Option<&'b RawValue>,
    /// Groq's own part of a chunk.
    pub(in crate::openai) x_groq: Option<&'b RawValue>,
    /// `MiniMax` puts a code into each answer, which is 0 where there is no error.
    pub(in crate::openai) base_resp: Option<&'b RawValue>,
}

impl<'b> ErrorMarkers<'b> {
    /// As [`Fields::slot`].
    pub(in crate::openai) fn slot(&mut self, key: &str) -> Option<&mut Option<&'b RawValue>> {
        match key {
            "error" => Some(&mut self.error),
            "type" => Some(&mut self.kind),
            "object" => Some(&mut self.object),
            "event" => Some(&mut self.event),
            "x_groq" => Some(&mut self.x_groq),
            "base_resp" => Some(&mut self.base_resp),
            _ => None,
        }
    }

    pub(in crate::openai) fn has_error(&self) -> bool {
        let wrapped = |wrapper: Option<&RawValue>, has_error: fn(&Wrapper<'_>) -> bool| {
            let wrapper: Option<Wrapper<'_>> = wrapper.and_then(object);
            wrapper.is_some_and(|wrapper| has_error(&wrapper))
        };
        is_truthy(self.error)
            || equals(self.kind, ERROR)
            || equals(self.kind, RESPONSE_FAILED)
            || equals(self.object, ERROR)
            || equals(self.event, ERROR)
            || wrapped(self.x_groq, |groq| is_truthy(groq.error))
            || wrapped(self.base_resp, |base| is_truthy(base.status_code))
    }
}

/// Whether a choice with these members has failed.
pub(in crate::openai) fn is_failed_choice(
    error: Option<&RawValue>,
    finish_reason: Option<&RawValue>,
) -> bool {
    is_truthy(error)
        || FAILED_FINISHES
            .iter()
            .any(|failed| equals(finish_reason, failed))
}

/// What an error may be wrapped in.
#[derive(Deserialize)]
struct Wrapper<'b> {
    #[serde(borrow)]
    error: Option<&'b RawValue>,
    #[serde(borrow)]
    status_code: Option<&'b RawValue>,
}

pub(super) fn error_in(wrapper: Option<&RawValue>) -> Option<&RawValue> {
    let wrapper: Wrapper<'_> = wrapper.and_then(object)?;
    wrapper.error
}

/// What we read of a choice.
#[derive(Deserialize)]
pub(super) struct ChoiceMembers<'b> {
    #[serde(borrow)]
    pub(super) error: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<&'b RawValue>,
}

impl<'b> ChoiceMembers<'b> {
    fn has_failed(&self) -> bool {
        is_failed_choice(self.error, self.finish_reason)
    }

    /// A finish reason that says why the choice has failed.
    pub(super) fn own_code(&self) -> Option<&'b RawValue> {
        let reason = self.finish_reason?;
        (is_failed_choice(None, Some(reason)) && reason.get() != ERROR).then_some(reason)
    }
}

/// What we read of an error, and of the object that it comes in. A key that stands twice makes it
/// unreadable.
#[derive(Default)]
pub(super) struct ErrorMembers<'b> {
    pub(super) markers: ErrorMarkers<'b>,
    pub(super) code: Option<&'b RawValue>,
    pub(super) error_code: Option<&'b RawValue>,
    pub(super) error_type: Option<&'b RawValue>,
    pub(super) message: Option<&'b RawValue>,
    /// The message of one of several faults that a validator found.
    pub(super) msg: Option<&'b RawValue>,
    pub(super) error_msg: Option<&'b RawValue>,
    pub(super) status_msg: Option<&'b RawValue>,
    /// Some servers give it a status, in one of four places, or the name of one.
    pub(super) status: Option<&'b RawValue>,
    pub(super) status_code: Option<&'b RawValue>,
    pub(super) http_status_code: Option<&'b RawValue>,
    pub(super) errors: Option<&'b RawValue>,
    pub(super) detail: Option<&'b RawValue>,
    pub(super) response: Option<&'b RawValue>,
    pub(super) choices: Option<&'b RawValue>,
    /// These and `choices` are the members of answers that have no `object`.
    pub(super) data: Option<&'b RawValue>,
    pub(super) results: Option<&'b RawValue>,
    pub(super) output: Option<&'b RawValue>,
    pub(super) text: Option<&'b RawValue>,
    pub(super) usage: Option<&'b RawValue>,
}

impl<'b> Fields<'b> for ErrorMembers<'b> {
    const ALLOWS_DUPLICATES: bool = false;

    fn slot(&mut self, key: &str) -> Option<&mut Option<&'b RawValue>> {
        match key {
            "code" => Some(&mut self.code),
            "error_code" => Some(&mut self.error_code),
            "error_type" => Some(&mut self.error_type),
            "message" => Some(&mut self.message),
            "msg" => Some(&mut self.msg),
            "error_msg" => Some(&mut self.error_msg),
            "status_msg" => Some(&mut self.status_msg),
            "status" => Some(&mut self.status),
            "status_code" => Some(&mut self.status_code),
            "http_status_code" => Some(&mut self.http_status_code),
            "errors" => Some(&mut self.errors),
            "detail" => Some(&mut self.detail),
            "response" => Some(&mut self.response),
            "choices" => Some(&mut self.choices),
            "data" => Some(&mut self.data),
            "results" => Some(&mut self.results),
            "output" => Some(&mut self.output),
            "text" => Some(&mut self.text),
            "usage" => Some(&mut self.usage),
            _ => self.markers.slot(key),
        }
    }
}

impl<'b> Deserialize<'b> for ErrorMembers<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        read_fields(deserializer)
    }
}

impl<'b> ErrorMembers<'b> {
    /// Reads a body: an object, or the first of several.
    pub(super) fn read(body: &'b [u8]) -> Option<Self> {
        let json = str::from_utf8(body).ok()?.trim_ascii_start();
        if json.starts_with('[') {
            let list: List<ErrorMembers<'_>> = serde_json::from_str(json).ok()?;
            return list.items.into_iter().next();
        }
        serde_json::from_str(json).ok()
    }

    /// Whether it reports an error, whatever else there is in it. Of several choices all must have
    /// failed: the others are an answer.
    pub(super) fn has_error(&self) -> bool {
        self.markers.has_error() || self.failed_choice().is_some()
    }

    /// The first choice, where all of them have failed.
    pub(super) fn failed_choice(&self) -> Option<ChoiceMembers<'b>> {
        // The choices are most of an answer, and hardly ever have one of these words in them.
        let written = self.choices?.get();
        if !FAILURE_WORDS
            .iter()
            .any(|word| word.find(written.as_bytes()).is_some())
        {
            return None;
        }
        let choices: List<ChoiceMembers<'b>> = serde_json::from_str(written).ok()?;
        let have_failed = choices.items.iter().all(ChoiceMembers::has_failed);
        choices.items.into_iter().next().filter(|_| have_failed)
    }

    /// Whether it has the members of an error without an envelope. An object that says what it is (a
    /// batch, a chat) may have errors or a message among its members.
    pub(super) fn is_bare_error(&self) -> bool {
        let is_bare = is_absent(self.markers.object) && is_absent(self.choices);
        let has_text = |place: Option<&RawValue>| place.is_some_and(|value| text(value).is_some());
        is_bare
            && (is_truthy(self.errors)
                || is_truthy(self.detail)
                || is_truthy(self.error_code)
                || has_text(self.message)
                || !is_absent(self.code) && has_text(self.msg))
    }

    /// Whether there is an answer in it, of an endpoint whose answers have no type.
    pub(super) fn has_answer(&self) -> bool {
        let places = [
            self.choices,
            self.data,
            self.results,
            self.output,
            self.text,
            self.usage,
        ];
        places.into_iter().any(is_truthy)
    }

    pub(super) fn code(&self) -> Option<String> {
        let places = [self.code, self.error_code].into_iter().flatten();
        let code = places.filter_map(text).find(|code| status(code).is_none());
        code.or_else(|| {
            let code = text(self.status_code?)?;
            let is_own = code.parse().is_ok_and(|code: u32| code >= FIRST_OWN_CODE);
            is_own.then_some(code)
        })
    }

    pub(super) fn kind(&self) -> Option<String> {
        let places = [self.markers.kind, self.error_type];
        places.into_iter().flatten().find_map(text)
    }

    pub(super) fn message(&self) -> Option<String> {
        let places = [self.message, self.msg, self.error_msg, self.status_msg];
        places.into_iter().flatten().find_map(text)
    }

    pub(super) fn status(&self) -> Option<u16> {
        let places = [
            self.status,
            self.status_code,
            self.http_status_code,
            self.code,
            self.error_code,
        ];
        let mut texts = places.into_iter().flatten().filter_map(text);
        texts.find_map(|text| status(&text))
    }

    /// A status that is a name, as in `RESOURCE_EXHAUSTED`.
    pub(super) fn status_name(&self) -> Option<String> {
        let name = bounded(string(self.status?)?.into_owned())?;
        status(&name).is_none().then_some(name)
    }
}

/// An object, or the first of several.
pub(super) fn first<'b>(value: &'b RawValue) -> Option<ErrorMembers<'b>> {
    let list = || -> Option<List<ErrorMembers<'b>>> { serde_json::from_str(value.get()).ok() };
    object(value).or_else(|| list()?.items.into_iter().next())
}

/// The text of a string or a number, unless it is empty.
pub(super) fn text(value: &RawValue) -> Option<String> {
    let json = value.get();
    let is_number = json.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let text = if is_number {
        json.to_owned()
    } else {
        string(value)?.into_owned()
    };
    bounded(text)
}

pub(super) fn bounded(mut text: String) -> Option<String> {
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    Some(text).filter(|text| !text.is_empty())
}

fn status(text: &str) -> Option<u16> {
    let status = text.parse().ok()?;
    (400..600).contains(&status).then_some(status)
}
