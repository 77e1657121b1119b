//! The `upstreams` section: provider accounts.
//!
//! Owns its keys and defaults, and the form of a base URL. Refuses to resolve names or to connect.

use std::net::SocketAddr;
use std::time::Duration;

use super::dialect;
use super::document::{Located, Node, Place, is_plain_name, plain_name};
use super::ejection::{self, Ejection};
use super::headers;
use super::health::{self, HealthCheck};
use super::keys;
use super::pools::{self, Balance, Concurrency};
use crate::openai::dialect::Dialect;
use crate::openai::forwarding::Forwarded;
use crate::openai::providers;
use crate::secret::Secret;

/// One provider account.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name, with its place.
    pub name: Located<String>,
    /// How it differs from api.openai.com.
    pub dialect: Dialect,
    /// Its servers; empty only for `dialect: demo`, whose server we start ourselves.
    pub servers: Vec<Server>,
    /// What it is asked with.
    pub keys: Keys,
    /// How long we wait for it.
    pub timeouts: Timeouts,
    /// Which HTTP versions are offered to it.
    pub http2: bool,
    /// How its servers are checked, if they are.
    pub health_check: Option<HealthCheck>,
    /// How one of its servers is chosen.
    pub balance: Balance,
    /// When what fails is left out; `None` for never.
    pub ejection: Option<Ejection>,
    /// How many requests it takes at once; `None` for any number.
    pub places: Option<Concurrency>,
    /// Whether a request is sent again whose connection broke after it had been sent whole.
    pub resend_lost: bool,
    /// Whether it is asked for the usage of streams.
    pub include_usage: bool,
    /// Headers of clients that it sees besides those that every upstream does.
    pub forward_headers: Forwarded,
    /// Whether it is told through how many gateways a request has come.
    pub hops: bool,
}

impl Upstream {
    /// Where the API stands on a server: the URL's own path, else the dialect's.
    pub fn base_path<'a>(&'a self, url: &'a BaseUrl) -> &'a str {
        url.path.as_deref().unwrap_or(&self.dialect.base_path)
    }
}

/// One address of an upstream.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub url: BaseUrl,
    /// Its share of the traffic against its siblings.
    pub weight: u32,
    /// Where it is written.
    pub place: Place,
}

/// An upstream's credentials.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Ours, used in turn; may be empty for a server that asks for none.
    Own(Vec<Secret>),
    /// The client's own key is sent on.
    Passthrough,
}

/// How long an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, TLS included.
    pub connect: Duration,
    /// From the start of an attempt to the first byte of a streamed answer.
    pub first_token: Duration,
    /// Between two reads of an answer that has begun.
    pub idle: Duration,
    /// For the whole request.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

/// The parts of a base URL that we connect with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The host's name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where the API stands, without a slash at its end: empty for the root. `None` where no path was
    /// written, so that the dialect says where.
    pub path: Option<String>,
}

impl BaseUrl {
    /// Parses `http(s)://host[:port][/path]`. An endpoint at its end, which is what people copy from
    /// a provider's page, is left out: `/v1/chat/completions` is `/v1`, and `/chat/completions` the root.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url: http::Uri = text.trim().parse().map_err(|_| "is not a URL")?;
        let tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("must begin with http:// or https://"),
        };
        let authority = url.authority().ok_or("has no host")?;
        if authority.as_str().contains('@') {
            return Err("must not hold a user or password: use `keys`");
        }
        if url.query().is_some() {
            return Err("must not have a query");
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err("has no host");
        }
        let path = url.path().trim_end_matches('/');
        let path = (!path.is_empty()).then(|| without_endpoint(path).to_owned());
        Ok(Self {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path,
        })
    }

    /// The value of the `Host` header: with the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

fn without_endpoint(path: &str) -> &str {
    let Some(path) = path.strip_suffix("/completions") else {
        return path;
    };
    let path = path.strip_suffix("/chat").unwrap_or(path);
    path.trim_end_matches('/')
}

