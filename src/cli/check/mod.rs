//! What `tollgate check` prints: the configuration as it was understood.
//!
//! Owns the tables. Where the environment stands in for a file, that file is printed first. Keys are masked, with the
//! fingerprints that logs show. `accounting` has the tables of limits, quotas, prices and the ledger, `caching` that of
//! answers that are used again. Does not handle the targets of one request (see `route`). Cannot fail.

mod accounting;
mod caching;

use std::time::Duration;

use super::table::{align, row};
use crate::clock;
use crate::config::{
    self, Balance, BaseUrl, Config, ConsistentBy, HealthCheck, Keys, Lapse, Method, Passthrough,
    QuickStart, Source, Tenant, Upstream, Validity,
};

/// Of a tenant's keys, as many are shown.
const MOST_KEYS: usize = 16;

/// Describes a configuration.
pub fn describe(source: &Source, config: &Config) -> String {
    let mut text = config.quick_start.as_ref().map_or_else(String::new, file);
    text.push_str(&format!("{source}: ok\n\n"));
    let mut listeners = vec![row(&["LISTENER", "ADDRESS"])];
    for listener in &config.server.listen {
        let address = listener.address.value.described(listener.tls.is_some());
        listeners.push(vec!["clients".to_owned(), address]);
    }
    if let Some(address) = &config.server.admin {
        let address = format!("http://{}", address.value);
        listeners.push(vec!["operator".to_owned(), address]);
    }
    for table in [
        listeners,
        upstreams(config),
        policies(config),
        models(config),
        caching::caching(config),
        routes(config),
        tenants(config),
        accounting::limits(config),
        accounting::terms(config),
        accounting::key_quotas(config),
        accounting::prices(config),
        accounting::ledger(config),
        accounting::store(config),
        accounting::webhooks(config),
        chat_log(config),
    ] {
        // A table without rows is not printed.
        if table.len() > 1 {
            text.push_str(&align(&table));
            text.push('\n');
        }
    }
    for line in config.not_in_force() {
        text.push_str(&format!("not in force in this version: {line}\n"));
    }
    text.trim_end().to_owned()
}

/// By what a tenant is found: its first keys, and how many more there are, then what it has of other methods.
fn credentials(tenant: &Tenant, config: &Config) -> String {
    let shown = tenant.keys.iter().take(MOST_KEYS).map(|key| {
        let fingerprint = key.hash.value.fingerprint();
        let mut shown = match &key.name {
            Some(name) => format!("{} {fingerprint}…", name.value),
            None => format!("{fingerprint}…"),
        };
        if let Some(validity) = validity(key.validity, "until ") {
            shown.push_str(&format!(" ({validity})"));
        }
        shown
    });
    let mut shown: Vec<String> = shown.collect();
    if let Some(more) = tenant.keys.len().checked_sub(MOST_KEYS).filter(|n| *n > 0) {
        shown.push(format!("{more} more"));
    }
    let takes = |method| tenant.auth.is_none_or(|methods| methods.have(method));
    let signing = tenant
        .hmac
        .iter()
        .take(MOST_KEYS)
        .map(|key| format!("signs as {}", key.id.value));
    shown.extend(signing);
    let names = tenant.mtls.iter().take(MOST_KEYS);
    shown.extend(names.map(|name| format!("certificate {}", name.value.shown())));
    if !config.auth.jwt.is_empty() && takes(Method::Jwt) {
        shown.push("tokens".to_owned());
    }
    match shown.is_empty() {
        true => "none yet".to_owned(),
        false => shown.join(", "),
    }
}

/// Whether and until when something holds; `None` where it always does. `before` stands before a date to come.
fn validity(validity: Validity, before: &str) -> Option<String> {
    let now = clock::timestamp();
    match (validity.lapse(now), validity.expires) {
        (Some(Lapse::Disabled), _) => Some("disabled".to_owned()),
        (Some(Lapse::Expired), Some(at)) => Some(format!("expired {at}")),
        (_, at) => at.map(|at| format!("{before}{at}")),
    }
}

/// The environment as a file. All of it is YAML, the line of dashes too.
fn file(quick_start: &QuickStart) -> String {
    format!(
        "# The environment means the same as this file. To use a file instead, save it as tollgate.yaml,\n\
         # down to the line of dashes. It holds no key: keys stay in their variables.\n\n\
         {}\n# ---------------------------- end of tollgate.yaml ----------------------------\n\n",
        quick_start.document()
    )
}

fn upstreams(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&[
        "UPSTREAM",
        "DIALECT",
        "SERVER",
        "WEIGHT",
        "KEYS (AS IN LOGS)",
    ])];
    for upstream in &config.upstreams {
        let head = [
            upstream.name.value.clone(),
            match &upstream.dialect.api_version {
                Some(version) => format!("{} {version}", upstream.dialect.name),
                None => upstream.dialect.name.to_owned(),
            },
        ];
        let keys = describe_keys(upstream);
        if upstream.servers.is_empty() {
            table.push([&head[..], &row(&["built in", "1"]), &[keys]].concat());
            continue;
        }
        for server in &upstream.servers {
            let url = BaseUrl {
                path: Some(upstream.base_path(&server.url).to_owned()),
                ..server.url.clone()
            };
            let server = [way(upstream, &url), server.weight.to_string()];
            table.push([&head[..], &server, std::slice::from_ref(&keys)].concat());
        }
    }
    table
}

/// Where a server is, and the proxy that leads to it.
fn way(upstream: &Upstream, url: &BaseUrl) -> String {
    let proxy = upstream.proxy.as_ref().filter(|_| url.socket.is_none());
    proxy.map_or_else(|| url.to_string(), |proxy| format!("{url} through {proxy}"))
}

