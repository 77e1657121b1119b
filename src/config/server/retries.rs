//! The `server.retries` section: how often, and how soon, something is tried again.
//!
//! Owns its keys and defaults. Refuses to know what is tried.

use std::time::Duration;

use crate::config::document::Node;

/// Bounds on attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Attempts of one request, the first included.
    pub attempts: u32,
    /// What is spent on further attempts, over all requests.
    pub budget: Budget,
    /// The wait before the same target is asked again; twice as long each time, give or take half.
    pub backoff: Duration,
    /// A provider that asks us to wait longer than this is not waited for.
    pub longest_wait: Duration,
    /// No rate limit is taken to last longer, whatever a provider says.
    pub longest_cooldown: Duration,
    /// A request that has come through as many gateways is refused.
    pub hops: u32,
}

/// How many attempts may follow on a first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In percent of the requests in a window.
    pub percent: u32,
    /// As many in a window whatever the load.
    pub floor: u32,
    /// The window.
    pub window: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            percent: 20,
            floor: 10,
            window: Duration::from_secs(10),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 4,
            budget: Budget::default(),
            backoff: Duration::from_millis(100),
            longest_wait: Duration::from_secs(2),
            longest_cooldown: Duration::from_secs(300),
            hops: 4,
        }
    }
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Retries {
    let mut retries = Retries::default();
    let Some(mut section) = node.section() else {
        return retries;
    };
    let budget = &mut retries.budget;
    let counts = [
        ("attempts", 1, 20, &mut retries.attempts),
        ("budget_percent", 0, 100, &mut budget.percent),
        ("budget_floor", 0, 100_000, &mut budget.floor),
        ("hops", 1, 100, &mut retries.hops),
    ];
    for (name, low, high, slot) in counts {
        if let Some(count) = section.take(name).and_then(|n| n.count(low, high)) {
            *slot = count;
        }
    }
    let durations = [
        ("budget_window", &mut budget.window),
        ("backoff", &mut retries.backoff),
        ("longest_wait", &mut retries.longest_wait),
        ("longest_cooldown", &mut retries.longest_cooldown),
    ];
    for (name, slot) in durations {
        if let Some(duration) = section.take(name).and_then(|n| n.duration()) {
            *slot = duration;
        }
    }
    section.finish();
    retries
}
