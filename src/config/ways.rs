//! The keys of the `server` section that concern the ways through besides the exchange of JSON:
//! what passes unread, forms, WebSockets.
//!
//! Owns their defaults. Refuses to know how any of them is served.

use std::path::PathBuf;
use std::time::Duration;

use super::document::{Located, Node, Section};
use crate::openai::endpoint;
use crate::openai::privileges::Grants;

/// What the `server` section says of the ways through.
#[derive(Clone, Debug)]
pub struct Ways {
    /// Where requests go that no rule serves.
    pub passthrough: Passthrough,
    /// What tenants may ask of their home besides what serves themselves.
    pub allowances: Allowances,
    /// Whether requests may name nothing but their model.
    pub strict: bool,
    /// The models of requests that name none, each with its key of `default_models`.
    pub default_models: Vec<(&'static str, Located<String>)>,
    /// How long a list of an upstream's models is taken for fresh.
    pub models_ttl: Duration,
    /// How forms are read.
    pub forms: Forms,
    /// How long sockets live.
    pub websocket: WebSocket,
}

/// Where requests below `/v1` go that are not read: files, batches, what is yet to be invented.
#[derive(Clone, Debug, Default)]
pub enum Passthrough {
    /// Nowhere: 404.
    #[default]
    Off,
    /// To this upstream.
    To(Located<String>),
}

/// What a tenant may ask of its home besides what serves itself; `None` where nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowances {
    /// Keys that are soon to expire, and calls, both of which bypass us.
    pub ephemeral_keys: Option<bool>,
    /// What administers the provider's account.
    pub administration: Option<bool>,
    /// What the whole account has used.
    pub usage_reports: Option<bool>,
}

impl Allowances {
    /// What is granted where `server` says the rest; what nothing is said of is not.
    pub fn within(self, server: Self) -> Grants {
        let granted = |own: Option<bool>, server| own.or(server).unwrap_or(false);
        Grants {
            ephemeral_keys: granted(self.ephemeral_keys, server.ephemeral_keys),
            administration: granted(self.administration, server.administration),
            usage_reports: granted(self.usage_reports, server.usage_reports),
        }
    }
}

/// The `server.forms` section.
#[derive(Clone, Debug)]
pub struct Forms {
    /// The largest form that is read, in bytes.
    pub max_bytes: usize,
    /// A larger one waits in a file instead of in memory.
    pub in_memory_bytes: usize,
    /// Where such files are made; `None` for the system's own place.
    pub dir: Option<Located<PathBuf>>,
}

/// The `server.websocket` section.
#[derive(Clone, Copy, Debug)]
pub struct WebSocket {
    /// A socket on which nothing passes for this long is closed.
    pub idle: Duration,
    /// A socket is closed after this.
    pub total: Duration,
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            passthrough: Passthrough::Off,
            allowances: Allowances::default(),
            strict: false,
            default_models: Vec::new(),
            models_ttl: Duration::from_secs(300),
            forms: Forms::default(),
            websocket: WebSocket::default(),
        }
    }
}

impl Default for Forms {
    fn default() -> Self {
        Self {
            max_bytes: 128 << 20,
            in_memory_bytes: 1 << 20,
            dir: None,
        }
    }
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(600),
            total: Duration::from_secs(2 * 3600),
        }
    }
}

/// Reads the keys that belong here.
pub fn read(section: &mut Section<'_>) -> Ways {
    let mut ways = Ways::default();
    let passthrough = section.take("passthrough");
    if let Some(passthrough) = passthrough.and_then(|n| read_passthrough(&n)) {
        ways.passthrough = passthrough;
    }
    ways.allowances = read_allowances(section);
    if let Some(strict) = section.take("strict").and_then(|n| n.boolean()) {
        ways.strict = strict;
    }
    if let Some(node) = section.take("default_models") {
        ways.default_models = read_default_models(&node);
    }
    if let Some(ttl) = section.take("models_ttl").and_then(|n| n.duration()) {
        ways.models_ttl = ttl;
    }
    if let Some(node) = section.take("forms") {
        read_forms(&node, &mut ways.forms);
    }
    if let Some(node) = section.take("websocket") {
        read_websocket(&node, &mut ways.websocket);
    }
    ways
}

/// Reads the `allow_…` keys of the `server` section or of a tenant.
pub fn read_allowances(section: &mut Section<'_>) -> Allowances {
    let mut read = |name| section.take(name).and_then(|n| n.boolean());
    Allowances {
        ephemeral_keys: read("allow_ephemeral_keys"),
        administration: read("allow_administration"),
        usage_reports: read("allow_usage_reports"),
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

/// Reads `passthrough: UPSTREAM` or `passthrough: off`.
pub fn read_passthrough(node: &Node<'_>) -> Option<Passthrough> {
    let name = node.name()?;
    Some(match name.as_str() {
        "off" | "false" => Passthrough::Off,
        _ => Passthrough::To(node.locate(name)),
    })
}

fn read_forms(node: &Node<'_>, forms: &mut Forms) {
    let Some(mut section) = node.section() else {
        return;
    };
    if let Some(bytes) = section.take("max").and_then(|n| n.bytes()) {
        forms.max_bytes = bytes;
    }
    if let Some(bytes) = section.take("in_memory").and_then(|n| n.bytes()) {
        forms.in_memory_bytes = bytes;
    }
    if let Some(dir) = section.take("dir").and_then(|n| n.path()) {
        forms.dir = Some(dir);
    }
    section.finish();
}

fn read_websocket(node: &Node<'_>, websocket: &mut WebSocket) {
    let Some(mut section) = node.section() else {
        return;
    };
    if let Some(idle) = section.take("idle").and_then(|n| n.duration()) {
        websocket.idle = idle;
    }
    if let Some(total) = section.take("total").and_then(|n| n.duration()) {
        websocket.total = total;
    }
    section.finish();
}
