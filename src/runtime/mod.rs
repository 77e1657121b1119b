//! What runs: the snapshot of one configuration.
//!
//! A [`Runtime`] is an immutable snapshot: routing tables, upstreams, tenants, settings. Each
//! request pins the one that was current when it came and keeps it to its end, so that a reload is
//! a swap and nothing else. What outlives a snapshot is in [`Shared`]. Does not handle how requests
//! are served (see `gateway`), or what the operator may write (see `config`). Cannot fail: validation has
//! seen to it that each name leads somewhere.

mod accounts;
mod by_meaning;
mod callers;
mod connections;
mod gauge;
mod joined;
mod keys;
mod known;
mod managed;
mod memory;
mod metered;
mod metering;
mod orders;
mod principal;
mod questions;
mod reloads;
mod reuse;
mod rules;
mod settings;
mod shared;
mod transforms;
mod usual;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::auth::{CallerState, Callers, Refused, Shown};
use crate::clock;
use crate::config::{self, Config, Methods, Passthrough};
use crate::limits::Limits;
use crate::openai::endpoint::Exchange;
use crate::routing::{Index, Prefixes, Target};
use crate::tenants::Tenant;
use crate::upstreams::{Registry, Upstream};

pub use accounts::{Accounts, Balances};
pub use by_meaning::ByMeaning;
pub use connections::{AtLimit, ConnectionPermit, Connections};
pub use gauge::{Gauge, GaugePermit};
pub use joined::Joined;
pub use keys::{Keys, NoKeys};
pub use known::{PASSTHROUGH, ROUTE};
pub use memory::{Held, Memory};
pub use metered::Metered;
pub use metering::{Metering, Scopes};
pub use orders::{NotReloaded, NotTaken, Order, Orders, Reloaded};
pub use principal::Principal;
pub use reloads::Reloads;
pub use reuse::{Reuse, SharedHead};
pub use rules::{Fallback, Rule};
pub use settings::Settings;
pub use shared::{InFlight, Shared};
pub use transforms::Transforms;
pub use usual::UsualOutput;

/// An immutable snapshot of the running configuration.
#[derive(Debug)]
pub struct Runtime {
    /// Settings of the gateway.
    pub settings: Arc<Settings>,
    /// What its requests are limited by.
    pub metering: Metering,
    index: Arc<Index>,
    rules: Vec<Arc<Rule>>,
    prefixes: Arc<Prefixes>,
    routes: Vec<Arc<Route>>,
    upstreams: Vec<Arc<Upstream>>,
    /// What serves requests that name no model, by the position of the home that they go to.
    home_rules: HashMap<usize, Arc<Rule>>,
    /// The positions of those that serve many models by the names that they give them.
    many: Vec<usize>,
    /// How questions are compared by what they mean; `None` where they are not.
    pub by_meaning: Option<ByMeaning>,
    callers: Callers,
    tenants: Vec<Arc<Tenant>>,
    /// Set when callers need not belong to tenants.
    anonymous: Option<Arc<Tenant>>,
    /// Whether there may be keys that are not known yet.
    awaits_keys: bool,
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
    /// Builds the snapshot. `demo` is where the built-in provider listens, if it does; `registry`
    /// has what has been learnt of servers, keys and targets, `limits` what has been counted, `caller_state` what
    /// has been learnt of callers.
    pub fn new(
        config: &Config,
        demo: Option<SocketAddr>,
        registry: &Registry,
        limits: &Limits,
        caller_state: &CallerState,
    ) -> Self {
        let server = &config.server;
        let joined = Joined::of_file(config);
        let anonymous = || {
            let tenant = Tenant::anonymous().at_home(
                home(&server.passthrough, config),
                server.allowances.within(server.allowances),
            );
            tenant.strict(server.strict)
        };
        registry.forget_unused();
        let index = Index::new(config.models.iter().map(|rule| &rule.matcher.value));
        let rules = config.models.iter();
        let rules: Vec<Arc<Rule>> = rules
            .map(|written| rules::rule(written, config, &index, registry, limits))
            .collect();
        Self {
            settings: Arc::new(Settings::new(config)),
            home_rules: rules::home_rules(config, &index, registry, limits),
            by_meaning: ByMeaning::new(config, &index, &rules),
            index: Arc::new(index),
            many: many(&rules, config),
            rules,
            prefixes: Arc::new(Prefixes::new(
                config.routes.iter().map(|r| r.prefix.value.as_str()),
            )),
            routes: config
                .routes
                .iter()
                .filter_map(|r| route(r, config))
                .collect(),
            upstreams: config
                .upstreams
                .iter()
                .map(|upstream| Arc::new(Upstream::new(upstream, demo, registry)))
                .collect(),
            metering: Metering::of(config, &joined, limits),
            callers: callers::callers(config, &joined, caller_state),
            anonymous: config.is_open().then(|| Arc::new(anonymous())),
            tenants: tenants(config, &joined),
            awaits_keys: false,
        }
    }