impl From<SocketAddr> for BaseUrl {
    /// Cleartext at an address.
    fn from(address: SocketAddr) -> Self {
        Self {
            tls: false,
            host: address.ip().to_string(),
            port: address.port(),
            path: None,
        }
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.path.as_deref().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority())
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

fn read_upstream(name: String, node: &Node<'_>) -> Option<Upstream> {
    check_name(&name, node);
    let mut section = node.section()?;
    let dialect = section
        .take("dialect")
        .map_or_else(|| Some(Dialect::default()), |n| dialect::read(&n));
    let base_url = section.take("base_url");
    let servers = section.take("servers");
    let servers = read_servers(node, dialect.as_ref(), base_url, servers);
    let dialect = dialect.unwrap_or_default();
    let hops = section.take("hops").and_then(|n| n.boolean());
    let forward_headers = section.take("forward_headers");
    let upstream = Upstream {
        name: node.locate(name),
        hops: hops.unwrap_or_else(|| servers.iter().any(may_be_a_gateway)),
        forward_headers: forward_headers.map_or_else(Forwarded::default, |n| {
            headers::read_forwarded(&n, &dialect)
        }),
        servers,
        dialect,
        keys: section
            .take("keys")
            .map_or(Some(Keys::Own(Vec::new())), |n| read_keys(&n))
            // It has been reported, and must not count as no keys at all.
            .unwrap_or(Keys::Passthrough),
        timeouts: section
            .take("timeouts")
            .map_or_else(Timeouts::default, |n| read_timeouts(&n)),
        http2: section.take("http2").and_then(|n| n.boolean()) == Some(true),
        health_check: section.take("health_check").and_then(|n| health::read(&n)),
        balance: pools::read_balance(&mut section),
        ejection: section
            .take("ejection")
            .map_or_else(|| Some(Ejection::default()), |n| ejection::read(&n)),
        places: pools::read_places(&mut section),
        resend_lost: section.take("resend_lost").and_then(|n| n.boolean()) == Some(true),
        include_usage: section.take("include_usage").and_then(|n| n.boolean()) != Some(false),
    };
    section.finish();
    Some(upstream)
}

/// Names stand in logs, labels and headers, so they have the form of tenants' ids. One that has not is
/// still known, so that what refers to it is no mistake.
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

/// Whether a server may be a gateway such as this one: a provider's own is none.
fn may_be_a_gateway(server: &Server) -> bool {
    !providers::is_provider(&server.url.host)
}

fn read_servers(
    upstream: &Node<'_>,
    dialect: Option<&Dialect>,
    base_url: Option<Node<'_>>,
    servers: Option<Node<'_>>,
) -> Vec<Server> {
    match (base_url, servers) {
        (Some(_), Some(servers)) => {
            servers.report(
                "`base_url` and `servers` exclude each other",
                Some("put the URL among the `servers`, or leave them out"),
            );
            Vec::new()
        }
        (Some(url), None) => read_url(&url)
            .map(|parsed| Server {
                url: parsed,
                weight: 1,
                place: url.place.clone(),
            })
            .into_iter()
            .collect(),
        (None, Some(list)) => {
            let items = list.list().unwrap_or_default();
            let servers: Vec<Server> = items.iter().filter_map(read_server).collect();
            // One that could not be read may have any weight.
            let all_read = list.is_list() && servers.len() == items.len();
            if all_read && servers.iter().all(|s| s.weight == 0) {
                list.report(
                    "at least one server needs a weight above 0",
                    Some("- { url: \"http://10.0.0.11:8000/v1\", weight: 1 }"),
                );
            }
            servers
        }
        (None, None) => {
            // A dialect that could not be read may have a server of its own.
            if dialect.is_some_and(|dialect| !dialect.has_built_in_server) {
                upstream.report(
                    "`base_url` is missing",
                    Some("as in base_url: https://api.openai.com/v1, or list several `servers`"),
                );
            }
            Vec::new()
        }
    }
}

fn read_server(node: &Node<'_>) -> Option<Server> {
    if !node.is_mapping() {
        return Some(Server {
            url: read_url(node)?,
            weight: 1,
            place: node.place.clone(),
        });
    }
    let mut section = node.section()?;
    let url = section.require("url").and_then(|n| read_url(&n));
    let weight = section.take("weight").map(|n| read_weight(&n));
    section.finish();
    Some(Server {
        url: url?,
        weight: weight.unwrap_or(Some(1))?,
        place: node.place.clone(),
    })
}

/// Reads a weight: a share from 0 to 1000.
pub fn read_weight(node: &Node<'_>) -> Option<u32> {
    node.integer(0, 1000).and_then(|w| u32::try_from(w).ok())
}

fn read_url(node: &Node<'_>) -> Option<BaseUrl> {
    let text = node.name()?;
    // Azure shows one with a query, which is not what has to be mended.
    if text.contains("/openai/deployments/") {
        node.report(
            "the URL names a deployment",
            Some(
                "end it at the host, write `api_version` under `dialect`, and name deployments as \
                 the `model` of targets",
            ),
        );
        return None;
    }
    match BaseUrl::parse(&text) {
        Ok(url) => Some(url),
        Err(what) => {
            // A URL that holds a password must not be echoed.
            node.report(
                format!("the URL {what}"),
                Some("as in https://api.openai.com/v1"),
            );
            None
        }
    }
}

fn read_keys(node: &Node<'_>) -> Option<Keys> {
    if !node.is_list() {
        if !node.is_mapping() && node.text()?.as_str() == "passthrough" {
            return Some(Keys::Passthrough);
        }
        node.report(
            "expected a list of keys, or the word passthrough",
            Some("keys: [\"${OPENAI_API_KEY}\"]"),
        );
        return None;
    }
    let items = node.list()?;
    let keys = keys::read(&items, parse_key);
    let all_unread = keys.is_empty() && !items.is_empty();
    (!all_unread).then(|| Keys::Own(keys.into_iter().map(|key| key.value).collect()))
}

/// Takes a provider key as it is.
///
/// # Errors
/// It cannot be sent in a header.
pub fn parse_key(key: &str) -> Result<Secret, keys::Fault> {
    match http::HeaderValue::from_str(key) {
        Ok(_) => Ok(Secret::new(key.to_owned())),
        Err(_) => Err((
            "the key has characters that no header can carry",
            "look for a line break in it, or for another control character",
        )),
    }
}

fn read_timeouts(node: &Node<'_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(mut section) = node.section() else {
        return timeouts;
    };
    for (name, slot) in [
        ("connect", &mut timeouts.connect),
        ("first_token", &mut timeouts.first_token),
        ("idle", &mut timeouts.idle),
        ("total", &mut timeouts.total),
    ] {
        if let Some(duration) = section.take(name).and_then(|n| n.duration()) {
            *slot = duration;
        }
    }
    section.finish();
    timeouts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_taken_apart() {
        let url = BaseUrl::parse("https://api.openai.com/v1/").unwrap();
        assert_eq!(
            (url.tls, url.host.as_str(), url.port, url.path.as_deref()),
            (true, "api.openai.com", 443, Some("/v1"))
        );
        assert_eq!(url.authority(), "api.openai.com");
        assert_eq!(url.to_string(), "https://api.openai.com/v1");
    }

