//! The key `keys` of an upstream: its credentials.
//!
//! Owns its forms, and what a provider key must be like. Does not handle how a list of keys is taken
//! apart (see `key_list`). What cannot be read is reported with its place, without the key.

use crate::config::document::Node;
use crate::config::key_list::{self, Fault};
use crate::secret::Secret;

/// An upstream's credentials.
#[derive(Clone, Debug, PartialEq)]
pub enum Keys {
    /// Ours, used in turn; may be empty for a server that asks for none.
    Own(Vec<Secret>),
    /// The client's own key is sent on.
    Passthrough,
}

/// Reads the list, or the word `passthrough`.
pub(super) fn read(node: &Node<'_>) -> Option<Keys> {
    if !node.is_list() {
        if !node.is_mapping() && node.text()?.as_str() == "passthrough" {
            return Some(Keys::Passthrough);
        }
        node.report(
            "expected a list of keys, or the word passthrough",
            Some("keys: [\"${OPENAI_API_KEY}\"]"),
        );
        return None;
    }
    let items = node.list()?;
    let keys = key_list::read(&items, parse_key);
    let all_unread = keys.is_empty() && !items.is_empty();
    (!all_unread).then(|| Keys::Own(keys.into_iter().map(|key| key.value).collect()))
}

/// Takes a provider key as it is.
///
/// # Errors
/// It cannot be sent in a header.
pub fn parse_key(key: &str) -> Result<Secret, Fault> {
    match http::HeaderValue::from_str(key) {
        Ok(_) => Ok(Secret::new(key.to_owned())),
        Err(_) => Err((
            "the key has characters that no header can carry",
            "look for a line break in it, or for another control character",
        )),
    }
}
