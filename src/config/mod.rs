//! What the operator wrote.
//!
//! `server/`, `auth/`, `upstreams/`, `models/`, `tenants`, `routes`, `cache`, `vector_cache`, `chat_log`, `limits`,
//! `prices`, `ledger`, `store` and `webhook` read a section of the file each, `quota`, `client_keys`, `labels` and
//! `validity` what stands within a tenant, `managed` reads what is made at run time, `rotation` what both logs have,
//! `redis_url` the URL of a Redis; within the folders a file reads a key or a section of its own. `document` reads YAML
//! with its places, `expand` fills in variables and `credentials`, and `key_list` takes lists of keys apart.
//! `validate` checks what several sections must agree on, and `warnings` notes what is allowed and probably not
//! meant. `files` are those that a configuration was read from, `changes` tells two configurations apart, `schema`
//! describes them for editors. `sources` finds the file; `environment` reads the variables that can stand in for one,
//! and `quick_start` writes the document that they amount to. `origin` reads a configuration again, with the
//! `overrides` of the command line. Does not handle what runs: `runtime` builds that from a [`Config`]. Fails with
//! every mistake at once, see [`Problems`].

mod address_rules;
mod addresses;
mod auth;
mod cache;
mod changes;
mod chat_log;
mod client_keys;
mod credentials;
mod document;
mod environment;
mod environment_file;
mod expand;
mod files;
mod key_list;
mod labels;
mod ledger;
mod limits;
pub mod managed;
mod models;
mod origin;
mod overrides;
mod pem;
mod prices;
mod problem;
mod quick_start;
mod quota;
mod redis_url;
mod rotation;
mod routes;
mod schema;
mod server;
mod sources;
mod store;
mod tenants;
mod upstreams;
mod validate;
mod validity;
mod vector_cache;
mod warnings;
mod webhook;

pub use addresses::{from_here, is_local, stays_local};
pub use auth::{
    Auth, Issuer, IssuerKeys, JwksUrl, Method, Methods, SignatureKey, SignatureTerms, TenantOf,
};
pub use cache::Cache;
pub use changes::{Change, Changes, Kind};
pub use chat_log::{ChatLog, LINE_BYTES, Mask};
pub use client_keys::{ClientKey, MAX_PREFIX_BYTES};
pub use document::{Located, Place, is_plain_name, write_nanos, write_size};
pub use expand::Variables;
pub use files::{FileKind, ReadFile};
pub use ledger::{Archive, Ledger, OnFailure};
pub use limits::{RateLimits, Window};
pub use models::{
    CacheScope, CacheWhen, Caching, Choose, Fallback, ModelRule, OnClientGone, Streams, Target,
    Transforms,
};
pub use origin::Origin;
pub use overrides::Overrides;
pub use prices::{Markup, Price, Rates};
pub use problem::{Problem, Problems, Severity, nearest};
pub use quick_start::QuickStart;
pub use quota::{Period, Quota};
pub use redis_url::{RedisServer, RedisUrl};
pub use rotation::{Every, Retention, Rotation};
pub use routes::Route;
pub use schema::schema;
pub use server::certificate;
use server::client_authorities;
pub use server::{
    Allowances, Budget, CertificateFiles, Cors, Drain, Forms, Hsts, Http2, Limits, ListenAddress,
    Listener, Log, LogFiles, LogFormat, MAX_THREADS, Passthrough, RedirectTo, Retries, Server, Tls,
    TrustedProxies, WebSocket,
};
pub use sources::Source;
pub use store::{OnDown, Store, Topology};
pub use tenants::Tenant;
pub use upstreams::{
    Ask, Balance, BaseUrl, Concurrency, ConsistentBy, Ejection, HealthCheck, Keys, Proxy, Timeouts,
    Upstream, UpstreamTls,
};
pub use validity::{Lapse, Validity};
pub use vector_cache::{VectorCache, VectorProvider};
pub use webhook::{Events, Webhook};

use document::{Context, Node};
use validate::Unread;

/// One configuration, read and checked.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where we listen and how.
    pub server: Server,
    /// Provider accounts, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// Model rules, in the order of the file.
    pub models: Vec<ModelRule>,
    /// Forwarded prefixes.
    pub routes: Vec<Route>,
    /// How callers are found besides their keys.
    pub auth: Auth,
    /// Tenants.
    pub tenants: Vec<Tenant>,
    /// Whether `tenants` is written. Without it, every caller on this machine is served; an empty list serves none
    /// until a tenant is made at run time.
    pub has_tenants_section: bool,
    /// How much may be asked of the whole gateway in a time.
    pub limits: Option<RateLimits>,
    /// What models cost.
    pub prices: Vec<Price>,
    /// Where usage is recorded; `None` for nowhere. Where a quota or a webhook needs one and none is written,
    /// it is the default one.
    pub ledger: Option<Ledger>,
    /// Where several nodes count what they share; `None` on one node.
    pub store: Option<Located<Store>>,
    /// Where the operator is told of what every tenant uses.
    pub webhook: Option<Webhook>,
    /// What holds for answers that are kept; `None` where it is not written.
    pub cache: Option<Located<Cache>>,
    /// How questions are compared by what they mean; `None` where it is not written.
    pub vector_cache: Option<Located<VectorCache>>,
    /// Where conversations are written; `None` for nowhere.
    pub chat_log: Option<ChatLog>,
    /// What the document was made from, when the environment stands in for a file.
    pub quick_start: Option<QuickStart>,
    /// What is allowed and probably not meant, in the order of the file.
    pub warnings: Vec<Problem>,
    /// Every file that has a part in it.
    files: Vec<ReadFile>,
}

