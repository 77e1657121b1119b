//! The schema against the readers, key by key and word by word.

use std::collections::BTreeSet;

use super::*;
use crate::config::document::taken;
use crate::config::{Config, Variables};

/// A configuration with every section.
const EVERYTHING: &str = include_str!("everything.yaml");
/// Other forms of some. It is refused, since there are no such files.
const OTHER_FORMS: &str = "
server: { listen: [{ address: '127.0.0.1:0', tls: { cert: none.pem, key: none.pem, certificates: [{ cert: none.pem, key: none.pem }], clients: { ca: none.pem }, sm: { cert: none.pem, key: none.pem, only: false } }, hsts: { max_age: 365d } }] }
prices: [{ model: m, input: 1 }]
upstreams: { a: { base_url: 'https://a', proxy: 'http://a:1', tls: { ca: none.pem, cert: none.pem, key: none.pem, server_name: a, sm: false } } }
models: [{ match: m, targets: [{ upstream: a }] }]
tenants: [{ id: t, mtls: [{ cn: a }] }]
";

fn parse(text: &str) -> Result<Config, String> {
    let variables: Variables = [("KEY", "a-key")].into_iter().collect();
    Config::parse("t.yaml", text, &variables).map_err(|problems| problems.to_string())
}

/// The path of a section without the names and positions in it: `upstreams.*.servers[]`.
fn general(path: &str) -> String {
    let mut general = String::new();
    for (position, part) in path.split('.').enumerate() {
        let part = match part.split_once('[') {
            Some((name, _)) => format!("{name}[]"),
            None => part.to_owned(),
        };
        let is_name = position == 1 && general == "upstreams";
        let part = if is_name { "*" } else { &part };
        general.push_str(if position == 0 { "" } else { "." });
        general.push_str(part);
    }
    general
}

/// Notes each key of each section of a schema, with its section's path.
fn walk(document: &Value, shape: &Value, path: &str, found: &mut BTreeSet<(String, String)>) {
    if let Some(name) = shape.get("$ref").and_then(Value::as_str) {
        let target = document.pointer(name.trim_start_matches('#')).unwrap();
        walk(document, target, path, found);
    }
    for other in shape
        .get("anyOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        walk(document, other, path, found);
    }
    if let Some(items) = shape.get("items") {
        walk(document, items, &format!("{path}[]"), found);
    }
    if let Some(values) = shape.get("additionalProperties").filter(|v| v.is_object()) {
        walk(document, values, &format!("{path}.*"), found);
    }
    for (key, shape) in shape
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        found.insert((path.to_owned(), key.clone()));
        let below = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        walk(document, shape, &below, found);
    }
}

fn document() -> Value {
    serde_json::from_str(&schema()).unwrap()
}

#[test]
fn the_schema_has_the_keys_that_the_readers_take_and_no_other() {
    drop(taken::all());
    parse(EVERYTHING).unwrap();
    parse(OTHER_FORMS).unwrap_err();
    let read: BTreeSet<(String, String)> = taken::all()
        .into_iter()
        .map(|(path, key)| (general(&path), key))
        .collect();
    let document = document();
    let mut described = BTreeSet::new();
    walk(&document, &document, "", &mut described);
    let missing: Vec<_> = read.difference(&described).collect();
    assert!(missing.is_empty(), "the schema has no {missing:?}");
    let unread: Vec<_> = described.difference(&read).collect();
    assert!(
        unread.is_empty(),
        "no reader takes {unread:?}, or `everything.yaml` does not have the section"
    );
}

#[test]
fn every_key_is_described() {
    fn check(shape: &Value, path: &str) {
        match shape {
            Value::Object(members) => {
                let keys = members.get("properties").and_then(Value::as_object);
                for (key, shape) in keys.into_iter().flatten() {
                    let about = shape.get("description").and_then(Value::as_str);
                    assert!(about.is_some_and(|about| about.ends_with('.') || about.contains(", as in ")), "{path}.{key}");
                }
                members
                    .iter()
                    .for_each(|(name, shape)| check(shape, &format!("{path}.{name}")));
            }
            Value::Array(items) => items.iter().for_each(|shape| check(shape, path)),
            _ => {}
        }
    }
    check(&document(), "");
}

