//! The `server` section: where we listen, which proxies are trusted, how much we read, logs.
//!
//! Owns the keys that stand in it alone; each section below it has a file. Does not handle how a
//! listener is opened (see `server`). What cannot be read is reported with its place, and the
//! default is used.

pub mod certificate;
pub mod client_authorities;
mod cors;
mod drain;
mod edge;
mod file_fault;
mod forms;
mod http2;
mod limits;
mod listen;
mod listen_address;
mod log;
mod node;
mod passthrough;
mod retries;
mod tls;
mod trusted_proxies;
mod websocket;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::address_rules;
use super::document::{Located, Node, Place, Section};
use crate::networks::AddressRules;
use crate::openai::endpoint;
use crate::secret::Secret;

pub use self::log::{Log, LogFiles, LogFormat};
pub use cors::Cors;
pub use drain::Drain;
pub use edge::{Hsts, RedirectTo};
pub use forms::Forms;
pub use http2::Http2;
pub use limits::Limits;
pub use listen::Listener;
pub use listen_address::ListenAddress;
pub use passthrough::{Allowances, Passthrough, read_allowances, read_passthrough};
pub use retries::{Budget, Retries};
pub use tls::{CertificateFiles, ClientAuthorities, Tls};
pub use trusted_proxies::TrustedProxies;
pub use websocket::WebSocket;

/// A shorter token could be guessed.
const LEAST_TOKEN_BYTES: usize = 16;
/// The most worker threads.
pub const MAX_THREADS: u16 = 1024;

/// The `server` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where clients connect; never empty.
    pub listen: Vec<Listener>,
    /// Where health and metrics are served to the operator; `None` when turned off.
    pub admin: Option<Located<SocketAddr>>,
    /// Who may connect to it.
    pub admin_addresses: Option<AddressRules>,
    /// What requests for `/admin/` must bring; `None` where they are served to this machine alone.
    pub admin_token: Option<Secret>,
    /// Names of hosts that the operator's listener answers to, beside `localhost`.
    pub admin_hosts: Vec<String>,
    /// Which web pages may call; `None` for none.
    pub cors: Option<Cors>,
    /// Whose word on a client's address is believed.
    pub trusted_proxies: TrustedProxies,
    /// The largest request body that is read, in bytes.
    pub max_body_bytes: usize,
    /// What this gateway is called among others.
    pub node: String,
    /// Worker threads; 0 stands for one per core.
    pub threads: usize,
    /// How long requests in flight may go on after a signal to stop.
    pub shutdown_grace: Duration,
    /// How long new connections are still taken after a signal to stop.
    pub shutdown_notice: Duration,
    /// How long the process that takes over may take until it is ready.
    pub upgrade_timeout: Duration,
    /// Whether the configuration is read again when one of its files has changed.
    pub reload_on_change: bool,
    /// Whether a request for the list of models looks for such a change first.
    pub reload_on_models: bool,
    /// Requests a second that one address may make; `None` for no bound.
    pub flood_guard: Option<u32>,
    /// How often, and how soon, a request is retried.
    pub retries: Retries,
    /// How much clients may ask of us at a time, and how slow they may be.
    pub limits: Limits,
    /// How much of an answer is read on after its client has left.
    pub drain: Drain,
    /// What is logged, and how.
    pub log: Log,
    /// Where requests go that no rule serves.
    pub passthrough: Passthrough,
    /// What tenants may ask of their home beyond their own objects.
    pub allowances: Allowances,
    /// Whether requests may name nothing but their model.
    pub strict: bool,
    /// The models of requests that name none, each with its key of `default_models`.
    pub default_models: Vec<(&'static str, Located<String>)>,
    /// How long an upstream's list of models stays fresh.
    pub models_ttl: Duration,
    /// How forms are read.
    pub forms: Forms,
    /// What a client may have open and send at a time over one HTTP/2 connection.
    pub http2: Http2,
    /// How long sockets live.
    pub websocket: WebSocket,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec![Listener::plain(located(ListenAddress::Ip(
                SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            )))],
            admin: Some(located(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)))),
            admin_addresses: None,
            admin_token: None,
            admin_hosts: Vec::new(),
            cors: None,
            trusted_proxies: TrustedProxies::default(),
            max_body_bytes: 32 << 20,
            node: node::default_name(),
            threads: 0,
            shutdown_grace: Duration::from_secs(30),
            shutdown_notice: Duration::ZERO,
            upgrade_timeout: Duration::from_secs(30),
            reload_on_change: true,
            reload_on_models: false,
            flood_guard: None,
            retries: Retries::default(),
            limits: Limits::default(),
            drain: Drain::default(),
            log: Log::default(),
            passthrough: Passthrough::Off,
            allowances: Allowances::default(),
            strict: false,
            default_models: Vec::new(),
            models_ttl: Duration::from_secs(300),
            forms: Forms::default(),
            http2: Http2::default(),
            websocket: WebSocket::default(),
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
    if let Some(listeners) = section.take("listen").and_then(|n| listen::read(&n)) {
        server.listen = listeners;
    }
    if let Some(node) = section.take("admin") {
        server.admin = read_admin(&node);
    }
    server.admin_addresses = section
        .take("admin_addresses")
        .and_then(|n| address_rules::read(&n));
    server.admin_token = section.take("admin_token").and_then(|n| read_token(&n));
    if let Some(node) = section.take("admin_hosts") {
        let hosts = node.list().unwrap_or_default();
        server.admin_hosts = hosts.iter().filter_map(read_host).collect();
    }
    server.cors = section.take("cors").and_then(|n| cors::read(&n));
    if let Some(node) = section.take("trusted_proxies") {
        server.trusted_proxies = trusted_proxies::read(&node);
    }
    if let Some(bytes) = section.take("max_body").and_then(|n| n.bytes()) {
        server.max_body_bytes = bytes;
    }
    if let Some(name) = section.take("node").and_then(|n| node::read(&n)) {
        server.node = name;
    }
    if let Some(threads) = section
        .take("threads")
        .and_then(|n| n.count(0, MAX_THREADS.into()))
    {
        server.threads = usize::try_from(threads).unwrap_or(0);
    }
    read_life(&mut section, &mut server);
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
    if let Some(node) = section.take("http2") {
        server.http2 = http2::read(&node);
    }
    if let Some(drain) = section.take("drain").and_then(|n| drain::read(&n)) {
        server.drain = drain;
    }
    if let Some(node) = section.take("log") {
        server.log = log::read(&node);
    }
    read_routing(&mut section, &mut server);
    section.finish();
    server
}

