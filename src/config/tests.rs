//! The configuration as an operator would write it, right and wrong. `messages` has what is said of
//! mistakes, word for word, `warnings` what is said of what is allowed, `tenants` and `prices` what is
//! special to these sections.

mod callers;
mod files;
mod messages;
mod prices;
mod tenants;
mod warnings;

use std::path::Path;

use super::*;
use crate::routing::Matcher;
use crate::secret::Secret;

const DESIGN: &str = include_str!("../../tests/fixtures/design.yaml");

fn variables() -> Variables {
    [
        ("OPENAI_API_KEY", "sk-openai"),
        ("DEEPSEEK_API_KEY", "sk-deepseek"),
        ("GEMINI_API_KEY", "sk-gemini"),
        ("INTERNAL_KEY", "client-key"),
    ]
    .into_iter()
    .collect()
}

fn problems(text: &str) -> Vec<String> {
    let Err(problems) = Config::parse("t.yaml", text, &variables()) else {
        return Vec::new();
    };
    problems.0.iter().map(ToString::to_string).collect()
}

/// A configuration that is right, with `upstreams` and `models` of its own.
fn with(rest: &str) -> String {
    format!(
        "upstreams: {{ a: {{ base_url: http://a.example }} }}\n\
         models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n{rest}"
    )
}

#[track_caller]
fn assert_problem(text: &str, expected: &str) {
    let found = problems(text);
    assert!(
        found.iter().any(|problem| problem.contains(expected)),
        "expected `{expected}` in {found:#?}"
    );
}

#[test]
fn the_configuration_of_the_design_loads() {
    // Its listener over TLS needs a certificate, for which the tests of the binary are there.
    let tls = "      tls: { cert: /etc/tollgate/tls/fullchain.pem, key: /etc/tollgate/tls/privkey.pem }\n";
    let text = DESIGN.replace(tls, "");
    assert_ne!(text, DESIGN);
    let config = Config::parse("design.yaml", &text, &variables()).unwrap();
    assert_eq!(config.server.max_body_bytes, 32 << 20);
    assert_eq!(config.upstreams.len(), 4);
    let vllm = &config.upstreams[1];
    assert_eq!(vllm.servers[0].weight, 3);
    assert_eq!(vllm.timeouts.first_token.as_secs(), 30);
    assert_eq!(
        config.models[1].matcher.value,
        Matcher::Prefix("deepseek-".into())
    );
    assert_eq!(config.tenants[0].keys.len(), 2);
    let tenant = &config.tenants[0];
    assert_eq!(
        tenant.limits.as_ref().unwrap().tokens_per_minute,
        Some(90_000)
    );
    assert_eq!(tenant.quota.as_ref().unwrap().value.tokens, Some(120_000));
}

#[test]
fn a_certificate_that_cannot_be_used_is_told() {
    assert_problem(
        DESIGN,
        "server.listen[1].tls.cert: cannot read /etc/tollgate/tls/fullchain.pem: No such file or \
         directory (os error 2) (name a file, and give read permission to the user that runs Tollgate)",
    );
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let other = other.to_str().unwrap();
    let text = DESIGN.replace("/etc/tollgate/tls/fullchain.pem", other);
    assert_problem(
        &text,
        &format!(
            "server.listen[1].tls.cert: {other} holds no certificate (name a file in PEM: the \
             certificate, then its chain)"
        ),
    );
}

/// The problems of a listener with this in `tls`.
fn problems_of_tls(tls: &str) -> Vec<String> {
    problems(&with(&format!(
        "server: {{ listen: [{{ address: '127.0.0.1:0', tls: {{ {tls} }} }}] }}"
    )))
}

