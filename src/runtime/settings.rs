//! What the gateway needs of the `server` section.
//!
//! Owns the choice: what only the start of the process needs is not here. Does not handle how it is written (see
//! `config::server`). Cannot fail.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use crate::config::{self, Cors, RedirectTo, Server};
use crate::networks::AddressRules;
use crate::openai::endpoint::Exchange;
use crate::secret::Secret;

/// What the gateway needs of the `server` section.
#[derive(Debug)]
pub struct Settings {
    /// The largest request body that is read, in bytes.
    pub max_body_bytes: usize,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may connect to each listener, by its position.
    pub addresses: Vec<Option<AddressRules>>,
    /// What browsers are told at each listener of using TLS alone: the value of its header.
    pub hsts: Vec<Option<HeaderValue>>,
    /// Where each listener sends its clients instead of serving them.
    pub redirects: Vec<Option<RedirectTo>>,
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
    /// How forms are read.
    pub forms: config::Forms,
    /// How long sockets live.
    pub websocket: config::WebSocket,
    /// The models of requests that name none, each with its key of `server.default_models`.
    default_models: Vec<(&'static str, String)>,
}

impl Settings {
    /// Takes what the operator wrote.
    pub fn new(server: &Server) -> Self {
        let defaults = server.default_models.iter();
        let listen = server.listen.iter();
        Self {
            max_body_bytes: server.max_body_bytes,
            trusted_proxies: server.trusted_proxies.clone(),
            addresses: listen.clone().map(|l| l.addresses.clone()).collect(),
            hsts: listen
                .clone()
                .map(|l| HeaderValue::try_from(l.hsts?.value()).ok())
                .collect(),
            redirects: listen.map(|l| l.redirect.clone()).collect(),
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
            forms: server.forms.clone(),
            websocket: server.websocket,
            default_models: defaults
                .map(|(key, model)| (*key, model.value.clone()))
                .collect(),
        }
    }

    /// Whether one may come from an address to the listener at a position. `None`: from this machine.
    pub fn permits(&self, listener: usize, address: Option<IpAddr>) -> bool {
        match self.addresses.get(listener) {
            Some(Some(rules)) => rules.permit(address),
            _ => true,
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
