//! Changes, from the texts of two configurations.

use super::*;
use crate::config::Variables;

const BASE: &str = "server:
  listen: [127.0.0.1:8080, {address: 127.0.0.1:0}]
  limits: { connections: 100 }
upstreams:
  openai: { base_url: 'https://api.openai.com/v1', keys: ['${KEY}'] }
  near: { servers: ['http://a', 'http://b'], balance: consistent, max_concurrent: 5 }
models:
  - { match: gpt-*, targets: [{ upstream: openai }] }
  - { match: { keyword: mini }, targets: [{ upstream: near }] }
  - { match: { keyword: large }, targets: [{ upstream: openai }] }
routes:
  - { prefix: /near, upstream: near }
tenants:
  - { id: acme, keys: [ka, kb], quota: { tokens: 5 } }
  - { id: other, keys: [kc] }
limits: { requests_per_minute: 60 }
prices:
  - { model: gpt-4o, input: 1, until: 2027-01-01 }
  - { model: gpt-4o, input: 2, from: 2027-01-01 }
  - { model: gpt-4o, upstream: near, input: 0 }
  - { model: '*', input: 3 }
ledger: { path: l }
webhook: { url: 'https://a', secret: '${HOOK}' }
chat_log: { path: chats.jsonl, mask: off }
";

fn parse(text: &str, key: &str) -> Config {
    let variables = [("KEY", key), ("HOOK", "0123456789abcdef")];
    Config::parse(
        "t.yaml",
        text,
        &variables.into_iter().collect::<Variables>(),
    )
    .unwrap()
}

