//! The `health_check` section of an upstream.
//!
//! Owns its keys. The checks themselves come with failover; until then a configuration that has
//! them loads, and says at start that they are not in force yet.

use std::time::Duration;

use super::document::Node;

/// How an upstream's servers are to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path that is asked; `None` for a TCP connect.
    pub path: Option<String>,
    /// The time between two checks.
    pub interval: Duration,
    /// Failures in a row that take a server out.
    pub unhealthy_after: u32,
    /// Successes in a row that bring it back.
    pub healthy_after: u32,
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Option<HealthCheck> {
    let mut section = node.section()?;
    let mut count = |name| {
        let value = section.take(name).and_then(|n| n.integer(1, 1000));
        value.and_then(|v| u32::try_from(v).ok())
    };
    let (unhealthy_after, healthy_after) = (count("unhealthy_after"), count("healthy_after"));
    let check = HealthCheck {
        path: section.take("path").and_then(|n| read_path(&n)),
        interval: section
            .take("interval")
            .and_then(|n| n.duration())
            .unwrap_or(Duration::from_secs(5)),
        unhealthy_after: unhealthy_after.unwrap_or(3),
        healthy_after: healthy_after.unwrap_or(2),
    };
    section.finish();
    Some(check)
}

fn read_path(node: &Node<'_>) -> Option<String> {
    let path = node.name()?;
    if !path.starts_with('/') {
        node.report("a path begins with /", Some("as in path: /health"));
        return None;
    }
    Some(path)
}
