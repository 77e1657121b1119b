//! What one configuration amounts to.
//!
//! A [`Runtime`] is an immutable snapshot: routing tables, upstreams, tenants, settings. Each
//! request pins the one that was current when it came and keeps it to its end, so that a reload is
//! a swap and nothing else. What outlives a snapshot is in [`Shared`]. Refuses to know how requests
//! are served.

mod connections;
mod manners;
mod room;
mod shared;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::auth::Keys;
use crate::config::{self, Config, Matcher, ModelRule, Passthrough};
use crate::openai::verdict::Reasons;
use crate::routing::{Index, Prefixes, Target, Targets};
use crate::tenants::Tenant;
use crate::upstreams::{Breaker, Conditions, Upstream};

pub use connections::{Connections, Crowded, Place};
pub use manners::Manners;
pub use room::{Room, Within};
pub use shared::{InFlight, Shared};

/// An immutable snapshot of the running configuration.
#[derive(Debug)]
pub struct Runtime {
    /// Settings of the edge.
    pub settings: Settings,
    index: Index,
    rules: Vec<Arc<Rule>>,
    prefixes: Prefixes,
    routes: Vec<Arc<Route>>,
    upstreams: Vec<Arc<Upstream>>,
    /// The positions of those that serve many models by the names that they give them.
    many: Vec<usize>,
    keys: Keys,
    tenants: Vec<Arc<Tenant>>,
    /// Set when there are no client keys.
    anonymous: Option<Arc<Tenant>>,
}

/// What the edge needs to know of the `server` section.
#[derive(Debug)]
pub struct Settings {
    /// The largest request body that is read, in bytes.
    pub max_body_bytes: usize,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Requests a second that one address may make.
    pub flood_guard: Option<u32>,
    /// How much clients may ask of us at a time, and how slow they may be.
    pub limits: config::Limits,
    /// Whether each request has its line in the log.
    pub log_access: bool,
    /// Whether clients' addresses lose their last part in logs.
    pub mask_addresses: bool,
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
}

/// As many fallbacks of a rule are known, those of its fallbacks included.
const MAX_FALLBACKS: usize = 16;

/// A model rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name in metrics and logs.
    pub label: String,
    /// The name that it answers, when it answers just one.
    pub exact: Option<String>,
    /// Who serves it.
    pub targets: Targets,
    /// The failures on which another target is asked.
    pub on: Reasons,
    /// What is asked for when the targets fail, in this order; the fallbacks of fallbacks follow.
    pub fallbacks: Vec<Fallback>,
    /// How long a client that waits for a stream hears nothing.
    pub keepalive_after: Option<Duration>,
    /// Whether events that cannot be read are kept from the client.
    pub drops_malformed: bool,
    /// How the usage is learnt of an answer whose client has left.
    pub on_client_gone: config::OnClientGone,
    /// What each target wants changed, by its position.
    manners: Vec<Manners>,
    /// How each target does, by its position.
    breakers: Vec<Arc<Breaker>>,
    /// The upstreams that are asked for whatever name the client gives.
    passes_to: Vec<usize>,
    passes_all: bool,
}

impl Rule {
    /// Whether each of its targets is asked for whatever name the client gives.
    pub fn passes_all(&self) -> bool {
        self.passes_all
    }

    /// What the target at a position wants changed.
    pub fn manners(&self, position: usize) -> Option<&Manners> {
        self.manners.get(position)
    }

    /// How the target at a position does.
    pub fn breaker(&self, position: usize) -> Option<&Arc<Breaker>> {
        self.breakers.get(position)
    }

    /// Whether more than one can be asked.
    pub fn has_several(&self) -> bool {
        self.breakers.len() + self.fallbacks.len() > 1
    }

    /// Whether one more target may be left out: at most half of what the rule can ask is.
    pub fn may_eject(&self) -> bool {
        let weighted = self.targets.all().iter().filter(|target| target.weight > 0);
        let out = self.breakers.iter().filter(|breaker| breaker.is_ejected());
        (out.count() + 1) * 2 <= weighted.count() + self.fallbacks.len()
    }
}

/// What is asked for when the targets of a rule fail.
#[derive(Debug)]
pub struct Fallback {
    /// The model.
    pub model: String,
    /// The position of the rule that serves it.
    rule: usize,
    /// The failures on which it is asked for.
    pub on: Reasons,
}

/// A forwarded prefix.
#[derive(Debug)]
pub struct Route {
    /// The prefix: its name in metrics.
    pub prefix: String,
    /// The upstream's position.
    upstream: usize,
}

