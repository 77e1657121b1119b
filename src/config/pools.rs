//! What an upstream says of its servers together: how one is chosen, and how much they take.
//!
//! Owns the keys `balance`, `consistent_by`, `max_concurrent` and `queue`. Refuses to know how the
//! choice is made.

use std::time::Duration;

use super::document::{Node, Section};

/// How one of several servers is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    Weighted,
    /// By lot, by weight.
    Random,
    /// Of two by lot, the one that has fewer requests for its weight.
    LeastRequests,
    /// The same for the same key.
    Consistent(ConsistentBy),
}

/// What the choice of a server hangs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsistentBy {
    /// The request's `prompt_cache_key`, else its `user`, else the tenant.
    #[default]
    PromptCacheKey,
    /// The tenant.
    Tenant,
}

/// How many requests an upstream takes at once, over all its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// As many are served at once.
    pub concurrent: usize,
    /// As many wait for a place.
    pub queue: usize,
    /// How long they wait.
    pub patience: Duration,
}

/// Reads how a server is chosen.
pub fn read_balance(section: &mut Section<'_>) -> Balance {
    let by = section.take("consistent_by");
    let read_by = by.as_ref().and_then(read_by).unwrap_or_default();
    let balance = section.take("balance");
    let is_written = balance.is_some();
    let balance = balance.and_then(|node| {
        Some(match node.text()?.as_str() {
            "weighted" => Balance::Weighted,
            "random" => Balance::Random,
            "least_requests" => Balance::LeastRequests,
            "consistent" => Balance::Consistent(read_by),
            _ => {
                node.report(
                    "expected weighted, random, least_requests or consistent",
                    None,
                );
                return None;
            }
        })
    });
    // One that could not be read may have been meant to be consistent.
    let is_unread = is_written && balance.is_none();
    let balance = balance.unwrap_or_default();
    let has_effect = is_unread || matches!(balance, Balance::Consistent(_));
    if let Some(node) = by.filter(|_| !has_effect) {
        node.report(
            "`consistent_by` has no effect",
            Some("write balance: consistent beside it"),
        );
    }
    balance
}

fn read_by(node: &Node<'_>) -> Option<ConsistentBy> {
    match node.text()?.as_str() {
        "prompt_cache_key" => Some(ConsistentBy::PromptCacheKey),
        "tenant" => Some(ConsistentBy::Tenant),
        _ => {
            node.report("expected prompt_cache_key or tenant", None);
            None
        }
    }
}

/// Reads how many requests are taken at once.
pub fn read_places(section: &mut Section<'_>) -> Option<Concurrency> {
    let concurrent = section.take("max_concurrent");
    let queue = section.take("queue");
    let mut places = Concurrency {
        concurrent: 0,
        queue: 64,
        patience: Duration::from_secs(1),
    };
    if let Some(node) = &queue
        && let Some(mut section) = node.section()
    {
        if let Some(length) = section.take("length").and_then(|n| n.count(0, 10_000)) {
            places.queue = usize::try_from(length).unwrap_or(places.queue);
        }
        if let Some(patience) = section.take("wait").and_then(|n| n.duration()) {
            places.patience = patience;
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
    places.concurrent = usize::try_from(concurrent.count(1, 1_000_000)?).ok()?;
    Some(places)
}
