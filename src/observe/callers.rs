//! Counters of requests whose caller was not found.
//!
//! Owns their name and labels: the method that was used, and why its credential was not accepted. Does not handle
//! the refusals themselves (see `auth`). Cannot fail after the start.

use prometheus::IntCounterVec;
use prometheus::core::Collector;

use super::families::counters;

/// The reasons of each method. What shows no credential has the method `none`.
pub const REASONS: &[(&str, &[&str])] = &[
    ("none", &["missing"]),
    (
        "key",
        &["unknown", "wrong_prefix", "expired", "disabled", "method"],
    ),
];

/// The counters of refused callers.
pub struct Callers {
    refused: IntCounterVec,
}

impl Callers {
    /// Makes the counters, each of which starts at zero.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let refused = counters(
            "tollgate_callers_refused_total",
            "Requests whose credential was not accepted, by its method and the reason.",
            &["method", "reason"],
        )?;
        for (method, reasons) in REASONS {
            for reason in *reasons {
                refused.with_label_values(&[method, reason]);
            }
        }
        Ok(Self { refused })
    }

    /// All of them, to be registered.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.refused.clone())
    }

    /// Counts a refusal.
    pub fn refused(&self, method: &str, reason: &str) {
        self.refused.with_label_values(&[method, reason]).inc();
    }
}