impl Runtime {
    /// Builds the snapshot. `demo` is where the built-in provider listens, if it does; `conditions`
    /// is what has been learnt of whoever is named.
    pub fn new(config: &Config, demo: Option<SocketAddr>, conditions: &Conditions) -> Self {
        let server = &config.server;
        let tenants: Vec<Arc<Tenant>> = config.tenants.iter().map(|t| tenant(t, config)).collect();
        let anonymous = || {
            Tenant::anonymous().at_home(
                home(&server.ways.passthrough, config),
                server.ways.allow_ephemeral_keys,
            )
        };
        conditions.forget_unused();
        let index = Index::new(config.models.iter().map(|rule| &rule.matcher.value));
        let rules = config.models.iter();
        let rules: Vec<Arc<Rule>> = rules
            .map(|written| rule(written, config, &index, conditions))
            .collect();
        let keys = config.tenants.iter().enumerate().flat_map(|(owner, t)| {
            let hashes = t.keys.iter();
            hashes.map(move |key| (key.value, owner))
        });
        Self {
            settings: Settings {
                max_body_bytes: server.max_body_bytes,
                trusted_proxies: server.trusted_proxies.clone(),
                flood_guard: server.flood_guard,
                limits: server.limits,
                drain: server.drain,
                log_access: server.log.access,
                mask_addresses: server.log.mask,
                models_ttl: server.ways.models_ttl,
                retries: server.retries,
                forms: server.ways.forms.clone(),
                websocket: server.ways.websocket,
            },
            index,
            many: many(&rules, config),
            rules,
            prefixes: Prefixes::new(config.routes.iter().map(|r| r.prefix.value.as_str())),
            routes: config
                .routes
                .iter()
                .filter_map(|r| route(r, config))
                .collect(),
            upstreams: config
                .upstreams
                .iter()
                .map(|upstream| Arc::new(Upstream::new(upstream, demo, conditions)))
                .collect(),
            keys: Keys::new(keys),
            anonymous: tenants.is_empty().then(|| Arc::new(anonymous())),
            tenants,
        }
    }

    /// The tenant that a request's key belongs to; anybody where there are no client keys.
    pub fn tenant(&self, key: Option<&[u8]>) -> Option<&Arc<Tenant>> {
        if self.anonymous.is_some() {
            return self.anonymous.as_ref();
        }
        self.tenants.get(self.keys.owner(key?)?)
    }

    /// The tenant with this id.
    pub fn tenant_called(&self, id: &str) -> Option<&Arc<Tenant>> {
        self.tenants.iter().find(|tenant| tenant.id == id)
    }

    /// The rule that serves a model.
    pub fn rule(&self, model: &str) -> Option<&Arc<Rule>> {
        self.rules.get(self.index.find(model)?)
    }

    /// The rule of a fallback.
    pub fn fallback(&self, fallback: &Fallback) -> Option<&Arc<Rule>> {
        self.rules.get(fallback.rule)
    }

    /// Every upstream, in the order of the file.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Every rule, in the order of the file.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The upstreams that serve many models by the names that they give them, with their positions.
    pub fn many(&self) -> impl Iterator<Item = (usize, &Arc<Upstream>)> {
        let upstreams = self.upstreams.iter().enumerate();
        upstreams.filter(|(position, _)| self.many.contains(position))
    }

    /// Whether the rule for a model asks the upstream at this position for it by that name.
    pub fn passes(&self, model: &str, position: usize) -> bool {
        let rule = self.rule(model).filter(|rule| rule.exact.is_none());
        rule.is_some_and(|rule| rule.passes_to.contains(&position))
    }

    /// The upstream of a target.
    pub fn upstream(&self, target: &Target) -> Option<&Arc<Upstream>> {
        self.upstreams.get(target.upstream)
    }

    /// The upstream that has a tenant's objects.
    pub fn home(&self, tenant: &Tenant) -> Option<&Arc<Upstream>> {
        self.upstreams.get(tenant.home?)
    }

    /// The route for a path, the upstream that it leads to, and the path behind its prefix.
    pub fn route<'p>(&self, path: &'p str) -> Option<(&Arc<Route>, &Arc<Upstream>, &'p str)> {
        let (position, rest) = self.prefixes.find(path)?;
        let route = self.routes.get(position)?;
        Some((route, self.upstreams.get(route.upstream)?, rest))
    }

    /// Looks up the names of all upstreams at once; a name that fails is logged.
    pub async fn resolve_names(&self) {
        let mut lookups = tokio::task::JoinSet::new();
        for upstream in self.upstreams.iter().cloned() {
            lookups.spawn(async move {
                if let Err(e) = upstream.pool.resolve().await {
                    log::warn!("upstream {}: a name was not resolved: {e}", upstream.name);
                }
            });
        }
        lookups.join_all().await;
    }
}

