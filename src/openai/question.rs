//! What a request asks, apart from everything else that it says.
//!
//! Owns finding the last text of the user in a body of chat completions, completions or responses, and a hash
//! of all the rest, so that two requests of one hash differ in that text alone. Owns as well which requests
//! may not be compared by what they mean, and why. Does not compare texts (see `cache::meaning`), nor know who
//! asks, by which rule, and with which bounds on turns and temperature (see `gateway`). Fails with
//! [`Unsuited`], for any bytes; nothing panics.
//!
//! The hash covers every member in its canonical form (see `canonical`), except those that are left out:
//!
//! - `stream` and `stream_options`: they say how an answer is delivered, and a stream can be made of an answer;
//! - `user`, `safety_identifier`, `metadata`: they say for whom it is, for the provider's records. The tenant
//!   is a part of the scope, and no model sees these;
//! - `prompt_cache_key`, `prompt_cache_retention`: they say where a provider looks for a prefix;
//! - `service_tier`: it says how soon the answer comes and what it costs.
//!
//! `model`, `seed`, `store` and all members that are not known here are covered. A member of the body that is
//! null is taken for one that is missing.

mod canonical;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::endpoint::Exchange;
use super::json::{
    Text, entries, equals, is_array, is_deeper_than, is_null, is_object, is_truthy, items, string,
};
use super::references;
use super::request::MAX_DEPTH;
use super::stream_state::Stream;

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

/// What a member of a body is to this file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    /// It is not covered by the hash.
    LeftOut,
    /// Its being there excludes the request.
    Excludes(Unsuited),
    /// More than one excludes the request.
    Count,
    /// A number that the caller bounds.
    Temperature,
    /// A list of the kinds of output.
    Modalities,
}

/// The members that are not simply covered.
static MEMBERS: &[(&str, Member)] = &[
    ("stream", Member::LeftOut),
    ("stream_options", Member::LeftOut),
    ("user", Member::LeftOut),
    ("safety_identifier", Member::LeftOut),
    ("metadata", Member::LeftOut),
    ("prompt_cache_key", Member::LeftOut),
    ("prompt_cache_retention", Member::LeftOut),
    ("service_tier", Member::LeftOut),
    ("tools", Member::Excludes(Unsuited::Tools)),
    ("functions", Member::Excludes(Unsuited::Tools)),
    ("tool_resources", Member::Excludes(Unsuited::Tools)),
    ("mcp_servers", Member::Excludes(Unsuited::Tools)),
    // What is searched changes from one day to the next.
    ("web_search_options", Member::Excludes(Unsuited::Tools)),
    ("search_parameters", Member::Excludes(Unsuited::Tools)),
    ("enable_search", Member::Excludes(Unsuited::Tools)),
    ("data_sources", Member::Excludes(Unsuited::Tools)),
    ("plugins", Member::Excludes(Unsuited::Tools)),
    ("audio", Member::Excludes(Unsuited::NotText)),
    ("images", Member::Excludes(Unsuited::NotText)),
    ("files", Member::Excludes(Unsuited::NotText)),
    ("attachments", Member::Excludes(Unsuited::NotText)),
    ("background", Member::Excludes(Unsuited::Background)),
    ("echo", Member::Excludes(Unsuited::Echo)),
    ("prompt_token_ids", Member::Excludes(Unsuited::NotText)),
    ("input_ids", Member::Excludes(Unsuited::NotText)),
    ("n", Member::Count),
    ("best_of", Member::Count),
    ("num_return_sequences", Member::Count),
    ("temperature", Member::Temperature),
    ("modalities", Member::Modalities),
];

/// The members of a message that exclude the request.
static MESSAGE_MEMBERS: &[(&str, Unsuited)] = &[
    ("tool_calls", Unsuited::Tools),
    ("function_call", Unsuited::Tools),
    ("tool_call_id", Unsuited::Tools),
    ("audio", Unsuited::NotText),
    ("images", Unsuited::NotText),
    ("files", Unsuited::NotText),
    ("attachments", Unsuited::NotText),
];

/// Whose messages may stand in a request.
const ROLES: [&str; 4] = ["system", "developer", "user", "assistant"];
/// Those of a tool.
const TOOL_ROLES: [&str; 2] = ["tool", "function"];
/// The types of parts that are text.
const TEXT_PARTS: [&str; 4] = ["text", "input_text", "output_text", "refusal"];

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
    let mut rest = BTreeMap::new();
    let mut input = None;
    let mut temperature = None;
    entries(body, |Text(key), value| {
        if is_null(value) {
            return Ok(());
        }
        if is_named(&key, form.input())? {
            return keep_first(&mut input, value);
        }
        match member(MEMBERS, &key)? {
            Some(Member::LeftOut) => return Ok(()),
            Some(Member::Excludes(why)) if is_truthy(Some(value)) => return Err(why),
            Some(Member::Count) if !is_one(value) => return Err(Unsuited::Choices),
            Some(Member::Modalities) if !is_text_alone(value)? => return Err(Unsuited::NotText),
            Some(Member::Temperature) => keep_first(&mut temperature, number(value)?)?,
            _ => {}
        }
        canonical::add(&mut rest, key, value)
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
    hash.update(canonical::object(rest));
    hash.update(asked.around);
    Ok(Question {
        text: asked.text,
        rest: hash.finalize().into(),
        turns: asked.turns,
        temperature,
    })
}

/// The text, and a hash of what stands around it in the same member.
struct Asked<'b> {
    text: Cow<'b, str>,
    around: Hash,
    turns: usize,
}

