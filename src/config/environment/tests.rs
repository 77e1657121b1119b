//! The configuration that the variables mean, and the messages about mistakes in them.

use super::*;
use crate::config::{Changes, Config, Keys, Source, Streams};

fn variables(entries: &[(&str, &str)]) -> Variables {
    entries.iter().copied().collect()
}

/// The configuration of the variables, read through the document.
fn config(entries: &[(&str, &str)]) -> Config {
    Config::load(&Source::Environment, &variables(entries)).unwrap()
}

fn problems(entries: &[(&str, &str)]) -> Vec<String> {
    let Err(problems) = Config::load(&Source::Environment, &variables(entries)) else {
        return Vec::new();
    };
    problems.0.iter().map(ToString::to_string).collect()
}

/// Each upstream as `name urls keys`.
fn upstreams(config: &Config) -> Vec<String> {
    let upstreams = config.upstreams.iter().map(|upstream| {
        let urls: Vec<_> = upstream.servers.iter().map(|s| s.url.to_string()).collect();
        let keys = match &upstream.keys {
            Keys::Passthrough => "passthrough".to_owned(),
            Keys::Own(keys) => {
                let keys: Vec<&str> = keys.iter().map(|key| key.expose()).collect();
                format!("[{}]", keys.join(" "))
            }
        };
        format!("{} {} {keys}", upstream.name.value, urls.join(" "))
    });
    upstreams.collect()
}

const K: &str = "OPENAI_KEYS";
const U: &str = "OPENAI_BASE_URL";

#[test]
fn keys_and_urls_make_one_upstream_or_pairs() {
    for (entries, expected) in [
        (
            &[(K, "k")][..],
            &["openai https://api.openai.com/v1 [k]"][..],
        ),
        (
            &[("OPENAI_API_KEY", "k, l")],
            &["openai https://api.openai.com/v1 [k l]"],
        ),
        (
            &[
                (K, "k,l"),
                ("UPSTREAM_API_URL", "http://a/v1/chat/completions"),
            ],
            &["openai http://a/v1 [k l]"],
        ),
        (
            &[(K, "k"), (U, "http://a , http://b/x")],
            &["openai http://a http://b/x [k]"],
        ),
        (
            &[(U, "http://a,http://b")],
            &["openai http://a http://b passthrough"],
        ),
        (
            &[(K, "k, l"), (U, "http://a, http://b")],
            &["openai-1 http://a [k]", "openai-2 http://b [l]"],
        ),
        // An extra comma is not a second value where nothing is paired.
        (&[(K, "k,l,"), (U, "http://a")], &["openai http://a [k l]"]),
        (&[(K, "k"), (U, "http://a,")], &["openai http://a [k]"]),
    ] {
        assert_eq!(upstreams(&config(entries)), expected, "{entries:?}");
    }
}

#[test]
fn every_provider_serves_any_model() {
    let config = config(&[(K, "k,l,m"), (U, "http://a,http://b,http://c")]);
    assert_eq!(config.models.len(), 1);
    assert_eq!(config.models[0].matcher.value.label(), "*");
    let targets = config.models[0].targets.iter();
    let targets: Vec<_> = targets
        .map(|t| (t.upstream.value.as_str(), t.weight))
        .collect();
    assert_eq!(targets, [("openai-1", 1), ("openai-2", 1), ("openai-3", 1)]);
}

#[test]
fn client_keys_open_the_gateway_to_the_network() {
    let address = |config: &Config| config.server.listen[0].address.value.to_string();
    let open = config(&[(K, "k"), ("FORWARD_KEY", "one, two,"), ("PORT", " 9000 ")]);
    assert_eq!(address(&open), "0.0.0.0:9000");
    assert_eq!(open.tenants[0].keys.len(), 2);
    let closed = config(&[(K, "k")]);
    assert_eq!(address(&closed), "127.0.0.1:8080");
    assert!(closed.tenants.is_empty());
}

#[test]
fn the_operators_listener_is_where_admin_says_or_nowhere() {
    let admin = |entries: &[(&str, &str)]| {
        let config = config(&[&[(K, "k")], entries].concat());
        config.server.admin.map(|address| address.value.to_string())
    };
    assert_eq!(admin(&[]).unwrap(), "127.0.0.1:9464");
    assert_eq!(admin(&[("ADMIN", " 9465 ")]).unwrap(), "127.0.0.1:9465");
    assert_eq!(admin(&[("ADMIN", "[::1]:9465")]).unwrap(), "[::1]:9465");
    assert_eq!(admin(&[("ADMIN", "10.0.0.7:80")]).unwrap(), "10.0.0.7:80");
    assert_eq!(admin(&[("ADMIN", "off"), ("PORT", "9464")]), None);
    assert_eq!(admin(&[("ADMIN", "OFF")]), None);
    assert_eq!(
        admin(&[("ADMIN", "0"), ("PORT", "0")]).unwrap(),
        "127.0.0.1:0"
    );
    let moved = admin(&[("ADMIN", "9465"), ("PORT", "9464")]);
    assert_eq!(moved.unwrap(), "127.0.0.1:9465");
}