fn tenant(written: &config::Tenant, config: &Config) -> Arc<Tenant> {
    let models = written.models.as_ref();
    let names = models.map(|names| names.iter().map(|n| n.value.clone()).collect());
    let passthrough = written.passthrough.as_ref();
    let server = &config.server;
    let tenant = Tenant::new(written.id.value.clone(), names).at_home(
        home(passthrough.unwrap_or(&server.ways.passthrough), config),
        written
            .allow_ephemeral_keys
            .unwrap_or(server.ways.allow_ephemeral_keys),
    );
    Arc::new(tenant)
}

fn home(passthrough: &Passthrough, config: &Config) -> Option<usize> {
    match passthrough {
        Passthrough::Off => None,
        Passthrough::To(name) => position(&name.value, config),
    }
}

/// The position of the upstream with this name. Validation has seen to it that there is one.
fn position(name: &str, config: &Config) -> Option<usize> {
    let mut names = config.upstreams.iter().map(|u| u.name.value.as_str());
    names.position(|known| known == name)
}

fn route(written: &config::Route, config: &Config) -> Option<Arc<Route>> {
    Some(Arc::new(Route {
        prefix: written.prefix.value.clone(),
        upstream: position(&written.upstream.value, config)?,
    }))
}

/// The upstreams whose lists tell what rules for many names serve. One that is asked with the
/// client's own key has none of its own to be asked with.
fn many(rules: &[Arc<Rule>], config: &Config) -> Vec<usize> {
    let rules = rules.iter().filter(|rule| rule.exact.is_none());
    let mut positions: Vec<usize> = rules.flat_map(|rule| rule.passes_to.clone()).collect();
    positions.sort_unstable();
    positions.dedup();
    positions.retain(|position| {
        let upstream = config.upstreams.get(*position);
        upstream.is_some_and(|upstream| {
            matches!(upstream.keys, config::Keys::Own(_)) && upstream.dialect.lists_models()
        })
    });
    positions
}

fn rule(written: &ModelRule, config: &Config, index: &Index, conditions: &Conditions) -> Arc<Rule> {
    let matcher = &written.matcher.value;
    let label = matcher.label();
    let (mut targets, mut manners, mut breakers) = (Vec::new(), Vec::new(), Vec::new());
    for target in &written.targets {
        let name = &target.upstream.value;
        let Some(upstream) = position(name, config) else {
            continue;
        };
        if let Some(asked) = config.upstreams.get(upstream) {
            manners.push(Manners::new(&target.manners, &asked.dialect));
            breakers.push(conditions.target(&label, name, target.model.as_deref()));
            targets.push(Target {
                upstream,
                model: target.model.clone(),
                weight: target.weight,
                priority: target.priority,
            });
        }
    }
    let unnamed = targets.iter().filter(|target| target.model.is_none());
    let passes_to: Vec<usize> = unnamed.map(|target| target.upstream).collect();
    Arc::new(Rule {
        label,
        exact: match matcher {
            Matcher::Exact(name) => Some(name.clone()),
            Matcher::Prefix(_) | Matcher::Keyword(_) => None,
        },
        targets: Targets::new(targets),
        on: written.on,
        fallbacks: fallbacks(written, config, index),
        keepalive_after: written.keepalive_after,
        drops_malformed: written.drops_malformed,
        on_client_gone: written.on_client_gone,
        manners,
        breakers,
        passes_all: passes_to.len() == written.targets.len(),
        passes_to,
    })
}

/// The fallbacks of a rule, then those of each of them, each once. Validation has seen to it that
/// none runs in a circle.
fn fallbacks(written: &ModelRule, config: &Config, index: &Index) -> Vec<Fallback> {
    let mut found: Vec<Fallback> = Vec::new();
    let mut rules = vec![written];
    while let Some(rule) = rules.pop() {
        for fallback in &rule.fallback {
            let model = &fallback.model.value;
            let Some(position) = index.find(model) else {
                continue;
            };
            let is_new = found.iter().all(|known| known.model != *model);
            if is_new && found.len() < MAX_FALLBACKS {
                found.push(Fallback {
                    model: model.clone(),
                    rule: position,
                    on: fallback.on.unwrap_or(rule.on),
                });
                rules.splice(0..0, config.models.get(position));
            }
        }
    }
    found
}
