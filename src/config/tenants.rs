//! The `tenants` section: the owners of client keys, and what they may ask for.
//!
//! Owns its keys. `limits` and `quota` are read and checked here; they take effect with the release
//! that brings the ledger, and until then a configuration that has them is reported at the start. Does
//! not handle what a tenant is at run time (see `tenants`). What cannot be read is reported with its place.

use super::Config;
use super::document::{Located, Node, is_plain_name};
use super::key_list;
use super::models;
use super::server::{Allowances, Passthrough, read_allowances, read_passthrough};
use crate::secret::{KeyHash, MAX_CLIENT_KEY_BYTES, Secret};

/// One tenant.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its id.
    pub id: Located<String>,
    /// Its keys, as hashes.
    pub keys: Vec<Located<KeyHash>>,
    /// Names that it may ask for, `*` standing for any rest; `None` for all.
    pub models: Option<Vec<Located<String>>>,
    /// Where its requests go that no rule serves; `None` for what the server says.
    pub passthrough: Option<Passthrough>,
    /// What it may ask of its home; what it has no key for is what the server says.
    pub allowances: Allowances,
    /// Whether its requests may name nothing but their model; `None` for what the server says.
    pub strict: Option<bool>,
    /// Whether `limits` or `quota` are written.
    pub has_limits: bool,
}

impl Tenant {
    /// Whether its requests may name nothing but their model.
    pub fn is_strict(&self, config: &Config) -> bool {
        self.strict.unwrap_or(config.server.strict)
    }
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Vec<Tenant> {
    let tenants = node.list().unwrap_or_default();
    tenants.iter().filter_map(read_tenant).collect()
}

fn read_tenant(node: &Node<'_>) -> Option<Tenant> {
    let mut section = node.section()?;
    let id = section.require("id").and_then(|n| read_id(&n));
    let keys = section.require("keys").map(|n| read_keys(&n));
    let models = section.take("models").and_then(|n| read_models(&n));
    let passthrough = section
        .take("passthrough")
        .and_then(|n| read_passthrough(&n));
    let allowances = read_allowances(&mut section);
    let strict = section.take("strict").and_then(|n| n.boolean());
    let limits = section.take("limits");
    let quota = section.take("quota");
    if let Some(limits) = &limits {
        read_limits(limits);
    }
    if let Some(quota) = &quota {
        read_quota(quota);
    }
    section.finish();
    Some(Tenant {
        id: id?,
        keys: keys?,
        models,
        passthrough,
        allowances,
        strict,
        has_limits: limits.is_some() || quota.is_some(),
    })
}

fn read_id(node: &Node<'_>) -> Option<Located<String>> {
    let id = node.name()?;
    if !is_plain_name(&id) {
        node.report(
            "an id has up to 64 letters, digits, `-`, `_` and `.`",
            Some("as in id: team-a"),
        );
        return None;
    }
    Some(node.locate(id))
}

fn read_keys(node: &Node<'_>) -> Vec<Located<KeyHash>> {
    let Some(items) = node.list() else {
        return Vec::new();
    };
    if items.is_empty() {
        node.report(
            "at least one key is needed",
            Some("keys: [\"${CLIENT_KEY}\"]"),
        );
    }
    key_list::read(&items, parse_key)
}

/// Takes a client key, or the `sha256:` of one, as its hash.
///
/// # Errors
/// No client could send it, or it is not a hash.
pub fn parse_key(key: &str) -> Result<KeyHash, key_list::Fault> {
    match key.strip_prefix("sha256:") {
        Some(hex) => KeyHash::from_hex(hex).ok_or((
            "expected 64 hexadecimal digits after sha256:",
            "printf %s KEY | sha256sum",
        )),
        None if key.len() > MAX_CLIENT_KEY_BYTES => Err((
            "the key is longer than 256 bytes",
            "take a shorter one, or separate several with commas",
        )),
        None => Ok(Secret::new(key.to_owned()).hash()),
    }
}

fn read_models(node: &Node<'_>) -> Option<Vec<Located<String>>> {
    let items = node.list()?;
    if items.is_empty() {
        node.report(
            "an empty list would allow nothing",
            Some("leave `models` out to allow all"),
        );
    }
    let names = items.iter();
    let names = names.filter_map(|n| Some(n.locate(models::read_allowed(n)?)));
    Some(names.collect())
}

fn read_limits(node: &Node<'_>) {
    let Some(mut section) = node.section() else {
        return;
    };
    for name in ["requests_per_minute", "tokens_per_minute", "concurrent"] {
        if let Some(node) = section.take(name) {
            node.integer(1, 1 << 53);
        }
    }
    section.finish();
}

fn read_quota(node: &Node<'_>) {
    let Some(mut section) = node.section() else {
        return;
    };
    if let Some(node) = section.require("tokens") {
        node.integer(1, 1 << 53);
    }
    if let Some(node) = section.require("per") {
        let known = ["hour", "day", "week", "month"];
        if node
            .text()
            .is_some_and(|per| !known.contains(&per.as_str()))
        {
            node.report("unknown period", Some("one of: hour, day, week, month"));
        }
    }
    section.finish();
}
