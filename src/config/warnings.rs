//! What is allowed and probably not meant.
//!
//! Owns the warnings that need the whole configuration or a whole upstream. Does not handle a key that
//! looks like a variable or has odd characters (see `key_list`), or what is refused (see the section
//! files and `validate`); `rules` has what can have no effect in a rule. Cannot fail. What probably only follows from a
//! mistake is not warned of.

mod rules;

use http::header::AUTHORIZATION;
use jiff::Timestamp;

use super::addresses::is_local;
use super::document::{Context, Place};
use super::validate::Unread;
use super::validity::{Lapse, Validity};
use super::{
    CacheScope, Config, Keys, Passthrough, Price, Tenant, Upstream, certificate, client_authorities,
};
use crate::clock;
use crate::openai::providers;
use crate::routing::Matcher;

/// Notes every warning.
pub fn check(config: &Config, unread: &Unread, context: &Context<'_>) {
    check_admin(config, context);
    for upstream in &config.upstreams {
        check_cleartext(upstream, context);
        // An unknown key may be meant for `keys`.
        if !context.has_mistake_in(&upstream.name.place.path) {
            check_keys(upstream, context);
        }
    }
    check_prices(config, context);
    // A rule that could not be read may use it.
    if !unread.models {
        check_cache(config, context);
        rules::check(config, context);
    }
    let now = clock::timestamp();
    check_certificates(config, now, context);
    for tenant in &config.tenants {
        check_client_keys(tenant, context);
        check_expiry(tenant, now, context);
        if !unread.prices && config.prices.is_empty() {
            check_markup(tenant, context);
        }
        // A rule that could not be read may serve anything.
        if !unread.models {
            check_models(tenant, config, context);
        }
        check_passthrough(tenant, config, context);
        check_unread(tenant, config, context);
    }
}

/// Warns of answers that reach every tenant, and of a cache that no rule uses.
fn check_cache(config: &Config, context: &Context<'_>) {
    let caching: Vec<_> = config
        .models
        .iter()
        .filter_map(|rule| rule.cache.as_ref())
        .collect();
    for cache in &caching {
        if cache.value.scope == CacheScope::Global && !config.is_open() {
            let message = "`scope: global` gives the answers of one tenant to every tenant";
            let hint = "write scope: tenant, unless all of them may see each other's questions and answers";
            context.warn(&cache.place, message.to_owned(), hint);
        }
    }
    let by_meaning = caching.iter().any(|cache| cache.value.by_meaning);
    if let Some(section) = &config.vector_cache
        && !by_meaning
        && section.value.is_enabled
    {
        let message = "no rule in `models` uses answers by meaning";
        let hint = "add cache: { by_meaning: true } to a rule";
        context.warn(&section.place, message.to_owned(), hint);
    }
    if let (Some(cache), []) = (&config.cache, caching.as_slice()) {
        let message = "no rule in `models` uses the cache";
        context.warn(
            &cache.place,
            message.to_owned(),
            "add cache: true to a rule",
        );
    }
}

/// Warns of certificates that clients refuse, and of lists of revoked ones by which clients are. Some are made for a
/// few days, so none is warned of before.
fn check_certificates(config: &Config, now: Timestamp, context: &Context<'_>) {
    let listeners = config.server.listen.iter();
    let listeners = listeners.filter_map(|listener| listener.tls.as_ref());
    let listeners: Vec<_> = listeners.collect();
    let clients = listeners
        .iter()
        .filter_map(|tls| tls.usual.as_ref()?.clients.as_ref());
    for authorities in clients.clone() {
        for name in client_authorities::without_list(authorities) {
            let message = format!("`crl` has no list of {name}: each of its clients is refused");
            let hint = "add the list, which the authority publishes";
            context.warn(&authorities.ca.place, message, hint);
        }
    }
    for (list, end) in clients.flat_map(client_authorities::ends) {
        if end <= now {
            let message =
                format!("the list of revoked certificates ended at {end}: clients are refused");
            let hint = "fetch the next one; the file is read again when it has changed";
            context.warn(&list.place, message, hint);
        }
    }
    for (files, _) in listeners.into_iter().flat_map(certificate::all) {
        let Some(end) = certificate::end(files) else {
            continue;
        };
        if end > now {
            continue;
        }
        let message = format!("the certificate has expired at {end}: clients refuse it");
        let hint = "renew it; its files are read again when they have changed";
        context.warn(&files.cert.place, message, hint);
    }
}

