//! Examples of configurations are right, and so are queries and files of Prometheus.
//!
//! An example gets what it leaves out from `tests/fixtures/documents.yaml`: each section that it lacks,
//! and each upstream whose name it lacks.

use std::fmt::Write as _;
use std::process::Command;

use super::page::fences;
use super::{assert_none, fixture, moved};
use crate::support::authority::Authority;
use crate::support::certificate::certificate;
use crate::support::gateway::{BINARY, Folder};
use crate::support::tools::require;

/// The keys at the top of a configuration.
const SECTIONS: [&str; 12] = [
    "server",
    "upstreams",
    "models",
    "routes",
    "tenants",
    "limits",
    "prices",
    "ledger",
    "store",
    "webhook",
    "cache",
    "chat_log",
];

/// Splits a configuration into its sections, each with its name.
fn sections(yaml: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in yaml.lines() {
        let begins = line.starts_with(|c: char| c.is_ascii_lowercase());
        if begins && let Some((name, _)) = line.split_once(':') {
            sections.push((name.to_owned(), String::new()));
        }
        if let Some((_, text)) = sections.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    sections
}

/// The names of a section's entries, where each line of one stands two to the right.
fn entry_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("  ")?;
    let begins = rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    begins.then(|| rest.split(':').next()).flatten()
}

/// The example, with what it leaves out.
pub fn completed(example: &str) -> String {
    let mut whole = sections(example);
    for (name, text) in sections(&fixture("documents.yaml")) {
        let Some((_, own)) = whole.iter_mut().find(|(known, _)| *known == name) else {
            whole.push((name, text));
            continue;
        };
        if name != "upstreams" {
            continue;
        }
        for line in text.lines().skip(1) {
            let known = own.lines().filter_map(entry_name);
            let name = entry_name(line);
            if name.is_some() && !known.into_iter().any(|known| Some(known) == name) {
                own.push_str(line);
                own.push('\n');
            }
        }
    }
    whole.into_iter().map(|(_, text)| text).collect()
}

/// Sets each variable that a configuration names, unless it has a default.
pub fn set_variables(command: &mut Command, yaml: &str) {
    for part in yaml.split("${").skip(1) {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = part.split_at(end.unwrap_or(part.len()));
        match rest.chars().next() {
            Some('}') => command.env(name, format!("the-value-of-a-variable-called-{name}")),
            Some('[') => command.env(
                name,
                ["one", "two", "three"]
                    .map(|n| format!("{n}-{name}"))
                    .join(","),
            ),
            _ => command,
        };
    }
}

/// A folder with the certificate that examples name.
pub fn folder_with_certificate() -> Option<Folder> {
    require(&["openssl"], "openssl")?;
    let folder = Folder::new();
    let made = certificate(&folder);
    let tls = folder.0.join("tls");
    std::fs::create_dir(&tls).unwrap();
    let clients = Authority::new("clients");
    clients.list(&tls.join("clients.crl"));
    for (file, name) in [
        (&clients.cert, "clients-ca.pem"),
        (&made.cert, "fullchain.pem"),
        (&made.key, "privkey.pem"),
        (&made.authority, "company-ca.pem"),
        (&made.cert, "client.pem"),
        (&made.key, "client-key.pem"),
    ] {
        std::fs::copy(file, tls.join(name)).unwrap();
    }
    Some(folder)
}

#[test]
fn each_configuration_is_right() {
    let Some(folder) = folder_with_certificate() else {
        return;
    };
    folder.write("prices.yaml", "- { model: \"*\", input: 1, output: 2 }\n");
    let mut mistakes = Vec::new();
    for fence in fences("yaml") {
        let names: Vec<String> = sections(&fence.text).into_iter().map(|(n, _)| n).collect();
        let ours = names.iter().any(|name| SECTIONS.contains(&name.as_str()));
        if is_of_prometheus(&names) {
            continue;
        }
        if !ours {
            mistakes.push(format!(
                "{}: it has no section at its left edge",
                fence.place
            ));
            continue;
        }
        let yaml = moved(&completed(&fence.text), &folder);
        let file = folder.write("example.yaml", &yaml);
        let mut command = Command::new(BINARY);
        command.arg("check").arg(file);
        set_variables(&mut command, &yaml);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() || said.contains(": warning: ") {
            mistakes.push(format!("{}:\n{said}in\n{yaml}", fence.place));
        }
    }
    assert_none(&mistakes);
}

fn is_of_prometheus(names: &[String]) -> bool {
    names.iter().any(|n| n == "scrape_configs" || n == "groups")
}

#[test]
fn each_query_is_one() {
    let Some(promtool) = require(&["promtool"], "prometheus") else {
        return;
    };
    let folder = Folder::new();
    let mut mistakes = Vec::new();
    let mut check = |place: &str, what: &str, text: &str| {
        let file = folder.write("checked.yaml", text);
        let mut command = Command::new(&promtool);
        let output = command.args(["check", what]).arg(file).output().unwrap();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            mistakes.push(format!("{place}: {said}"));
        }
    };
    for fence in fences("promql") {
        let mut rules =
            "groups:\n- name: page\n  rules:\n  - record: page\n    expr: |2\n".to_owned();
        for line in fence.text.lines() {
            let _ = writeln!(rules, "      {line}");
        }
        check(&fence.place, "rules", &rules);
    }
    for fence in fences("yaml") {
        let names: Vec<String> = sections(&fence.text).into_iter().map(|(n, _)| n).collect();
        if is_of_prometheus(&names) {
            let rules = names.iter().any(|name| name == "groups");
            let what = if rules { "rules" } else { "config" };
            check(&fence.place, what, &fence.text);
        }
    }
    assert_none(&mistakes);
}
