//! The `routes` section: other services, forwarded by path prefix.
//!
//! Owns its keys. Forwarding itself comes with the tunnel; until then a configuration that has
//! routes loads, and says at start that they are not in force yet.

use super::document::{Located, Node};

/// One forwarded prefix.
#[derive(Clone, Debug)]
pub struct Route {
    /// The path prefix, as in `/gemini`.
    pub prefix: Located<String>,
    /// The upstream's name.
    pub upstream: Located<String>,
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Vec<Route> {
    let routes = node.list().unwrap_or_default();
    routes.iter().filter_map(read_route).collect()
}

fn read_route(node: &Node<'_>) -> Option<Route> {
    let mut section = node.section()?;
    let prefix = section
        .require("prefix")
        .and_then(|n| Some(n.locate(n.name()?)));
    let upstream = section
        .require("upstream")
        .and_then(|n| Some(n.locate(n.name()?)));
    section.finish();
    let route = Route {
        prefix: prefix?,
        upstream: upstream?,
    };
    if !route.prefix.value.starts_with('/') || route.prefix.value.len() < 2 {
        node.report(
            "a prefix begins with / and goes on",
            Some("as in prefix: /gemini"),
        );
    }
    Some(route)
}