/// Warns of an operator's listener that other networks may reach: it asks for no key.
fn check_admin(config: &Config, context: &Context<'_>) {
    let Some(address) = &config.server.admin else {
        return;
    };
    let ip = address.value.ip();
    if is_local(ip) {
        return;
    }
    let reach = match ip.is_unspecified() {
        true => "on every address of this machine",
        false => "on a public address",
    };
    let message = format!(
        "the operator's listener is {reach} and asks for no key: it shows the URLs of the upstreams, \
         the names of models and tenants, the fingerprints and states of the keys, and all metrics"
    );
    let hint = "listen on 127.0.0.1 or on a private address, and let a firewall keep others out";
    context.warn(&address.place, message, hint);
}

fn check_cleartext(upstream: &Upstream, context: &Context<'_>) {
    for server in &upstream.servers {
        let url = &server.url;
        if !url.tls && providers::is_provider(&url.host) {
            let message = format!(
                "http:// to {} sends prompts and keys unencrypted over the internet",
                url.host
            );
            context.warn(&server.place, message, "write https://");
        }
    }
}

fn check_keys(upstream: &Upstream, context: &Context<'_>) {
    let dialect = &upstream.dialect;
    let mut headers = dialect.headers.iter().map(|(name, _)| name);
    let has_credential = headers.any(|name| *name == dialect.key_header || name == AUTHORIZATION);
    let Keys::Own(keys) = &upstream.keys else {
        return;
    };
    if !keys.is_empty() || has_credential {
        return;
    }
    let mut servers = upstream.servers.iter();
    if let Some(server) = servers.find(|server| providers::is_provider(&server.url.host)) {
        context.warn(
            &upstream.name.place,
            format!("{} is asked without a key", server.url.host),
            "add keys: [\"${NAME}\"], or keys: passthrough to send the client's own",
        );
    }
}

/// Warns of targets whose requests cost nothing, where prices are written.
fn check_prices(config: &Config, context: &Context<'_>) {
    // A price that could not be read may be the one that is missing.
    if config.prices.is_empty() || context.has_mistakes() {
        return;
    }
    let Ok(now) = Timestamp::try_from(clock::now()) else {
        return;
    };
    let holds = |price: &&Price| {
        price.from.is_none_or(|from| from <= now) && price.until.is_none_or(|until| now < until)
    };
    let prices: Vec<&Price> = config.prices.iter().filter(holds).collect();
    let is_built_in = |name: &str| {
        let mut upstreams = config.upstreams.iter();
        upstreams.any(|u| u.name.value == name && u.dialect.has_built_in_server)
    };
    for rule in &config.models {
        let matcher = &rule.matcher.value;
        for target in &rule.targets {
            let upstream = target.upstream.value.as_str();
            let name = match (&target.model, matcher) {
                (Some(model), _) | (None, Matcher::Exact(model)) => Some(model.as_str()),
                // Any name that the rule serves: one with a price is enough.
                (None, _) => None,
            };
            let mut prices = prices.iter();
            let is_priced = prices.any(|price| match name {
                Some(name) => price.covers(upstream, name),
                None => price.is_of(upstream) && matcher.meets(&price.model.value),
            });
            if !is_priced && !is_built_in(upstream) {
                let shown = name.map_or_else(|| matcher.label(), str::to_owned);
                let message =
                    format!("no price holds for `{shown}` of `{upstream}`: it costs nothing");
                let hint = "add it to `prices`, with 0 if it is free";
                context.warn(&target.upstream.place, message, hint);
            }
        }
    }
}

fn check_client_keys(tenant: &Tenant, context: &Context<'_>) {
    let Some(prefix) = &tenant.key_prefix else {
        return;
    };
    let place = entry_of(tenant);
    if tenant.keys.is_empty() && !context.has_mistake_in(&place.path) {
        let message = format!(
            "the tenant `{}` has no keys in the configuration",
            tenant.id.value
        );
        let hint = format!(
            "add keys that begin with {}, or make them at run time: tollgate keys create",
            prefix.value
        );
        context.warn(&place, message, &hint);
    }
}