/// The changes after each first text of `edits` was replaced by the second.
#[track_caller]
fn edited(edits: &[(&str, &str)]) -> Changes {
    let mut text = BASE.to_owned();
    for (from, to) in edits {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    Changes::between(&parse(BASE, "k"), &parse(&text, "k"))
}

#[track_caller]
fn assert_changes(edits: &[(&str, &str)], expected: &[&str]) {
    let changes = edited(edits).to_string();
    let found: Vec<&str> = changes.lines().collect();
    assert_eq!(found, expected, "{edits:?}");
}

#[test]
fn what_means_the_same_is_no_change() {
    let longer = BASE.replace("server:\n", "# A comment\n\nserver:\n  threads: 0\n");
    let longer = longer.replace(
        "max_concurrent: 5",
        "queue: { wait: 1s }, max_concurrent: 5",
    );
    let longer = longer.replace("keys: [ka, kb]", "keys: ['ka,kb']");
    let longer = longer.replace("['http://a',", "[{ url: 'http://a/', weight: 1 },");
    assert!(Changes::between(&parse(BASE, "k"), &parse(&longer, "k")).is_empty());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn an_entry_is_named_with_the_keys_that_changed() {
    for (from, to, expected) in [
        (
            "/v1', keys: ['${KEY}']",
            "/v2', keys: [z], timeouts: { idle: 1s }",
            "upstreams.openai: changed (keys, timeouts, base_url)",
        ),
        (
            "balance: consistent,",
            "balance: consistent, consistent_by: tenant,",
            "upstreams.near: changed (consistent_by)",
        ),
        (
            "balance: consistent,",
            "balance: random,",
            "upstreams.near: changed (balance)",
        ),
        (
            "max_concurrent: 5",
            "max_concurrent: 6, queue: { length: 1, wait: 2s }",
            "upstreams.near: changed (max_concurrent, queue)",
        ),
        (
            "max_concurrent: 5",
            "http2: true",
            "upstreams.near: changed (http2, max_concurrent)",
        ),
        (
            "gpt-*, targets",
            "gpt-*, on_client_gone: drain, targets",
            "models.gpt-*: changed (on_client_gone)",
        ),
        (
            "mini }, targets: [{ upstream: near }]",
            "mini }, targets: [{ upstream: near, weight: 2 }]",
            "models.*mini*: changed (targets)",
        ),
        (
            "/near, upstream: near",
            "/near, upstream: openai",
            "routes./near: changed (upstream)",
        ),
        (
            "[kc]",
            "[kc], enabled: false, allow_usage_reports: true",
            "tenants.other: changed (enabled, allow_usage_reports)",
        ),
        ("[ka, kb]", "[ka]", "tenants.acme: changed (keys)"),
        ("tokens: 5", "tokens: 6", "tenants.acme: changed (quota)"),
        (
            "input: 1, until: 2027-01-01",
            "input: 1, output: 4, until: 2026-12-31",
            "prices.gpt-4o: changed (until, output)",
        ),
        (
            "input: 2",
            "input: 9",
            "prices.gpt-4o from 2027-01-01: changed (input)",
        ),
        (
            "near, input: 0",
            "near, input: 9",
            "prices.gpt-4o of near: changed (input)",
        ),
    ] {
        // The gap that an earlier end leaves in prices would be a mistake.
        let edits = match to.contains("2026-12-31") {
            true => vec![(from, to), ("from: 2027-01-01", "from: 2026-12-31")],
            false => vec![(from, to)],
        };
        let found = edited(&edits).to_string();
        let first = found.lines().next();
        assert_eq!(first, Some(expected), "{from} -> {to}: {found}");
        if edits.len() == 1 {
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn entries_come_and_go_by_name() {
    assert_changes(
        &[
            ("  near: {", "  far: { base_url: 'http://f' }\n  near: {"),
            ("match: gpt-*", "match: o3"),
            ("{ id: other, keys: [kc] }", "{ id: third, keys: [kd] }"),
        ],
        &[
            "upstreams.far: added",
            "models.o3: added",
            "models.gpt-*: removed",
            "tenants.third: added",
            "tenants.other: removed",
        ],
    );
}

#[test]
fn a_section_that_may_be_missing_comes_and_goes() {
    assert_changes(
        &[
            ("limits: { requests_per_minute: 60 }\n", ""),
            ("chat_log: { path: chats.jsonl, mask: off }\n", ""),
        ],
        &["limits: removed", "chat_log: removed"],
    );
    assert_changes(
        &[
            ("minute: 60", "minute: 61"),
            ("chats.jsonl, mask: off", "chats.jsonl"),
            ("'https://a', secret: '${HOOK}'", "'https://a'"),
        ],
        &[
            "limits.requests_per_minute: changed",
            "webhook.secret: changed",
            "chat_log.mask: changed",
        ],
    );
}

#[test]
fn the_order_of_rules_is_a_change_of_its_own() {
    let mini = "  - { match: { keyword: mini }, targets: [{ upstream: near }] }\n";
    let large = "  - { match: { keyword: large }, targets: [{ upstream: openai }] }\n";
    let both = format!("{mini}{large}");
    let swapped = format!("{large}{mini}");
    assert_changes(&[(&both, &swapped)], &["models: changed (order)"]);
    // One that is inserted moves none.
    let between = format!("{mini}  - {{ match: o3, targets: [{{ upstream: near }}] }}\n{large}");
    assert_changes(&[(&both, &between)], &["models.o3: added"]);
    // The order of upstreams, tenants and prices means nothing.
    assert_changes(
        &[(
            "  - { id: acme, keys: [ka, kb], quota: { tokens: 5 } }\n  - { id: other, keys: [kc] }\n",
            "  - { id: other, keys: [kc] }\n  - { id: acme, keys: [ka, kb], quota: { tokens: 5 } }\n",
        )],
        &[],
    );
}

#[test]
fn what_needs_a_restart_is_marked() {
    assert_changes(
        &[
            ("listen: [127.0.0.1:8080,", "listen: [127.0.0.1:8081,"),
            (
                "  limits: {",
                "  threads: 3\n  admin: off\n  max_body: 1MiB\n  log: { level: warn, files: { path: . } }\n  limits: {",
            ),
            ("path: l ", "path: m, on_failure: refuse "),
        ],
        &[
            "server.listen[127.0.0.1:8081]: added, needs a restart",
            "server.listen[127.0.0.1:8080]: removed, needs a restart",
            "server.admin: changed, needs a restart",
            "server.max_body: changed",
            "server.threads: changed, needs a restart",
            "server.log.level: changed",
            "server.log.files: changed, needs a restart",
            "ledger.path: changed, needs a restart",
            "ledger.on_failure: changed, needs a restart",
        ],
    );
    // Neither begins with the name of the listener by chance alone.
    assert_changes(
        &[(
            "  limits: {",
            "  admin_hosts: [a]\n  admin_token: 0123456789abcdef\n  limits: {",
        )],
        &["server.admin_token: changed", "server.admin_hosts: changed"],
    );
    let without = BASE.replace("ledger: { path: l }\n", "");
    let changes = Changes::between(&parse(BASE, "k"), &parse(&without, "k"));
    // The quota implies one, in the default folder.
    assert_eq!(changes.to_string(), "ledger.path: changed, needs a restart");
}

#[test]
fn another_value_of_a_variable_is_a_change_and_no_secret_is_shown() {
    let changes = Changes::between(&parse(BASE, "sk-one"), &parse(BASE, "sk-two"));
    let shown = format!("{changes} {} {changes:?}", changes.json());
    assert!(
        shown.starts_with("upstreams.openai: changed (keys) "),
        "{shown}"
    );
    assert!(!shown.contains("sk-"), "{shown}");
}

#[test]
fn the_json_form_tells_what_is_applied_from_what_is_not() {
    let changes = edited(&[
        ("tokens: 5", "tokens: 6"),
        ("  limits: {", "  threads: 3\n  limits: {"),
    ]);
    assert_eq!(
        changes.json(),
        serde_json::json!({
            "changed": ["tenants.acme: changed (quota)"],
            "needs_restart": ["server.threads: changed"],
        })
    );
    assert_eq!(changes.applied().count(), 1);
    assert_eq!(changes.needs_restart().count(), 1);
    let none = edited(&[]).json();
    assert_eq!(
        none,
        serde_json::json!({ "changed": [], "needs_restart": [] })
    );
}

/// A list of `count` tenants.
fn many(count: usize) -> Config {
    let tenants: String = (0..count)
        .map(|n| format!("  - {{ id: t{n}, keys: [k{n}] }}\n"))
        .collect();
    let text = format!(
        "upstreams: {{ a: {{ base_url: 'http://a' }} }}\n\
         models: [{{ match: m, targets: [{{ upstream: a }}] }}]\ntenants:\n{tenants}"
    );
    parse(&text, "k")
}

#[test]
fn a_change_among_many_tenants_is_found_by_name() {
    let changes = Changes::between(&many(5_000), &many(5_001));
    assert_eq!(changes.to_string(), "tenants.t5000: added");
}
