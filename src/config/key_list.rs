//! Lists of keys, as upstreams and tenants have them.
//!
//! Owns how an entry is split: it may have several keys, separated by commas, so that one variable can
//! bring as many as there are. Owns the warnings of a key that is probably not meant: one that looks
//! like a variable, or that has characters that keys do not have. Does not handle what a key must be
//! like (see `upstreams::keys` and `tenants`). What is wrong is reported at the entry; a key is never
//! part of a message.

use super::document::{Located, Node};
use super::expand::pieces;

/// What is wrong with a key, and what to do about it.
pub type Fault = (&'static str, &'static str);

/// A kind of character that keys do not have.
struct Oddity {
    is_one: fn(char) -> bool,
    called: &'static str,
    hint: &'static str,
}

/// The first kind that a key has is reported.
const ODDITIES: [Oddity; 4] = [
    Oddity {
        is_one: |c| c == '#',
        called: "a `#`",
        hint: "remove the comment: a `#` begins none within quotes, or in a file of variables",
    },
    Oddity {
        is_one: |c| !c.is_ascii(),
        called: "not ASCII",
        hint: "copy the key again, from the page that shows it",
    },
    Oddity {
        is_one: |c| c.is_ascii_whitespace(),
        called: "white space",
        hint: "remove what is not part of the key, and separate several keys with commas",
    },
    Oddity {
        is_one: |c| c.is_ascii_control(),
        called: "a control character",
        hint: "copy the key again, from the page that shows it",
    },
];

/// Reads every key of a list; what is wrong with one is reported at its entry.
pub fn read<T>(entries: &[Node<'_>], parse: impl Fn(&str) -> Result<T, Fault>) -> Vec<Located<T>> {
    let keys = entries.iter().flat_map(|entry| read_entry(entry, &parse));
    keys.collect()
}

/// Reads every key of an entry; what is wrong with one is reported there.
pub fn read_entry<T>(
    entry: &Node<'_>,
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> Vec<Located<T>> {
    let mut keys = Vec::new();
    let Some(text) = entry.text() else {
        return keys;
    };
    if pieces(&text).next().is_none() {
        entry.report(
            "the key is empty",
            Some("write the key, or remove the entry"),
        );
    }
    for piece in pieces(&text) {
        match parse(piece) {
            Ok(key) => {
                warn_of_bare_variable(piece, entry);
                warn_of_odd_character(piece, entry);
                keys.push(entry.locate(key));
            }
            Err((message, hint)) => entry.report(message, Some(hint)),
        }
    }
    keys
}

/// Warns of a secret in the form of a shell variable, `$NAME`, which is not expanded here.
pub fn warn_of_bare_variable(text: &str, node: &Node<'_>) {
    let Some(name) = text.strip_prefix('$') else {
        return;
    };
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.starts_with(begins) && name.chars().all(|c| begins(c) || c.is_ascii_digit()) {
        node.warn(
            "it begins with `$` and has no braces, so it is used as it is written",
            "write ${NAME} for the value of a variable",
        );
    }
}

/// Warns of a key with a character that is probably not part of it. The message has the character's
/// position and kind, and nothing of the key.
fn warn_of_odd_character(key: &str, node: &Node<'_>) {
    let mut oddities = ODDITIES.iter();
    let found = oddities.find_map(|o| Some((o, key.chars().position(o.is_one)?)));
    if let Some((oddity, before)) = found {
        let message = format!(
            "character {} of the key is {}, which keys do not have",
            before + 1,
            oddity.called
        );
        node.warn(message, oddity.hint);
    }
}
