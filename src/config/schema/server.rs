//! The schema of the `server` section.
//!
//! Owns its keys and those of the sections in it. Does not handle how they are read (see `config::server`).
//! Cannot fail.

use serde_json::{Value, json};

use super::accounts::{retention, rotation};
use super::listen::{cors, http2, listener};
use super::shapes::{
    boolean, duration, integer, list, one_of, or, or_off, reference, section, size, text, word,
};
use crate::config::MAX_THREADS;
use crate::openai::endpoint;

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn section_of() -> Value {
    let mut keys = vec![
        (
            "listen",
            "Where clients connect: IP addresses with a port, or Unix sockets.",
            list(one_of([text(), listener()])),
        ),
        (
            "admin",
            "The operator's listener: health, metrics and status, without a key.",
            or(or_off(text()), "127.0.0.1:9464"),
        ),
        (
            "admin_addresses",
            "Who may connect to it.",
            reference("addresses"),
        ),
        (
            "admin_token",
            "What requests below /admin/ must bring, as a bearer token of at least 16 characters.",
            text(),
        ),
        (
            "admin_hosts",
            "Host names that the operator's listener answers to, besides localhost and addresses.",
            list(text()),
        ),
        ("cors", "Which web pages may call. Default: none.", cors()),
        (
            "trusted_proxies",
            "Networks or addresses whose X-Forwarded-For and PROXY headers are believed, and unix.",
            list(text()),
        ),
        (
            "max_body",
            "A larger request body gets 413.",
            or(size(), "32MiB"),
        ),
        (
            "node",
            "What this gateway is called among others. Default: the name of the machine.",
            text(),
        ),
        (
            "threads",
            "Worker threads; 0 for one per core.",
            or(integer(0, MAX_THREADS.into()), 0),
        ),
        (
            "shutdown_grace",
            "How long requests in flight may continue after SIGTERM.",
            or(duration(), "30s"),
        ),
        (
            "shutdown_notice",
            "How long new connections are still taken after SIGTERM; 0 for none.",
            or(one_of([duration(), json!({ "const": 0 })]), 0),
        ),
        (
            "upgrade_timeout",
            "How long a new process may take to be ready at an upgrade.",
            or(duration(), "30s"),
        ),
        (
            "reload_on_change",
            "Whether a changed file is put in force.",
            or(boolean(), true),
        ),
        (
            "reload_on_models",
            "Whether a request for the list of models looks for a changed file first.",
            or(boolean(), false),
        ),
        (
            "flood_guard",
            "Requests a second from one address; above it 429.",
            integer(1, 1_000_000),
        ),
        ("forms", "Bodies in multipart/form-data.", forms()),
        ("drain", "Bounds of on_client_gone: drain.", drain()),
        (
            "limits",
            "Bounds on connections, requests and headers.",
            limits(),
        ),
        (
            "http2",
            "What a client may have open and send at a time over one HTTP/2 connection.",
            http2(),
        ),
        (
            "retries",
            "How often, and how soon, a request is retried.",
            retries(),
        ),
        ("log", "What is logged, and how.", log()),
    ];
    keys.extend(routing());
    section(&[], keys)
}

/// The keys of requests that no rule serves, and of sockets.
fn routing() -> Vec<super::Key> {
    let models = endpoint::default_model_keys().into_iter();
    let models = models.map(|key| (key, "The model of such a request that names none.", text()));
    vec![
        (
            "passthrough",
            "The upstream that gets what no rule serves: files, batches, stored answers.",
            or(or_off(text()), "off"),
        ),
        (
            "default_models",
            "The models of requests that name none, by endpoint.",
            section(&[], models),
        ),
        (
            "allow_ephemeral_keys",
            ALLOW_EPHEMERAL_KEYS,
            or(boolean(), false),
        ),
        (
            "allow_administration",
            ALLOW_ADMINISTRATION,
            or(boolean(), false),
        ),
        (
            "allow_usage_reports",
            ALLOW_USAGE_REPORTS,
            or(boolean(), false),
        ),
        ("strict", STRICT, or(boolean(), false)),
        (
            "models_ttl",
            "How long an upstream's list of models is used.",
            or(duration(), "5m"),
        ),
        (
            "websocket",
            "How long WebSockets live.",
            section(
                &[],
                [
                    (
                        "idle",
                        "One on which nothing passes for this long is closed.",
                        or(duration(), "10m"),
                    ),
                    (
                        "total",
                        "Every one is closed after this time.",
                        or(duration(), "2h"),
                    ),
                ],
            ),
        ),
    ]
}

/// The same key is in `server` and in a tenant, like the next three.
pub(super) const ALLOW_EPHEMERAL_KEYS: &str = "Whether requests that pass through may create short-lived keys of the provider, and start calls.";
pub(super) const ALLOW_ADMINISTRATION: &str =
    "Whether requests that pass through may administer the provider's account.";
