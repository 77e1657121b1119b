//! An upstream's `dialect`: a name, or a name with settings.
//!
//! Owns the settings' keys. Does not handle what they mean (see `openai::dialect`). What cannot be read
//! is reported with its place.

use http::{HeaderName, HeaderValue};

use crate::config::document::Node;
use crate::config::key_list::warn_of_bare_variable;
use crate::config::models::check_field;
use crate::openai::dialect::Dialect;

/// Headers that the gateway writes itself.
const RESERVED: [&str; 8] = [
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "transfer-encoding",
    "upgrade",
];

/// Reads `dialect: NAME` or `dialect: { name: NAME, … }`.
pub(super) fn read(node: &Node<'_>) -> Option<Dialect> {
    if !node.is_mapping() {
        return by_name(node);
    }
    let mut section = node.section()?;
    let mut dialect = section.require("name").and_then(|n| by_name(&n));
    if let Some(node) = section.take("api_version") {
        dialect = dialect.and_then(|d| with_version(d, &node));
    }
    let is_known = dialect.is_some();
    let mut read = dialect.unwrap_or_default();
    if let Some(name) = section.take("key_header").and_then(|n| header_name(&n)) {
        read.set_key_header(name);
    }
    if let Some(prefix) = section.take("key_prefix").and_then(|n| carried(&n)) {
        read.key_prefix = prefix;
    }
    if let Some(node) = section.take("headers") {
        read.headers = headers(&node);
    }
    if let Some(path) = section.take("path_prefix").and_then(|n| path_prefix(&n)) {
        read.base_path = path;
    }
    if let Some(node) = section.take("drop") {
        let names = node.texts().unwrap_or_default();
        names
            .iter()
            .for_each(|name| check_field(&name.value, &node));
        read.edits.drop = names.into_iter().map(|name| name.value).collect();
    }
    if let Some(node) = section.take("rename") {
        let entries = node.entries().unwrap_or_default().into_iter();
        read.edits.rename = entries
            .filter_map(|(from, node)| {
                let to = node.name()?;
                check_field(&from, &node);
                check_field(&to, &node);
                Some((from, to))
            })
            .collect();
    }
    section.finish();
    is_known.then_some(read)
}

fn by_name(node: &Node<'_>) -> Option<Dialect> {
    let text = node.name()?;
    let dialect = Dialect::from_name(&text);
    if dialect.is_none() {
        let known: Vec<&str> = Dialect::names().collect();
        node.report(
            format!("unknown dialect `{text}`"),
            Some(&format!("one of: {}", known.join(", "))),
        );
    }
    dialect
}

fn with_version(dialect: Dialect, node: &Node<'_>) -> Option<Dialect> {
    let version = node.name()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !version.chars().all(plain) {
        node.report("not a version", Some("as in api_version: 2024-10-21"));
        return None;
    }
    let versioned = dialect.with_version(version);
    if versioned.is_none() {
        node.report(
            "only the dialect azure has an `api_version`",
            Some("leave it out, or write name: azure"),
        );
    }
    versioned
}

fn header_name(node: &Node<'_>) -> Option<HeaderName> {
    let text = node.name()?;
    sendable(node, &text)
}

fn sendable(node: &Node<'_>, text: &str) -> Option<HeaderName> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) if !RESERVED.contains(&name.as_str()) => Some(name),
        Ok(name) => {
            let message = format!("`{name}` is set by the gateway itself");
            node.report(message, Some("leave it out"));
            None
        }
        Err(_) => {
            let message = format!("`{text}` is not a header's name");
            node.report(message, Some("as in x-team"));
            None
        }
    }
}

fn headers(node: &Node<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let entries = node.entries().unwrap_or_default().into_iter();
    let read = entries.filter_map(|(name, node)| {
        let name = sendable(&node, &name)?;
        let text = carried(&node)?;
        warn_of_bare_variable(&text, &node);
        let mut value = HeaderValue::from_str(&text).ok()?;
        // It may be a key.
        value.set_sensitive(true);
        Some((name, value))
    });
    read.collect()
}

/// Text that a header can carry.
fn carried(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    if HeaderValue::from_str(&text).is_err() {
        node.report(
            "the value has characters that no header can carry",
            Some("look for a line break in it, or for another control character"),
        );
        return None;
    }
    Some(text)
}

fn path_prefix(node: &Node<'_>) -> Option<String> {
    let path = node.text()?;
    let trimmed = path.trim_end_matches('/');
    let clean =
        trimmed.is_empty() || trimmed.starts_with('/') && !trimmed.contains(['?', '#', ' ']);
    if !clean {
        node.report(
            format!("`{path}` is not a path"),
            Some("as in path_prefix: /api/v3, or \"\" for none"),
        );
        return None;
    }
    Some(trimmed.to_owned())
}
