//! How the usage of an answer is learnt whose client has left.
//!
//! Owns the key `on_client_gone` of a rule and the section `server.drain`, which bounds one of its
//! ways. Refuses to know how usage is counted.

use std::time::Duration;

use super::document::Node;

/// What is done about the rest of an answer that nobody waits for any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnClientGone {
    /// The upstream is left, and what it has said is counted by a tokenizer.
    #[default]
    Estimate,
    /// It is read on, so that the upstream can tell the usage.
    Drain,
    /// The upstream is left, and what it has not told is not counted.
    Absorb,
}

/// How much of answers is read on for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// For how long one is.
    pub time: Duration,
    /// How many bytes of one are.
    pub bytes: usize,
    /// As many are at once.
    pub at_once: usize,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            bytes: 8 << 20,
            at_once: 256,
        }
    }
}

/// Reads `on_client_gone`.
pub fn read_on_client_gone(node: &Node<'_>) -> Option<OnClientGone> {
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

/// Reads `server.drain`.
pub fn read_drain(node: &Node<'_>) -> Option<Drain> {
    let mut section = node.section()?;
    let defaults = Drain::default();
    let drain = Drain {
        time: section
            .take("time")
            .and_then(|n| n.duration())
            .unwrap_or(defaults.time),
        bytes: section
            .take("bytes")
            .and_then(|n| n.bytes())
            .unwrap_or(defaults.bytes),
        at_once: section
            .take("at_once")
            .and_then(|n| n.count(1, 65_536))
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(defaults.at_once),
    };
    section.finish();
    Some(drain)
}