pub(super) const ALLOW_USAGE_REPORTS: &str =
    "Whether requests that pass through may read what the whole account has used.";
pub(super) const STRICT: &str = "Whether a request may name its model only, and no stored object.";

fn forms() -> Value {
    section(
        &[],
        [
            ("max", "A larger form gets 413.", or(size(), "128MiB")),
            (
                "in_memory",
                "A larger form is kept in a file without a name.",
                or(size(), "1MiB"),
            ),
            (
                "dir",
                "The folder for such files. It must exist. Default: TMPDIR, or /tmp.",
                text(),
            ),
        ],
    )
}

fn drain() -> Value {
    section(
        &[],
        [
            (
                "time",
                "How long an answer is read after its client has left.",
                or(duration(), "60s"),
            ),
            ("bytes", "How much of it is read.", or(size(), "8MiB")),
            (
                "at_once",
                "How many answers at the same time.",
                or(integer(1, 65_536), 256),
            ),
        ],
    )
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn limits() -> Value {
    let count = |default: u64| or(integer(1, 1_000_000), default);
    section(
        &[],
        [
            (
                "connections",
                "Client connections at a time.",
                count(16_384),
            ),
            (
                "connections_per_address",
                "Client connections of one address.",
                count(4096),
            ),
            (
                "ipv6_prefix",
                "IPv6 addresses that share so many bits count as one address.",
                or(integer(1, 128), 64),
            ),
            (
                "requests",
                "Requests at a time, including streams.",
                count(8192),
            ),
            (
                "header",
                "One request's header over HTTP/1, from 4KiB to 1MiB.",
                or(size(), "64KiB"),
            ),
            (
                "http2_header",
                "One request's headers over HTTP/2, from 4KiB to 1MiB.",
                or(size(), "16KiB"),
            ),
            (
                "header_fields",
                "Headers of one request.",
                or(integer(8, 256), 256),
            ),
            (
                "header_memory",
                "All headers at a time, without the first 4 KiB of each, from 1MiB to 64GiB.",
                or(size(), "64MiB"),
            ),
            (
                "header_timeout",
                "For the whole header of a request, up to 1h.",
                or(duration(), "10s"),
            ),
            (
                "body_rate",
                "The lowest average rate of a body, in bytes a second; 0 for no bound.",
                or(
                    or_off(one_of([size(), json!({ "enum": [0, "0"] })])),
                    "1KiB",
                ),
            ),
            (
                "write_timeout",
                "A client that accepts nothing for this long is given up, up to 1h.",
                or(duration(), "60s"),
            ),
        ],
    )
}

fn retries() -> Value {
    section(
        &[],
        [
            (
                "attempts",
                "Attempts of one request, including the first.",
                or(integer(1, 20), 4),
            ),
            (
                "budget_percent",
                "Retries of an upstream in a window, in percent of its requests.",
                or(integer(0, 100), 20),
            ),
            (
                "budget_floor",
                "As many retries in a window are always allowed.",
                or(integer(0, 100_000), 10),
            ),
            (
                "budget_window",
                "The length of the window.",
                or(duration(), "10s"),
            ),
            (
                "backoff",
                "The wait before the same target is asked again. Doubles.",
                or(duration(), "100ms"),
            ),
            (
                "longest_wait",
                "A provider that asks for a longer wait is not waited for.",
                or(duration(), "2s"),
            ),
            (
                "longest_cooldown",
                "The longest cooldown of a key for a rate limit.",
                or(duration(), "5m"),
            ),
            (
                "hops",
                "A request that has passed this many gateways gets 508.",
                or(integer(1, 100), 4),
            ),
        ],
    )
}

fn log_files() -> Value {
    section(
        &["path"],
        [
            ("path", "Their folder.", text()),
            ("rotate", "When a new file is begun.", rotation()),
            ("retention", "When a full file is deleted.", retention(30)),
        ],
    )
}

fn log() -> Value {
    section(
        &[],
        [
            (
                "level",
                "What is logged; RUST_LOG overrides it.",
                or(
                    word(["off", "error", "warn", "info", "debug", "trace"]),
                    "info",
                ),
            ),
            (
                "format",
                "How a line looks.",
                or(word(["text", "json"]), "text"),
            ),
            (
                "mask",
                "Whether clients' addresses lose their last part, and keys their names.",
                or(boolean(), true),
            ),
            (
                "access",
                "Whether each request has a line.",
                or(boolean(), true),
            ),
            (
                "statistics",
                "The time between two lines of statistics, at least 1s.",
                or(or_off(duration()), "30s"),
            ),
            ("files", "Where lines go, instead of stderr.", log_files()),
        ],
    )
}
