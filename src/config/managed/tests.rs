//! What can be said of a tenant and of a key at run time.

use serde_json::json;

use super::*;
use crate::config::Config;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => unreachable!("{other} is no object"),
    }
}

fn told(problems: Vec<Problem>) -> Vec<String> {
    let told = problems.into_iter();
    told.map(|p| format!("{}: {}", p.path, p.message)).collect()
}

#[test]
fn the_same_settings_mean_the_same_as_in_the_file() {
    let definition = json!({
        "name": "Team A \"quoted\" ü 😀",
        "labels": { "team": "search" },
        "models": ["gpt-4o", "same-*"],
        "limits": { "rpm": 60, "concurrent": 4, "window": "sliding" },
        "quota": { "tokens": 500_000, "usd": 2.5, "per": "week", "timezone": "Europe/Berlin", "warn_at": [50, 90] },
        "expires": "2030-01-01",
        "enabled": false,
        "key_prefix": "a_",
    });
    let made = read_tenant("a", &object(definition.clone())).unwrap();
    let text = format!(
        "upstreams: {{ u: {{ base_url: http://a }} }}\n\
         models: [{{ match: m, targets: [{{ upstream: u }}] }}]\n\
         prices: [{{ model: '*', input: 1 }}]\n\
         tenants: [{}]\n",
        {
            let mut written = object(definition);
            written.insert("id".to_owned(), "a".into());
            Value::Object(written)
        }
    );
    let config = Config::parse("t.yaml", &text, &Variables::default()).unwrap();
    assert_eq!(made, config.tenants[0]);
    // What is shown of one can be written again.
    let shown = tenant_definition(&made);
    assert_eq!(read_tenant("a", &shown).unwrap(), made);
    assert_eq!(shown["quota"]["usd"], "2.5");
}

#[test]
fn a_key_has_what_a_key_of_the_file_has() {
    let definition = json!({
        "name": "ci", "labels": { "team": "x" }, "models": ["gpt-*"], "limits": { "rpm": 5 },
        "quota": { "tokens": 5_000, "per": "day", "timezone": "Asia/Tokyo", "warn_at": [50] },
        "expires": "2030-01-01T00:00:00Z", "enabled": true,
    });
    let hash = KeyHash::of(b"k");
    let key = read_key(hash, &object(definition)).unwrap();
    assert_eq!(key.hash.value, hash);
    assert_eq!(key.shown(), "ci");
    let shown = key_definition(&key);
    assert_eq!(read_key(hash, &shown).unwrap(), key);
    assert!(!shown.contains_key("key") && !shown.contains_key("hash"));
}

#[test]
fn every_mistake_is_told_with_its_field() {
    for (definition, expected) in [
        (json!({ "limit": {} }), "limit: unknown key"),
        (
            json!({ "limits": { "rpm": 0 } }),
            "limits.rpm: must be above 0",
        ),
        (
            json!({ "limits": 5 }),
            "limits: expected a mapping, found a number",
        ),
        (
            json!({ "models": [] }),
            "models: an empty list would allow nothing",
        ),
        (
            json!({ "labels": { "a b": "c" } }),
            "labels.a b: a label's name",
        ),
        (json!({ "expires": "soon" }), "expires: expected a day"),
        (json!({ "enabled": "perhaps" }), "enabled: expected"),
        (
            json!({ "webhook": "https://a" }),
            "webhook: this can be written in the configuration file alone",
        ),
        (
            json!({ "name": "${HOME}" }),
            ": variables stand in the configuration file alone",
        ),
        (
            json!({ "name": "${credential:key}" }),
            ": variables stand in the configuration file alone",
        ),
        (
            json!({ "quota": {} }),
            "quota: neither `tokens` nor `usd` is written",
        ),
    ] {
        let found = told(read_tenant("a", &object(definition)).unwrap_err());
        assert!(
            found.iter().any(|told| told.starts_with(expected)),
            "{expected}: {found:?}"
        );
    }
    let found = told(
        read_key(
            KeyHash::of(b"k"),
            &object(json!({ "quota": { "per": "day" }, "limits": {} })),
        )
        .unwrap_err(),
    );
    let expected = [
        "quota: a key with a quota needs a `name`: what has been used is kept under it",
        "quota: neither `tokens` nor `usd` is written",
        "limits: no limit is written",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for expected in expected {
        assert!(found.iter().any(|told| told == expected), "{found:?}");
    }
}
