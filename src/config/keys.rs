//! Lists of keys, as upstreams and tenants have them.
//!
//! Owns how an entry is taken apart: it may hold several keys, separated by commas, so that one
//! variable can bring as many as there are. Refuses to know what a key must be like: whose keys
//! they are says that. A key is never part of a message.

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
            entry.report("the key is empty", None);
        }
        for piece in pieces(&text) {
            match parse(piece) {
                Ok(key) => keys.push(entry.locate(key)),
                Err((message, hint)) => entry.report(message, Some(hint)),
            }
        }
    }
    keys
}
