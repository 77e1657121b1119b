//! The `server.retries` section: how often, and how soon, a request is retried.
//!
//! Owns its keys and defaults. Does not handle when a retry follows (see `gateway::exchange`). A value
//! out of bounds is reported with its place.

use std::time::Duration;

use crate::config::document::Node;

/// Bounds on attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Attempts of one request, the first included.
    pub attempts: u32,
    /// The budget for retries.
    pub budget: Budget,
    /// The wait before the same target is asked again. It doubles each time, and varies by half.
    pub backoff: Duration,
    /// A provider that asks us to wait longer than this is not waited for.
    pub longest_wait: Duration,
    /// The longest cooldown after a rate limit, whatever a provider asks for.
    pub longest_cooldown: Duration,
    /// A request that has passed as many gateways is refused.
    pub hops: u32,
}

/// How many retries are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In percent of the requests in a window.
    pub percent: u32,
    /// As many in a window are allowed whatever the load.
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
