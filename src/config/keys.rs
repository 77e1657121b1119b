//! Lists of keys, as upstreams and tenants have them.
//!
//! Owns how an entry is taken apart: it may hold several keys, separated by commas, so that one
//! variable can bring as many as there are; and what looks like a variable and is none. Does not
//! handle what a key must be like: `upstreams` and `tenants` say that. A key is never part of a
//! message.

use super::document::{Located, Node};
use super::expand::pieces;

/// What is wrong with a key, and what to do about it.
pub type Fault = (&'static str, &'static str);

/// Reads every key of a list; what is wrong with one is noted at its entry.
pub fn read<T>(entries: &[Node<'_>], parse: impl Fn(&str) -> Result<T, Fault>) -> Vec<Located<T>> {
    let mut keys = Vec::new();
    for entry in entries {
        let Some(text) = entry.text() else { continue };
        if pieces(&text).next().is_none() {
            entry.report(
                "the key is empty",
                Some("write the key, or take the entry out"),
            );
        }
        for piece in pieces(&text) {
            warn_of_bare_variable(piece, entry);
            match parse(piece) {
                Ok(key) => keys.push(entry.locate(key)),
                Err((message, hint)) => entry.report(message, Some(hint)),
            }
        }
    }
    keys
}

/// Notes a secret that is written as shells have variables, `$NAME`, which stays as it is here.
pub fn warn_of_bare_variable(text: &str, node: &Node<'_>) {
    let Some(name) = text.strip_prefix('$') else {
        return;
    };
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.starts_with(begins) && name.chars().all(|c| begins(c) || c.is_ascii_digit()) {
        node.warn(
            "it begins with `$` and has no braces, so it is taken as it stands",
            "write ${NAME} for the value of a variable",
        );
    }
}
