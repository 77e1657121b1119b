//! Errors that come as an event of a stream.
//!
//! Owns where the servers that we know put the parts of one. Refuses to know what is done about it.
//! Never fails: what an error does not say is not known.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::body::{Body, ERROR_OBJECT, is, object, string};

/// What is kept of each text, so that it can be logged and passed on.
pub(super) const MAX_TEXT_BYTES: usize = 8 << 10;

/// An error that came as an event. What it does not say, or not as a text or a number, is `None`;
/// texts are cut at 8 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamError {
    /// The cause, as in `rate_limit_exceeded`.
    pub code: Option<String>,
    /// The class, as in `server_error`.
    pub kind: Option<String>,
    /// What happened.
    pub message: Option<String>,
    /// The HTTP status that it would have had. A code that is such a number is no code, but this.
    pub status: Option<u16>,
}

impl StreamError {
    /// Reads an error from an event: from the `error` in it, from that of its response, and from
    /// the event itself, each for what the one before does not say.
    pub(super) fn read(json: &str, body: &Body<'_>) -> Self {
        let response: Option<Failed<'_>> = body.response.and_then(object);
        let inner = response.and_then(|response| response.error);
        let mut event: Told<'_> = serde_json::from_str(json).unwrap_or_default();
        if !is(body.object, ERROR_OBJECT) {
            // Its type is that of the event then.
            event.kind = None;
        }
        let [outer, inner] = [body.error, inner].map(|error| error.and_then(object));
        let levels = [outer.unwrap_or_default(), inner.unwrap_or_default(), event];
        // Some servers say no more than `"error": "what happened"`.
        let said = body.error.and_then(text);
        Self {
            code: levels.iter().find_map(Told::code),
            kind: levels.iter().find_map(|told| told.kind.and_then(text)),
            message: said.or_else(|| levels.iter().find_map(|told| told.message.and_then(text))),
            status: levels.iter().find_map(Told::status),
        }
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
}

#[derive(Deserialize)]
struct Failed<'b> {
    #[serde(borrow)]
    error: Option<&'b RawValue>,
}

/// What we read of an error. Some servers give it a status, in one of three places.
#[derive(Default, Deserialize)]
struct Told<'b> {
    #[serde(borrow)]
    code: Option<&'b RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'b RawValue>,
    #[serde(borrow)]
    message: Option<&'b RawValue>,
    #[serde(borrow)]
    status: Option<&'b RawValue>,
    #[serde(borrow)]
    status_code: Option<&'b RawValue>,
}

impl Told<'_> {
    fn code(&self) -> Option<String> {
        let code = self.code.and_then(text)?;
        status(&code).is_none().then_some(code)
    }

    fn status(&self) -> Option<u16> {
        let places = [self.status, self.status_code, self.code];
        let mut told = places.into_iter().flatten().filter_map(text);
        told.find_map(|text| status(&text))
    }
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