impl Config {
    /// Reads a configuration from its source.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(source: &Source, variables: &Variables) -> Result<Self, Problems> {
        Self::load_with(source, variables, true)
    }

    /// The same for the search for the threshold of its embedding model, which may be missing.
    ///
    /// # Errors
    /// Every other mistake in it.
    pub fn load_to_calibrate(source: &Source, variables: &Variables) -> Result<Self, Problems> {
        Self::load_with(source, variables, false)
    }

    fn load_with(
        source: &Source,
        variables: &Variables,
        needs_threshold: bool,
    ) -> Result<Self, Problems> {
        let (text, quick_start) = source.read(variables)?;
        let config = Self::parse_with(&source.to_string(), &text, variables, needs_threshold)?;
        let mut files = Vec::new();
        if let Source::File(path) = source {
            files.push(ReadFile::new(path, FileKind::Configuration));
        }
        let others = variables.files().iter().cloned().chain(config.files);
        others.for_each(|file| files::add(file, &mut files));
        Ok(Self {
            quick_start,
            files,
            ..config
        })
    }

    /// The `server` section of a source, with defaults for what cannot be read: where a gateway listens is to be found
    /// even if its file has mistakes by now.
    pub fn server_of(source: &Source, variables: &Variables) -> Server {
        let Ok((text, _)) = source.read(variables) else {
            return Server::default();
        };
        let context = Context::new(source.to_string(), variables);
        let read = document::with_root(&context, &text, |root| {
            root.section()?
                .take("server")
                .map(|node| server::read(&node))
        });
        read.unwrap_or_default()
    }

    /// Reads a configuration from its text; `name` is what problems call it.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(name: &str, text: &str, variables: &Variables) -> Result<Self, Problems> {
        Self::parse_with(name, text, variables, true)
    }

    fn parse_with(
        name: &str,
        text: &str,
        variables: &Variables,
        needs_threshold: bool,
    ) -> Result<Self, Problems> {
        let context = Context::new(name, variables);
        let read = document::with_root(&context, text, |root| read_root(&root));
        if let Some((config, unread)) = &read {
            validate::check(config, unread, needs_threshold, &context);
            warnings::check(config, unread, &context);
        }
        let (problems, files) = context.into_noted();
        let mut severities = problems.iter().map(|problem| problem.severity);
        match read {
            Some((config, _)) if severities.all(|s| s == Severity::Warning) => Ok(Self {
                warnings: problems,
                files,
                ..config
            }),
            _ => Err(Problems(problems)),
        }
    }

    /// Every file that has a part in it, each once: its own first, then those of variables, then those that it
    /// names. Credentials are among them.
    pub fn files(&self) -> &[ReadFile] {
        &self.files
    }

    /// Whether every caller on this machine is served, without a credential.
    pub fn is_open(&self) -> bool {
        !self.has_tenants_section
    }

    /// Whether something needs a record of what is used, or a place for tenants that are made at run time.
    fn needs_ledger(&self) -> bool {
        let mut tenants = self.tenants.iter();
        let makes_all = self.has_tenants_section && self.tenants.is_empty();
        makes_all || self.webhook.is_some() || tenants.any(|t| t.has_quota() || t.webhook.is_some())
    }

    /// Variables that are set and have no effect in this release.
    pub fn not_in_force(&self) -> Vec<&'static str> {
        let quick_start = self.quick_start.iter();
        quick_start.flat_map(|q| q.not_in_force.clone()).collect()
    }
}

fn read_root(root: &Node<'_>) -> Option<(Config, Unread)> {
    let mut section = root.section()?;
    let server = section.take("server");
    let upstreams = section.require("upstreams");
    let models = section.require("models");
    let auth = section.take("auth");
    let tenants = section.take("tenants");
    let ledger = section.take("ledger");
    let prices = section.take("prices");
    let mut config = Config {
        server: server.as_ref().map_or_else(Server::default, server::read),
        upstreams: upstreams.as_ref().map_or_else(Vec::new, upstreams::read),
        models: models.as_ref().map_or_else(Vec::new, models::read),
        routes: section
            .take("routes")
            .map_or_else(Vec::new, |n| routes::read(&n)),
        auth: auth.as_ref().map_or_else(Auth::default, auth::read),
        tenants: tenants.as_ref().map_or_else(Vec::new, tenants::read),
        has_tenants_section: tenants.is_some(),
        limits: limits::take(&mut section),
        prices: prices.as_ref().map_or_else(Vec::new, prices::read),
        ledger: ledger.as_ref().and_then(ledger::read),
        store: section.take("store").and_then(|n| store::read(&n)),
        webhook: section.take("webhook").and_then(|n| webhook::read(&n)),
        cache: section.take("cache").and_then(|n| cache::read(&n)),
        vector_cache: section
            .take("vector_cache")
            .and_then(|n| vector_cache::read(&n)),
        chat_log: section.take("chat_log").and_then(|n| chat_log::read(&n)),
        quick_start: None,
        warnings: Vec::new(),
        files: Vec::new(),
    };
    if ledger.is_none() && config.needs_ledger() {
        config.ledger = Some(Ledger::implied(root.context().variables()));
    }
    if let Some(ledger) = &mut config.ledger {
        ledger.node.clone_from(&config.server.node);
    }
    section.finish();
    let is_unread = |node: &Option<Node<'_>>, read: usize| match node {
        Some(node) => node.len() == 0 || node.len() != read,
        None => true,
    };
    let unread = Unread {
        upstreams: is_unread(&upstreams, config.upstreams.len()),
        models: is_unread(&models, config.models.len()),
        // The section may be missing, and the list may be empty.
        tenants: tenants.is_some_and(|n| !n.is_list() || n.len() != config.tenants.len()),
        prices: prices.is_some(),
    };
    Some((config, unread))
}

#[cfg(test)]
mod tests;