impl<'b> Asked<'b> {
    fn prompt(value: &'b RawValue) -> Result<Self, Unsuited> {
        if is_array(value) {
            return Err(Unsuited::SeveralTexts);
        }
        Ok(Self {
            text: string(value).ok_or(Unsuited::NotText)?,
            around: Sha256::digest("prompt").into(),
            turns: 1,
        })
    }

    fn messages(value: &'b RawValue) -> Result<Self, Unsuited> {
        if !is_array(value) {
            return Err(Unsuited::Malformed);
        }
        let mut hash = Sha256::new();
        let mut turns = 0;
        let mut last = None;
        items(value.get(), |item| {
            let message = Message::read(item)?;
            turns += usize::from(message.is_users);
            match last.replace(message) {
                Some(earlier) => earlier.add_to(&mut hash),
                None => Ok(()),
            }
        })?;
        let last = last.filter(|last| last.is_users).ok_or(Unsuited::NoText)?;
        let text = last.ask(&mut hash)?;
        Ok(Self {
            text,
            around: hash.finalize().into(),
            turns,
        })
    }
}

/// A message that is text.
struct Message<'b> {
    is_users: bool,
    content: Option<&'b RawValue>,
    /// Its other members.
    rest: BTreeMap<Cow<'b, str>, Hash>,
}

impl<'b> Message<'b> {
    fn read(item: &'b RawValue) -> Result<Self, Unsuited> {
        if !is_object(item) {
            return Err(Unsuited::Malformed);
        }
        let mut role = None;
        let mut content = None;
        let mut rest = BTreeMap::new();
        entries(item.get().as_bytes(), |Text(key), value| {
            match member(MESSAGE_MEMBERS, &key)? {
                Some(why) if is_truthy(Some(value)) => return Err(why),
                _ => {}
            }
            if is_named(&key, "content")? {
                return keep_first(&mut content, value);
            }
            if is_named(&key, "role")? {
                role = Some(string(value).ok_or(Unsuited::Malformed)?);
            }
            // An item that is no message: a call, its result, what a model thought, something that is kept.
            if is_named(&key, "type")? && !equals(Some(value), "\"message\"") {
                return Err(Unsuited::Tools);
            }
            canonical::add(&mut rest, key, value)
        })?;
        let role = role.ok_or(Unsuited::Malformed)?;
        if TOOL_ROLES.contains(&&*role) {
            return Err(Unsuited::Tools);
        }
        if !ROLES.contains(&&*role) {
            return Err(Unsuited::Malformed);
        }
        let content = content.filter(|content| !is_null(content));
        if let Some(parts) = content.filter(|content| is_array(content)) {
            items(parts.get(), |part| Part::read(part).map(drop))?;
        }
        Ok(Self {
            is_users: role == "user",
            content,
            rest,
        })
    }

    /// Adds all of it.
    fn add_to(self, hash: &mut Sha256) -> Result<(), Unsuited> {
        hash.update(canonical::object(self.rest));
        match self.content {
            Some(content) => hash.update(canonical::value(content)?),
            None => hash.update(b"-"),
        }
        Ok(())
    }

    /// Adds all of it except its text, which it gives.
    fn ask(self, hash: &mut Sha256) -> Result<Cow<'b, str>, Unsuited> {
        hash.update(canonical::object(self.rest));
        let content = self.content.ok_or(Unsuited::NoText)?;
        if !is_array(content) {
            hash.update(b"text");
            return string(content).ok_or(Unsuited::NotText);
        }
        let mut only = None;
        items(content.get(), |part| match only.replace(part) {
            Some(_) => Err(Unsuited::SeveralTexts),
            None => Ok(()),
        })?;
        let Part { text, rest } = Part::read(only.ok_or(Unsuited::NoText)?)?;
        hash.update(b"part");
        hash.update(canonical::object(rest));
        text.ok_or(Unsuited::NoText)
    }
}

/// A part of a content that is text.
struct Part<'b> {
    text: Option<Cow<'b, str>>,
    rest: BTreeMap<Cow<'b, str>, Hash>,
}

impl<'b> Part<'b> {
    fn read(part: &'b RawValue) -> Result<Self, Unsuited> {
        if !is_object(part) {
            return Err(Unsuited::NotText);
        }
        let mut text = None;
        let mut is_text = false;
        let mut rest = BTreeMap::new();
        entries(part.get().as_bytes(), |Text(key), value| {
            if is_named(&key, "text")? {
                return keep_first(&mut text, string(value).ok_or(Unsuited::NotText)?);
            }
            if is_named(&key, "type")? {
                is_text = string(value).is_some_and(|name| TEXT_PARTS.contains(&&*name));
            }
            canonical::add(&mut rest, key, value)
        })?;
        match is_text {
            true => Ok(Self { text, rest }),
            false => Err(Unsuited::NotText),
        }
    }
}

/// What a table says of a key.
fn member<T: Copy>(table: &[(&str, T)], key: &str) -> Result<Option<T>, Unsuited> {
    for (name, member) in table {
        if is_named(key, name)? {
            return Ok(Some(*member));
        }
    }
    Ok(None)
}

/// Whether a key is this name. Some servers read names in any case, and others do not: what differs by its
/// case alone can be read in two ways.
fn is_named(key: &str, name: &str) -> Result<bool, Unsuited> {
    match key.eq_ignore_ascii_case(name) {
        true if key == name => Ok(true),
        true => Err(Unsuited::Malformed),
        false => Ok(false),
    }
}

/// Takes a member that may stand once.
fn keep_first<T>(slot: &mut Option<T>, value: T) -> Result<(), Unsuited> {
    match slot.replace(value) {
        Some(_) => Err(Unsuited::Malformed),
        None => Ok(()),
    }
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
