//! Counters of the chat log.
//!
//! Owns their names and labels, as `metrics` owns those of requests. Does not handle when a line is
//! counted (see `chatlog`). Fails at the start or not at all.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};

/// The counters of the chat log's lines. Clones share them.
#[derive(Clone)]
pub struct Chats {
    lines: IntCounterVec,
    /// Lines that were written to the file.
    pub written: IntCounter,
    /// Lines that were dropped because the queue was full.
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
                "Lines of the chat log, by outcome.",
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
