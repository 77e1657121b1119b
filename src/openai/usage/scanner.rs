//! The usage of a JSON body that passes in pieces.
//!
//! Owns finding the wanted members in a body of any length. Nothing is changed, only these members are kept,
//! and no tree is built. Does not decide which members are wanted and what they mean (see `places`). Never
//! fails: any bytes, cut into chunks anywhere, give the same result. A body that breaks off, or is not JSON,
//! gives what it reported before that point.

use memchr::memchr2;

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
    /// How many objects and arrays are open; more than the container's depth within any other.
    depth: u64,
    position: Position,
    /// The last byte was a backslash in a string.
    is_escaped: bool,
    /// The next string directly in the container is a key.
    expects_key: bool,
    /// The key of the current member, or enough of it to see that it is too long.
    key: Vec<u8>,
    /// The value that is being kept.
    value: Option<Value>,
    found: Found,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Structure,
    /// A key of the container's.
    Key,
    /// Any other string.
    Text,
}

impl UsageScanner {
    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while self.container != Container::Behind {
            let at = self.mark(rest).unwrap_or(rest.len());
            let (plain, marked) = rest.split_at(at);
            self.keep(plain);
            let Some((mark, after)) = marked.split_first() else {
                return;
            };
            self.take(*mark);
            rest = after;
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

    /// The position of the next byte that changes anything.
    fn mark(&self, bytes: &[u8]) -> Option<usize> {
        let mut all = bytes.iter();
        match self.position {
            _ if self.is_escaped => Some(0),
            Position::Key | Position::Text => memchr2(b'"', b'\\', bytes),
            Position::Structure if self.container == Container::Start => {
                all.position(|byte| !byte.is_ascii_whitespace())
            }
            Position::Structure if self.depth > self.container.depth() => {
                all.position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']'))
            }
            Position::Structure => {
                all.position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':'))
            }
        }
    }

    /// Takes a byte that was marked.
    fn take(&mut self, byte: u8) {
        match (self.position, byte) {
            _ if self.container == Container::Start => self.begin(byte),
            (Position::Key | Position::Text, _) if self.is_escaped => {
                self.is_escaped = false;
                self.keep(&[byte]);
            }
            (Position::Key | Position::Text, b'\\') => {
                self.is_escaped = true;
                self.keep(&[byte]);
            }
            (Position::Key, _) => self.position = Position::Structure,
            (Position::Text, _) => {
                self.position = Position::Structure;
                self.keep(&[byte]);
            }
            (Position::Structure, b'"')
                if self.expects_key && self.depth == self.container.depth() =>
            {
                self.position = Position::Key;
                self.expects_key = false;
                self.key.clear();
            }
            (Position::Structure, b'"') => {
                self.position = Position::Text;
                self.keep(&[byte]);
            }
            (Position::Structure, b'{' | b'[') => self.open(byte),
            (Position::Structure, b'}' | b']') => self.close(byte),
            (Position::Structure, b':') => self.begin_value(),
            (Position::Structure, _) => {
                self.end_value();
                self.expects_key = self.container.is_object();
            }
        }
    }

    fn begin(&mut self, byte: u8) {
        if byte == b'{' {
            self.enter(Container::Answer);
            self.depth = 1;
        } else {
            self.container = Container::Behind;
        }
    }

    fn enter(&mut self, container: Container) {
        self.container = container;
        self.expects_key = container.is_object();
        self.key.clear();
    }

    fn open(&mut self, bracket: u8) {
        let opened = self.container.opens(&self.key, bracket);
        match opened.filter(|_| self.depth == self.container.depth()) {
            Some(container) => self.enter(container),
            None => self.keep(&[bracket]),
        }
        self.depth += 1;
    }

    fn close(&mut self, bracket: u8) {
        if self.depth == self.container.depth() {
            self.end_value();
            self.enter(self.container.outer());
            self.depth -= 1;
            return;
        }
        self.keep(&[bracket]);
        self.depth -= 1;
        // An object is complete, even if nothing more comes.
        if self.depth == self.container.depth() {
            self.end_value();
        }
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

    /// Keeps bytes that belong to a key or a value that is wanted.
    fn keep(&mut self, bytes: &[u8]) {
        if self.position == Position::Key {
            // One byte more than the longest wanted key shows that it is none of them.
            let left = (MAX_KEY_BYTES + 1).saturating_sub(self.key.len());
            self.key.extend(bytes.iter().take(left));
        } else if let Some(value) = &mut self.value {
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