#[test]
fn a_certificate_of_sm2_has_a_place_of_its_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sm");
    let file = |name: &str| folder.join(name).display().to_string();
    let (cert, key, other) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let sm = format!("cert: '{cert}', key: '{key}'");
    assert_eq!(
        problems_of_tls(&format!("sm: {{ {sm}, only: true }}")),
        [""; 0]
    );
    let wrong = [
        (
            sm.clone(),
            "tls.key: the private key in KEY is one of SM2 (move it and its certificate to `tls.sm`)",
        ),
        (
            format!("sm: {{ cert: '{other}', key: '{key}', only: true }}"),
            "tls.sm.key: the key in KEY does not belong to the certificate in",
        ),
        (
            format!("sm: {{ {sm}, only: true }}, cert: other.pem"),
            "tls.cert: with `sm.only: true`, no client gets this (remove it, or set `only` to false)",
        ),
        (format!("sm: {{ {sm} }}"), "tls: `cert` is missing"),
        (format!("sm: {{ {sm} }}"), "tls: `key` is missing"),
        (
            format!("sm: {{ cert: '{cert}', only: true }}"),
            "tls.sm: `key` is missing",
        ),
        (format!("sm: {{ {sm}, only: yes }}"), "tls.sm.only:"),
        (
            format!("sm: {{ {sm}, olny: true }}"),
            "tls.sm.olny: unknown key",
        ),
    ];
    for (tls, expected) in wrong {
        let expected = expected.replace("KEY", &key);
        let found = problems_of_tls(&tls);
        let is_told = found.iter().any(|problem| problem.contains(&expected));
        assert!(is_told, "expected `{expected}` in {found:#?}");
    }
}

#[test]
fn a_key_that_is_not_one_of_sm2_is_told_where_it_belongs() {
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let cert = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sm/server.pem");
    // An Ed25519 key (RFC 8410, 10.3), and the form that `openssl ec` writes.
    let keys = [
        (
            key(
                "ed25519",
                "-----BEGIN PRIVATE KEY-----\n\
                 MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                 -----END PRIVATE KEY-----\n",
            ),
            "is not one of SM2 (`tls.sm` takes a key made with openssl genpkey -algorithm SM2; move any \
             other to `tls`)",
        ),
        (
            key(
                "sec1",
                "-----BEGIN SM2 PRIVATE KEY-----\nAAAA\n-----END SM2 PRIVATE KEY-----\n",
            ),
            "has a form that only OpenSSL reads (convert it: openssl pkcs8 -topk8 -nocrypt -in KEY -out PLAIN)",
        ),
        (key("none", "nothing"), "holds no private key"),
    ];
    for (key, expected) in keys {
        let cert = cert.display();
        let found = problems_of_tls(&format!(
            "sm: {{ cert: '{cert}', key: '{key}', only: true }}"
        ));
        let is_told = found.iter().any(|problem| problem.contains(expected));
        assert!(is_told, "expected `{expected}` in {found:#?}");
    }
}

