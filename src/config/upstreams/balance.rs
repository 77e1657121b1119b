//! The keys `balance` and `consistent_by` of an upstream: how one of its servers is chosen.
//!
//! Owns their words. Does not handle how the choice is made (see `upstreams::balancer`). Another word is
//! reported with its place.

use crate::config::document::{Node, Section};

/// How one of several servers is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    Weighted,
    /// At random, by weight.
    Random,
    /// Of two at random, the one that has fewer requests for its weight.
    LeastRequests,
    /// The same for the same key.
    Consistent(ConsistentBy),
}

/// What decides which server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsistentBy {
    /// The request's `prompt_cache_key`, else its `user`, else the tenant.
    #[default]
    PromptCacheKey,
    /// The tenant.
    Tenant,
}

/// Reads how a server is chosen.
pub(super) fn read(section: &mut Section<'_>) -> Balance {
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