fn describe_keys(upstream: &Upstream) -> String {
    match &upstream.keys {
        Keys::Passthrough => "the client's own".to_owned(),
        Keys::Own(keys) if keys.is_empty() => "none".to_owned(),
        Keys::Own(keys) => {
            let keys = keys.iter();
            let shown = keys.map(|key| format!("{} {}", key.masked(), key.hash().fingerprint()));
            shown.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Balancing, health checks and timeouts of upstreams.
fn policies(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&[
        "UPSTREAM",
        "BALANCE",
        "HEALTH CHECK",
        "CONNECT",
        "FIRST TOKEN",
        "ANSWER",
        "IDLE",
        "TOTAL",
    ])];
    for upstream in &config.upstreams {
        let timeouts = &upstream.timeouts;
        let check = upstream.health_check.as_ref();
        table.push(vec![
            upstream.name.value.clone(),
            balance(upstream.balance).to_owned(),
            check.map_or_else(|| "none".to_owned(), health_check),
            time(timeouts.connect),
            time(timeouts.first_token),
            timeouts.answer.map_or_else(|| "-".to_owned(), time),
            time(timeouts.idle),
            time(timeouts.total),
        ]);
    }
    table
}

fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::Weighted => "weighted",
        Balance::Random => "random",
        Balance::LeastRequests => "least_requests",
        Balance::Consistent(ConsistentBy::PromptCacheKey) => "consistent by prompt_cache_key",
        Balance::Consistent(ConsistentBy::Tenant) => "consistent by tenant",
    }
}

fn health_check(check: &HealthCheck) -> String {
    let what = match &check.ask {
        None => "a connection".to_owned(),
        Some(ask) => {
            let statuses = ask
                .expect
                .iter()
                .map(|range| match range.start() == range.end() {
                    true => range.start().to_string(),
                    false => format!("{}-{}", range.start(), range.end()),
                });
            let statuses: Vec<String> = statuses.collect();
            format!("{} {} {}", ask.method, ask.path, statuses.join(","))
        }
    };
    format!(
        "{what}, every {}, unhealthy after {}, healthy after {}",
        time(check.interval),
        check.unhealthy_after,
        check.healthy_after
    )
}

fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn models(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&[
        "MODEL",
        "TARGET",
        "SENT MODEL",
        "PRIORITY",
        "WEIGHT",
        "FALLBACK",
    ])];
    for rule in &config.models {
        let fallback: Vec<&str> = rule
            .fallback
            .iter()
            .map(|f| f.model.value.as_str())
            .collect();
        for target in &rule.targets {
            table.push(vec![
                match rule.matcher.value.label() {
                    all if all == "*" => "* (any other)".to_owned(),
                    label => label,
                },
                target.upstream.value.clone(),
                target
                    .model
                    .clone()
                    .unwrap_or_else(|| "the same".to_owned()),
                target.priority.to_string(),
                target.weight.to_string(),
                match fallback.as_slice() {
                    [] => "-".to_owned(),
                    names => names.join(", "),
                },
            ]);
        }
    }
    table
}

/// A route's URL is the server's own: the base path of the dialect is not added.
fn routes(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&["ROUTE", "UPSTREAM", "FORWARDED TO"])];
    for route in &config.routes {
        let name = &route.upstream.value;
        let upstream = config.upstreams.iter().find(|u| u.name.value == *name);
        let servers = upstream.into_iter().flat_map(|u| &u.servers);
        let urls: Vec<String> = servers.map(|server| server.url.to_string()).collect();
        table.push(row(&[&route.prefix.value, name, &urls.join(", ")]));
    }
    table
}

fn tenants(config: &Config) -> Vec<Vec<String>> {
    let of_server = &config.server.passthrough;
    let mut table = vec![row(&["TENANT", "KEYS (SHA-256)", "MODELS", "PASSTHROUGH"])];
    if config.is_open() {
        table.push(row(&[
            "every client on this machine",
            "none",
            "all",
            home(of_server, config.server.strict),
        ]));
    } else if config.tenants.is_empty() {
        table.push(row(&["none yet: they are made at run time", "-", "-", "-"]));
    }
    for tenant in &config.tenants {
        let models = tenant.models.as_ref().map(|names| {
            let names: Vec<&str> = names.iter().map(|n| n.value.as_str()).collect();
            names.join(", ")
        });
        table.push(vec![
            tenant.id.value.clone(),
            credentials(tenant, config),
            models.unwrap_or_else(|| "all".to_owned()),
            home(
                tenant.passthrough.as_ref().unwrap_or(of_server),
                tenant.is_strict(config),
            )
            .to_owned(),
        ]);
    }
    table
}

fn chat_log(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&["CHAT LOG", "SAMPLE", "NEW FILE", "KEPT", "MASKED"])];
    if let Some(log) = &config.chat_log {
        let (rotation, retention) = (log.rotation, log.retention);
        let size = config::write_size(rotation.max_file_bytes);
        let files = format!("{} files", retention.files);
        let masked: Vec<&str> = [("addresses", log.mask.addresses), ("keys", log.mask.keys)]
            .into_iter()
            .filter_map(|(name, is_masked)| is_masked.then_some(name))
            .collect();
        table.push(vec![
            log.path.value.display().to_string(),
            log.sample.to_string(),
            format!("each {}, {size}", rotation.every.name()),
            match retention.age {
                Some(age) => format!("{}, {files}", humantime::format_duration(age)),
                None => files,
            },
            match masked.as_slice() {
                [] => "-".to_owned(),
                names => names.join(", "),
            },
        ]);
    }
    table
}

fn home(passthrough: &Passthrough, is_strict: bool) -> &str {
    match passthrough {
        _ if is_strict => "off, strict",
        Passthrough::Off => "off",
        Passthrough::To(upstream) => &upstream.value,
    }
}
