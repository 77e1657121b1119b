//! The keys `max_concurrent` and `queue` of an upstream: how many requests it takes at once.
//!
//! Owns their forms and defaults. Does not handle how requests wait (see `upstreams::concurrency`). A
//! queue without a bound is reported with its place.

use std::time::Duration;

use crate::config::document::Section;

/// How many requests an upstream takes at once, over all its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// As many are served at once.
    pub concurrent: usize,
    /// As many wait for one to end.
    pub queue: usize,
    /// How long they wait.
    pub patience: Duration,
}

/// Reads how many requests are taken at once.
pub(super) fn read(section: &mut Section<'_>) -> Option<Concurrency> {
    let concurrent = section.take("max_concurrent");
    let queue = section.take("queue");
    let mut bounds = Concurrency {
        concurrent: 0,
        queue: 64,
        patience: Duration::from_secs(1),
    };
    if let Some(node) = &queue
        && let Some(mut section) = node.section()
    {
        if let Some(length) = section.take("length").and_then(|n| n.count(0, 10_000)) {
            bounds.queue = usize::try_from(length).unwrap_or(bounds.queue);
        }
        if let Some(patience) = section.take("wait").and_then(|n| n.duration()) {
            bounds.patience = patience;
        }
        section.finish();
    }
    let Some(concurrent) = concurrent else {
        if let Some(node) = queue {
            node.report(
                "`queue` has no effect",
                Some("write `max_concurrent` beside it: only then does anything wait"),
            );
        }
        return None;
    };
    bounds.concurrent = usize::try_from(concurrent.count(1, 1_000_000)?).ok()?;
    Some(bounds)
}
