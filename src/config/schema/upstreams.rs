//! The schema of an entry of `upstreams`.
//!
//! Owns its keys and those of the sections in it. Does not handle how they are read (see `config::upstreams`).
//! Cannot fail.

use serde_json::{Value, json};

use super::shapes::{
    boolean, duration, integer, list, list_or, map, one_of, or, or_off, section, text, word,
};
use crate::openai::continuation::Prefill;
use crate::openai::dialect::Dialect;

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn section_of() -> Value {
    let (plain, with_settings) = dialects();
    let mut keys = vec![
        (
            "dialect",
            "How the provider differs from api.openai.com.",
            or(one_of([plain, with_settings]), "openai"),
        ),
        (
            "base_url",
            "Where the API is. Either this or `servers`.",
            text(),
        ),
        (
            "servers",
            "Several servers with the same models.",
            list(one_of([text(), server()])),
        ),
        (
            "keys",
            "The provider's keys, used in turn, or passthrough: the client's own key is sent on.",
            list_or(text(), word(["passthrough"])),
        ),
        ("timeouts", "How long the provider may take.", timeouts()),
        (
            "http2",
            "With https, HTTP/2 where the server offers it; with http, HTTP/2 always.",
            or(boolean(), false),
        ),
        (
            "tls",
            "How TLS is spoken with the servers. Without it, as the system trusts them.",
            tls(),
        ),
        (
            "proxy",
            "The forward proxy that leads to the servers, as in http://user:password@proxy:3128",
            text(),
        ),
        (
            "health_check",
            "How servers are checked. Without it they are not.",
            health_check(),
        ),
        (
            "ejection",
            "When what fails is left out for a while.",
            or_off(ejection()),
        ),
        (
            "prefill",
            "How it continues a message that the assistant has begun.",
            or(word(Prefill::names()), "none"),
        ),
        (
            "resend_lost",
            "Whether a request is sent again whose connection broke. It may be charged twice.",
            or(boolean(), false),
        ),
        (
            "include_usage",
            "Whether the usage of streams is asked for where the client did not.",
            or(boolean(), true),
        ),
        (
            "forward_headers",
            "Client headers that it gets besides the usual ones: names, or beginnings and a *.",
            list(text()),
        ),
        (
            "hops",
            "Whether X-Tollgate-Hops says how many gateways a request has passed.",
            boolean(),
        ),
    ];
    keys.extend(choice());
    section(&[], keys)
}

/// The keys of how a server is chosen, and how many requests are taken.
fn choice() -> Vec<super::Key> {
    vec![
        (
            "balance",
            "How one of several servers is chosen.",
            or(
                word(["weighted", "random", "least_requests", "consistent"]),
                "weighted",
            ),
        ),
        (
            "consistent_by",
            "What decides with balance: consistent.",
            or(word(["prompt_cache_key", "tenant"]), "prompt_cache_key"),
        ),
        (
            "max_concurrent",
            "Requests at a time, for all servers together.",
            integer(1, 1_000_000),
        ),
        (
            "queue",
            "Requests that wait where max_concurrent is reached.",
            section(
                &[],
                [
                    (
                        "length",
                        "How many may wait. One more gets 503.",
                        or(integer(0, 10_000), 64),
                    ),
                    (
                        "wait",
                        "How long they may wait. Then 503.",
                        or(duration(), "1s"),
                    ),
                ],
            ),
        ),
    ]
}

fn dialects() -> (Value, Value) {
    let name = || word(Dialect::names());
    let settings = section(
        &["name"],
        [
            ("name", "The dialect.", name()),
            (
                "api_version",
                "For azure: the path names the deployment, which is the model of the target.",
                text(),
            ),
            ("key_header", "The header that carries the key.", text()),
            ("key_prefix", "The text before the key in it.", text()),
            ("headers", "Headers that each request gets.", map(text())),
            (
                "path_prefix",
                "The path of the API where the URL has none.",
                text(),
            ),
            (
                "drop",
                "Fields that are removed from a JSON request.",
                list(text()),
            ),
            ("rename", "Fields that get another name.", map(text())),
        ],
    );
    (name(), settings)
}

fn server() -> Value {
    section(
        &["url"],
        [
            ("url", "Where the API is.", text()),
            (
                "weight",
                "The server's share of the requests.",
                or(integer(0, 1000), 1),
            ),
        ],
    )
}

fn tls() -> Value {
    section(
        &[],
        [
            (
                "ca",
                "The file with the authorities that are trusted, in place of the system's.",
                text(),
            ),
            (
                "cert",
                "The file with the certificate that the servers are shown, and its chain.",
                text(),
            ),
            ("key", "The file with its private key.", text()),
            (
                "server_name",
                "The name in the servers' certificates, in place of the URL's.",
                text(),
            ),
            (
                "sm",
                "Whether TLS is spoken by RFC 8998, with SM2, SM3 and SM4, and in no other way.",
                or(boolean(), false),
            ),
        ],
    )
}

fn timeouts() -> Value {
    section(
        &[],
        [
            (
                "connect",
                "To connect, including TLS.",
                or(duration(), "5s"),
            ),
            (
                "first_token",
                "From the start of an attempt to the first output of a stream.",
                or(duration(), "60s"),
            ),
            (
                "answer",
                "From the start of an attempt to the header of an answer that is not streamed.",
                duration(),
            ),
            (
                "idle",
                "Between two events of a stream, or two reads.",
                or(duration(), "60s"),
            ),
            (
                "total",
                "For the whole request with all its attempts.",
                or(duration(), "10m"),
            ),
        ],
    )
}

fn health_check() -> Value {
    let status = json!({ "type": ["integer", "string"] });
    section(
        &[],
        [
            (
                "path",
                "From the server's root, without a key. Without it only a connection is made.",
                text(),
            ),
            (
                "method",
                "The method.",
                or(word(["GET", "HEAD", "OPTIONS"]), "GET"),
            ),
            (
                "expect",
                "The statuses of a healthy server, as in 200-299.",
                or(list(status), json!(["200-299"])),
            ),
            (
                "interval",
                "The time between two checks.",
                or(duration(), "5s"),
            ),
            (
                "jitter_percent",
                "How much earlier or later a check may come.",
                or(integer(0, 50), 10),
            ),
            (
                "timeout",
                "A check that takes longer has failed.",
                or(duration(), "3s"),
            ),
            (
                "unhealthy_after",
                "Failures in a row that make a server unhealthy.",
                or(integer(1, 1000), 3),
            ),
            (
                "healthy_after",
                "Successes in a row that make it healthy.",
                or(integer(1, 1000), 2),
            ),
        ],
    )
}

fn ejection() -> Value {
    section(
        &[],
        [
            (
                "consecutive",
                "Failures in a row that eject.",
                or(integer(1, 1000), 5),
            ),
            (
                "percent",
                "Or this share of the requests in a window; 0 for none.",
                or(integer(0, 100), 50),
            ),
            (
                "least",
                "The share counts with this many requests.",
                or(integer(1, 100_000), 20),
            ),
            ("window", "The length of the window.", or(duration(), "10s")),
            (
                "base",
                "How long the first ejection lasts. Doubles.",
                or(duration(), "2s"),
            ),
            ("longest", "The longest ejection.", or(duration(), "10s")),
            (
                "trials",
                "Requests at a time that then try it.",
                or(integer(1, 100), 3),
            ),
        ],
    )
}
