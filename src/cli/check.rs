//! What `tollgate check` prints: the configuration as it was understood.
//!
//! Owns the tables, and the frame of the document that goes before them where nobody has written
//! one. Keys are masked, client keys are shown by fingerprint.

use crate::config::{self, Config, Keys, Passthrough, QuickStart, Source, Upstream};

/// Describes a configuration.
pub fn describe(source: &Source, config: &Config) -> String {
    let mut text = config.quick_start.as_ref().map_or_else(String::new, file);
    text.push_str(&format!("{source}: ok\n\n"));
    let mut listeners = vec![row(&["LISTENER", "ADDRESS"])];
    for listener in &config.server.listen {
        let scheme = if listener.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let address = listener.address.value;
        listeners.push(vec!["clients".to_owned(), format!("{scheme}://{address}")]);
    }
    if let Some(address) = &config.server.admin {
        let address = format!("http://{}", address.value);
        listeners.push(vec!["operator".to_owned(), address]);
    }
    for table in [
        listeners,
        upstreams(config),
        models(config),
        routes(config),
        tenants(config),
        chat_log(config),
    ] {
        // A table of nothing but its head would say nothing.
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

/// What can be saved as a file: all of it is YAML, the line of dashes too.
fn file(quick_start: &QuickStart) -> String {
    format!(
        "# The environment amounts to this file. To go on from there, save it as tollgate.yaml, down to\n\
         # the line of dashes. It holds no key: they stay in their variables.\n\n\
         {}\n# ---------------------------- end of tollgate.yaml ----------------------------\n\n",
        quick_start.document()
    )
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn upstreams(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&["UPSTREAM", "DIALECT", "SERVER", "WEIGHT", "KEYS"])];
    for upstream in &config.upstreams {
        let head = [
            upstream.name.value.clone(),
            upstream.dialect.name.to_owned(),
        ];
        let keys = describe_keys(upstream);
        if upstream.servers.is_empty() {
            table.push([&head[..], &row(&["built in", "1"]), &[keys]].concat());
            continue;
        }
        for server in &upstream.servers {
            let url = config::BaseUrl {
                path: Some(upstream.base_path(&server.url).to_owned()),
                ..server.url.clone()
            };
            let server = [url.to_string(), server.weight.to_string()];
            table.push([&head[..], &server, std::slice::from_ref(&keys)].concat());
        }
    }
    table
}

fn describe_keys(upstream: &Upstream) -> String {
    match &upstream.keys {
        Keys::Passthrough => "the client's own".to_owned(),
        Keys::Own(keys) if keys.is_empty() => "none".to_owned(),
        Keys::Own(keys) => {
            let masked: Vec<String> = keys.iter().map(|key| key.masked()).collect();
            masked.join(", ")
        }
    }
}

fn models(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&[
        "MODEL",
        "TARGET",
        "ASKED FOR",
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

/// Behind a prefix nothing is added to a URL, where the API's own paths may stand elsewhere.
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
    let of_server = &config.server.ways.passthrough;
    let mut table = vec![row(&["TENANT", "KEYS (SHA-256)", "MODELS", "PASSTHROUGH"])];
    if config.tenants.is_empty() {
        table.push(row(&[
            "anybody on this machine",
            "none",
            "all",
            home(of_server),
        ]));
    }
    for tenant in &config.tenants {
        let keys: Vec<String> = tenant
            .keys
            .iter()
            .map(|key| format!("{}…", key.value.fingerprint()))
            .collect();
        let models = tenant.models.as_ref().map(|names| {
            let names: Vec<&str> = names.iter().map(|n| n.value.as_str()).collect();
            names.join(", ")
        });
        table.push(vec![
            tenant.id.value.clone(),
            keys.join(", "),
            models.unwrap_or_else(|| "all".to_owned()),
            home(tenant.passthrough.as_ref().unwrap_or(of_server)).to_owned(),
        ]);
    }
    table
}

fn chat_log(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&["CHAT LOG", "SAMPLE", "NEW FILE", "KEPT", "MASKED"])];
    if let Some(log) = &config.chat_log {
        let (rotation, retention) = (log.rotation, log.retention);
        let size = bytesize::ByteSize(rotation.max_file_bytes);
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

fn home(passthrough: &Passthrough) -> &str {
    match passthrough {
        Passthrough::Off => "off",
        Passthrough::To(upstream) => &upstream.value,
    }
}

/// Pads each column to its widest cell.
fn align(table: &[Vec<String>]) -> String {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in table {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
