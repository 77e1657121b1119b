//! The `health_check` section of an upstream.
//!
//! Owns its keys and defaults. Does not handle how a check is made (see `upstreams::health`). What
//! cannot be read is reported with its place.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Method;

use crate::config::document::{Located, Node};

/// How an upstream's servers are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The request; `None` for a connection alone.
    pub ask: Option<Ask>,
    /// The time between two checks.
    pub interval: Duration,
    /// How much sooner or later than the interval a check may come, in percent.
    pub jitter_percent: u32,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// Failures in a row that make a server unhealthy.
    pub unhealthy_after: u32,
    /// Successes in a row that make it healthy again.
    pub healthy_after: u32,
}

/// A request that shows whether a server is healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The path, from the server's root.
    pub path: String,
    /// The statuses of a healthy server.
    pub expect: Vec<RangeInclusive<u16>>,
}

/// Reads the section.
pub(super) fn read(node: &Node<'_>) -> Option<HealthCheck> {
    let mut section = node.section()?;
    let method = section.take("method");
    let expect = section.take("expect");
    let path = section.take("path");
    if path.is_none() {
        for (name, node) in [("method", &method), ("expect", &expect)] {
            if let Some(node) = node {
                node.report(
                    format!("`{name}` has no effect without a path"),
                    Some("write `path` beside it: without one only a connection is made"),
                );
            }
        }
    }
    let ask = path.and_then(|n| read_path(&n)).map(|path| Ask {
        method: method.and_then(|n| read_method(&n)).unwrap_or(Method::GET),
        path,
        expect: match expect {
            Some(node) => read_statuses(&node),
            None => vec![200..=299],
        },
    });
    let mut count = |name, low, high| section.take(name).and_then(|n| n.count(low, high));
    let jitter_percent = count("jitter_percent", 0, 50).unwrap_or(10);
    let unhealthy_after = count("unhealthy_after", 1, 1000).unwrap_or(3);
    let healthy_after = count("healthy_after", 1, 1000).unwrap_or(2);
    let mut duration = |name| section.take(name).and_then(|n| n.duration());
    let interval = duration("interval").unwrap_or(Duration::from_secs(5));
    let timeout = duration("timeout").unwrap_or(Duration::from_secs(3));
    section.finish();
    Some(HealthCheck {
        ask,
        interval,
        jitter_percent,
        timeout,
        unhealthy_after,
        healthy_after,
    })
}

fn read_path(node: &Node<'_>) -> Option<String> {
    let path = node.name()?;
    if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        node.report(
            "a path begins with / and has no spaces",
            Some("as in path: /health"),
        );
        return None;
    }
    Some(path)
}

fn read_method(node: &Node<'_>) -> Option<Method> {
    match node.text()?.as_str() {
        "GET" => Some(Method::GET),
        "HEAD" => Some(Method::HEAD),
        "OPTIONS" => Some(Method::OPTIONS),
        _ => {
            node.report(
                "expected GET, HEAD or OPTIONS",
                Some("a check must cost nothing"),
            );
            None
        }
    }
}

/// Statuses, each a number or a range: `[200, "300-399"]`.
fn read_statuses(node: &Node<'_>) -> Vec<RangeInclusive<u16>> {
    let texts: Vec<Located<String>> = node.texts().unwrap_or_default();
    if node.is_list() && node.len() == 0 {
        node.report("at least one status is needed", Some("expect: [200-299]"));
    }
    let mut statuses = Vec::new();
    for text in texts {
        let (low, high) = text
            .value
            .split_once('-')
            .unwrap_or((&text.value, &text.value));
        match (low.trim().parse(), high.trim().parse()) {
            (Ok(low), Ok(high)) if (100..=599).contains(&low) && low <= high && high <= 599 => {
                statuses.push(low..=high);
            }
            _ => node.report(
                format!("`{}` is not a status", text.value),
                Some("write a number from 100 to 599, or two with a hyphen: expect: [200-299]"),
            ),
        }
    }
    statuses
}
