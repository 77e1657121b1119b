//! The schema of `models` and `routes`.
//!
//! Owns the keys of rules, targets and fallbacks, and of a route. Does not handle how they are read (see
//! `config::models` and `config::routes`). Cannot fail.

use serde_json::Value;

use super::shapes::{
    anything, boolean, duration, integer, list, map, one_of, or, reference, section, size, text,
    word,
};
use crate::config::{CacheScope, CacheWhen, Choose, Streams, VectorProvider};
use crate::openai::verdict::Reason;

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn rule() -> Value {
    let pattern = section(
        &[],
        [
            ("prefix", "Names that begin with this.", text()),
            ("keyword", "Names that contain this.", text()),
        ],
    );
    let fallback = section(
        &["model"],
        [
            ("model", "A name that a rule serves.", text()),
            ("on", "Only after these failures.", list(reason())),
        ],
    );
    section(
        &["match", "targets"],
        [
            (
                "match",
                "The names that it serves: one, the beginning of names and a *, or \"*\" for any.",
                one_of([text(), pattern]),
            ),
            ("targets", "What serves them.", list(target())),
            (
                "fallback",
                "Models to try, in order, when the targets fail.",
                list(one_of([text(), fallback])),
            ),
            (
                "on",
                "The failures after which something else is tried.",
                list(reason()),
            ),
            (
                "keepalive_after",
                "A client that waits for a stream gets a comment each time that nothing came for this long.",
                duration(),
            ),
            (
                "malformed_events",
                "What is done with events of a stream that cannot be read.",
                or(word(["pass", "drop"]), "pass"),
            ),
            (
                "on_client_gone",
                "How usage is counted where the client has left.",
                or(word(["estimate", "drain", "absorb"]), "estimate"),
            ),
            (
                "limits",
                "What all tenants together may ask of it.",
                reference("limits"),
            ),
            (
                "cache",
                "Which of its answers are kept to be given again. Default: none.",
                one_of([boolean(), caching()]),
            ),
            (
                "coalesce",
                "Whether equal requests at the same time share one answer. Default: with `cache`.",
                boolean(),
            ),
            (
                "fallback_at",
                "When a fallback is asked: once the target has been asked once more, or at once.",
                or(word(["retried", "once"]), "retried"),
            ),
            (
                "choose",
                "Which target of the same priority is asked first.",
                or(word(Choose::ALL.map(Choose::name)), "weighted"),
            ),
            (
                "on_cut",
                "What follows when the stream of a chat breaks after output: an error, or its rest from another upstream.",
                or(word(["error", "continue"]), "error"),
            ),
            (
                "hedge_after",
                "A second candidate is asked when a stream has said nothing for this long. Default: never.",
                duration(),
            ),
            (
                "commit",
                "When a client gets an answer: from its first output, or once it is whole.",
                or(word(["output", "whole"]), "output"),
            ),
            (
                "affinity",
                "Whether requests of one conversation go to the same target and key.",
                or(word(["conversation", "off"]), "conversation"),
            ),
        ],
    )
}

fn caching() -> Value {
    section(
        &[],
        [
            (
                "ttl",
                "For how long an answer may be used. Default: that of the section `cache`.",
                duration(),
            ),
            (
                "scope",
                "Who may get it.",
                or(word(CacheScope::ALL.map(CacheScope::name)), "tenant"),
            ),
            (
                "when",
                "Which requests may get one.",
                or(word(CacheWhen::ALL.map(CacheWhen::name)), "deterministic"),
            ),
            (
                "tools",
                "With `when: always`: whether answers that call tools are kept.",
                or(boolean(), false),
            ),
            (
                "by_meaning",
                "Whether answers to questions that mean the same are used again. Needs `vector_cache`.",
                or(boolean(), false),
            ),
        ],
    )
}

