//! The `tenants` section: the owners of client keys, and what they may ask for.
//!
//! Owns its keys; `client_keys` reads those that clients send, `limits`, `quota`, `prices` and `webhook` the
//! sections that stand within a tenant. Does not handle what a tenant is at run time (see `tenants`). What
//! cannot be read is reported with its place.

use super::Config;
use super::address_rules;
use super::auth::{self, Methods, SignatureKey};
use super::client_keys::{self, ClientKey, Written};
use super::document::{Located, Node, Place, Section, is_plain_name};
use super::labels;
use super::limits::{self, RateLimits};
use super::models;
use super::prices::{self, Markup, Price};
use super::quota::{self, Quota};
use super::server::{Allowances, Passthrough, read_allowances, read_passthrough};
use super::validity::{self, Validity};
use super::webhook::{self, Webhook};
use crate::networks::AddressRules;
use crate::tls::names::Name;

/// What people call a tenant is no longer.
const MAX_NAME_BYTES: usize = 256;

/// One tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Its id.
    pub id: Located<String>,
    /// What the operator calls it; for people, and nothing else.
    pub name: Option<String>,
    /// What the operator notes of it, in the order of the file.
    pub labels: Vec<(String, String)>,
    /// Whether and until when its keys hold.
    pub validity: Validity,
    /// The methods by which it is found; `None` for every one.
    pub auth: Option<Methods>,
    /// Where its callers may come from.
    pub addresses: Option<AddressRules>,
    /// What each of its keys begins with, and no key of another.
    pub key_prefix: Option<Located<String>>,
    /// Its keys. Empty only where it has a prefix, or is found by another method.
    pub keys: Vec<ClientKey>,
    /// What its requests are signed with.
    pub hmac: Vec<SignatureKey>,
    /// Names in the certificates of its callers.
    pub mtls: Vec<Located<Name>>,
    /// Names that it may ask for, `*` standing for any rest; `None` for all.
    pub models: Option<Vec<Located<String>>>,
    /// Where its requests go that no rule serves; `None` for what the server says.
    pub passthrough: Option<Passthrough>,
    /// What it may ask of its home; what it has no key for is what the server says.
    pub allowances: Allowances,
    /// Whether its requests may name nothing but their model; `None` for what the server says.
    pub strict: Option<bool>,
    /// Whether its answers may be kept to be given again, and shared by equal requests.
    pub caches: bool,
    /// Whether its requests may say so themselves, with `Cache-Control`.
    pub obeys_cache_control: bool,
    /// How much it may ask in a time.
    pub limits: Option<RateLimits>,
    /// How much it may use in a period.
    pub quota: Option<Located<Quota>>,
    /// Where it is told of what it uses.
    pub webhook: Option<Webhook>,
    /// What is added to what the provider charges.
    pub markup: Markup,
    /// Prices of its own, instead of the general ones with the markup.
    pub prices: Vec<Price>,
}

impl Tenant {
    /// Whether its requests may name nothing but their model.
    pub fn is_strict(&self, config: &Config) -> bool {
        self.strict.unwrap_or(config.server.strict)
    }

    /// Whether it or one of its keys has a quota.
    pub fn has_quota(&self) -> bool {
        self.quota.is_some() || self.keys.iter().any(|key| key.quota.is_some())
    }
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Vec<Tenant> {
    let items = node.list().unwrap_or_default();
    let mut written = Written::default();
    let tenants = items.iter().enumerate();
    let tenants = tenants.filter_map(|(position, n)| read_tenant(n, position, &mut written));
    let tenants = tenants.collect();
    written.check();
    tenants
}

fn read_tenant<'a>(node: &Node<'a>, position: usize, written: &mut Written<'a>) -> Option<Tenant> {
    let mut section = node.section()?;
    let tenant = read_members(&mut section, position, written);
    section.finish();
    tenant
}

