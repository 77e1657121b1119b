//! The sections of two configurations, side by side.
//!
//! Owns what each section is called, what the name of an entry is, and what counts as a change of order. Does
//! not handle which keys of an entry differ (see `keys`). Cannot fail.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Change, Changes, Kind, keys};
use crate::config::{Config, Listener, ModelRule, Price, Tenant, Upstream};

/// Notes every difference of `new`.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn compare(old: &Config, new: &Config, changes: &mut Changes) {
    // Every field is named, so that none is forgotten.
    let Config {
        server,
        upstreams,
        models,
        routes,
        auth,
        tenants,
        has_tenants_section,
        limits,
        prices,
        ledger,
        store,
        webhook,
        cache,
        vector_cache,
        chat_log,
        quick_start: _,
        warnings: _,
        files: _,
    } = old;
    compare_listeners(&server.listen, &new.server.listen, changes);
    note_keys("server", keys::of_server(server, &new.server), changes);
    compare_entries(
        "upstreams",
        (upstreams, &new.upstreams),
        |upstream: &Upstream| upstream.name.value.clone(),
        keys::of_upstream,
        changes,
    );
    compare_models(models, &new.models, changes);
    compare_entries(
        "routes",
        (routes, &new.routes),
        |route| route.prefix.value.clone(),
        keys::of_route,
        changes,
    );
    note_keys("auth", keys::of_auth(auth, &new.auth), changes);
    compare_entries(
        "tenants",
        (tenants, &new.tenants),
        |tenant: &Tenant| tenant.id.value.clone(),
        keys::of_tenant,
        changes,
    );
    // An empty list has no entry that says so.
    if *has_tenants_section != new.has_tenants_section && tenants == &new.tenants {
        let kind = match has_tenants_section {
            true => Kind::Removed,
            false => Kind::Added,
        };
        changes.note("tenants", kind, Vec::new());
    }
    compare_section("limits", (limits, &new.limits), keys::of_limits, changes);
    compare_entries(
        "prices",
        (prices, &new.prices),
        price_name,
        keys::of_price,
        changes,
    );
    compare_section("ledger", (ledger, &new.ledger), keys::of_ledger, changes);
    compare_section("store", (store, &new.store), keys::of_store, changes);
    compare_section(
        "webhook",
        (webhook, &new.webhook),
        keys::of_webhook,
        changes,
    );
    compare_section("cache", (cache, &new.cache), keys::of_cache, changes);
    compare_section(
        "vector_cache",
        (vector_cache, &new.vector_cache),
        keys::of_vector_cache,
        changes,
    );
    compare_section(
        "chat_log",
        (chat_log, &new.chat_log),
        keys::of_chat_log,
        changes,
    );
}

fn compare_models(old: &[ModelRule], new: &[ModelRule], changes: &mut Changes) {
    compare_entries("models", (old, new), label, keys::of_rule, changes);
    // The first keyword that fits wins, and the list of models is in this order.
    if is_reordered(old, new) {
        changes.note("models", Kind::Changed, vec!["order"]);
    }
}

/// Sockets are opened at the start, cleartext or TLS. What is served on one can be exchanged.
fn compare_listeners(old: &[Listener], new: &[Listener], changes: &mut Changes) {
    // Several may have the same address, with port 0.
    let mut left: Vec<&Listener> = old.iter().collect();
    let path = |listener: &Listener| format!("server.listen[{}]", listener.address.value);
    for listener in new {
        let found = left.iter().position(|l| l.address == listener.address);
        let (kind, keys, needs_restart) = match found.map(|position| left.remove(position)) {
            None => (Kind::Added, Vec::new(), true),
            Some(before) => match keys::of_listener(before, listener) {
                keys if keys.is_empty() => continue,
                keys => (Kind::Changed, keys, !before.is_same_kind(listener)),
            },
        };
        changes.0.push(Change {
            path: path(listener),
            kind,
            keys,
            needs_restart,
        });
    }
    for gone in left {
        changes.0.push(Change {
            path: path(gone),
            kind: Kind::Removed,
            keys: Vec::new(),
            needs_restart: true,
        });
    }
}

/// Compares entries that have names of the operator's choosing.
fn compare_entries<T>(
    section: &str,
    (old, new): (&[T], &[T]),
    name: impl Fn(&T) -> String,
    keys: impl Fn(&T, &T) -> Vec<&'static str>,
    changes: &mut Changes,
) {
    let mut before: HashMap<String, &T> = old.iter().map(|entry| (name(entry), entry)).collect();
    for entry in new {
        let name = name(entry);
        let path = || format!("{section}.{name}");
        match before.remove(&name) {
            None => changes.note(path(), Kind::Added, Vec::new()),
            Some(before) => match keys(before, entry) {
                keys if keys.is_empty() => {}
                keys => changes.note(path(), Kind::Changed, keys),
            },
        }
    }
    let names = old.iter().map(name);
    for gone in names.filter(|name| before.contains_key(name)) {
        changes.note(format!("{section}.{gone}"), Kind::Removed, Vec::new());
    }
}

/// Compares a section that may be missing.
fn compare_section<T>(
    section: &str,
    pair: (&Option<T>, &Option<T>),
    keys: impl Fn(&T, &T) -> Vec<&'static str>,
    changes: &mut Changes,
) {
    match pair {
        (Some(old), Some(new)) => note_keys(section, keys(old, new), changes),
        (None, Some(_)) => changes.note(section, Kind::Added, Vec::new()),
        (Some(_), None) => changes.note(section, Kind::Removed, Vec::new()),
        (None, None) => {}
    }
}

fn note_keys(section: &str, keys: Vec<&'static str>, changes: &mut Changes) {
    for key in keys {
        changes.note(format!("{section}.{key}"), Kind::Changed, Vec::new());
    }
}

fn label(rule: &ModelRule) -> String {
    rule.matcher.value.label()
}

/// Whether the rules that are in both lists follow each other in another order.
fn is_reordered(old: &[ModelRule], new: &[ModelRule]) -> bool {
    let old: Vec<String> = old.iter().map(label).collect();
    let places: HashMap<&str, usize> = (0..).zip(&old).map(|(at, name)| (&**name, at)).collect();
    let both = new.iter().filter_map(|rule| places.get(&*label(rule)));
    !both.is_sorted()
}

/// A price's model, and what tells it from others of the model.
fn price_name(price: &Price) -> String {
    let mut name = price.model.value.clone();
    if let Some(upstream) = &price.upstream {
        name.push_str(&format!(" of {}", upstream.value));
    }
    if let Some(from) = price.from {
        name.push_str(&format!(" from {}", shown(from)));
    }
    name
}

/// A moment, as a day where it is the beginning of one in UTC.
fn shown(moment: Timestamp) -> String {
    let text = moment.to_string();
    match text.strip_suffix("T00:00:00Z") {
        Some(day) => day.to_owned(),
        None => text,
    }
}
