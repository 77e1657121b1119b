//! The members of an event that decide what it means.
//!
//! Owns which keys are read, and which values are output. A value stays JSON until it is needed, so that a
//! value of a strange type spoils nothing else, and no tree is built. Does not handle which members
//! report an error (see `upstream_error::members`). Fails for JSON that is no object, or has a key twice
//! that is read.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::openai::json::{
    Fields, List, Object, is_absent, is_truthy, object, read_fields, string,
};
use crate::openai::upstream_error::{ErrorMarkers, is_failed_choice};

/// What we read of an event at its top level.
#[derive(Default)]
pub(super) struct EventMembers<'b> {
    pub(super) markers: ErrorMarkers<'b>,
    pub(super) choices: Option<&'b RawValue>,
    usage: Option<&'b RawValue>,
    prompt_filter_results: Option<&'b RawValue>,
    pub(super) delta: Option<&'b RawValue>,
}

impl<'b> Fields<'b> for EventMembers<'b> {
    const ALLOWS_DUPLICATES: bool = false;

    fn slot(&mut self, key: &str) -> Option<&mut Option<&'b RawValue>> {
        match key {
            "choices" => Some(&mut self.choices),
            "usage" => Some(&mut self.usage),
            "prompt_filter_results" => Some(&mut self.prompt_filter_results),
            "delta" => Some(&mut self.delta),
            _ => self.markers.slot(key),
        }
    }
}

impl<'b> Deserialize<'b> for EventMembers<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        read_fields(deserializer)
    }
}

impl EventMembers<'_> {
    /// Whether nothing in it says what it is.
    pub(super) fn is_untyped(&self) -> bool {
        let markers = &self.markers;
        is_absent(markers.kind) && is_absent(markers.object) && is_absent(self.choices)
    }

    /// Whether it is a chunk of a chat although it has no choices.
    pub(super) fn is_chunk(&self) -> bool {
        is_truthy(self.markers.object)
            || is_truthy(self.usage)
            || is_truthy(self.prompt_filter_results)
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

    /// Whether it has output, and whether it is finished.
    pub(super) fn read(&self) -> (bool, bool) {
        let delta: Option<Delta<'_>> = self.delta.and_then(object);
        let (delta_has_output, expires) = match &delta {
            Some(delta) => (delta.has_output(), delta.expires()),
            None => (is_truthy(self.delta), false),
        };
        let reason = self.finish_reason.and_then(string);
        let finished = reason.is_some_and(|reason| !reason.is_empty());
        (
            delta_has_output || is_truthy(self.text),
            finished || expires,
        )
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
    fn has_output(&self) -> bool {
        let texts = [
            self.content,
            self.refusal,
            self.reasoning_content,
            self.reasoning,
            self.reasoning_details,
            self.images,
        ];
        texts.into_iter().any(is_truthy)
            || has_output_as(self.tool_calls, |calls: &List<ToolCall<'b>>| {
                calls.items.iter().any(ToolCall::has_output)
            })
            || has_output_as(self.function_call, |Object(call)| Call::has_output(call))
            || has_output_as(self.audio, |Object(audio)| Audio::has_output(audio))
    }

    /// An answer in sound may have no finish reason: the time when it expires comes last, alone.
    fn expires(&self) -> bool {
        let audio: Option<Audio<'_>> = self.audio.and_then(object);
        audio.is_some_and(|audio| is_truthy(audio.expires_at) && !audio.has_output())
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
    fn has_output(&self) -> bool {
        is_truthy(self.data) || is_truthy(self.transcript)
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
    fn has_output(&self) -> bool {
        let mut kinds = [self.function, self.custom].into_iter();
        kinds.any(|kind| has_output_as(kind, |Object(call)| Call::has_output(call)))
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
    fn has_output(&self) -> bool {
        is_truthy(self.name) || is_truthy(self.arguments) || is_truthy(self.input)
    }
}

/// Whether a value has output, by the type that it should have; for a value of another type, whether
/// it is not empty.
fn has_output_as<'b, T: Deserialize<'b>>(
    value: Option<&'b RawValue>,
    has_output: fn(&T) -> bool,
) -> bool {
    let Some(json) = value.filter(|value| is_truthy(Some(value))) else {
        return false;
    };
    serde_json::from_str(json.get()).map_or(true, |read| has_output(&read))
}
