//! The `server` section: where we listen, whom we trust about addresses, how much we read, logs.
//!
//! Owns its keys and defaults. Refuses to know how a listener is opened.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::document::{Located, Node, Place};
use super::limits::{self, Limits};
use super::metering::{self, Drain};
use super::retries::{self, Retries};
use super::ways::{self, Ways};

/// The `server` section.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where clients connect; never empty.
    pub listen: Vec<Listener>,
    /// Where health and metrics are served to the operator; `None` when turned off.
    pub admin: Option<Located<SocketAddr>>,
    /// Names of hosts that the operator's listener answers to, beside `localhost`.
    pub admin_hosts: Vec<String>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The largest request body that is read, in bytes.
    pub max_body_bytes: usize,
    /// Worker threads; 0 stands for one per core.
    pub threads: usize,
    /// How long requests in flight may go on after a signal to stop.
    pub shutdown_grace: Duration,
    /// Requests a second that one address may make; `None` for no bound.
    pub flood_guard: Option<u32>,
    /// How often something is tried again.
    pub retries: Retries,
    /// How much clients may ask of us at a time, and how slow they may be.
    pub limits: Limits,
    /// How much is read on of answers whose client has left.
    pub drain: Drain,
    /// What is logged, and how.
    pub log: Log,
    /// The ways through besides the exchange of JSON.
    pub ways: Ways,
}

/// One address to listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The address and port.
    pub address: Located<SocketAddr>,
    /// Certificate and key; `None` for cleartext.
    pub tls: Option<Tls>,
}

/// A listener's certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The chain, PEM.
    pub cert: Located<PathBuf>,
    /// The private key, PEM.
    pub key: Located<PathBuf>,
}

/// The `server.log` section.
#[derive(Clone, Debug)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`; `RUST_LOG` goes before it.
    pub level: log::LevelFilter,
    /// Whether clients' addresses lose their last part in logs.
    pub mask: bool,
    /// Whether each request has its line.
    pub access: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec![Listener {
                address: located(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
                tls: None,
            }],
            admin: Some(located(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)))),
            admin_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            max_body_bytes: 32 << 20,
            threads: 0,
            shutdown_grace: Duration::from_secs(30),
            flood_guard: None,
            retries: Retries::default(),
            limits: Limits::default(),
            drain: Drain::default(),
            log: Log {
                level: log::LevelFilter::Info,
                mask: true,
                access: true,
            },
            ways: Ways::default(),
        }
    }
}

fn located<T>(value: T) -> Located<T> {
    Located {
        value,
        place: Place::default(),
    }
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Server {
    let mut server = Server::default();
    let Some(mut section) = node.section() else {
        return server;
    };
    if let Some(node) = section.take("listen") {
        let listeners = node.list().unwrap_or_default();
        if node.is_list() && listeners.is_empty() {
            node.report(
                "at least one address is needed",
                Some("- address: 127.0.0.1:8080"),
            );
        } else if node.is_list() {
            server.listen = listeners.iter().filter_map(read_listener).collect();
        }
    }
    if let Some(node) = section.take("admin") {
        server.admin = read_admin(&node);
    }
    if let Some(node) = section.take("admin_hosts") {
        let hosts = node.list().unwrap_or_default();
        server.admin_hosts = hosts.iter().filter_map(read_host).collect();
    }
    if let Some(node) = section.take("trusted_proxies") {
        server.trusted_proxies = node
            .list()
            .unwrap_or_default()
            .iter()
            .filter_map(read_network)
            .collect();
    }
    if let Some(bytes) = section.take("max_body").and_then(|n| n.bytes()) {
        server.max_body_bytes = bytes;
    }
    if let Some(threads) = section.take("threads").and_then(|n| n.integer(0, 1024)) {
        server.threads = usize::try_from(threads).unwrap_or(0);
    }
    if let Some(grace) = section.take("shutdown_grace").and_then(|n| n.duration()) {
        server.shutdown_grace = grace;
    }
    if let Some(rate) = section
        .take("flood_guard")
        .and_then(|n| n.integer(1, 1_000_000))
    {
        server.flood_guard = u32::try_from(rate).ok();
    }
    if let Some(node) = section.take("retries") {
        server.retries = retries::read(&node);
    }
    if let Some(node) = section.take("limits") {
        server.limits = limits::read(&node);
    }
    if let Some(drain) = section.take("drain").and_then(|n| metering::read_drain(&n)) {
        server.drain = drain;
    }
    if let Some(node) = section.take("log") {
        read_log(&node, &mut server.log);
    }
    server.ways = ways::read(&mut section);
    section.finish();
    server
}

fn read_listener(node: &Node<'_>) -> Option<Listener> {
    if !node.is_mapping() {
        return Some(Listener {
            address: node.locate(read_address(node)?),
            tls: None,
        });
    }
    let mut section = node.section()?;
    let address = section
        .require("address")
        .and_then(|n| Some(n.locate(read_address(&n)?)));
    let tls = section.take("tls").map(|n| read_tls(&n));
    section.finish();
    Some(Listener {
        address: address?,
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
    })
}

fn read_tls(node: &Node<'_>) -> Option<Tls> {
    let mut section = node.section()?;
    let cert = section.require("cert").and_then(|n| n.path());
    let key = section.require("key").and_then(|n| n.path());
    section.finish();
    Some(Tls {
        cert: cert?,
        key: key?,
    })
}

fn read_address(node: &Node<'_>) -> Option<SocketAddr> {
    let text = node.name()?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            node.report(
                format!("`{text}` is not an address with a port"),
                Some("as in 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080"),
            );
            None
        }
    }
}

fn read_admin(node: &Node<'_>) -> Option<Located<SocketAddr>> {
    // YAML 1.2 reads `off` as text; `false` is what people write who come from 1.1.
    match node.text()?.as_str() {
        "off" | "false" => None,
        _ => Some(node.locate(read_address(node)?)),
    }
}

fn read_host(node: &Node<'_>) -> Option<String> {
    let text = node.name()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.len() > 253 || !text.chars().all(is_name) {
        node.report(
            format!("`{text}` is not the name of a host"),
            Some("without scheme and port, as in tollgate.internal"),
        );
        return None;
    }
    Some(text)
}

fn read_network(node: &Node<'_>) -> Option<IpNet> {
    let text = node.name()?;
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    if network.is_err() {
        node.report(
            format!("`{text}` is not a network"),
            Some("as in 10.0.0.0/8, 127.0.0.1/32 or ::1"),
        );
    }
    network.ok()
}

fn read_log(node: &Node<'_>, log: &mut Log) {
    let Some(mut section) = node.section() else {
        return;
    };
    if let Some(node) = section.take("level") {
        match node.text().map(|text| text.parse()) {
            Some(Ok(level)) => log.level = level,
            Some(Err(_)) => node.report(
                "unknown level",
                Some("one of: off, error, warn, info, debug, trace"),
            ),
            None => {}
        }
    }
    if let Some(mask) = section.take("mask").and_then(|n| n.boolean()) {
        log.mask = mask;
    }
    if let Some(access) = section.take("access").and_then(|n| n.boolean()) {
        log.access = access;
    }
    section.finish();
}
