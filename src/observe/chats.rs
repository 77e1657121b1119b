//! Counters of the chat log.
//!
//! Owns their names and labels, as `metrics` does those of requests.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};

/// What is counted of the chat log's lines. Clones count together.
#[derive(Clone)]
pub struct Chats {
    lines: IntCounterVec,
    /// Lines that are in the file.
    pub written: IntCounter,
    /// Lines that found no room in the queue.
    pub dropped: IntCounter,
    /// Lines that could not be written.
    pub failed: IntCounter,
}

impl Chats {
    /// Makes the counters.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let lines = IntCounterVec::new(
            Opts::new(
                "tollgate_chat_log_lines_total",
                "Lines of the chat log, by what became of them.",
            ),
            &["outcome"],
        )?;
        Ok(Self {
            written: lines.with_label_values(&["written"]),
            dropped: lines.with_label_values(&["dropped"]),
            failed: lines.with_label_values(&["failed"]),
            lines,
        })
    }

    /// All of them, to be registered.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.lines.clone())
    }
}