/// Warns of a tenant or a key that is refused by now. What is disabled is meant so.
fn check_expiry(tenant: &Tenant, now: Timestamp, context: &Context<'_>) {
    const HINT: &str = "remove it, or write a later date";
    let ended = |validity: &Validity| match validity.lapse(now) {
        Some(Lapse::Expired) => validity.expires,
        Some(Lapse::Disabled) | None => None,
    };
    if let Some(at) = ended(&tenant.validity) {
        let id = &tenant.id.value;
        let message =
            format!("the tenant `{id}` has expired: since {at} all of its keys are refused");
        context.warn(&entry_of(tenant), message, HINT);
        return;
    }
    for key in &tenant.keys {
        if let Some(at) = ended(&key.validity) {
            let message = format!(
                "the key `{}` has expired: it is refused since {at}",
                key.shown()
            );
            context.warn(&key.hash.place, message, HINT);
        }
    }
}

/// Warns of a markup where there are no prices that it is added to: a tenant's own have none.
fn check_markup(tenant: &Tenant, context: &Context<'_>) {
    let place = entry_of(tenant);
    if tenant.markup.millipercent > 0 && !context.has_mistake_in(&place.path) {
        let message = "`markup` has no effect: there are no general prices that it is added to";
        let hint = "add prices: { file: prices.yaml }, or remove `markup`";
        context.warn(&place, message.to_owned(), hint);
    }
}

/// Where the tenant stands.
fn entry_of(tenant: &Tenant) -> Place {
    let id = &tenant.id.place;
    Place {
        path: id.path.trim_end_matches(".id").to_owned(),
        ..id.clone()
    }
}

fn check_models(tenant: &Tenant, config: &Config, context: &Context<'_>) {
    let of_keys = tenant.keys.iter().filter_map(|key| key.models.as_ref());
    for name in tenant.models.iter().chain(of_keys).flatten() {
        let mut rules = config.models.iter();
        if !rules.any(|rule| rule.matcher.value.meets(&name.value)) {
            let message = format!("no rule under `models` serves `{}`", name.value);
            let hint = "add a rule for it, or remove the name: the tenant gets 404";
            context.warn(&name.place, message, hint);
        }
    }
}

fn check_passthrough(tenant: &Tenant, config: &Config, context: &Context<'_>) {
    let Passthrough::To(home) = &config.server.passthrough else {
        return;
    };
    let mut upstreams = config.upstreams.iter();
    let is_known = upstreams.any(|upstream| upstream.name.value == home.value);
    let is_own = tenant.models.is_none() || tenant.passthrough.is_some();
    if !is_known || is_own || tenant.is_strict(config) {
        return;
    }
    let place = entry_of(tenant);
    // An unknown key may be meant for `passthrough`.
    if context.has_mistake_in(&place.path) {
        return;
    }
    let message = format!(
        "`models` does not bind what passes through to `{}` by server.passthrough: files, batches \
         and the like may name any model",
        home.value
    );
    context.warn(&place, message, &home_is_meant(&home.value));
}

/// What is written where a home that a tenant has not chosen itself is meant.
fn home_is_meant(home: &str) -> String {
    format!("write passthrough: off here, or passthrough: {home} if that is meant")
}

/// Warns where a tenant has a quota, and a home that it has not chosen itself: what passes through is not read.
fn check_unread(tenant: &Tenant, config: &Config, context: &Context<'_>) {
    let Passthrough::To(home) = &config.server.passthrough else {
        return;
    };
    let place = entry_of(tenant);
    let is_counted = tenant.quota.is_some();
    let is_meant = tenant.passthrough.is_some() || tenant.is_strict(config);
    if !is_counted || is_meant || context.has_mistake_in(&place.path) {
        return;
    }
    let message = format!(
        "`quota` does not count what passes through to `{}` by server.passthrough: batches and the like use tokens \
         that are not read",
        home.value
    );
    context.warn(&place, message, &home_is_meant(&home.value));
}
