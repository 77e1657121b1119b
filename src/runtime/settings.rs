//! What the gateway needs of the `server` section, and of others that hold for every request.
//!
//! Owns the choice: what only the start of the process needs is not here. Does not handle how it is written (see
//! `config::server`). Cannot fail.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderValue;

use crate::config::{self, Config, Cors, OnDown, RedirectTo, VectorCache};
use crate::networks::AddressRules;
use crate::observe::masking;
use crate::openai::endpoint::Exchange;
use crate::secret::Secret;

/// What holds for the requests of one listener.
#[derive(Debug, Default)]
pub struct Listener {
    /// Whether each connection begins with the header of a trusted proxy, which names its client.
    pub proxy_protocol: bool,
    /// Who may connect.
    pub addresses: Option<AddressRules>,
    /// What browsers are told of using TLS alone: the value of its header.
    pub hsts: Option<HeaderValue>,
    /// Where its clients are sent instead of being served.
    pub redirect: Option<RedirectTo>,
}

impl Listener {
    fn new(written: &config::Listener) -> Self {
        Self {
            proxy_protocol: written.proxy_protocol.value,
            addresses: written.addresses.clone(),
            hsts: written
                .hsts
                .and_then(|hsts| HeaderValue::try_from(hsts.value()).ok()),
            redirect: written.redirect.clone(),
        }
    }

    /// Whether one may come from an address. `None`: from this machine.
    pub fn permits(&self, address: Option<IpAddr>) -> bool {
        let rules = self.addresses.as_ref();
        rules.is_none_or(|rules| rules.permit(address))
    }
}

/// What the gateway needs of these sections.
#[derive(Debug)]
pub struct Settings {
    /// What this gateway is called among others.
    pub node: String,
    /// The largest request body that is read, in bytes.
    pub max_body_bytes: usize,
    /// Whose word on a client's address is believed.
    trusted_proxies: config::TrustedProxies,
    /// What holds for each listener, by its position.
    listeners: Vec<Listener>,
    /// Which web pages may call.
    pub cors: Option<Cors>,
    /// Who may connect to the operator's listener.
    pub admin_addresses: Option<AddressRules>,
    /// Names of hosts that the operator's listener answers to.
    pub admin_hosts: Vec<String>,
    /// What `/admin/` asks for.
    pub admin_token: Option<Secret>,
    /// Requests a second that one address may make.
    pub flood_guard: Option<u32>,
    /// How much clients may ask of us at a time, and how slow they may be.
    pub limits: config::Limits,
    /// Whether each request has its line in the log.
    pub log_access: bool,
    /// Whether clients' addresses lose their last part in logs.
    pub mask_addresses: bool,
    /// Whether a request for the list of models looks first whether the configuration has changed.
    pub reload_on_models: bool,
    /// The time between two lines of statistics in the log.
    pub statistics: Option<Duration>,
    /// How long a list of an upstream's models is taken for fresh.
    pub models_ttl: Duration,
    /// How much is read on of answers whose client has left.
    pub drain: config::Drain,
    /// How often something is tried again.
    pub retries: config::Retries,
    /// What happens while the store is away in which several nodes count limits.
    pub on_store_down: OnDown,
    /// What holds for answers that are kept.
    pub cache: config::Cache,
    /// Where questions are kept that are compared by meaning; `None` where none are.
    pub questions: Option<VectorCache>,
    /// How forms are read.
    pub forms: config::Forms,
    /// What a client may have open and send at a time over one HTTP/2 connection.
    pub http2: config::Http2,
    /// How long sockets live.
    pub websocket: config::WebSocket,
    /// The models of requests that name none, each with its key of `server.default_models`.
    default_models: Vec<(&'static str, String)>,
}

impl Settings {
    /// Takes what the operator wrote.
    pub fn new(config: &Config) -> Self {
        let server = &config.server;
        let defaults = server.default_models.iter();
        Self {
            node: server.node.clone(),
            max_body_bytes: server.max_body_bytes,
            trusted_proxies: server.trusted_proxies.clone(),
            listeners: server.listen.iter().map(Listener::new).collect(),
            cors: server.cors.clone(),
            admin_addresses: server.admin_addresses.clone(),
            admin_hosts: server.admin_hosts.clone(),
            admin_token: server.admin_token.clone(),
            flood_guard: server.flood_guard,
            limits: server.limits,
            drain: server.drain,
            log_access: server.log.access,
            mask_addresses: server.log.mask,
            reload_on_models: server.reload_on_models,
            statistics: server.log.statistics,
            models_ttl: server.models_ttl,
            retries: server.retries,
            on_store_down: config
                .store
                .as_ref()
                .map_or_else(OnDown::default, |s| s.value.on_down),
            cache: config.cache.clone().unwrap_or_default().value,
            questions: VectorCache::enabled(config.vector_cache.as_ref()).cloned(),
            forms: server.forms.clone(),
            http2: server.http2,
            websocket: server.websocket,
            default_models: defaults
                .map(|(key, model)| (*key, model.value.clone()))
                .collect(),
        }
    }

    /// What holds for the listener at a position. The positions are those of the configuration.
    pub fn listener(&self, position: usize) -> Option<&Listener> {
        self.listeners.get(position)
    }

    /// Whether an address is that of a trusted proxy; without one, whether the other ends of Unix sockets are.
    pub fn trusts(&self, address: Option<IpAddr>) -> bool {
        self.trusted_proxies.have(address)
    }

    /// An address as it may stand in the log.
    pub fn shown(&self, address: Option<IpAddr>) -> String {
        match address {
            Some(ip) if self.mask_addresses => masking::address(ip).to_string(),
            Some(ip) => ip.to_string(),
            None => "-".to_owned(),
        }
    }

    /// The model of a request to an endpoint that names none.
    pub fn default_model(&self, endpoint: &Exchange) -> Option<&str> {
        endpoint.default_models.iter().find_map(|wanted| {
            let mut all = self.default_models.iter();
            let (_, model) = all.find(|(key, _)| key == wanted)?;
            Some(model.as_str())
        })
    }
}