/// Reads the keys of how the process reloads, is upgraded and ends.
fn read_life(section: &mut Section<'_>, server: &mut Server) {
    if let Some(grace) = section.take("shutdown_grace").and_then(|n| n.duration()) {
        server.shutdown_grace = grace;
    }
    if let Some(notice) = section
        .take("shutdown_notice")
        .and_then(|n| n.duration_or_zero())
    {
        server.shutdown_notice = notice;
    }
    if let Some(timeout) = section.take("upgrade_timeout").and_then(|n| n.duration()) {
        server.upgrade_timeout = timeout;
    }
    let reload = section.take("reload_on_change").and_then(|n| n.boolean());
    server.reload_on_change = reload.unwrap_or(server.reload_on_change);
    let reload = section.take("reload_on_models").and_then(|n| n.boolean());
    server.reload_on_models = reload.unwrap_or(server.reload_on_models);
}

fn read_admin(node: &Node<'_>) -> Option<Located<SocketAddr>> {
    // YAML 1.2 reads `off` as text; in YAML 1.1 it was `false`, which people still write.
    match node.text()?.as_str() {
        "off" | "false" => None,
        _ => Some(node.locate(listen_address::read_ip(node)?)),
    }
}

fn read_token(node: &Node<'_>) -> Option<Secret> {
    let token = node.name()?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let hint = "take letters and digits, as of openssl rand -hex 32";
        node.report(
            "the token has characters that no header can carry",
            Some(hint),
        );
        return None;
    }
    if token.len() < LEAST_TOKEN_BYTES {
        let message = format!("the token is shorter than {LEAST_TOKEN_BYTES} characters");
        node.report(
            message,
            Some("take a longer one, as of openssl rand -hex 32"),
        );
        return None;
    }
    Some(Secret::new(token))
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

/// Reads the keys of requests that no rule serves, and of bodies and sockets.
fn read_routing(section: &mut Section<'_>, server: &mut Server) {
    let passthrough = section.take("passthrough");
    if let Some(passthrough) = passthrough.and_then(|n| read_passthrough(&n)) {
        server.passthrough = passthrough;
    }
    server.allowances = read_allowances(section);
    if let Some(strict) = section.take("strict").and_then(|n| n.boolean()) {
        server.strict = strict;
    }
    if let Some(node) = section.take("default_models") {
        server.default_models = read_default_models(&node);
    }
    if let Some(ttl) = section.take("models_ttl").and_then(|n| n.duration()) {
        server.models_ttl = ttl;
    }
    if let Some(node) = section.take("forms") {
        server.forms = forms::read(&node);
    }
    if let Some(node) = section.take("websocket") {
        server.websocket = websocket::read(&node);
    }
}

fn read_default_models(node: &Node<'_>) -> Vec<(&'static str, Located<String>)> {
    let Some(mut section) = node.section() else {
        return Vec::new();
    };
    let mut models = Vec::new();
    for key in endpoint::default_model_keys() {
        if let Some(node) = section.take(key) {
            models.extend(node.name().map(|name| (key, node.locate(name))));
        }
    }
    section.finish();
    models
}