    #[test]
    fn an_endpoint_at_the_end_is_left_out() {
        for (text, path) in [
            ("https://a.example/v1/chat/completions", Some("/v1")),
            ("https://a.example/v1/chat/completions/", Some("/v1")),
            ("https://a.example/v1/completions", Some("/v1")),
            ("https://a.example/api//chat/completions", Some("/api")),
            ("https://a.example/chat/completions", Some("")),
            ("https://a.example/completions/", Some("")),
            ("https://a.example//chat/completions", Some("")),
            ("https://a.example/v1/chat", Some("/v1/chat")),
            (
                "https://a.example/autocompletions",
                Some("/autocompletions"),
            ),
            ("https://a.example", None),
            ("https://a.example/", None),
            ("https://a.example//", None),
        ] {
            assert_eq!(
                BaseUrl::parse(text).unwrap().path.as_deref(),
                path,
                "{text}"
            );
        }
    }

    #[test]
    fn an_ipv6_host_keeps_its_brackets_in_the_authority_alone() {
        let url = BaseUrl::parse("http://[::1]:8000/v1").unwrap();
        assert_eq!(
            (url.host.as_str(), url.authority().as_str()),
            ("::1", "[::1]:8000")
        );
    }

    #[test]
    fn urls_that_cannot_be_meant_are_refused() {
        for bad in [
            "api.openai.com/v1",
            "ftp://host/v1",
            "https://user:pw@host/v1",
            "https://host/v1?key=1",
            "",
        ] {
            assert!(BaseUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
