//! The `timeouts` section of an upstream.
//!
//! Owns its keys and defaults. Does not handle what they bound (see `upstreams` and `gateway`). A value
//! that is no length of time is reported with its place.

use std::time::Duration;

use crate::config::document::Node;

/// How long an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, TLS included.
    pub connect: Duration,
    /// From the start of an attempt to the first output of a streamed answer.
    pub first_token: Duration,
    /// From the start of an attempt to the header of an answer that is not streamed; `None` for no bound but `total`.
    pub answer: Option<Duration>,
    /// Between two reads of an answer that has begun.
    pub idle: Duration,
    /// For the whole request.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(60),
            answer: None,
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

/// Reads the section.
pub(super) fn read(node: &Node<'_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(mut section) = node.section() else {
        return timeouts;
    };
    for (name, slot) in [
        ("connect", &mut timeouts.connect),
        ("first_token", &mut timeouts.first_token),
        ("idle", &mut timeouts.idle),
        ("total", &mut timeouts.total),
    ] {
        if let Some(duration) = section.take(name).and_then(|n| n.duration()) {
            *slot = duration;
        }
    }
    timeouts.answer = section.take("answer").and_then(|n| n.duration());
    section.finish();
    timeouts
}
