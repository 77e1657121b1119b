//! The `server.log` section: what is logged, and how.
//!
//! Owns its keys and defaults. Does not handle how a line is written (see `observe::logging`). A level
//! that does not exist is reported with its place.

use crate::config::document::Node;

/// The `server.log` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`; `RUST_LOG` goes before it.
    pub level: log::LevelFilter,
    /// Whether clients' addresses lose their last part in logs.
    pub mask: bool,
    /// Whether each request has its line.
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: log::LevelFilter::Info,
            mask: true,
            access: true,
        }
    }
}

/// Reads the section.
pub(super) fn read(node: &Node<'_>) -> Log {
    let mut log = Log::default();
    let Some(mut section) = node.section() else {
        return log;
    };
    if let Some(node) = section.take("level") {
        match node.text().map(|text| text.parse()) {
            Some(Ok(level)) => log.level = level,
            Some(Err(_)) => node.report(
                "unknown level",
                Some("one of: off, error, warn, info, debug, trace"),
            ),
            None => {}
        }
    }
    if let Some(mask) = section.take("mask").and_then(|n| n.boolean()) {
        log.mask = mask;
    }
    if let Some(access) = section.take("access").and_then(|n| n.boolean()) {
        log.access = access;
    }
    section.finish();
    log
}
