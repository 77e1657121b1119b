//! The `ejection` section of an upstream: when a server or a target that fails is ejected.
//!
//! Owns its keys and defaults. Does not handle how failures are counted (see `upstreams::breaker`). A
//! value out of bounds is reported with its place.

use std::time::Duration;

use crate::config::document::Node;

/// When a server or a target that fails is ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row that eject.
    pub consecutive: u32,
    /// The share of failures in a window that ejects, in percent; 0 for none.
    pub percent: u32,
    /// The least requests in a window for that share to count.
    pub least: u32,
    /// The window.
    pub window: Duration,
    /// How long the first ejection lasts; after each failed trial it lasts twice as long.
    pub base: Duration,
    /// The longest ejection.
    pub longest: Duration,
    /// How many trials run at a time after an ejection, and how many successes end it.
    pub trials: u32,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            consecutive: 5,
            percent: 50,
            least: 20,
            window: Duration::from_secs(10),
            base: Duration::from_secs(2),
            longest: Duration::from_secs(10),
            trials: 3,
        }
    }
}

/// Reads the section; `None` where it says `off`.
pub(super) fn read(node: &Node<'_>) -> Option<Ejection> {
    if node.says_off() {
        return None;
    }
    let mut ejection = Ejection::default();
    let Some(mut section) = node.section() else {
        return Some(ejection);
    };
    let counts = [
        ("consecutive", 1, 1000, &mut ejection.consecutive),
        ("percent", 0, 100, &mut ejection.percent),
        ("least", 1, 100_000, &mut ejection.least),
        ("trials", 1, 100, &mut ejection.trials),
    ];
    for (name, low, high, slot) in counts {
        if let Some(count) = section.take(name).and_then(|n| n.count(low, high)) {
            *slot = count;
        }
    }
    let durations = [
        ("window", &mut ejection.window),
        ("base", &mut ejection.base),
        ("longest", &mut ejection.longest),
    ];
    for (name, slot) in durations {
        if let Some(duration) = section.take(name).and_then(|n| n.duration()) {
            *slot = duration;
        }
    }
    section.finish();
    if ejection.longest < ejection.base {
        node.report(
            "`longest` is shorter than `base`",
            Some("raise `longest`, 10s unless it is written, or lower `base`"),
        );
    }
    Some(ejection)
}
