//! The `server.websocket` section: how long sockets live.
//!
//! Owns its keys and defaults. Does not handle how a socket is served (see `gateway::websocket`). A value
//! out of bounds is reported with its place.

use std::time::Duration;

use crate::config::document::Node;

/// The `server.websocket` section.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WebSocket {
    /// A socket on which nothing passes for this long is closed.
    pub idle: Duration,
    /// A socket is closed after this.
    pub total: Duration,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(600),
            total: Duration::from_secs(2 * 3600),
        }
    }
}

/// Reads the section.
pub(super) fn read(node: &Node<'_>) -> WebSocket {
    let mut websocket = WebSocket::default();
    let Some(mut section) = node.section() else {
        return websocket;
    };
    if let Some(idle) = section.take("idle").and_then(|n| n.duration()) {
        websocket.idle = idle;
    }
    if let Some(total) = section.take("total").and_then(|n| n.duration()) {
        websocket.total = total;
    }
    section.finish();
    websocket
}