#[test]
fn a_folder_for_forms_that_cannot_be_written_is_told() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let gone = Path::new("/nowhere/forms");
    for dir in [file.as_path(), gone] {
        let text = with(&format!(
            "server: {{ forms: {{ dir: '{}' }} }}",
            dir.display()
        ));
        let expected = format!(
            "t.yaml:3: server.forms.dir: {} is not a folder that can be written: ",
            dir.display()
        );
        assert_problem(&text, &expected);
        assert_problem(&text, "(create it, and give write permission to");
    }
    let there = std::env::temp_dir();
    let text = with(&format!(
        "server: {{ forms: {{ dir: '{}' }} }}",
        there.display()
    ));
    assert_eq!(problems(&text), [""; 0]);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line() {
    let text = "\
upstreams:
  a:
    basurl: http://a.example
models:
  - match: m
    targets: [{ upstream: b, wieght: 1 }]
tenants:
  - id: t
    keys: ['']
";
    let found = problems(text);
    assert_eq!(
        found,
        [
            "t.yaml:2: upstreams.a: `base_url` is missing (as in base_url: https://api.openai.com/v1, or list several `servers`)",
            "t.yaml:3: upstreams.a.basurl: unknown key (did you mean `base_url`?)",
            "t.yaml:6: models[0].targets[0].wieght: unknown key (did you mean `weight`?)",
            "t.yaml:6: models[0].targets[0].upstream: no upstream is called `b` (did you mean `a`?)",
            "t.yaml:9: tenants[0].keys[0]: the key is empty (write the key, or remove the entry)",
        ]
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn wrong_types_say_what_was_expected() {
    for (text, expected) in [
        ("server: []", "server: expected a mapping, found a list"),
        (
            "server: { listen: 8080 }",
            "server.listen: expected a list, found a number",
        ),
        (
            "server: { listen: [8080] }",
            "`8080` is not an address with a port",
        ),
        (
            "server: { max_body: lots }",
            "`lots` is not a size above zero",
        ),
        ("server: { max_body: 0 }", "`0` is not a size above zero"),
        (
            "server: { threads: many }",
            "server.threads: expected a whole number from 0 to 1024",
        ),
        (
            "server: { log: { mask: maybe } }",
            "server.log.mask: expected true or false",
        ),
        (
            "server: { log: { level: loud } }",
            "server.log.level: unknown level",
        ),
        (
            "server: { trusted_proxies: [nginx] }",
            "`nginx` is not a network",
        ),
        (
            "server: { listen: [{ address: '127.0.0.1:0', proxy_protocol: true }] }",
            "server.listen[0].proxy_protocol: only trusted proxies may announce an address, and there are none",
        ),
        (
            "server: { listen: [{ address: '127.0.0.1:0', proxy_protocol: 2 }] }",
            "server.listen[0].proxy_protocol: expected true or false",
        ),
        (
            "server: { limits: { connections: 0 } }",
            "server.limits.connections: expected a whole number from 1 to 1000000",
        ),
        (
            "server: { limits: { ipv6_prefix: 129 } }",
            "server.limits.ipv6_prefix: expected a whole number from 1 to 128",
        ),
        (
            "server: { limits: { header_timeout: 2h } }",
            "server.limits.header_timeout: must be at most 1h",
        ),
        (
            "server: { limits: { body_rate: slow } }",
            "`slow` is not a size above zero",
        ),
        (
            "server: { limits: { body_rate: 2GiB } }",
            "server.limits.body_rate: must be at most 1GiB, or 0 for no bound",
        ),
        (
            "server: { listen: ['unix:tollgate.sock'] }",
            "`tollgate.sock` is not the absolute path of a socket",
        ),
        (
            "server: { listen: ['unix:@tollgate'] }",
            "abstract sockets are not supported",
        ),
        (
            "server: { listen: ['unix:/run/01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567.sock'] }",
            "server.listen[0]: the path has 108 bytes, and a Unix socket has room for 107",
        ),
        (
            "server: { listen: [{ address: 'unix:/run/t.sock', mode: '0888' }] }",
            "`0888` is not a mode in octal digits",
        ),
        (
            "server: { listen: [{ address: '127.0.0.1:0', mode: '0660' }] }",
            "server.listen[0].mode: only a Unix socket has a mode",
        ),
        (
            "server: { listen: ['unix:/run/t.sock', 'unix:/run/t.sock'] }",
            "two listeners have the address unix:/run/t.sock",
        ),
        (
            "server: { http2: { max_concurrent_streams: 0 } }",
            "server.http2.max_concurrent_streams: expected a whole number from 1 to 1000",
        ),
        (
            "server: { http2: { initial_window: 1KiB } }",
            "server.http2.initial_window: must be from 16KiB to 16MiB",
        ),
        (
            "server: { http2: { max_frame_size: 2MiB } }",
            "server.http2.max_frame_size: must be from 16KiB to 1MiB",
        ),
        (
            "server: { limits: { request: 5 } }",
            "server.limits.request: unknown key (did you mean `requests`?)",
        ),
        (
            "server: { shutdown_grace: 0s }",
            "is not a duration above zero",
        ),
        (
            "server: { shutdown_grace: 101years }",
            "server.shutdown_grace: must be at most 100 years",
        ),
        ("tenants: {}", "tenants: expected a list, found a mapping"),
        (
            "tenants: [{ id: 'a b', keys: [k] }]",
            "an id has up to 64 letters",
        ),
        (
            "tenants: [{ id: t, keys: ['sha256:12'] }]",
            "expected 64 hexadecimal digits",
        ),
        (
            "tenants: [{ id: t, keys: [] }]",
            "at least one key is needed",
        ),
        (
            "tenants: [{ id: t }]",
            "tenants[0].id: at least one key is needed",
        ),
        (
            "tenants: [{ id: t, keys: [k], models: [] }]",
            "an empty list would allow nothing",
        ),
        (
            "tenants: [{ id: t, keys: [k], models: ['a*b'] }]",
            "a `*` stands only at the end",
        ),
        (
            "routes: [{ prefix: x, upstream: a }]",
            "a prefix is one or more plain path segments",
        ),
    ] {
        assert_problem(&with(text), expected);
    }
}

#[test]
fn upstreams_that_cannot_work_are_refused() {
    for (upstream, expected) in [
        ("{ base_url: a.example }", "the URL must begin with http"),
        ("{ base_url: http://u:p@a.example }", "use `keys`"),
        ("{ base_url: http://a, servers: [] }", "exclude each other"),
        (
            "{ servers: [{ url: http://a, weight: 0 }] }",
            "at least one server needs a weight",
        ),
        ("{ servers: [{ weight: 1 }] }", "`url` is missing"),
        (
            "{ base_url: http://a, keys: [''] }",
            "upstreams.a.keys[0]: the key is empty",
        ),
        (
            "{ base_url: http://a, keys: [\"a\\nb\"] }",
            "no header can carry",
        ),
        (
            "{ base_url: http://a, keys: [\"a,b\\u0007\"] }",
            "no header can carry",
        ),
        (
            "{ base_url: http://a, keys: mine }",
            "expected a list of keys",
        ),
        (
            "{ base_url: http://a, keys: ['${NOT_SET_X}'] }",
            "the environment variable NOT_SET_X is not set",
        ),
        (
            "{ base_url: http://a, keys: ['${OPENAI_API_KEY[1]}'] }",
            "the environment variable OPENAI_API_KEY[1] is not set",
        ),
        (
            "{ base_url: http://a, keys: ['${OPENAI_API_KEY'] }",
            "`${` without `}`",
        ),
        (
            "{ base_url: http://a, dialect: opanai }",
            "unknown dialect `opanai`",
        ),
        (
            "{ base_url: http://a, timeouts: { connect: 3 } }",
            "`3` is not a duration",
        ),
        (
            "{ base_url: http://a, health_check: { path: health } }",
            "a path begins with /",
        ),
    ] {
        let text = format!(
            "upstreams: {{ a: {upstream} }}\nmodels: [{{ match: m, targets: [{{ upstream: a }}] }}]"
        );
        assert_problem(&text, expected);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn dialects_that_cannot_work_are_refused() {
    for (dialect, expected) in [
        (
            "azur",
            "dialect: unknown dialect `azur` (one of: openai, azure,",
        ),
        ("{ key_header: x }", "dialect: `name` is missing"),
        (
            "{ name: openai, api_version: 2024-10-21 }",
            "dialect.api_version: only the dialect azure has an `api_version`",
        ),
        (
            "{ name: azure, api_version: 'v=1&x' }",
            "dialect.api_version: not a version (as in api_version: 2024-10-21)",
        ),
        (
            "{ name: azure, apiversion: x }",
            "dialect.apiversion: unknown key (did you mean `api_version`?)",
        ),
        (
            "{ name: openai, key_header: Host }",
            "dialect.key_header: `host` is set by the gateway itself",
        ),
        (
            "{ name: openai, key_header: 'a b' }",
            "dialect.key_header: `a b` is not a header's name",
        ),
        (
            "{ name: openai, key_prefix: \"a\\nb\" }",
            "dialect.key_prefix: the value has characters that no header can carry",
        ),
        (
            "{ name: openai, headers: { Content-Length: 5 } }",
            "dialect.headers.Content-Length: `content-length` is set by the gateway itself",
        ),
        (
            "{ name: openai, headers: { x: \"s3cret\\n\" } }",
            "dialect.headers.x: the value has characters that no header can carry",
        ),
        (
            "{ name: openai, headers: { x: '${NOT_SET_X}' } }",
            "dialect.headers.x: the environment variable NOT_SET_X is not set",
        ),
        (
            "{ name: openai, headers: [x] }",
            "dialect.headers: expected a mapping, found a list",
        ),
        (
            "{ name: openai, path_prefix: api/v3 }",
            "dialect.path_prefix: `api/v3` is not a path (as in path_prefix: /api/v3, or \"\" for none)",
        ),
        ("{ name: openai, path_prefix: '/a?b' }", "is not a path"),
        (
            "{ name: openai, drop: [a, model] }",
            "dialect.drop: `model` cannot be changed here (name it as the `model` of a target)",
        ),
        (
            "{ name: openai, rename: { a: stream } }",
            "dialect.rename.a: `stream` cannot be changed here (the client decides whether it wants a stream)",
        ),
        (
            "{ name: openai, rename: { model: a } }",
            "dialect.rename.model: `model` cannot be changed here",
        ),
    ] {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a, dialect: {dialect} }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]"
        );
        assert_problem(&text, expected);
        assert!(!problems(&text).concat().contains("s3cret"));
    }
}

#[test]
fn urls_that_fit_no_scheme_of_azures_are_refused() {
    for (url, dialect, expected) in [
        (
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=1",
            "azure",
            "the URL names a deployment (end it at the host, write `api_version`",
        ),
        (
            "https://r.openai.azure.com/openai/v1/",
            "{ name: azure, api_version: 2024-10-21 }",
            "the API at this URL has no versions (remove `api_version`",
        ),
    ] {
        let upstream = format!("{{ base_url: '{url}', dialect: {dialect} }}");
        let text = format!(
            "upstreams: {{ a: {upstream} }}\nmodels: [{{ match: m, targets: [{{ upstream: a }}] }}]"
        );
        assert_problem(
            &text,
            &format!("t.yaml:1: upstreams.a.base_url: {expected}"),
        );
    }
}

#[test]
fn manners_that_cannot_be_meant_are_refused() {
    for (transforms, expected) in [
        (
            "body: { set: { model: x } }",
            "body.set.model: `model` cannot be changed here (name it as the `model` of a target)",
        ),
        (
            "body: { default: { stream: true } }",
            "body.default.stream: `stream` cannot be changed here (the client decides",
        ),
        (
            "body: { sets: { a: 1 } }",
            "body.sets: unknown key (did you mean `set`?)",
        ),
        ("body: [a]", "body: expected a mapping, found a list"),
        (
            "body: { set: [a] }",
            "body.set: expected a mapping, found a list",
        ),
        (
            "body: { set: { a: '${NOT_SET_X}' } }",
            "body.set.a: the environment variable NOT_SET_X is not set",
        ),
        (
            "response_model: mine",
            "response_model: expected requested or upstream (which name of the model",
        ),
        ("stop: END", "stop: expected a list, found text"),
        ("stop: ['']", "stop[0]: must not be empty"),
        (
            "special_prefix: [a]",
            "special_prefix: expected text, found a list",
        ),
        (
            "specialprefix: a",
            "specialprefix: unknown key (did you mean `special_prefix`?)",
        ),
    ] {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a, {transforms} }}] }}]"
        );
        assert_problem(&text, &format!("t.yaml:2: models[0].targets[0].{expected}"));
    }
}

