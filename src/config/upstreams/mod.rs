//! The `upstreams` section: provider accounts.
//!
//! Owns their names, and the keys that are one value; each other key has a file. Does not resolve names
//! or connect (see `upstreams`). What cannot be read is reported with its place.

mod balance;
mod base_url;
mod concurrency;
mod dialect;
mod ejection;
mod forward_headers;
mod health_check;
mod keys;
mod proxy;
mod servers;
mod timeouts;
mod tls;

use super::document::{Located, Node, is_plain_name, plain_name};
use crate::openai::continuation::Prefill;
use crate::openai::dialect::Dialect;
use crate::openai::forwarding::Forwarded;
use crate::openai::providers;

pub use balance::{Balance, ConsistentBy};
pub use base_url::BaseUrl;
pub use concurrency::Concurrency;
pub use ejection::Ejection;
pub use health_check::{Ask, HealthCheck};
pub use keys::{Keys, parse_key};
pub use proxy::Proxy;
pub use servers::Server;
pub use timeouts::Timeouts;
pub use tls::UpstreamTls;

/// One provider account.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name, with its place.
    pub name: Located<String>,
    /// How it differs from api.openai.com.
    pub dialect: Dialect,
    /// Its servers; empty only for `dialect: demo`, whose server we start ourselves.
    pub servers: Vec<Server>,
    /// Its credentials.
    pub keys: Keys,
    /// How long we wait for it.
    pub timeouts: Timeouts,
    /// Which HTTP versions are offered to it.
    pub http2: bool,
    /// How TLS is spoken with its servers; `None` for the usual way.
    pub tls: Option<UpstreamTls>,
    /// The forward proxy that leads to its servers, if one does.
    pub proxy: Option<Proxy>,
    /// How its servers are checked, if they are.
    pub health_check: Option<HealthCheck>,
    /// How one of its servers is chosen.
    pub balance: Balance,
    /// When what fails is ejected; `None` for never.
    pub ejection: Option<Ejection>,
    /// How many requests it takes at once; `None` for any number.
    pub max_concurrent: Option<Concurrency>,
    /// Whether a request is sent again whose connection broke after it had been sent whole.
    pub resend_lost: bool,
    /// How it continues a message that the assistant has begun.
    pub prefill: Prefill,
    /// Whether it is asked for the usage of streams.
    pub include_usage: bool,
    /// Headers of clients that it gets beside those that every upstream gets.
    pub forward_headers: Forwarded,
    /// Whether it gets a header with the number of gateways that a request has passed.
    pub hops: bool,
}

impl Upstream {
    /// Whether its only server is the one that we start ourselves.
    pub fn needs_built_in_server(&self) -> bool {
        self.dialect.has_built_in_server && self.servers.is_empty()
    }

    /// The path of the API on a server: that of the URL, else that of the dialect.
    pub fn base_path<'a>(&'a self, url: &'a BaseUrl) -> &'a str {
        url.path.as_deref().unwrap_or(&self.dialect.base_path)
    }
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Vec<Upstream> {
    let entries = node.entries().unwrap_or_default();
    if node.is_mapping() && entries.is_empty() {
        node.report(
            "at least one upstream is needed",
            Some("openai: { base_url: https://api.openai.com/v1, keys: [\"${OPENAI_API_KEY}\"] }"),
        );
    }
    entries
        .into_iter()
        .filter_map(|(name, node)| read_upstream(name, &node))
        .collect()
}

/// How the upstream continues a message.
fn read_prefill(node: &Node<'_>) -> Option<Prefill> {
    let name = node.text()?;
    let prefill = Prefill::parse(&name);
    if prefill.is_none() {
        let names: Vec<_> = Prefill::names().collect();
        node.report(format!("expected one of {}", names.join(", ")), None);
    }
    prefill
}

fn read_upstream(name: String, node: &Node<'_>) -> Option<Upstream> {
    check_name(&name, node);
    let mut section = node.section()?;
    let dialect = section
        .take("dialect")
        .map_or_else(|| Some(Dialect::default()), |n| dialect::read(&n));
    let base_url = section.take("base_url");
    let servers = section.take("servers");
    let servers = servers::read(node, dialect.as_ref(), base_url, servers);
    let dialect = dialect.unwrap_or_default();
    let hops = section.take("hops").and_then(|n| n.boolean());
    let forward_headers = section.take("forward_headers");
    let upstream = Upstream {
        name: node.locate(name),
        hops: hops.unwrap_or_else(|| servers.iter().any(may_be_a_gateway)),
        forward_headers: forward_headers
            .map_or_else(Forwarded::default, |n| forward_headers::read(&n, &dialect)),
        tls: section.take("tls").and_then(|n| tls::read(&n, &servers)),
        proxy: section
            .take("proxy")
            .and_then(|n| proxy::read(&n, &servers)),
        servers,
        dialect,
        keys: section
            .take("keys")
            .map_or(Some(Keys::Own(Vec::new())), |n| keys::read(&n))
            // It has been reported, and must not count as an empty list.
            .unwrap_or(Keys::Passthrough),
        timeouts: section
            .take("timeouts")
            .map_or_else(Timeouts::default, |n| timeouts::read(&n)),
        http2: section.take("http2").and_then(|n| n.boolean()) == Some(true),
        health_check: section
            .take("health_check")
            .and_then(|n| health_check::read(&n)),
        balance: balance::read(&mut section),
        ejection: section
            .take("ejection")
            .map_or_else(|| Some(Ejection::default()), |n| ejection::read(&n)),
        max_concurrent: concurrency::read(&mut section),
        prefill: section
            .take("prefill")
            .and_then(|n| read_prefill(&n))
            .unwrap_or_default(),
        resend_lost: section.take("resend_lost").and_then(|n| n.boolean()) == Some(true),
        include_usage: section.take("include_usage").and_then(|n| n.boolean()) != Some(false),
    };
    section.finish();
    Some(upstream)
}

/// Names stand in logs, labels and headers, so they have the form of tenants' ids. A name of another form
/// is still known, so that no reference to it is reported as well.
fn check_name(name: &str, node: &Node<'_>) {
    if is_plain_name(name) {
        return;
    }
    let hint = match plain_name(name) {
        Some(plain) => format!("write `{plain}`, here and where it is named"),
        None => "as in openai-eu".to_owned(),
    };
    node.report(
        "an upstream's name has up to 64 letters, digits, `-`, `_` and `.`",
        Some(&hint),
    );
}

/// Whether a server may be a gateway such as this one; a server of a known provider is not.
fn may_be_a_gateway(server: &Server) -> bool {
    !providers::is_provider(&server.url.host)
}
