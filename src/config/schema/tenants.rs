//! The schema of a tenant, and of what else has limits and webhooks.
//!
//! Owns their keys. Does not handle how they are read (see `config::tenants`, `limits`, `quota` and
//! `webhook`). Cannot fail.

use serde_json::{Value, json};

use super::accounts;
use super::listen::{METHODS, methods};
use super::server::{ALLOW_ADMINISTRATION, ALLOW_EPHEMERAL_KEYS, ALLOW_USAGE_REPORTS, STRICT};
use super::shapes::{
    boolean, decimal, integer, list, list_or, map, moment, one_of, or, or_off, reference, section,
    text, word,
};
use crate::config::{Period, Window};

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn tenant() -> Value {
    section(
        &["id"],
        [
            ("id", "Up to 64 letters, digits, -, _ and .", text()),
            ("name", "What it is called. For people.", text()),
            ("labels", "Notes of the operator's.", map(text())),
            ("enabled", "Whether its keys hold.", or(boolean(), true)),
            ("expires", "From when on they do not.", moment()),
            ("auth", METHODS, methods()),
            (
                "addresses",
                "Where its callers may come from.",
                reference("addresses"),
            ),
            ("key_prefix", "What each of its keys begins with.", text()),
            (
                "keys",
                "What clients send: keys, or sha256: and the hash of one.",
                list(one_of([text(), key()])),
            ),
            (
                "hmac",
                "What its requests are signed with.",
                list(signature_key()),
            ),
            (
                "mtls",
                "Names in the certificates of its callers, each of one kind.",
                list(certificate_name()),
            ),
            (
                "models",
                "The names that it may ask for. Default: all.",
                list(text()),
            ),
            (
                "passthrough",
                "Its own home for what no rule serves. Default: the server's.",
                or_off(text()),
            ),
            ("allow_ephemeral_keys", ALLOW_EPHEMERAL_KEYS, boolean()),
            ("allow_administration", ALLOW_ADMINISTRATION, boolean()),
            ("allow_usage_reports", ALLOW_USAGE_REPORTS, boolean()),
            ("strict", STRICT, boolean()),
            (
                "cache",
                "Whether its answers may be kept to be given again.",
                or(boolean(), true),
            ),
            (
                "cache_control",
                "Whether its requests may say so themselves, with Cache-Control.",
                or(word(["obey", "ignore"]), "obey"),
            ),
            (
                "limits",
                "How much it may ask in a time.",
                reference("limits"),
            ),
            (
                "quota",
                "How much it may use in a period. A number alone: tokens a month.",
                one_of([count(), quota()]),
            ),
            (
                "webhook",
                "Where events about it are sent.",
                reference("webhook"),
            ),
            (
                "markup",
                "What it pays beyond what the provider charges, as in 20%.",
                percent(),
            ),
            (
                "prices",
                "What it pays instead, for the models that it names.",
                list_or(reference("price"), accounts::prices()),
            ),
        ],
    )
}

fn key() -> Value {
    section(
        &["key"],
        [
            ("key", "The key, or sha256: and its hash.", text()),
            ("name", "Its name in reports and events.", text()),
            ("labels", "Notes of the operator's.", map(text())),
            (
                "models",
                "The names that may be asked for with it, among its tenant's. Default: all of them.",
                list(text()),
            ),
            ("enabled", "Whether it holds.", or(boolean(), true)),
            ("expires", "From when on it does not.", moment()),
            ("limits", "Within those of the tenant.", reference("limits")),
            (
                "quota",
                "How much may be used with it in a period, within its tenant's quota. Needs `name`.",
                one_of([count(), quota()]),
            ),
        ],
    )
}

fn certificate_name() -> Value {
    section(
        &[],
        [
            (
                "subject",
                "The whole subject, as RFC 4514 writes it.",
                text(),
            ),
            ("cn", "The common name of the subject.", text()),
            ("dns", "A DNS name.", text()),
            ("uri", "A URI, as in spiffe://example.org/batch.", text()),
            ("email", "An address of mail.", text()),
        ],
    )
}

fn signature_key() -> Value {
    section(
        &["id", "secret"],
        [
            ("id", "Its id, which signatures name.", text()),
            ("secret", "What it signs with, of 32 bytes or more.", text()),
            ("enabled", "Whether it holds.", or(boolean(), true)),
            ("expires", "From when on it does not.", moment()),
        ],
    )
}

/// A count that bounds something.
fn count() -> Value {
    integer(1, 1 << 53)
}

fn percent() -> Value {
    decimal("%")
}

pub(super) fn limits() -> Value {
    let windows = [Window::Gcra, Window::Sliding].map(Window::name);
    section(
        &[],
        [
            ("requests_per_second", "Requests in a second.", count()),
            ("rps", "The same as requests_per_second.", count()),
            ("requests_per_minute", "Requests in a minute.", count()),
            ("rpm", "The same as requests_per_minute.", count()),
            ("requests_per_hour", "Requests in an hour.", count()),
            ("requests_per_day", "Requests in a day.", count()),
            ("rpd", "The same as requests_per_day.", count()),
            (
                "tokens_per_minute",
                "Tokens of input and output in a minute.",
                count(),
            ),
            ("tpm", "The same as tokens_per_minute.", count()),
            (
                "tokens_per_day",
                "Tokens of input and output in a day.",
                count(),
            ),
            ("tpd", "The same as tokens_per_day.", count()),
            (
                "stream_tokens_per_minute",
                "Tokens of output in a minute, above which streams are slowed down.",
                count(),
            ),
            ("concurrent", "Requests at a time.", integer(1, 1_000_000)),
            (
                "window",
                "How rates are measured: with a burst of one limit, or never more in any window.",
                or(word(windows), Window::default().name()),
            ),
        ],
    )
}

fn quota() -> Value {
    let share = || one_of([integer(1, 100), percent()]);
    section(
        &[],
        [
            ("tokens", "Tokens of input and output.", count()),
            ("usd", "US dollars. Needs `prices`.", decimal("")),
            (
                "per",
                "The period.",
                or(
                    word(Period::ALL.map(Period::name)),
                    Period::default().name(),
                ),
            ),
            (
                "timezone",
                "Where the periods begin at midnight.",
                or(text(), "UTC"),
            ),
            (
                "warn_at",
                "Shares at which a warning is given.",
                or(list_or(share(), share()), json!(["80%"])),
            ),
        ],
    )
}

pub(super) fn webhook() -> Value {
    let event = word(["usage", "threshold", "exhausted"]);
    let settings = section(
        &["url"],
        [
            ("url", "https, or http to this machine.", text()),
            (
                "secret",
                "The key of the signatures: at least 16 bytes, or whsec_ and base64.",
                text(),
            ),
            (
                "events",
                "Which events are sent. Default: all.",
                list(event),
            ),
            (
                "allow_private",
                "Whether the address may be in a private network.",
                or(boolean(), false),
            ),
        ],
    );
    one_of([text(), settings])
}