fn read_members<'a>(
    section: &mut Section<'a>,
    position: usize,
    written: &mut Written<'a>,
) -> Option<Tenant> {
    let id = section.require("id").and_then(|n| read_id(&n));
    let (key_prefix, keys) = read_keys(section, position, id.as_ref(), written);
    let (hmac, mtls) = (section.take("hmac"), section.take("mtls"));
    let passthrough = section.take("passthrough");
    let quota = section.take("quota");
    let markup = section.take("markup").and_then(|n| n.markup());
    let prices = section.take("prices");
    Some(Tenant {
        name: section.take("name").and_then(|n| read_name(&n)),
        labels: labels::take(section),
        validity: validity::take(section),
        addresses: section
            .take("addresses")
            .and_then(|n| address_rules::read(&n)),
        auth: section.take("auth").and_then(|n| auth::read_methods(&n)),
        models: section
            .take("models")
            .and_then(|n| models::read_all_allowed(&n)),
        passthrough: passthrough.and_then(|n| read_passthrough(&n)),
        allowances: read_allowances(section),
        strict: section.take("strict").and_then(|n| n.boolean()),
        caches: section
            .take("cache")
            .is_none_or(|n| !n.says_off() && n.boolean().unwrap_or(true)),
        obeys_cache_control: section.take("cache_control").is_none_or(|n| obeys(&n)),
        limits: limits::take(section),
        quota: quota.and_then(|n| Some(n.locate(quota::read(&n)?))),
        webhook: section.take("webhook").and_then(|n| webhook::read(&n)),
        markup: Markup {
            millipercent: markup.unwrap_or(0),
        },
        prices: prices.map_or_else(Vec::new, |n| prices::read(&n)),
        hmac: hmac.map_or_else(Vec::new, |n| auth::read_signature_keys(&n)),
        mtls: mtls.map_or_else(Vec::new, |n| auth::read_certificate_names(&n)),
        key_prefix,
        keys,
        // What must be there comes last, when all keys have been taken.
        id: id?,
    })
}

/// Reads `cache_control`.
fn obeys(node: &Node<'_>) -> bool {
    match node.text().as_deref() {
        Some("ignore") => false,
        Some("obey") | None => true,
        Some(_) => {
            node.report("expected obey or ignore", None);
            true
        }
    }
}

/// Reads the prefix and the keys of a tenant.
fn read_keys<'a>(
    section: &mut Section<'a>,
    position: usize,
    id: Option<&Located<String>>,
    written: &mut Written<'a>,
) -> (Option<Located<String>>, Vec<ClientKey>) {
    let node = section.take("key_prefix");
    let prefix = node.and_then(|n| client_keys::read_prefix(&n));
    if let (Some(prefix), Some(id)) = (&prefix, id) {
        written.add_prefix(&prefix.value, position, &id.value);
    }
    let begins = prefix.as_ref().map(|prefix| prefix.value.as_str());
    let keys = section.take("keys");
    let keys = keys.map_or_else(Vec::new, |n| {
        client_keys::read(&n, position, begins, written)
    });
    (prefix, keys)
}

/// What only the configuration file can say of a tenant.
const OF_THE_FILE: [&str; 15] = [
    "keys",
    "auth",
    "addresses",
    "hmac",
    "mtls",
    "passthrough",
    "allow_ephemeral_keys",
    "allow_administration",
    "allow_usage_reports",
    "strict",
    "cache",
    "cache_control",
    "webhook",
    "markup",
    "prices",
];

/// Takes what is said of a tenant that is made at run time.
pub fn take_managed(section: &mut Section<'_>, id: &str) -> Tenant {
    for name in OF_THE_FILE {
        if let Some(node) = section.take_unlisted(name) {
            node.report(
                "this can be written in the configuration file alone",
                Some("define the tenant there, or leave it out"),
            );
        }
    }
    let quota = section.take("quota");
    let key_prefix = section.take("key_prefix");
    Tenant {
        id: Located {
            value: id.to_owned(),
            place: Place::default(),
        },
        name: section.take("name").and_then(|n| n.name()),
        labels: labels::take(section),
        validity: validity::take(section),
        auth: None,
        addresses: None,
        key_prefix: key_prefix.and_then(|n| client_keys::read_prefix(&n)),
        keys: Vec::new(),
        hmac: Vec::new(),
        mtls: Vec::new(),
        models: section
            .take("models")
            .and_then(|n| models::read_all_allowed(&n)),
        passthrough: None,
        allowances: Allowances::default(),
        strict: None,
        caches: true,
        obeys_cache_control: true,
        limits: limits::take(section),
        quota: quota.and_then(|n| Some(n.locate(quota::read(&n)?))),
        webhook: None,
        markup: Markup::default(),
        prices: Vec::new(),
    }
}

/// What people call it.
fn read_name(node: &Node<'_>) -> Option<String> {
    let name = node.name()?;
    if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        let message =
            format!("a name has up to {MAX_NAME_BYTES} bytes, without control characters");
        node.report(message, Some("shorten it"));
        return None;
    }
    Some(name)
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
