//! What `tollgate check` prints of limits, quotas, prices, the ledger, the store and webhooks.
//!
//! Owns these tables. Secrets, and the URLs that may have one in them, are not shown. Does not handle the other
//! tables (see `check`). Cannot fail.

use jiff::Timestamp;

use super::super::table::row;
use super::{time, validity};
use crate::config::{
    Config, Price, Quota, RateLimits, Tenant, Topology, Webhook, Window, write_nanos,
};
use crate::store::redis::Servers;

/// Who may ask for how much in a time.
pub fn limits(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&["LIMITS OF", "LIMITS"])];
    let mut add = |of: String, limits: Option<&RateLimits>| {
        table.extend(limits.map(|limits| vec![of, shown_limits(limits)]));
    };
    add("the whole gateway".to_owned(), config.limits.as_ref());
    for rule in &config.models {
        let label = rule.matcher.value.label();
        add(format!("model {label}"), rule.limits.as_ref());
    }
    for tenant in &config.tenants {
        let id = &tenant.id.value;
        add(format!("tenant {id}"), tenant.limits.as_ref());
        for key in &tenant.keys {
            add(format!("key {} of {id}", key.shown()), key.limits.as_ref());
        }
    }
    table
}

fn shown_limits(limits: &RateLimits) -> String {
    let set = limits.set().map(|(key, limit)| format!("{key} {limit}"));
    let mut parts: Vec<String> = set.collect();
    if limits.window != Window::default() {
        parts.push(format!("window {}", limits.window.name()));
    }
    parts.join(", ")
}

/// What tenants have agreed on with the operator; those without anything are left out.
pub fn terms(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&[
        "TENANT",
        "QUOTA",
        "EXPIRES",
        "KEY PREFIX",
        "PAYS",
        "WEBHOOK",
    ])];
    for tenant in &config.tenants {
        let cells = [
            tenant.quota.as_ref().map(|quota| shown_quota(&quota.value)),
            validity(tenant.validity, ""),
            tenant.key_prefix.as_ref().map(|p| p.value.clone()),
            pays(tenant),
            tenant.webhook.as_ref().map(shown_host),
        ];
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let cells = cells.into_iter();
        let cells = cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
        table.push([tenant.id.value.clone()].into_iter().chain(cells).collect());
    }
    table
}

/// How much may be used with single keys; those without a quota are left out.
pub fn key_quotas(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&["QUOTA OF", "QUOTA"])];
    for tenant in &config.tenants {
        let id = &tenant.id.value;
        table.extend(tenant.keys.iter().filter_map(|key| {
            let quota = shown_quota(&key.quota.as_ref()?.value);
            Some(vec![format!("key {} of {id}", key.shown()), quota])
        }));
    }
    table
}

fn shown_quota(quota: &Quota) -> String {
    let tokens = quota.tokens.map(|tokens| format!("{tokens} tokens"));
    let usd = quota
        .nanos
        .map(|nanos| format!("{} USD", write_nanos(nanos)));
    let amounts: Vec<String> = tokens.into_iter().chain(usd).collect();
    let zone = quota.timezone.iana_name().unwrap_or("UTC");
    let amounts = amounts.join(" and ");
    format!("{amounts} per {}, {zone}", quota.per.name())
}

/// What it pays beyond, or instead of, what the provider charges.
fn pays(tenant: &Tenant) -> Option<String> {
    let markup = match tenant.markup.millipercent {
        0 => None,
        markup => Some(format!(
            "markup {}%",
            // A percent is written like a dollar: by its billionths.
            write_nanos(u64::from(markup) * 1_000_000)
        )),
    };
    let own = match tenant.prices.len() {
        0 => None,
        count => Some(format!("prices of its own: {count}")),
    };
    let parts: Vec<String> = own.into_iter().chain(markup).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What models cost.
pub fn prices(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&[
        "PRICE OF",
        "UPSTREAM",
        "FROM",
        "UNTIL",
        "USD FOR A MILLION TOKENS",
    ])];
    for price in &config.prices {
        let upstream = price.upstream.as_ref().map(|u| u.value.clone());
        table.push(vec![
            price.model.value.clone(),
            upstream.unwrap_or_else(|| "any".to_owned()),
            moment(price.from),
            moment(price.until),
            shown_rates(price),
        ]);
    }
    table
}

