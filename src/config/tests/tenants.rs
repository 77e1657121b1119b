//! Tenants with their keys, prefixes, labels, and what they pay.

use super::{problems, variables, with};
use crate::config::{Config, Lapse, Tenant};
use crate::secret::KeyHash;

#[track_caller]
fn parse(tenant: &str) -> Tenant {
    let text = with(&format!(
        "prices: [{{ model: '*', input: 1 }}]\ntenants: [{{ id: t, {tenant} }}]"
    ));
    let config = Config::parse("t.yaml", &text, &variables());
    config.map_err(|e| e.to_string()).unwrap().tenants[0].clone()
}

/// Everything that is said of a list of tenants; nothing where it is taken without a warning.
fn said(tenants: &str) -> Vec<String> {
    let text = with(&format!("tenants:\n{tenants}"));
    match Config::parse("t.yaml", &text, &variables()) {
        Ok(config) => config.warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn everything_can_be_said() {
    let tenant = parse(
        "name: Reseller 1, labels: { team: x, tier: 2 }, enabled: false, expires: 2027-01-01,
         key_prefix: rs1_, keys: [rs1_a, { key: 'rs1_b', name: ci, limits: { rpm: 5 }, quota: 5000, enabled: false },
         { key: rs1_c, expires: '2026-06-01T12:00:00+02:00' }], limits: { concurrent: 8 },
         quota: 120000, webhook: https://billing.example/hook, markup: 12.5%,
         prices: [{ model: m, input: 3 }]",
    );
    assert_eq!(tenant.name.as_deref(), Some("Reseller 1"));
    let labels: Vec<(&str, &str)> = tenant
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(labels, [("team", "x"), ("tier", "2")]);
    assert!(!tenant.validity.is_enabled);
    let expires = |validity: &crate::config::Validity| validity.expires.unwrap().to_string();
    assert_eq!(expires(&tenant.validity), "2027-01-01T00:00:00Z");
    assert_eq!(tenant.key_prefix.unwrap().value, "rs1_");
    let [plain, ci, dated]: [_; 3] = tenant.keys.try_into().unwrap();
    assert_eq!(plain.hash.value, KeyHash::of(b"rs1_a"));
    assert_eq!(plain.shown(), KeyHash::of(b"rs1_a").fingerprint());
    assert_eq!(ci.shown(), "ci");
    assert_eq!(ci.limits.as_ref().unwrap().requests_per_minute, Some(5));
    assert_eq!(ci.quota.as_ref().unwrap().value.tokens, Some(5_000));
    assert!(!ci.validity.is_enabled && dated.validity.is_enabled);
    assert_eq!(expires(&dated.validity), "2026-06-01T10:00:00Z");
    assert_eq!(tenant.limits.unwrap().concurrent, Some(8));
    assert_eq!(tenant.quota.unwrap().value.tokens, Some(120_000));
    assert_eq!(
        tenant.webhook.unwrap().url.value,
        "https://billing.example/hook"
    );
    assert_eq!(tenant.markup.millipercent, 12_500);
    assert_eq!(tenant.prices[0].rates.input, 3_000_000_000);
}

#[test]
fn a_tenant_expires_at_the_beginning_of_a_day() {
    let validity = parse("keys: [k], expires: 2027-01-01").validity;
    let at = |text: &str| validity.lapse(text.parse().unwrap());
    assert_eq!(at("2026-12-31T23:59:59.999Z"), None);
    assert_eq!(at("2027-01-01T00:00:00Z"), Some(Lapse::Expired));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_cannot_be_meant_is_refused() {
    for (tenant, expected) in [
        (
            "expires: soon, keys: [k]",
            "expires: expected a day, or a time with its zone (as in",
        ),
        ("expires: 2027-13-01, keys: [k]", "expires: expected a day"),
        (
            "expires: '2027-01-01T12:00:00', keys: [k]",
            "expires: expected a day",
        ),
        (
            "enabled: maybe, keys: [k]",
            "enabled: expected true or false",
        ),
        (
            "key_prefix: 'a b', keys: [k]",
            "key_prefix: a prefix has up to 16 letters",
        ),
        (
            "key_prefix: a0123456789012345",
            "key_prefix: a prefix has up to 16 letters",
        ),
        (
            "key_prefix: x_, keys: [y_secret]",
            "keys[0]: the key does not begin with `x_`, its tenant's key_prefix (take a key that does,",
        ),
        (
            "keys: [{ key: a, name: ci }, { key: b, name: ci }]",
            "keys[1]: another key of the tenant has the name `ci` already",
        ),
        (
            // A key without a name is called by its hash.
            "keys: [a, { key: b, name: ca978112 }]",
            "keys[1]: another key of the tenant has the name `ca978112` already (give each its own)",
        ),
        (
            "keys: [{ key: b, name: ca978112 }, a]",
            "keys[1]: another key of the tenant has the name `ca978112` already (give each its own)",
        ),
        (
            "keys: [{ key: a, name: 'c i' }]",
            "keys[0].name: a name has up to 64 letters",
        ),
        ("keys: [{ name: ci }]", "keys[0]: `key` is missing"),
        (
            "keys: [{ key: 'a,b', name: ci }]",
            "keys[0].key: an entry with settings has one key (write an entry for each)",
        ),
        (
            "keys: [{ key: a, limits: { rpm: 0 } }]",
            "keys[0].limits.rpm: must be above 0",
        ),
        (
            "keys: [{ key: a, quota: 5 }]",
            "keys[0].quota: a key with a quota needs a `name`: what has been used is kept under it (as in name: ci)",
        ),
        (
            "keys: [{ key: a, name: ci, quota: 0 }]",
            "keys[0].quota: must be above 0",
        ),
        (
            "keys: [{ key: a, name: ci, quota: { tokens: 5, webhook: 'https://a' } }]",
            "keys[0].quota.webhook: unknown key",
        ),
        (
            "keys: [{ key: a, nmae: ci }]",
            "keys[0].nmae: unknown key (did you mean `name`?)",
        ),
        (
            "keys: [a, a]",
            "keys[1]: this key belongs to the tenant `t` already",
        ),
        (
            "keys: [k], markup: 20",
            "markup: expected a share in percent (as in 20%)",
        ),
        (
            "keys: [k], markup: -5%",
            "markup: must not be negative (to charge less than",
        ),
        (
            "keys: [k], markup: 0.0001%",
            "markup: expected a share in percent with up to 3",
        ),
        ("keys: [k], markup: 10000%", "markup: must be below 10000%"),
        (
            "keys: [k], labels: [a]",
            "labels: expected a mapping, found a list",
        ),
        (
            "keys: [k], labels: { 'a b': c }",
            "labels.a b: a label's name has up to 64",
        ),
        (
            "keys: [k], labels: { a: \"b\\n\" }",
            "labels.a: a label has up to 128 bytes",
        ),
        (
            "keys: [k], quota: { usd: 5 }",
            "quota: a quota in dollars needs prices, and there are none (add prices: { file:",
        ),
        (
            "keys: [{ key: a, name: ci, quota: { usd: 5 } }]",
            "keys[0].quota: a quota in dollars needs prices, and there are none (add prices: { file:",
        ),
    ] {
        let found = said(&format!("  - {{ id: t, {tenant} }}"));
        let expected = format!("t.yaml:4: tenants[0].{expected}");
        assert!(
            found.len() == 1 && found[0].starts_with(&expected),
            "{tenant}: {found:?}"
        );
        assert!(!found[0].contains("secret"), "{found:?}");
    }
}

#[test]
fn labels_have_a_bound() {
    let labels = |count: usize, length: usize| {
        let labels = (0..count).map(|n| format!("l{n}: {}", "x".repeat(length)));
        let labels = labels.collect::<Vec<_>>().join(", ");
        said(&format!(
            "  - {{ id: t, keys: [k], labels: {{ {labels} }} }}"
        ))
    };
    assert_eq!(labels(16, 128), [""; 0]);
    assert!(labels(17, 1)[0].contains("tenants[0].labels: more than 16 labels"));
    assert!(labels(1, 129)[0].contains("tenants[0].labels.l0: a label has up to 128 bytes"));
}

#[test]
fn a_prefix_is_one_tenants_alone() {
    for (prefixes, clash) in [
        (["a_", "b_", "ab"], None),
        (
            ["a_", "b_", "a_"],
            Some(
                "tenants[2].key_prefix: `a_` clashes with `a_`, the key_prefix of the tenant `t0`",
            ),
        ),
        (
            ["a_", "b_", "a_b"],
            Some("tenants[2].key_prefix: `a_b` clashes with `a_`"),
        ),
        (
            ["a_b", "a-", "a_"],
            Some("tenants[2].key_prefix: `a_` clashes with `a_b`"),
        ),
    ] {
        let tenants = prefixes.iter().enumerate();
        let tenants =
            tenants.map(|(n, p)| format!("  - {{ id: t{n}, key_prefix: {p}, keys: [{p}k{n}] }}\n"));
        let found = problems(&with(&format!("tenants:\n{}", tenants.collect::<String>())));
        let found = found
            .iter()
            .filter(|p| p.contains("clashes"))
            .collect::<Vec<_>>();
        match clash {
            None => assert!(found.is_empty(), "{found:?}"),
            Some(clash) => assert!(found.len() == 1 && found[0].contains(clash), "{found:?}"),
        }
    }
}

#[test]
fn no_key_begins_with_the_prefix_of_another_tenant() {
    for order in [
        "  - { id: a, keys: [bb_1] }\n  - { id: b, key_prefix: bb_, keys: [bb_2] }\n",
        "  - { id: b, key_prefix: bb_, keys: [bb_2] }\n  - { id: a, keys: [bb_1] }\n",
    ] {
        let found = said(order);
        let expected =
            "keys[0]: the key begins with the key_prefix of the tenant `b` (take another key,";
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }
    let found =
        said("  - { id: a, keys: ['bé', b] }\n  - { id: b, key_prefix: bb_, keys: [bb_2] }\n");
    assert!(
        found.iter().all(|problem| problem.contains("warning")),
        "{found:?}"
    );
}

#[test]
fn a_tenant_with_a_prefix_may_have_no_keys_yet() {
    for tenant in ["key_prefix: a_", "key_prefix: a_, keys: []"] {
        assert_eq!(
            said(&format!("  - {{ id: t, {tenant} }}")),
            [
                "t.yaml:4: warning: tenants[0]: the tenant `t` has no keys in the configuration (add keys that begin with a_, or make them at run time: tollgate keys create)"
            ]
        );
    }
    for tenant in ["id: t", "id: t, keys: []"] {
        let said = said(&format!("  - {{ {tenant} }}"));
        assert!(said[0].contains("at least one key is needed"), "{said:?}");
    }
}

#[test]
fn a_token_of_the_operator_is_one_that_a_header_can_carry() {
    let text = |token: &str| with(&format!("server: {{ admin_token: '{token}' }}"));
    let config = Config::parse("t.yaml", &text("0123456789abcdef"), &variables()).unwrap();
    let token = config.server.admin_token.unwrap();
    assert_eq!(token.expose(), "0123456789abcdef");
    for (token, expected) in [
        (
            "0123456789abcde",
            "server.admin_token: the token is shorter than 16 characters",
        ),
        (
            "0123456789 abcdef",
            "server.admin_token: the token has characters that no header",
        ),
        (
            "0123456789abcdéf",
            "server.admin_token: the token has characters that no header",
        ),
    ] {
        let found = problems(&text(token));
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
        assert!(!found[0].contains("0123456789"), "{found:?}");
    }
}