pub(super) fn cache() -> Value {
    section(
        &[],
        [
            ("memory", "The memory of all answers.", or(size(), "256MiB")),
            (
                "ttl",
                "For how long an answer may be used.",
                or(duration(), "1h"),
            ),
            (
                "max_answer",
                "A larger answer is not kept.",
                or(size(), "1MiB"),
            ),
            (
                "price",
                "The share of its price that a tenant is charged each time, from 0 to 1.",
                or(anything(), 0),
            ),
            (
                "replay_tokens_per_second",
                "How fast a stream is replayed. Default: at once.",
                integer(1, 1_000_000),
            ),
            (
                "redis",
                "The Redis that several nodes share answers in, as a URL. Default: none.",
                text(),
            ),
            (
                "encryption_key",
                "What answers are encrypted with there: 32 bytes, in base64 or hexadecimal.",
                text(),
            ),
        ],
    )
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn vector_cache() -> Value {
    section(
        &["embedding_model"],
        [
            ("enabled", "Whether it is used.", or(boolean(), true)),
            (
                "provider",
                "What keeps the questions and their vectors.",
                or(
                    word(VectorProvider::ALL.map(VectorProvider::name)),
                    "memory",
                ),
            ),
            (
                "url",
                "Where the database is that keeps them: redis://, http:// or https://.",
                text(),
            ),
            ("api_key", "The key that the database asks for.", text()),
            (
                "memory",
                "The memory of all questions and their answers.",
                or(size(), "64MiB"),
            ),
            (
                "file",
                "The file in which they are kept from one start to the next. Default: none.",
                text(),
            ),
            (
                "embedding_endpoint",
                "The endpoint that makes vectors.",
                or(word(["/v1/embeddings"]), "/v1/embeddings"),
            ),
            (
                "embedding_model",
                "The model that makes vectors. A rule in `models` serves it.",
                text(),
            ),
            (
                "dimensions",
                "How many numbers a vector has. Default: as many as the model usually gives.",
                integer(1, 16_384),
            ),
            (
                "threshold",
                "The least similarity, above 0 and 1 at most. `tollgate cache calibrate` proposes one.",
                anything(),
            ),
            (
                "ttl",
                "For how long an answer may be used. Default: that of its rule.",
                duration(),
            ),
            (
                "max_turns",
                "The most messages of the user in a request that is compared.",
                or(integer(1, 100), 1),
            ),
            (
                "max_temperature",
                "The highest temperature of such a request, from 0 to 2.",
                or(anything(), 1),
            ),
            (
                "timeout",
                "How long a request waits for its vector and the comparison, 1m at most.",
                or(duration(), "1s"),
            ),
        ],
    )
}

fn reason() -> Value {
    word(Reason::ALL.iter().map(|reason| reason.name()))
}

fn target() -> Value {
    let body = section(
        &[],
        [
            (
                "set",
                "Fields that are set, whatever the client sent.",
                map(anything()),
            ),
            (
                "default",
                "Fields that are added where the client sent none.",
                map(anything()),
            ),
        ],
    );
    let streams = Streams::ALL.iter().map(|streams| streams.name());
    section(
        &["upstream"],
        [
            ("upstream", "A name from `upstreams`.", text()),
            (
                "model",
                "The name that it is asked for. Default: the client's.",
                text(),
            ),
            (
                "weight",
                "Its share among targets of its priority.",
                or(integer(0, 1000), 1),
            ),
            (
                "priority",
                "A higher one is asked when no lower one can be.",
                or(integer(0, 100), 0),
            ),
            ("stop", "Words added to the request's `stop`.", list(text())),
            (
                "special_prefix",
                "Text before the first output of each choice.",
                text(),
            ),
            ("body", "Fields of a JSON request.", body),
            (
                "response_model",
                "Which model name an answer has.",
                or(word(["upstream", "requested"]), "upstream"),
            ),
            (
                "upstream_stream",
                "Whether it is asked for streams, whatever the client wants.",
                or(word(streams), "as_asked"),
            ),
        ],
    )
}

pub(super) fn route() -> Value {
    section(
        &["prefix", "upstream"],
        [
            ("prefix", "Plain path segments, as in /gemini.", text()),
            ("upstream", "A name from `upstreams`.", text()),
        ],
    )
}
