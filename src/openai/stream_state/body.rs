//! The parts of an event that tell what it means.
//!
//! Owns which keys are looked at, and what counts as saying something. A value stays JSON until it
//! is asked for, so that one of a strange type is a matter of its own, and no tree is built. Fails
//! for what is no object, or has a key twice that is looked at.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::openai::json::{List, Object, object, says, string};
use crate::openai::upstream_error::{Marks, is_failed_choice};

/// What we read of an event at its top level. A key that stands twice makes it unreadable.
#[derive(Deserialize)]
pub(super) struct Body<'b> {
    #[serde(borrow)]
    error: Option<&'b RawValue>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<&'b RawValue>,
    #[serde(borrow)]
    object: Option<&'b RawValue>,
    #[serde(borrow)]
    event: Option<&'b RawValue>,
    #[serde(borrow)]
    x_groq: Option<&'b RawValue>,
    #[serde(borrow)]
    base_resp: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) choices: Option<&'b RawValue>,
    #[serde(borrow)]
    usage: Option<&'b RawValue>,
    #[serde(borrow)]
    prompt_filter_results: Option<&'b RawValue>,
    #[serde(borrow)]
    pub(super) delta: Option<&'b RawValue>,
}

impl Body<'_> {
    pub(super) fn tells_error(&self) -> bool {
        let marks = Marks {
            error: self.error,
            kind: self.kind,
            object: self.object,
            event: self.event,
            x_groq: self.x_groq,
            base_resp: self.base_resp,
        };
        marks.tell_error()
    }

    /// Whether it says nothing of what it is.
    pub(super) fn is_nameless(&self) -> bool {
        self.kind.is_none() && self.object.is_none() && self.choices.is_none()
    }

    /// Whether it is a part of a chat although it has no choices.
    pub(super) fn is_chunk(&self) -> bool {
        says(self.object) || says(self.usage) || says(self.prompt_filter_results)
    }
}

/// One of the choices of a chat or of a legacy completion.
#[derive(Deserialize)]
pub(super) struct Choice<'b> {
    #[serde(borrow)]
    pub(super) index: Option<&'b RawValue>,
    #[serde(borrow)]
    delta: Option<&'b RawValue>,
    #[serde(borrow)]
    text: Option<&'b RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'b RawValue>,
    #[serde(borrow)]
    error: Option<&'b RawValue>,
}

impl Choice<'_> {
    pub(super) fn has_failed(&self) -> bool {
        is_failed_choice(self.error, self.finish_reason)
    }

    /// Whether it says something, and whether it is finished.
    pub(super) fn read(&self) -> (bool, bool) {
        let delta: Option<Delta<'_>> = self.delta.and_then(object);
        let (delta_says, expires) = match &delta {
            Some(delta) => (delta.says(), delta.expires()),
            None => (says(self.delta), false),
        };
        let reason = self.finish_reason.and_then(string);
        let finished = reason.is_some_and(|reason| !reason.is_empty());
        (delta_says || says(self.text), finished || expires)
    }
}

#[derive(Deserialize)]
struct Delta<'b> {
    #[serde(borrow)]
    content: Option<&'b RawValue>,
    #[serde(borrow)]
    refusal: Option<&'b RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'b RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'b RawValue>,
    #[serde(borrow)]
    reasoning_details: Option<&'b RawValue>,
    #[serde(borrow)]
    images: Option<&'b RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'b RawValue>,
    #[serde(borrow)]
    function_call: Option<&'b RawValue>,
    #[serde(borrow)]
    audio: Option<&'b RawValue>,
}

impl<'b> Delta<'b> {
    fn says(&self) -> bool {
        let texts = [
            self.content,
            self.refusal,
            self.reasoning_content,
            self.reasoning,
            self.reasoning_details,
            self.images,
        ];
        texts.into_iter().any(says)
            || says_as(self.tool_calls, |calls: &List<ToolCall<'b>>| {
                calls.items.iter().any(ToolCall::says)
            })
            || says_as(self.function_call, |Object(call)| Call::says(call))
            || says_as(self.audio, |Object(audio)| Audio::says(audio))
    }

    /// An answer in sound may have no finish reason: the time when it expires comes last, alone.
    fn expires(&self) -> bool {
        let audio: Option<Audio<'_>> = self.audio.and_then(object);
        audio.is_some_and(|audio| says(audio.expires_at) && !audio.says())
    }
}

#[derive(Deserialize)]
struct Audio<'b> {
    #[serde(borrow)]
    data: Option<&'b RawValue>,
    #[serde(borrow)]
    transcript: Option<&'b RawValue>,
    #[serde(borrow)]
    expires_at: Option<&'b RawValue>,
}

impl Audio<'_> {
    fn says(&self) -> bool {
        says(self.data) || says(self.transcript)
    }
}

#[derive(Deserialize)]
struct ToolCall<'b> {
    #[serde(borrow)]
    function: Option<&'b RawValue>,
    #[serde(borrow)]
    custom: Option<&'b RawValue>,
}

impl ToolCall<'_> {
    fn says(&self) -> bool {
        let mut kinds = [self.function, self.custom].into_iter();
        kinds.any(|kind| says_as(kind, |Object(call)| Call::says(call)))
    }
}

/// A call of a function, or of a custom tool, which has an input instead of arguments.
#[derive(Deserialize)]
struct Call<'b> {
    #[serde(borrow)]
    name: Option<&'b RawValue>,
    #[serde(borrow)]
    arguments: Option<&'b RawValue>,
    #[serde(borrow)]
    input: Option<&'b RawValue>,
}

impl Call<'_> {
    fn says(&self) -> bool {
        says(self.name) || says(self.arguments) || says(self.input)
    }
}

/// Whether a value says something, asked of what it should be; if it is something else, whether
/// it is not empty.
fn says_as<'b, T: Deserialize<'b>>(value: Option<&'b RawValue>, asked: fn(&T) -> bool) -> bool {
    let Some(json) = value.filter(|value| says(Some(value))) else {
        return false;
    };
    serde_json::from_str(json.get()).map_or(true, |read| asked(&read))
}