#[test]
fn the_clients_key_is_sent_on_only_where_it_is_not_ours() {
    let extra = [
        (U, "http://a"),
        (EXTRA_URLS, "http://x/v1"),
        (EXTRA_PREFIXES, "/x"),
    ];
    assert_eq!(
        upstreams(&config(&extra)),
        [
            "openai http://a passthrough",
            "extra http://x/v1 passthrough"
        ]
    );
    assert_eq!(
        upstreams(&config(&[&extra[..], &[("FORWARD_KEY", "f")]].concat())),
        ["openai http://a []", "extra http://x/v1 []"]
    );
    assert_eq!(
        upstreams(&config(&[&extra[..], &[(K, "k")]].concat())),
        ["openai http://a [k]", "extra http://x/v1 passthrough"]
    );
}

#[test]
fn extras_are_routes() {
    let config = config(&[
        (K, "k"),
        (EXTRA_URLS, "http://x/v1, http://y/v1"),
        (EXTRA_PREFIXES, "x, /y/z"),
    ]);
    let routes = config.routes.iter();
    let routes: Vec<_> = routes
        .map(|r| (&*r.prefix.value, &*r.upstream.value))
        .collect();
    assert_eq!(routes, [("/x", "extra-1"), ("/y/z", "extra-2")]);
}

#[test]
fn variables_without_effect_are_reported() {
    let told = |entries: &[(&str, &str)]| config(&[&[(K, "k")], entries].concat()).not_in_force();
    assert_eq!(told(&[("CACHE_BACKEND", "memory")]), ["CACHE_BACKEND"]);
    assert_eq!(told(&[("CACHE_BACKEND", "None")]), [""; 0]);
}

#[test]
fn chats_are_logged_where_the_variable_says_so() {
    let path = |value| {
        let log = config(&[(K, "k"), ("LOG_CHAT", value)]).chat_log;
        log.map(|log| log.path.value)
    };
    for on in ["true", "TRUE", "1", "yes", "on"] {
        assert_eq!(path(on).unwrap(), std::path::Path::new("./chats.jsonl"));
    }
    for off in ["false", "0", "No", "off", ""] {
        assert_eq!(path(off), None);
    }
}

#[test]
fn workers_are_threads() {
    let threads = |value| config(&[(K, "k"), ("WORKERS", value)]).server.threads;
    assert_eq!(
        [threads(""), threads(" 4 "), threads("0"), threads("1024")],
        [0, 4, 0, 1024]
    );
}

#[test]
fn every_provider_is_asked_for_streams_as_the_variable_says() {
    for (value, expected) in [
        ("", Streams::AsAsked),
        ("as_asked", Streams::AsAsked),
        ("Always", Streams::Always),
        ("never ", Streams::Never),
    ] {
        let config = config(&[(K, "k,l"), (U, "http://a,http://b"), (STREAMS, value)]);
        let targets = config.models[0].targets.iter();
        let streams: Vec<_> = targets.map(|target| target.transforms.streams).collect();
        assert_eq!(streams, [expected; 2], "{value}");
    }
}

#[test]
fn the_log_is_masked_as_the_variable_says() {
    let mask = |value| config(&[(K, "k"), ("MASK_LOG", value)]).server.log.mask;
    assert!(mask("true") && mask(""));
    assert!(!mask("off"));
}

#[test]
fn log_files_are_in_the_folder_that_the_variable_names() {
    let folder = |value| {
        let document = read(&variables(&[(K, "k"), ("LOG_PATH", value)]))
            .unwrap()
            .document();
        document
            .lines()
            .find(|line| line.contains("files: {"))
            .map(str::to_owned)
    };
    assert_eq!(folder("").as_deref(), None);
    let expected = "    files: { path: \"/var/log/my relay\" }";
    assert_eq!(folder("/var/log/my relay").as_deref(), Some(expected));
    let here = std::env::temp_dir();
    let files = config(&[(K, "k"), ("LOG_PATH", here.to_str().unwrap())])
        .server
        .log
        .files;
    assert_eq!(files.unwrap().path.value, here);
}