#[test]
fn an_entry_may_hold_several_keys() {
    let hash = Secret::new("client-3".to_owned()).hash();
    let variables: Variables = [
        ("PROVIDER", "sk-1, sk-2,,sk-3 ,".to_owned()),
        (
            "CLIENTS",
            format!("client-1,\nclient-2, sha256:{}", hash.to_hex()),
        ),
    ]
    .into_iter()
    .collect();
    let text = "\
upstreams: { a: { base_url: http://a.example, keys: ['${PROVIDER}', ' sk-4'] } }
models: [{ match: m, targets: [{ upstream: a }] }]
tenants: [{ id: t, keys: ['${CLIENTS}'] }]
";
    let config = Config::parse("t.yaml", text, &variables).unwrap();
    let Keys::Own(keys) = &config.upstreams[0].keys else {
        unreachable!("{:?}", config.upstreams[0].keys);
    };
    let keys: Vec<&str> = keys.iter().map(Secret::expose).collect();
    assert_eq!(keys, ["sk-1", "sk-2", "sk-3", "sk-4"]);
    let clients = &config.tenants[0].keys;
    let expected = ["client-1", "client-2", "client-3"].map(|k| Secret::new(k.to_owned()).hash());
    let clients: Vec<_> = clients.iter().map(|key| key.hash.value).collect();
    assert_eq!(clients, expected);
}

