//! The members by which servers tell of an error.
//!
//! Owns which members of a body, of an event and of a choice say that something went wrong, and where
//! its code, its class, its message and its status stand, as data. What they amount to is gathered by
//! the parent. Never fails: what is not there is `None`.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::MAX_TEXT_BYTES;
use crate::openai::json::{List, Object, is, object, says, string};

/// The `object` of an error that has no envelope, the `type` of an event that has one, and the
/// `finish_reason` of a choice that has failed.
pub(super) const ERROR: &str = r#""error""#;

/// The `type` of the event that ends a response badly.
pub(super) const RESPONSE_FAILED: &str = r#""response.failed""#;

/// Finish reasons that tell of a failure, as JSON: OpenRouter's and vLLM's, what engines say of a
/// request that they gave up, `DeepSeek`'s for a lack of resources.
const FAILED_FINISHES: [&str; 3] = [ERROR, r#""abort""#, r#""insufficient_system_resource""#];

/// What the choices of a failed answer have in them: [`ERROR`] as a key or a reason, or another reason.
static FAILURE_WORDS: LazyLock<[Finder<'static>; FAILED_FINISHES.len()]> =
    LazyLock::new(|| FAILED_FINISHES.map(Finder::new));

/// A number from here on is no HTTP status, but a provider's own code.
const FIRST_OWN_CODE: u32 = 1000;

/// The members of an object that say that it is an error, whatever else it may be.
#[derive(Default)]
pub(in crate::openai) struct Marks<'b> {
    pub(in crate::openai) error: Option<&'b RawValue>,
    pub(in crate::openai) kind: Option<&'b RawValue>,
    pub(in crate::openai) object: Option<&'b RawValue>,
    /// Some servers put the event's name into the data.
    pub(in crate::openai) event: Option<&'b RawValue>,
    /// Groq's own part of a chunk.
    pub(in crate::openai) x_groq: Option<&'b RawValue>,
    /// `MiniMax` puts a code into each answer, which is 0 where all is well.
    pub(in crate::openai) base_resp: Option<&'b RawValue>,
}

impl Marks<'_> {
    pub(in crate::openai) fn tell_error(&self) -> bool {
        let wrapped = |wrapper: Option<&RawValue>, says_so: fn(&Wrapper<'_>) -> bool| {
            let wrapper: Option<Wrapper<'_>> = wrapper.and_then(object);
            wrapper.is_some_and(|wrapper| says_so(&wrapper))
        };
        says(self.error)
            || is(self.kind, ERROR)
            || is(self.kind, RESPONSE_FAILED)
            || is(self.object, ERROR)
            || is(self.event, ERROR)
            || wrapped(self.x_groq, |groq| says(groq.error))
            || wrapped(self.base_resp, |base| says(base.status_code))
    }
}

/// Whether a choice with these members has failed.
pub(in crate::openai) fn is_failed_choice(
    error: Option<&RawValue>,
    finish_reason: Option<&RawValue>,
) -> bool {
    says(error)
        || FAILED_FINISHES
            .iter()
            .any(|failed| is(finish_reason, failed))
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
pub(super) struct ToldChoice<'b> {
    #[serde(borrow)]
    pub(super) error: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<&'b RawValue>,
}

impl<'b> ToldChoice<'b> {
    fn has_failed(&self) -> bool {
        is_failed_choice(self.error, self.finish_reason)
    }

    /// A finish reason that says more than that it has failed.
    pub(super) fn own_code(&self) -> Option<&'b RawValue> {
        let reason = self.finish_reason?;
        (is_failed_choice(None, Some(reason)) && reason.get() != ERROR).then_some(reason)
    }
}