fn moment(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| "-".to_owned(), |moment| moment.to_string())
}

fn shown_rates(price: &Price) -> String {
    let rates = &price.rates;
    let tokens = [
        ("input", Some(rates.input)),
        ("cached", rates.cached),
        ("cache_write", rates.cache_write),
        ("cache_write_1h", rates.cache_write_1h),
        ("output", Some(rates.output)),
        ("reasoning", rates.reasoning),
        ("input_audio", rates.input_audio),
        ("input_image", rates.input_image),
        ("output_audio", rates.output_audio),
        ("output_image", rates.output_image),
    ];
    let tokens = tokens.into_iter();
    let tokens = tokens.filter_map(|(name, nanos)| Some((name, nanos?, "")));
    let others = [
        ("audio_minute", rates.audio_minute),
        ("search", rates.search),
        ("request", rates.request),
    ];
    let others = others.into_iter().filter(|(_, nanos)| *nanos > 0);
    let others = others.map(|(name, nanos)| (name, nanos, " each"));
    let parts = tokens.chain(others);
    let parts = parts.map(|(name, nanos, each)| format!("{name} {}{each}", write_nanos(nanos)));
    parts.collect::<Vec<_>>().join(", ")
}

/// Where usage is recorded.
pub fn ledger(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&[
        "LEDGER",
        "DATABASE",
        "NODE",
        "ON FAILURE",
        "ARCHIVED AFTER",
        "REMOVED AFTER",
    ])];
    if let Some(ledger) = &config.ledger {
        let path = ledger.path.value.display();
        let never = || "never".to_owned();
        table.push(vec![
            match ledger.is_implied {
                true => format!("{path} (the default, as there is no `ledger`)"),
                false => path.to_string(),
            },
            match ledger.postgres {
                Some(_) => "PostgreSQL".to_owned(),
                None => "SQLite in the folder".to_owned(),
            },
            ledger.node.clone(),
            ledger.on_failure.name().to_owned(),
            ledger.archive.as_ref().map_or_else(never, |archive| {
                format!("{}, to {}", time(archive.after), archive.path.display())
            }),
            ledger.retention.map_or_else(never, time),
        ]);
    }
    table
}

/// Where several gateways count what they share.
pub fn store(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&[
        "STORE",
        "IT IS",
        "WHILE IT IS AWAY",
        "GATEWAYS AT LEAST",
    ])];
    if let Some(store) = &config.store {
        let store = &store.value;
        table.push(vec![
            Servers::of(store).places(),
            match &store.topology {
                Topology::Single => "one server".to_owned(),
                Topology::Cluster => "a Redis Cluster".to_owned(),
                Topology::Sentinel(name) => format!("the master {name} of Sentinels"),
            },
            store.on_down.name().to_owned(),
            store.nodes.to_string(),
        ]);
    }
    table
}

/// Where the operator is told of what every tenant uses.
pub fn webhooks(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&["WEBHOOK OF ALL TENANTS", "EVENTS", "SIGNED"])];
    if let Some(webhook) = &config.webhook {
        let events = webhook.events;
        let events = [
            ("usage", events.usage),
            ("threshold", events.threshold),
            ("exhausted", events.exhausted),
        ];
        let events = events.into_iter();
        let events: Vec<&str> = events.filter(|(_, is)| *is).map(|(name, _)| name).collect();
        let signed = if webhook.secret.is_some() {
            "yes"
        } else {
            "no"
        };
        table.push(vec![
            shown_host(webhook),
            events.join(", "),
            signed.to_owned(),
        ]);
    }
    table
}

/// The URL without its path and query, which may have a token in them.
fn shown_host(webhook: &Webhook) -> String {
    let url = &webhook.url.value;
    // The first two slashes are those of the scheme.
    let end = url.match_indices(['/', '?']).nth(2).map(|(at, _)| at);
    url.get(..end.unwrap_or(url.len()))
        .unwrap_or(url)
        .to_owned()
}
