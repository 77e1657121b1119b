//! The `routes` section: other services, forwarded by path prefix.
//!
//! Owns its keys, and which prefixes may be used. Does not handle how a request is forwarded (see
//! `gateway::tunnel`). What cannot be read is reported with its place.

use super::document::{Located, Node};

/// First segments that the gateway serves itself.
const OURS: [&str; 2] = ["v1", "health"];

/// One forwarded prefix.
#[derive(Clone, Debug, PartialEq)]
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
        .and_then(|n| Some(n.locate(n.name()?.trim_end_matches('/').to_owned())));
    let upstream = section
        .require("upstream")
        .and_then(|n| Some(n.locate(n.name()?)));
    section.finish();
    let route = Route {
        prefix: prefix?,
        upstream: upstream?,
    };
    check_prefix(&route.prefix.value, node);
    Some(route)
}

fn check_prefix(prefix: &str, node: &Node<'_>) {
    let mut segments = prefix.split('/').skip(1);
    let plain = |segment: &str| {
        let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        !matches!(segment, "" | "." | "..") && segment.chars().all(unreserved)
    };
    if !prefix.starts_with('/') || !segments.clone().all(plain) {
        node.report(
            "a prefix is one or more plain path segments",
            Some("as in prefix: /gemini"),
        );
    }
    if segments.next().is_some_and(|first| OURS.contains(&first)) {
        node.report(
            format!("`{prefix}` is a path of the gateway itself"),
            Some("as in prefix: /gemini"),
        );
    }
}
