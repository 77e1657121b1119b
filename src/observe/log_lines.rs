//! Counters of the log's lines.
//!
//! Owns their names and labels, as `metrics` owns those of requests. The log begins before there are metrics, so
//! there is one set of them in a process. Does not handle when a line is counted (see `logging`). Fails at the
//! start or not at all.

use std::sync::OnceLock;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec};

use super::families::counters;

static SHARED: OnceLock<LogLines> = OnceLock::new();

/// The counters of the log's lines. Clones share them.
#[derive(Clone, Debug)]
pub struct LogLines {
    lost: IntCounterVec,
    /// Lines that were dropped because the queue was full.
    pub dropped: IntCounter,
    /// Lines that could not be written.
    pub failed: IntCounter,
}

impl LogLines {
    /// Those of the process.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn shared() -> Result<Self, prometheus::Error> {
        if let Some(shared) = SHARED.get() {
            return Ok(shared.clone());
        }
        let made = Self::new()?;
        Ok(SHARED.get_or_init(|| made).clone())
    }

    /// Makes counters of their own.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let lost = counters(
            "tollgate_log_lines_lost_total",
            "Lines of the log that were lost, by outcome.",
            &["outcome"],
        )?;
        Ok(Self {
            dropped: lost.with_label_values(&["dropped"]),
            failed: lost.with_label_values(&["failed"]),
            lost,
        })
    }

    /// All of them, to be registered.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.lost.clone())
    }
}
