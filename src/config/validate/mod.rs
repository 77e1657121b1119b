//! Checks that cross sections.
//!
//! Owns what must hold between names: that each reference leads somewhere, that nothing is written twice, that no
//! fallback is circular, that no caller from outside is served without a key; and that the files and folders exist and
//! can be used. `tenants` has what must hold between tenants, `callers` what methods need, `caching` what answers by
//! meaning need, `accounting` what prices, quotas and the ledger must be like, `folders` what can be written. Does not
//! handle what is allowed and probably not meant (see `warnings`). Every mistake is reported. Where an entry could not
//! be read, names that it may have are not reported.

mod accounting;
mod caching;
mod callers;
mod folders;
mod tenants;

use std::collections::HashSet;

use super::document::{Context, Located};
use super::problem::nearest;
use super::{Config, ListenAddress, Listener, Passthrough, Price, certificate, client_authorities};
use crate::routing::{self, Matcher};

/// Which sections have entries that could not be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unread {
    /// Upstreams may be missing.
    pub upstreams: bool,
    /// Rules may be missing.
    pub models: bool,
    /// Tenants may be missing.
    pub tenants: bool,
    /// Prices are written, and all of them may be missing.
    pub prices: bool,
}

/// Notes every problem that only the whole configuration shows. `needs_threshold`: not where that of the embedding
/// model is to be found out.
pub fn check(config: &Config, unread: &Unread, needs_threshold: bool, context: &Context<'_>) {
    check_listeners(config, unread, context);
    check_forms(config, context);
    check_versions(config, context);
    if !unread.upstreams {
        check_references(config, context);
    }
    check_matchers(config, context);
    check_fallbacks(config, unread, context);
    if !unread.models {
        check_default_models(config, context);
    }
    tenants::check(config, context);
    callers::check(config, unread, context);
    accounting::check(config, unread, context);
    caching::check(config, unread, needs_threshold, context);
    check_routes(config, context);
    folders::check(config, context);
}

fn check_listeners(config: &Config, unread: &Unread, context: &Context<'_>) {
    let mut seen = HashSet::new();
    let listeners = config.server.listen.iter().map(|l| &l.address);
    let listeners = listeners.map(|address| (address.value.clone(), &address.place));
    let admin = config.server.admin.iter();
    let admin = admin.map(|address| (ListenAddress::from(address.value), &address.place));
    for (address, place) in listeners.chain(admin) {
        // Port 0 asks the system for any free port, so two of them differ.
        if !address.is_any_port() && !seen.insert(address.clone()) {
            let message = format!("two listeners have the address {address}");
            let hint = match address {
                ListenAddress::Ip(_) => "remove one of them, or give it another port",
                ListenAddress::Unix(_) => "remove one of them, or give it another path",
            };
            context.report(place, message, Some(hint.to_owned()));
        }
    }
    let has_tenants = unread.tenants || !config.is_open();
    let has_proxies = !config.server.trusted_proxies.is_empty()
        || context.has_mistake_in("server.trusted_proxies");
    for listener in &config.server.listen {
        check_listener((has_tenants, has_proxies), listener, context);
    }
}

fn check_listener(
    (has_tenants, has_proxies): (bool, bool),
    listener: &Listener,
    context: &Context<'_>,
) {
    let address = &listener.address;
    if !has_tenants && !address.value.is_of_this_machine() {
        let hint = "add `tenants` with keys, or listen on 127.0.0.1";
        context.report(
            &address.place,
            "without client keys, anybody who reaches this address could spend your money",
            Some(hint.to_owned()),
        );
    }
    if listener.proxy_protocol.value && !has_proxies {
        let hint =
            "name the proxies, as in trusted_proxies: [10.0.0.5], or remove `proxy_protocol`";
        context.report(
            &listener.proxy_protocol.place,
            "only trusted proxies may announce an address, and there are none",
            Some(hint.to_owned()),
        );
    }
    let Some(tls) = &listener.tls else { return };
    for (files, suites) in certificate::all(tls) {
        if let Err(fault) = certificate::load(files, suites) {
            context.report(fault.place, fault.message, Some(fault.hint.to_owned()));
        }
    }
    let usual = tls.usual.as_ref();
    let Some(clients) = usual.and_then(|usual| usual.clients.as_ref()) else {
        return;
    };
    if let Err(fault) = client_authorities::load(clients) {
        context.report(fault.place, fault.message, Some(fault.hint.to_owned()));
    }
    if clients.is_required && tls.sm.is_some() {
        let message = "clients of `sm` show no certificate, and would get in without one";
        let hint = "set `required` to false, or serve `sm` on another listener".to_owned();
        context.report(&clients.ca.place, message, Some(hint));
    }
}

fn check_forms(config: &Config, context: &Context<'_>) {
    let Some(dir) = &config.server.forms.dir else {
        return;
    };
    // A file is made as for a form: only that shows whether one can be.
    if let Err(e) = tempfile::tempfile_in(&dir.value) {
        let folder = dir.value.display();
        let message = format!("{folder} is not a folder that can be written: {e}");
        let hint = "create it, and give write permission to the user that runs Tollgate";
        context.report(&dir.place, message, Some(hint.to_owned()));
    }
}