/// What we read of an error, and of what it comes in. A key that stands twice makes it unreadable.
#[derive(Default, Deserialize)]
pub(super) struct Told<'b> {
    #[serde(borrow)]
    pub(super) code: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) error_code: Option<&'b RawValue>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) error_type: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) message: Option<&'b RawValue>,
    /// The message of one of several faults that a validator found.
    #[serde(borrow)]
    pub(super) msg: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) error_msg: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) status_msg: Option<&'b RawValue>,
    /// Some servers give it a status, in one of four places, or the name of one.
    #[serde(borrow)]
    pub(super) status: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) status_code: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) http_status_code: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) errors: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) detail: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) response: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) object: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) event: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) x_groq: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) base_resp: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) choices: Option<&'b RawValue>,
    /// These and `choices` are what the answers have in them that do not say what they are.
    #[serde(borrow)]
    pub(super) data: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) results: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) output: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) text: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) usage: Option<&'b RawValue>,
}

impl<'b> Told<'b> {
    /// Reads a body: an object, or the first of several.
    pub(super) fn read(body: &'b [u8]) -> Option<Self> {
        let json = str::from_utf8(body).ok()?.trim_ascii_start();
        if json.starts_with('[') {
            let list: List<Told<'_>> = serde_json::from_str(json).ok()?;
            return list.items.into_iter().next();
        }
        let Object(told) = serde_json::from_str(json).ok()?;
        Some(told)
    }

    /// Whether it says that something went wrong, whatever else there is in it. Of several choices
    /// all have to have failed: the others are an answer.
    pub(super) fn tells_error(&self) -> bool {
        let marks = Marks {
            error: self.error,
            kind: self.kind,
            object: self.object,
            event: self.event,
            x_groq: self.x_groq,
            base_resp: self.base_resp,
        };
        marks.tell_error() || self.failed_choice().is_some()
    }

    /// The first choice, where all of them have failed.
    pub(super) fn failed_choice(&self) -> Option<ToldChoice<'b>> {
        // The choices are most of an answer, and hardly ever have one of these words in them.
        let written = self.choices?.get();
        if !FAILURE_WORDS
            .iter()
            .any(|word| word.find(written.as_bytes()).is_some())
        {
            return None;
        }
        let choices: List<ToldChoice<'b>> = serde_json::from_str(written).ok()?;
        let have_failed = choices.items.iter().all(ToldChoice::has_failed);
        choices.items.into_iter().next().filter(|_| have_failed)
    }

    /// Whether it has what an error has that is in no envelope. What says what it is (a batch, a
    /// chat) may have errors or a message among the things that it tells.
    pub(super) fn is_bare_error(&self) -> bool {
        let is_bare = self.object.is_none() && self.choices.is_none();
        let has_text = |place: Option<&RawValue>| place.is_some_and(|value| text(value).is_some());
        is_bare
            && (says(self.errors)
                || says(self.detail)
                || says(self.error_code)
                || has_text(self.message)
                || self.code.is_some() && has_text(self.msg))
    }

    /// Whether there is an answer in it, of an endpoint whose answers do not say what they are.
    pub(super) fn has_answer(&self) -> bool {
        let places = [
            self.choices,
            self.data,
            self.results,
            self.output,
            self.text,
            self.usage,
        ];
        places.into_iter().any(says)
    }

    pub(super) fn code(&self) -> Option<String> {
        let told = [self.code, self.error_code].into_iter().flatten();
        let code = told.filter_map(text).find(|code| status(code).is_none());
        code.or_else(|| {
            let code = text(self.status_code?)?;
            let is_own = code.parse().is_ok_and(|code: u32| code >= FIRST_OWN_CODE);
            is_own.then_some(code)
        })
    }

    pub(super) fn kind(&self) -> Option<String> {
        let places = [self.kind, self.error_type];
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
        let mut told = places.into_iter().flatten().filter_map(text);
        told.find_map(|text| status(&text))
    }

    /// A status that is a name, as in `RESOURCE_EXHAUSTED`.
    pub(super) fn status_name(&self) -> Option<String> {
        let name = bounded(string(self.status?)?.into_owned())?;
        status(&name).is_none().then_some(name)
    }
}

/// An object, or the first of several.
pub(super) fn first<'b>(value: &'b RawValue) -> Option<Told<'b>> {
    let list = || -> Option<List<Told<'b>>> { serde_json::from_str(value.get()).ok() };
    object(value).or_else(|| list()?.items.into_iter().next())
}

/// What a string or a number says, unless it is empty.
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