#[test]
fn each_key_of_an_entry_is_checked_as_one_of_its_own() {
    let long = "k".repeat(257);
    for (keys, expected) in [
        (" , ,", "tenants[0].keys[0]: the key is empty"),
        (&*format!("ok,{long}"), "longer than 256 bytes"),
        ("ok,sha256:12", "expected 64 hexadecimal digits"),
        ("same,same", "this key belongs to the tenant `t` already"),
    ] {
        assert_problem(
            &with(&format!("tenants: [{{ id: t, keys: ['{keys}'] }}]")),
            expected,
        );
    }
    // Together they are longer than one key may be.
    let fine = ["a", "b", "c"].map(|k| k.repeat(200)).join(",");
    assert_eq!(
        problems(&with(&format!("tenants: [{{ id: t, keys: ['{fine}'] }}]"))),
        [""; 0]
    );
}

#[test]
fn a_key_is_never_in_a_message() {
    let text =
        with("tenants: [{ id: t, keys: [my-secret-key] }, { id: u, keys: [my-secret-key] }]");
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("this key belongs to the tenant `t` already"));
    assert!(!found[0].contains("my-secret-key"));
}

#[test]
fn model_rules_that_cannot_work_are_refused() {
    for (models, expected) in [
        ("[]", ""),
        ("[{ match: m }]", "models[0]: `targets` is missing"),
        (
            "[{ match: m, targets: [] }]",
            "at least one target is needed",
        ),
        (
            "[{ match: m, targets: [{ upstream: a, weight: 0 }, { upstream: a, weight: 0 }] }]",
            "models[0].targets: at least one target needs a weight above 0",
        ),
        (
            "[{ match: { prefix: a, keyword: b }, targets: [{ upstream: a }] }]",
            "expected one of",
        ),
        (
            "[{ match: { prefix: '' }, targets: [{ upstream: a }] }]",
            "must not be empty",
        ),
        (
            "[{ match: m, targets: [{ upstream: a }] }, { match: m, targets: [{ upstream: a }] }]",
            "models[1].match: `m` has a rule above already",
        ),
        (
            "[{ match: m, targets: [{ upstream: a }], fallback: [gone] }]",
            "no rule serves the fallback `gone`",
        ),
        (
            "[{ match: m, targets: [{ upstream: a }], fallback: [n] },
              { match: n, targets: [{ upstream: a }], fallback: [o] },
              { match: o, targets: [{ upstream: a }], fallback: [m] }]",
            "is circular",
        ),
        (
            "[{ match: m, targets: [{ upstream: a }], fallback: [m] }]",
            "the fallback `m` is circular",
        ),
    ] {
        let text =
            format!("upstreams: {{ a: {{ base_url: http://a.example }} }}\nmodels: {models}");
        if expected.is_empty() {
            assert_problem(&text, "models");
        } else {
            assert_problem(&text, expected);
        }
    }
}