    /// The same snapshot for other tenants and keys: what requests are served by is shared, and what is learnt stays.
    /// `awaits_keys`: there may be others that are not known yet.
    pub fn for_callers(
        &self,
        (config, joined): (&Config, &Joined<'_>),
        awaits_keys: bool,
        limits: &Limits,
        caller_state: &CallerState,
    ) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            index: Arc::clone(&self.index),
            rules: self.rules.clone(),
            prefixes: Arc::clone(&self.prefixes),
            routes: self.routes.clone(),
            upstreams: self.upstreams.clone(),
            home_rules: self.home_rules.clone(),
            many: self.many.clone(),
            by_meaning: self.by_meaning.clone(),
            metering: Metering::of(config, joined, limits),
            callers: callers::callers(config, joined, caller_state),
            anonymous: self.anonymous.clone(),
            tenants: tenants(config, joined),
            awaits_keys,
        }
    }

    /// The caller that shows this; any caller where there are no tenants.
    ///
    /// # Errors
    /// Why what is shown is not accepted.
    pub fn principal(&self, shown: &Shown<'_>) -> Result<Principal, Refused> {
        if let Some(tenant) = &self.anonymous {
            return Ok(Principal {
                tenant: Arc::clone(tenant),
                position: None,
                credential: None,
                limits: None,
                signature: None,
            });
        }
        // A clock that cannot be told expires everything that expires.
        let now = Timestamp::try_from(clock::now()).unwrap_or(Timestamp::MAX);
        let found = self.callers.find(shown, now).map_err(|refused| {
            match self.awaits_keys && refused.is_unknown_key() {
                true => Refused::KeysNotLoaded,
                false => refused,
            }
        })?;
        let tenant = self.tenants.get(found.tenant).ok_or(Refused::Missing)?;
        Ok(Principal {
            tenant: match &found.models {
                Some(models) => Arc::new(tenant.narrowed_to(models)),
                None => Arc::clone(tenant),
            },
            position: Some(found.tenant),
            credential: Some(found.credential),
            limits: found.limits,
            signature: found.signature.map(Box::new),
        })
    }

    /// The methods by which callers are found at the listener at a position; `None` for every one.
    pub fn methods(&self, listener: usize) -> Option<Methods> {
        self.callers.methods(listener)
    }

    /// Whether callers belong to tenants, so that each has to show a credential.
    pub fn has_tenants(&self) -> bool {
        self.anonymous.is_none()
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

    /// The most that a caller may be charged for so many tokens of a model, whichever target of its rule serves
    /// it; in nano-dollars. What a fallback would cost is not in it.
    pub fn most_charged(
        &self,
        caller: Option<&Principal>,
        (rule, model): (&Rule, &str),
        (input_tokens, output_tokens): (u64, u64),
        at: Timestamp,
    ) -> u64 {
        let charged = rule.targets.all().iter().filter_map(|target| {
            let upstream = self.upstream(target)?;
            let model = target.model.as_deref().unwrap_or(model);
            let bill = self.metering.bill(caller, (&upstream.name, model), at)?;
            Some(bill.estimate(input_tokens, output_tokens))
        });
        charged.max().unwrap_or(0)
    }

    /// The upstream of a target.
    pub fn upstream(&self, target: &Target) -> Option<&Arc<Upstream>> {
        self.upstreams.get(target.upstream)
    }

    /// The upstream that has a tenant's objects.
    pub fn home(&self, tenant: &Tenant) -> Option<&Arc<Upstream>> {
        self.upstreams.get(tenant.home?)
    }

    /// What serves a tenant's requests to an endpoint that name no model: its home, where the
    /// endpoint's path does not name one.
    pub fn home_rule(&self, tenant: &Tenant, endpoint: &Exchange) -> Option<&Arc<Rule>> {
        let is_optional = !endpoint.default_models.is_empty();
        let dialect = &self.home(tenant).filter(|_| is_optional)?.dialect;
        let home = tenant.home.filter(|_| !dialect.needs_model(endpoint.path));
        self.home_rules.get(&home?)
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

fn tenants(config: &Config, joined: &Joined<'_>) -> Vec<Arc<Tenant>> {
    let members = joined.members.iter();
    members
        .map(|member| tenant(member.tenant, config))
        .collect()
}

fn tenant(written: &config::Tenant, config: &Config) -> Arc<Tenant> {
    let models = written.models.as_ref();
    let names = models.map(|names| names.iter().map(|n| n.value.clone()).collect());
    let passthrough = written.passthrough.as_ref();
    let server = &config.server;
    let tenant = Tenant::new(written.id.value.clone(), names).at_home(
        home(passthrough.unwrap_or(&server.passthrough), config),
        written.allowances.within(server.allowances),
    );
    let tenant = tenant.strict(written.is_strict(config));
    Arc::new(tenant.caching(written.caches, written.obeys_cache_control))
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

/// The upstreams whose lists of models show what rules for many names serve. An upstream that gets the
/// client's own key is not one of them: there is no key to ask for its list.
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
