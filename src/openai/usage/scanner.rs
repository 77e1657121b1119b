//! The usage of a JSON body that passes in pieces.
//!
//! Owns finding the wanted members in a body of any length. Nothing is changed, only these members are kept,
//! and no tree is built. Does not decide which members are wanted and what they mean (see `places`), nor
//! where strings and values end (see `json`). Never fails: any bytes, cut into chunks anywhere, give the same
//! result. A body that breaks off, or is not JSON, gives what it reported before that point.

use super::super::json::Nesting;
use super::Usage;
use super::places::{Container, Found, MAX_KEY_BYTES, Member, Name};

/// The most bytes of a member's value that are kept, with the space around it. A longer one is not read.
pub const MAX_VALUE_BYTES: usize = 16 << 10;

/// Reads the usage of one JSON body.
///
/// It holds at most ten values of [`MAX_VALUE_BYTES`], and nearly always one or two of some hundred
/// bytes. A key that is written with escapes is not recognised; of members with the same key the
/// last counts. A body that is no object reports nothing, and costs nothing to pass.
#[derive(Debug, Default)]
pub struct UsageScanner {
    container: Container,
    /// The position in the body: in the container, or in a value in it.
    nesting: Nesting,
    /// The next string directly in the container is a key.
    expects_key: bool,
    /// It is in such a key.
    is_in_key: bool,
    /// The key of the current member, or enough of it to see that it is too long.
    key: Vec<u8>,
    /// The value that is being kept.
    value: Option<Value>,
    found: Found,
}

impl UsageScanner {
    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while self.container != Container::Behind && !rest.is_empty() {
            let passed = if self.container == Container::Start {
                self.begin(rest)
            } else if self.is_in_key {
                self.pass_key(rest)
            } else if self.nesting.is_within_value(self.container.depth()) {
                self.pass_value(rest)
            } else {
                self.pass_structure(rest)
            };
            rest = rest.get(passed..).unwrap_or_default();
        }
    }

    /// What the body has reported.
    pub fn usage(self) -> Option<Usage> {
        Some(self.found().counts()?.settle())
    }

    /// The values found. One that has not ended is not among them.
    pub(super) fn found(self) -> Found {
        self.found
    }

    /// Passes the bytes before the body. Like each step, it gives how many of the bytes it has passed.
    fn begin(&mut self, bytes: &[u8]) -> usize {
        let Some(at) = bytes.iter().position(|byte| !byte.is_ascii_whitespace()) else {
            return bytes.len();
        };
        if bytes.get(at) == Some(&b'{') {
            self.enter(Container::Answer);
            self.nesting.open();
        } else {
            self.container = Container::Behind;
        }
        at + 1
    }

    /// Passes the rest of a key, and its closing quote.
    fn pass_key(&mut self, bytes: &[u8]) -> usize {
        let end = self.nesting.end_string(bytes);
        self.is_in_key = end.is_none();
        // One byte more than the longest wanted key shows that it is none of them.
        let left = (MAX_KEY_BYTES + 1).saturating_sub(self.key.len());
        let end = end.unwrap_or(bytes.len());
        self.key.extend(bytes.iter().take(end.min(left)));
        end + 1
    }

    /// Passes the rest of a string, an object or an array.
    fn pass_value(&mut self, bytes: &[u8]) -> usize {
        let outside = self.container.depth();
        let end = self.nesting.pass_until(bytes, |depth| depth == outside);
        let passed = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        self.keep(passed);
        // An object is complete, even if nothing more comes.
        if end.is_some() && !passed.ends_with(b"\"") {
            self.end_value();
        }
        passed.len()
    }

    /// Passes bytes between the strings, objects and arrays in the container, up to one that changes anything.
    fn pass_structure(&mut self, bytes: &[u8]) -> usize {
        let is_mark = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':');
        let at = bytes.iter().position(is_mark).unwrap_or(bytes.len());
        let (plain, marked) = bytes.split_at(at);
        self.keep(plain);
        match marked.first() {
            Some(b'"') if self.expects_key => {
                self.nesting.begin_string();
                (self.expects_key, self.is_in_key) = (false, true);
                self.key.clear();
            }
            Some(b'"') => {
                self.nesting.begin_string();
                self.keep(b"\"");
            }
            Some(bracket @ (b'{' | b'[')) => self.open(*bracket),
            Some(b'}' | b']') => {
                self.end_value();
                self.enter(self.container.outer());
                self.nesting.close();
            }
            Some(b':') => self.begin_value(),
            Some(_) => {
                self.end_value();
                self.expects_key = self.container.is_object();
            }
            None => {}
        }
        at + 1
    }

    fn enter(&mut self, container: Container) {
        self.container = container;
        self.expects_key = container.is_object();
        self.key.clear();
    }

    fn open(&mut self, bracket: u8) {
        match self.container.opens(&self.key, bracket) {
            Some(container) => self.enter(container),
            None => self.keep(&[bracket]),
        }
        self.nesting.open();
    }

    fn begin_value(&mut self) {
        let Some(member) = self.container.member(&self.key) else {
            return;
        };
        self.found.forget(self.container, member);
        if let Member::Keep(name) = member {
            self.value = Some(Value {
                name,
                json: Some(Vec::new()),
            });
        }
    }

    fn end_value(&mut self) {
        if let Some(value) = self.value.take()
            && let Some(json) = value.json
        {
            self.found.keep(self.container, value.name, json);
        }
    }

    /// Keeps bytes that belong to a value that is wanted.
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(value) = &mut self.value {
            value.keep(bytes);
        }
    }
}

/// A value that is being kept.
#[derive(Debug)]
struct Value {
    name: Name,
    /// The part that has come, unless it is too long.
    json: Option<Vec<u8>>,
}

impl Value {
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(json) = &mut self.json {
            if json.len() + bytes.len() > MAX_VALUE_BYTES {
                self.json = None;
            } else {
                json.extend_from_slice(bytes);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::too_many_lines)]
mod tests;
