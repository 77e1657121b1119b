//! The key `on_client_gone` of a rule: what is done about the rest of an answer whose client has left.
//!
//! Owns its words. Does not handle the bounds of reading on (see `server::drain`), nor how usage is
//! counted (see `gateway`). Another word is reported with its place.

use crate::config::document::Node;

/// What is done about the rest of an answer whose client has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnClientGone {
    /// The connection is closed, and what has come is counted by a tokenizer.
    #[default]
    Estimate,
    /// It is read on, until the upstream reports the usage.
    Drain,
    /// The connection is closed, and what the upstream has not reported is not counted.
    Absorb,
}

/// Reads `on_client_gone`.
pub(super) fn read(node: &Node<'_>) -> Option<OnClientGone> {
    Some(match node.text()?.as_str() {
        "estimate" => OnClientGone::Estimate,
        "drain" => OnClientGone::Drain,
        "absorb" => OnClientGone::Absorb,
        _ => {
            node.report("expected estimate, drain or absorb", None);
            return None;
        }
    })
}
