//! What a request asks, apart from everything else that it says.
//!
//! Owns finding the last text of the user in a body of chat completions, completions or responses, and a hash
//! of all the rest, so that two requests of one hash differ in that text alone. Owns as well which requests
//! may not be compared by what they mean, and why. Does not compare texts (see `cache::meaning`), nor know who
//! asks, by which rule, and with which bounds on turns and temperature (see `gateway`). Fails with
//! [`Unsuited`], for any bytes; nothing panics.
//!
//! The hash covers every member in its canonical form (see `canonical`), except those that change nothing about the
//! answer (see `reusable`): what is left out of the comparison of equal requests is left out here.
//!
//! `model`, `seed`, `store` and all members that are not known here are covered. A member of the body that is
//! null is taken for one that is missing.

mod covered;
mod members;
mod messages;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::endpoint::Exchange;
use super::json::{Text, entries, is_array, is_deeper_than, is_null, is_truthy};
use super::references;
use super::request::MAX_DEPTH;
use super::reusable::{UNRELATED, UNRELATED_IN_RESPONSES};
use super::stream_state::Stream;
use covered::Covered;
use members::{MEMBERS, Member, is_named, keep_first, member};
use messages::Asked;

/// A longer text is not compared: one number of some hundred stands for all of it, and a small difference
/// within it no longer shows. Many small models read no more than this.
pub const MAX_TEXT_BYTES: usize = 2048;

/// A SHA-256.
pub type Hash = [u8; 32];

/// The shape of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Chat completions: `messages`.
    Chat,
    /// Legacy completions: `prompt`.
    Completion,
    /// Responses: `input`.
    Response,
}

/// A request that may be compared by what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct Question<'b> {
    /// The last text of the user: not blank, at most [`MAX_TEXT_BYTES`].
    pub text: Cow<'b, str>,
    /// The hash of everything else.
    pub rest: Hash,
    /// How many messages of the user there are, the last included.
    pub turns: usize,
    /// The temperature, where it names one; the provider's default counts otherwise.
    pub temperature: Option<f64>,
}

/// Why a request may not be compared by what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsuited {
    /// It is not JSON of this shape, or JSON that can be read in two ways.
    Malformed,
    /// It is nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// It offers tools or data to search, or has used some.
    Tools,
    /// It has a part that is no text, or asks for one.
    NotText,
    /// It asks for several answers.
    Choices,
    /// It has no text of the user, or its last message is of somebody else.
    NoText,
    /// Its last message, or its prompt, has several texts.
    SeveralTexts,
    /// The text is longer than [`MAX_TEXT_BYTES`].
    TooLong,
    /// It names something that the provider keeps, or another model.
    Named,
    /// It is answered later.
    Background,
    /// Its answer repeats the text.
    Echo,
}

impl Form {
    /// The form of an endpoint's bodies; `None` where they ask no question.
    pub fn of(exchange: &Exchange) -> Option<Self> {
        match exchange.stream {
            Stream::Chat => Some(Self::Chat),
            Stream::Completions => Some(Self::Completion),
            Stream::Responses if exchange.has_both_forms => Some(Self::Response),
            _ => None,
        }
    }

    /// The member with the text.
    fn input(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completion => "prompt",
            Self::Response => "input",
        }
    }
}

impl Unsuited {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooDeep => "too_deep",
            Self::Tools => "tools",
            Self::NotText => "not_text",
            Self::Choices => "choices",
            Self::NoText => "no_text",
            Self::SeveralTexts => "several_texts",
            Self::TooLong => "too_long",
            Self::Named => "named",
            Self::Background => "background",
            Self::Echo => "echo",
        }
    }
}

impl From<serde_json::Error> for Unsuited {
    fn from(_: serde_json::Error) -> Self {
        Self::Malformed
    }
}

/// Reads what a body asks.
///
/// # Errors
/// See [`Unsuited`].
pub fn read(form: Form, body: &[u8]) -> Result<Question<'_>, Unsuited> {
    str::from_utf8(body).map_err(|_| Unsuited::Malformed)?;
    if is_deeper_than(body, MAX_DEPTH) {
        return Err(Unsuited::TooDeep);
    }
    let mut rest = Covered::default();
    let mut input = None;
    let mut temperature = None;
    entries(body, |Text(key), value| {
        if is_null(value) {
            return Ok(());
        }
        if is_named(&key, form.input())? {
            return keep_first(&mut input, value);
        }
        if is_left_out(form, &key)? {
            return Ok(());
        }
        match member(MEMBERS, &key)? {
            Some(Member::Excludes(why)) if asks_for(value) => return Err(why),
            Some(Member::Count) if !is_one(value) => return Err(Unsuited::Choices),
            Some(Member::Modalities) if !is_text_alone(value)? => return Err(Unsuited::NotText),
            Some(Member::Temperature) => keep_first(&mut temperature, number(value)?)?,
            _ => {}
        }
        rest.add(key, value)
    })?;
    let asked = match form {
        Form::Completion => Asked::prompt(input.ok_or(Unsuited::NoText)?)?,
        Form::Chat => Asked::messages(input.ok_or(Unsuited::NoText)?)?,
        Form::Response => match input.ok_or(Unsuited::NoText)? {
            text if !is_array(text) => Asked::prompt(text)?,
            messages => Asked::messages(messages)?,
        },
    };
    match asked.text.len() {
        _ if asked.text.trim().is_empty() => return Err(Unsuited::NoText),
        longer if longer > MAX_TEXT_BYTES => return Err(Unsuited::TooLong),
        _ => {}
    }
    // After all else, because it reads the body once more.
    if references::find(body).is_some() {
        return Err(Unsuited::Named);
    }
    let mut hash = Sha256::new();
    hash.update(form.input());
    hash.update(rest.hash());
    hash.update(asked.around);
    Ok(Question {
        text: asked.text,
        rest: hash.finalize().into(),
        turns: asked.turns,
        temperature,
    })
}

/// Whether a member changes nothing about the answer.
fn is_left_out(form: Form, key: &str) -> Result<bool, Unsuited> {
    let left_out: &[&str] = match form {
        Form::Chat | Form::Completion => &UNRELATED,
        Form::Response => &UNRELATED_IN_RESPONSES,
    };
    for name in left_out {
        if is_named(key, name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a value asks for what its member is for. An empty object does: it leaves the details open.
fn asks_for(value: &RawValue) -> bool {
    value.get().starts_with('{') || is_truthy(Some(value))
}

fn number(value: &RawValue) -> Result<f64, Unsuited> {
    Ok(serde_json::from_str(value.get())?)
}

fn is_one(value: &RawValue) -> bool {
    number(value).is_ok_and(|count| count.to_bits() == 1.0_f64.to_bits())
}

/// Whether a list has no other kind of output than text.
fn is_text_alone(value: &RawValue) -> Result<bool, Unsuited> {
    let kinds: Vec<Text<'_>> = serde_json::from_str(value.get())?;
    Ok(kinds.iter().all(|Text(kind)| kind == "text"))
}