/// A variable and a value of it that is not the default.
const SET: [(&str, &str); 16] = [
    ("OPENAI_API_KEY", "k,l"),
    ("OPENAI_KEYS", "k,l"),
    ("OPENAI_BASE_URL", "http://a,http://b"),
    ("UPSTREAM_API_URL", "http://a,http://b"),
    ("FORWARD_KEY", "f,g"),
    ("PORT", "9000"),
    ("ADMIN", "off"),
    ("WORKERS", "3"),
    ("UPSTREAM_STREAM", "always"),
    ("EXTRA_BASE_URL", "http://x,http://y"),
    ("EXTRA_ROUTE_PREFIX", "/x,/y"),
    ("LOG_CHAT", "true"),
    ("MASK_LOG", "false"),
    ("CACHE_BACKEND", "none"),
    ("CONFIG_PATH", ""),
    ("LOG_PATH", ""),
];

#[test]
fn the_document_means_what_the_variables_do() {
    let entries = variables(&SET);
    let config = Config::load(&Source::Environment, &entries).unwrap();
    let saved = Config::parse("t.yaml", &read(&entries).unwrap().document(), &entries).unwrap();
    assert_eq!(Changes::between(&config, &saved).to_string(), "");
    // Each of them has an effect.
    let none = self::config(&[(K, "k")]);
    let changes = Changes::between(&none, &config).to_string();
    for part in [
        "listen", "admin", "threads", "log.mask", "extra-1", "openai-1", "models.*", "routes",
        "tenants", "chat_log",
    ] {
        assert!(changes.contains(part), "{part} is not in {changes}");
    }
}

#[test]
fn every_name_is_known() {
    let names: Vec<&str> = SET.iter().map(|(name, _)| *name).collect();
    let mut known = NAMES.to_vec();
    known.retain(|name| !names.contains(name));
    assert_eq!(known, [""; 0]);
    // Each text of the file in capitals is the name of a variable.
    let source = include_str!("../environment.rs");
    let texts = source.split('"').skip(1).step_by(2);
    let is_name =
        |text: &&str| text.len() > 3 && text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    for name in texts.filter(is_name) {
        assert!(NAMES.contains(&name), "{name} is missing");
    }
}

#[test]
fn the_example_has_every_name_and_can_be_used() {
    let example = include_str!("../../../.env.example");
    let names = NAMES.iter().chain(&[
        "CREDENTIALS_DIRECTORY",
        "RUST_LOG",
        "SSL_CERT_FILE",
        "TMPDIR",
    ]);
    for name in names {
        let lines = example.lines().map(|line| line.trim_start_matches("# "));
        let mut lines = lines.filter(|line| line.starts_with(&format!("{name}=")));
        assert!(lines.next().is_some(), "{name} is missing");
        assert_eq!(lines.next(), None, "{name} is there twice");
    }
    // As it is, and with every line that stands for a value of its own.
    let values = |text: &str| -> Variables {
        let entries = dotenvy::from_read_iter(text.as_bytes());
        entries.map(Result::unwrap).collect()
    };
    Config::load(&Source::Environment, &values(example)).unwrap();
    let is_value = |rest: &&str| rest.contains('=') && !rest.contains(' ');
    let uncommented = example.lines().map(|line| {
        let value = line.strip_prefix("# ").filter(is_value);
        format!("{}\n", value.unwrap_or(line))
    });
    let all = values(&uncommented.collect::<String>());
    for name in ["WORKERS", "UPSTREAM_STREAM", "MASK_LOG", "LOG_CHAT", "PORT"] {
        assert!(all.get(name).is_some(), "{name}");
    }
    let document = read(&all).unwrap().document();
    assert!(document.contains("upstream_stream"), "{document}");
}

