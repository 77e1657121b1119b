//! The messages of a request, and its last text.
//!
//! Owns which messages and parts are text, and what of them belongs to the hash. Does not handle the other members
//! of a body (see `question`). Fails with [`Unsuited`].

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::covered::{self, Covered};
use super::members::{is_named, keep_first, member};
use super::{Hash, Unsuited};
use crate::openai::json::{
    Text, entries, equals, is_array, is_null, is_object, is_truthy, items, string,
};

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

/// The text, and a hash of what stands around it in the same member.
pub(super) struct Asked<'b> {
    pub(super) text: Cow<'b, str>,
    pub(super) around: Hash,
    pub(super) turns: usize,
}

impl<'b> Asked<'b> {
    pub(super) fn prompt(value: &'b RawValue) -> Result<Self, Unsuited> {
        if is_array(value) {
            return Err(Unsuited::SeveralTexts);
        }
        Ok(Self {
            text: string(value).ok_or(Unsuited::NotText)?,
            around: Sha256::digest("prompt").into(),
            turns: 1,
        })
    }

    pub(super) fn messages(value: &'b RawValue) -> Result<Self, Unsuited> {
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
    rest: Covered<'b>,
}

impl<'b> Message<'b> {
    fn read(item: &'b RawValue) -> Result<Self, Unsuited> {
        if !is_object(item) {
            return Err(Unsuited::Malformed);
        }
        let mut role = None;
        let mut content = None;
        let mut rest = Covered::default();
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
            rest.add(key, value)
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
        hash.update(self.rest.hash());
        match self.content {
            Some(content) => hash.update(covered::hash(content)?),
            None => hash.update(b"-"),
        }
        Ok(())
    }

    /// Adds all of it except its text, which it gives.
    fn ask(self, hash: &mut Sha256) -> Result<Cow<'b, str>, Unsuited> {
        hash.update(self.rest.hash());
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
        hash.update(rest.hash());
        text.ok_or(Unsuited::NoText)
    }
}

/// A part of a content that is text.
struct Part<'b> {
    text: Option<Cow<'b, str>>,
    rest: Covered<'b>,
}

impl<'b> Part<'b> {
    fn read(part: &'b RawValue) -> Result<Self, Unsuited> {
        if !is_object(part) {
            return Err(Unsuited::NotText);
        }
        let mut text = None;
        let mut is_text = false;
        let mut rest = Covered::default();
        entries(part.get().as_bytes(), |Text(key), value| {
            if is_named(&key, "text")? {
                return keep_first(&mut text, string(value).ok_or(Unsuited::NotText)?);
            }
            if is_named(&key, "type")? {
                is_text = string(value).is_some_and(|name| TEXT_PARTS.contains(&&*name));
            }
            rest.add(key, value)
        })?;
        match is_text {
            true => Ok(Self { text, rest }),
            false => Err(Unsuited::NotText),
        }
    }
}