#[test]
fn fallbacks_that_meet_without_a_circle_are_fine() {
    let rule = |name: &str, fallback: &str| {
        format!("{{ match: {name}, targets: [{{ upstream: a }}], fallback: [{fallback}] }}")
    };
    let models = [
        rule("a", "b, c"),
        rule("b", "d"),
        rule("c", "d"),
        rule("d", ""),
    ]
    .join(", ");
    let text = format!("upstreams: {{ a: {{ base_url: http://a.example }} }}\nmodels: [{models}]");
    assert_eq!(problems(&text), [""; 0]);
}

#[test]
fn tenants_and_listeners_that_clash_are_refused() {
    for (rest, expected) in [
        (
            "tenants: [{ id: t, keys: [k1] }, { id: t, keys: [k2] }]",
            "tenants[1].id: another tenant has the id `t` already",
        ),
        (
            "tenants: [{ id: t, keys: [k1], strict: true, passthrough: a }]",
            "tenants[0].passthrough: a strict tenant has no passthrough",
        ),
        (
            "server: { strict: sometimes }",
            "server.strict: expected true or false",
        ),
        (
            "server: { listen: ['127.0.0.1:1', '127.0.0.1:1'] }",
            "server.listen[1]: two listeners have the address 127.0.0.1:1",
        ),
        (
            "server: { listen: ['127.0.0.1:1'], admin: '127.0.0.1:1' }",
            "server.admin: two listeners have the address 127.0.0.1:1",
        ),
        (
            "server: { listen: ['0.0.0.0:8080'] }",
            "server.listen[0]: without client keys, anybody",
        ),
    ] {
        assert_problem(&with(rest), expected);
    }
}