#[test]
fn the_document_holds_no_secret() {
    let entries = [
        (K, "sk-secret-1,sk-secret-2"),
        (U, "http://a,http://b"),
        ("FORWARD_KEY", "fk-secret"),
    ];
    let text = read(&variables(&entries)).unwrap().document();
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn nothing_to_serve_names_the_variables_and_other_ways() {
    let found = problems(&[("FORWARD_KEY", "f"), ("PORT", "http")]);
    assert_eq!(found.len(), 1, "{found:?}");
    let names = PROVIDER_KEYS.iter().chain(&BASE_URLS);
    for part in names.chain(&["-c", "--demo"]) {
        assert!(found[0].contains(part), "{part} is not in {found:?}");
    }
}

/// Each environment, to which a key is added, has one mistake, reported as expected.
#[track_caller]
fn assert_mistakes(cases: &[(&[(&str, &str)], &str)]) {
    for (entries, expected) in cases {
        let found = problems(&[&[(K, "k")], *entries].concat());
        assert_eq!(found.len(), 1, "{found:?}");
        let expected = format!("environment: {expected}");
        assert!(
            found[0].starts_with(&expected),
            "{expected} is not {found:?}"
        );
        assert!(!found[0].contains("secret"), "{found:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_mistake_is_reported_under_the_name_of_its_variable() {
    let long = format!("f,{}", "f".repeat(257));
    assert_mistakes(&[
        (&[("PORT", "http")], "PORT: `http` is not a port"),
        (
            &[("PORT", "9464")],
            "PORT: 9464 is the port of the operator's listener",
        ),
        (
            &[("PORT", "80"), ("ADMIN", "80")],
            "PORT: 80 is the port of the operator's listener",
        ),
        (
            &[("ADMIN", "localhost:9464")],
            "ADMIN: `localhost:9464` is neither an address with a port nor `off`",
        ),
        (
            &[("ADMIN", "94640")],
            "ADMIN: `94640` is neither an address with a port nor `off`",
        ),
        (
            &[("LOG_CHAT", "maybe")],
            "LOG_CHAT: `maybe` is neither true nor false",
        ),
        (
            &[("MASK_LOG", "maybe")],
            "MASK_LOG: `maybe` is neither true nor false",
        ),
        (
            &[("WORKERS", "4x")],
            "WORKERS: `4x` is not a number of threads (set it to a number from 1 to 1024, or to 0",
        ),
        (
            &[("WORKERS", "1025")],
            "WORKERS: `1025` is not a number of threads",
        ),
        (
            &[("UPSTREAM_STREAM", "true")],
            "UPSTREAM_STREAM: `true` is none of always, never and as_asked",
        ),
        (
            &[("LOG_PATH", "Cargo.toml")],
            "LOG_PATH: `Cargo.toml` is not a folder (name a folder: info.log and error.log",
        ),
        (
            &[("OPENAI_API_KEY", "l")],
            "OPENAI_API_KEY: OPENAI_KEYS is set, too",
        ),
        (
            &[(U, "http://a"), ("UPSTREAM_API_URL", "http://b")],
            "OPENAI_BASE_URL: UPSTREAM_API_URL is set, too",
        ),
        (
            &[(U, "http://a,b.example")],
            "OPENAI_BASE_URL[1]: the URL must begin with http",
        ),
        (
            &[(U, "http://u:secret@a")],
            "OPENAI_BASE_URL: the URL must not hold a user",
        ),
        (
            &[(K, "secret\n1")],
            "OPENAI_KEYS: the key has characters that no header",
        ),
        (
            &[("FORWARD_KEY", &long)],
            "FORWARD_KEY[1]: the key is longer",
        ),
        (
            &[("FORWARD_KEY", "sha256:secret")],
            "FORWARD_KEY: expected 64 hexadecimal",
        ),
        (
            &[("FORWARD_KEY", " , ")],
            "FORWARD_KEY: it holds only commas",
        ),
        (
            &[("FORWARD_KEY", "secret,,,secret")],
            "FORWARD_KEY[3]: the key is in the list already",
        ),
    ]);
}

#[test]
fn lists_that_do_not_pair_are_a_mistake() {
    let empty = "OPENAI_KEYS: one of its entries is empty";
    assert_mistakes(&[
        (
            &[(K, "k,l,m"), (U, "http://a,http://b")],
            "OPENAI_KEYS: it has 3 entries, but OPENAI_BASE_URL has 2",
        ),
        (&[(K, "k,,m"), (U, "http://a,http://b,http://c")], empty),
        (&[(K, "k,"), (U, "http://a,http://b")], empty),
        (
            &[(EXTRA_URLS, "http://x")],
            "EXTRA_BASE_URL: EXTRA_ROUTE_PREFIX must be set",
        ),
        (
            &[(EXTRA_PREFIXES, "/x")],
            "EXTRA_ROUTE_PREFIX: EXTRA_BASE_URL must be set",
        ),
        (
            &[(EXTRA_URLS, "http://x,http://y"), (EXTRA_PREFIXES, "/x")],
            "EXTRA_BASE_URL: it has 2 entries, but EXTRA_ROUTE_PREFIX has 1",
        ),
        (
            &[(EXTRA_URLS, "http://x"), (EXTRA_PREFIXES, "/")],
            "EXTRA_ROUTE_PREFIX: a prefix needs a name after its /",
        ),
    ]);
}

#[test]
fn two_names_for_one_value_are_no_mistake() {
    let both = config(&[("OPENAI_API_KEY", "k,l"), (K, "k, l")]);
    assert_eq!(upstreams(&both), ["openai https://api.openai.com/v1 [k l]"]);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let found = problems(&[("PORT", "x"), ("LOG_CHAT", "x"), (U, "x"), (K, "k")]);
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn the_demo_is_a_valid_configuration() {
    Config::parse("demo", DEMO, &Variables::default()).unwrap();
}