/// A version belongs to the scheme whose paths name deployments; this URL has another path.
fn check_versions(config: &Config, context: &Context<'_>) {
    let upstreams = config.upstreams.iter();
    let versioned = upstreams.filter(|upstream| upstream.dialect.api_version.is_some());
    for server in versioned.flat_map(|upstream| &upstream.servers) {
        let path = server.url.path.as_deref().unwrap_or_default();
        if path.ends_with("/openai/v1") {
            let hint = "remove `api_version`, or end the URL at the host";
            context.report(
                &server.place,
                "the API at this URL has no versions",
                Some(hint.to_owned()),
            );
        }
    }
}

fn check_references(config: &Config, context: &Context<'_>) {
    let known: Vec<&str> = config
        .upstreams
        .iter()
        .map(|u| u.name.value.as_str())
        .collect();
    let targets = config.models.iter().flat_map(|r| &r.targets);
    let tenants = config.tenants.iter().filter_map(|t| t.passthrough.as_ref());
    let homes = tenants.chain([&config.server.passthrough]);
    let own_prices = config.tenants.iter().flat_map(|t| &t.prices);
    let prices = config.prices.iter().chain(own_prices);
    let named = targets
        .map(|t| &t.upstream)
        .chain(config.routes.iter().map(|r| &r.upstream))
        .chain(homes.filter_map(|home| match home {
            Passthrough::To(upstream) => Some(upstream),
            Passthrough::Off => None,
        }))
        .chain(prices.filter_map(|price: &Price| price.upstream.as_ref()));
    for name in named {
        if known.contains(&name.value.as_str()) {
            continue;
        }
        let hint = match nearest(&name.value, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("upstreams are: {}", known.join(", ")),
        };
        let message = format!("no upstream is called `{}`", name.value);
        context.report(&name.place, message, Some(hint));
    }
}

fn check_matchers(config: &Config, context: &Context<'_>) {
    let mut seen = HashSet::new();
    for rule in &config.models {
        let label = rule.matcher.value.label();
        if !seen.insert(label.clone()) {
            let message = format!("`{label}` has a rule above already");
            let hint = "put all targets into one rule".to_owned();
            context.report(&rule.matcher.place, message, Some(hint));
        }
    }
}

/// Each fallback must lead to a rule, and no chain of them back to its beginning.
fn check_fallbacks(config: &Config, unread: &Unread, context: &Context<'_>) {
    let matchers: Vec<&Matcher> = config.models.iter().map(|r| &r.matcher.value).collect();
    let index = routing::Index::new(matchers.iter().copied());
    let mut edges: Vec<Vec<(usize, &Located<String>)>> = Vec::new();
    for rule in &config.models {
        let mut next = Vec::new();
        for name in rule.fallback.iter().map(|fallback| &fallback.model) {
            match index.find(&name.value) {
                Some(rule) => next.push((rule, name)),
                None if unread.models => {}
                None => {
                    let message = format!("no rule serves the fallback `{}`", name.value);
                    context.report(
                        &name.place,
                        message,
                        Some(rule_hint(&name.value, &matchers)),
                    );
                }
            }
        }
        edges.push(next);
    }
    let mut state = vec![Visit::New; edges.len()];
    for start in 0..edges.len() {
        walk(start, &edges, &mut state, context);
    }
}

/// What to write in place of a name that no rule serves.
fn rule_hint(name: &str, matchers: &[&Matcher]) -> String {
    let exact = matchers.iter().filter_map(|matcher| match matcher {
        Matcher::Exact(name) => Some(name.as_str()),
        _ => None,
    });
    match nearest(name, exact) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add a rule for it: match: {name}, or match: \"*\" for any name"),
    }
}

fn check_default_models(config: &Config, context: &Context<'_>) {
    let matchers: Vec<&Matcher> = config.models.iter().map(|r| &r.matcher.value).collect();
    let index = routing::Index::new(matchers.iter().copied());
    for (_, model) in &config.server.default_models {
        if index.find(&model.value).is_none() {
            let message = format!("no rule serves the default model `{}`", model.value);
            let hint = rule_hint(&model.value, &matchers);
            context.report(&model.place, message, Some(hint));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    New,
    Open,
    Done,
}

/// Depth first, without recursion, since a chain may be as long as the file.
fn walk(
    start: usize,
    edges: &[Vec<(usize, &Located<String>)>],
    state: &mut [Visit],
    context: &Context<'_>,
) {
    let mut path = vec![(start, 0usize)];
    while let Some((rule, edge)) = path.last_mut() {
        let Some(visit) = state.get_mut(*rule) else {
            return;
        };
        if *edge == 0 && *visit == Visit::New {
            *visit = Visit::Open;
        } else if *edge == 0 {
            path.pop();
            continue;
        }
        match edges.get(*rule).and_then(|out| out.get(*edge)) {
            Some((next, name)) => {
                *edge += 1;
                match state.get(*next) {
                    Some(Visit::Open) => {
                        let message = format!("the fallback `{}` is circular", name.value);
                        let hint = "remove it: it leads back to this rule".to_owned();
                        context.report(&name.place, message, Some(hint));
                    }
                    Some(Visit::New) => path.push((*next, 0)),
                    _ => {}
                }
            }
            None => {
                *visit = Visit::Done;
                path.pop();
            }
        }
    }
}

fn check_routes(config: &Config, context: &Context<'_>) {
    let mut seen = HashSet::new();
    for prefix in config.routes.iter().map(|route| &route.prefix) {
        if !seen.insert(prefix.value.as_str()) {
            let message = format!("`{}` has a route above already", prefix.value);
            let hint = "remove one of them, or give it another prefix".to_owned();
            context.report(&prefix.place, message, Some(hint));
        }
    }
}