#[test]
fn documents_that_are_none_say_so() {
    assert_problem("", "the file is empty");
    assert_problem("# only a comment\n", "the file is empty");
    assert_problem("a: [", "t.yaml:");
    assert_problem("a: 1\na: 2\n", "not valid YAML");
    assert_problem("- a\n", "expected a mapping, found a list");
    assert_problem("a: 1\n---\nb: 2\n", "more than one YAML document");
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    let folder = std::env::temp_dir().join(format!("tollgate-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let empty = folder.join("empty.yaml");
    std::fs::write(&empty, "").unwrap();
    let binary = folder.join("binary.yaml");
    std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    for (path, expected) in [
        (folder.join("gone.yaml"), "cannot be read"),
        (empty, "0 bytes"),
        (binary, "is not UTF-8"),
        (folder.clone(), "cannot be read"),
    ] {
        let error = Config::load(&Source::File(path), &variables()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_known_provider_is_not_told_of_hops_unless_it_is_to_be() {
    for (upstream, hops) in [
        ("base_url: https://api.openai.com/v1", false),
        (
            "base_url: https://my.openai.azure.com, dialect: azure",
            false,
        ),
        ("base_url: https://gateway.example.com/v1", true),
        ("base_url: http://10.0.0.1:8000", true),
        (
            "servers: [https://api.openai.com, http://10.0.0.1:8000]",
            true,
        ),
        ("base_url: https://api.openai.com/v1, hops: true", true),
        ("base_url: http://10.0.0.1:8000, hops: false", false),
        ("dialect: demo", false),
    ] {
        let text = format!(
            "upstreams: {{ a: {{ {upstream} }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n"
        );
        let config = Config::parse("t.yaml", &text, &variables()).unwrap();
        assert_eq!(config.upstreams[0].hops, hops, "{upstream}");
    }
}

#[test]
fn headers_that_are_forwarded_have_a_bound() {
    let headers = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("x-{number}")).collect();
        format!(
            "upstreams: {{ a: {{ base_url: http://a.example, forward_headers: [{}] }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n",
            names.join(", ")
        )
    };
    assert!(problems(&headers(64)).is_empty());
    assert_problem(
        &headers(65),
        "upstreams.a.forward_headers: more than 64 headers",
    );
}

#[test]
fn a_default_model_is_named_by_its_endpoint() {
    let text = with("server: { default_models: { images: m, images_edits: m } }\n");
    let config = Config::parse("t.yaml", &text, &variables()).unwrap();
    let keys: Vec<&str> = config
        .server
        .default_models
        .iter()
        .map(|(key, _)| *key)
        .collect();
    assert_eq!(keys, ["images", "images_edits"]);
    assert_problem(
        &with("server: { default_models: { images: n } }\n"),
        "server.default_models.images: no rule serves the default model `n`",
    );
    assert_problem(
        &with("server: { default_models: { chat_completions: m } }\n"),
        "server.default_models.chat_completions: unknown key",
    );
}
