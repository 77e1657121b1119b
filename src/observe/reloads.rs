//! Metrics of the configuration that is in force.
//!
//! Owns their names and labels. Does not handle reloads (see `server::reload`). Fails at the start or not at all.

use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGauge};

use super::families::counters;

/// The metrics. Clones share them.
#[derive(Clone)]
pub struct ReloadMetrics {
    successful: IntGauge,
    success_time: IntGauge,
    reloads: IntCounterVec,
}

impl ReloadMetrics {
    /// Makes them.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let reloads = counters(
            "tollgate_config_reloads_total",
            "Attempts to put a configuration in force after the start, by outcome.",
            &["outcome"],
        )?;
        for outcome in ["applied", "refused"] {
            reloads.with_label_values(&[outcome]);
        }
        Ok(Self {
            successful: IntGauge::new(
                "tollgate_config_last_reload_successful",
                "1 if the configuration was put in force when it was last read, 0 if it was refused.",
            )?,
            success_time: IntGauge::new(
                "tollgate_config_last_reload_success_timestamp_seconds",
                "When the configuration was last put in force, in seconds since the Unix epoch.",
            )?,
            reloads,
        })
    }

    /// What is registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 3] {
        [
            Box::new(self.successful.clone()),
            Box::new(self.success_time.clone()),
            Box::new(self.reloads.clone()),
        ]
    }

    /// The first configuration is in force.
    pub fn started(&self, since: i64) {
        self.successful.set(1);
        self.success_time.set(since);
    }

    /// Another configuration is in force.
    pub fn applied(&self, since: i64) {
        self.started(since);
        self.reloads.with_label_values(&["applied"]).inc();
    }

    /// A configuration was refused.
    pub fn refused(&self) {
        self.successful.set(0);
        self.reloads.with_label_values(&["refused"]).inc();
    }
}