/// The words of the schema at a key: the first list of words below it.
fn words(document: &Value, pointer: &str) -> Vec<String> {
    fn first(shape: &Value) -> Option<&Vec<Value>> {
        let own = shape.get("enum").and_then(Value::as_array);
        let others = shape.get("anyOf").and_then(Value::as_array);
        let below = others.into_iter().flatten().chain(shape.get("items"));
        own.or_else(|| below.filter_map(first).next())
    }
    let words = first(document.pointer(pointer).unwrap()).unwrap();
    words
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

/// Where in a document a choice is written.
#[derive(Clone, Copy)]
enum In {
    Top,
    Upstream,
    Rule,
    Target,
}

/// Keys that take one of some words: where each is in the schema, and how it is written, with `WORD` as its value.
const CHOICES: &[(In, &str, &str)] = &[
    (
        In::Top,
        "/properties/server/properties/log/properties/format",
        "server: { log: { format: WORD } }",
    ),
    (
        In::Top,
        "/properties/server/properties/log/properties/level",
        "server: { log: { level: WORD } }",
    ),
    (
        In::Top,
        "/$defs/limits/properties/window",
        "limits: { rpm: 5, window: WORD }",
    ),
    (
        In::Top,
        "/$defs/webhook/anyOf/1/properties/events",
        "webhook: { url: 'https://a', events: [WORD] }",
    ),
    (
        In::Top,
        "/properties/ledger/properties/on_failure",
        "ledger: { on_failure: WORD }",
    ),
    (
        In::Top,
        "/properties/chat_log/properties/rotate/properties/every",
        "chat_log: { path: a, rotate: { every: WORD } }",
    ),
    (
        In::Top,
        "/properties/chat_log/properties/mask",
        "chat_log: { path: a, mask: [WORD] }",
    ),
    (
        In::Top,
        "/properties/tenants/items/properties/quota/anyOf/1/properties/per",
        "tenants: [{ id: t, keys: [k], quota: { tokens: 5, per: WORD } }]",
    ),
    (In::Upstream, "balance", "balance: WORD"),
    (
        In::Upstream,
        "consistent_by",
        "balance: consistent, consistent_by: WORD",
    ),
    (
        In::Upstream,
        "health_check/properties/method",
        "health_check: { path: /h, method: WORD }",
    ),
    (In::Upstream, "dialect", "dialect: WORD"),
    (In::Rule, "malformed_events", "malformed_events: WORD"),
    (In::Rule, "on_client_gone", "on_client_gone: WORD"),
    (In::Rule, "on", "on: [WORD]"),
    (In::Target, "response_model", "response_model: WORD"),
    (In::Target, "upstream_stream", "upstream_stream: WORD"),
];

impl In {
    /// The place of a key in the schema.
    fn pointer(self, key: &str) -> String {
        match self {
            Self::Top => key.to_owned(),
            Self::Upstream => {
                format!("/properties/upstreams/additionalProperties/properties/{key}")
            }
            Self::Rule => format!("/properties/models/items/properties/{key}"),
            Self::Target => {
                format!("/properties/models/items/properties/targets/items/properties/{key}")
            }
        }
    }

    /// A document with one more key there.
    fn with(self, key: &str) -> String {
        let member = format!(", {key}");
        let (upstream, rule, target, top) = match self {
            Self::Top => ("", "", "", key),
            Self::Upstream => (&*member, "", "", ""),
            Self::Rule => ("", &*member, "", ""),
            Self::Target => ("", "", &*member, ""),
        };
        format!(
            "upstreams: {{ a: {{ base_url: 'http://a'{upstream} }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a{target} }}]{rule} }}]\n{top}\n"
        )
    }
}

#[test]
fn each_word_of_the_schema_is_one_of_the_readers_and_the_other_way_round() {
    let document = document();
    for (place, key, template) in CHOICES {
        let parse = |word| parse(&place.with(&template.replace("WORD", word)));
        let words = words(&document, &place.pointer(key));
        assert!(words.len() > 1, "{key}");
        for word in &words {
            assert!(parse(word).is_ok(), "{key} {word}: {:?}", parse(word).err());
        }
        // What is said of another word names those that there are, and no other.
        let refused = parse("nonsense").unwrap_err();
        let lists = ["one of: ", "there are: "].iter();
        let mut lists = lists.filter_map(|before| refused.split_once(before));
        let list = lists.next().or_else(|| refused.split_once(": expected "));
        let list = list.unwrap().1.split([';', '(', ')']).next().unwrap();
        let said = list.split(|c: char| !c.is_alphanumeric() && c != '_');
        let said: BTreeSet<&str> = said.filter(|word| !matches!(*word, "" | "or")).collect();
        let words: BTreeSet<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(said, words, "{key}: {refused}");
    }
}

#[test]
fn the_shipped_schema_is_what_the_program_prints() {
    let shipped = include_str!("../../../conf/tollgate.schema.json");
    assert!(
        shipped.trim_end() == schema(),
        "conf/tollgate.schema.json differs: write it with `tollgate schema > conf/tollgate.schema.json`"
    );
    let reference = include_str!("../../../conf/tollgate.yaml");
    let first = reference.lines().next();
    assert_eq!(
        first,
        Some("# yaml-language-server: $schema=tollgate.schema.json")
    );
}
