//! The `server.drain` section: how much is read on of answers whose client has left.
//!
//! Owns its keys and defaults. Does not handle for which rules that is done (see
//! `models::on_client_gone`), nor how (see `gateway`). A value out of bounds is reported with its place.

use std::time::Duration;

use crate::config::document::Node;

/// Bounds on what is read on of answers whose client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long one answer is read on.
    pub time: Duration,
    /// How many bytes of one answer are.
    pub bytes: usize,
    /// How many answers are at a time.
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

/// Reads the section.
pub(super) fn read(node: &Node<'_>) -> Option<Drain> {
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
