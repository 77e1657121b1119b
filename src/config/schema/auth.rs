//! The schema of the `auth` section.
//!
//! Owns its keys. Does not handle how they are read (see `config::auth`). Cannot fail.

use serde_json::Value;

use super::shapes::{duration, integer, list, list_or, or, section, text, word};
use crate::jwt::Algorithm;

pub(super) fn section_of() -> Value {
    section(
        &[],
        [
            (
                "jwt",
                "The issuers whose tokens are accepted.",
                list(issuer()),
            ),
            ("hmac", "What holds for signed requests.", hmac()),
        ],
    )
}

fn issuer() -> Value {
    section(
        &["issuer", "audience", "algorithms"],
        [
            ("issuer", "Its tokens have this as `iss`.", text()),
            (
                "audience",
                "One of these has to be among a token's `aud`.",
                list_or(text(), text()),
            ),
            (
                "algorithms",
                "The algorithms that its tokens may be signed with.",
                list(word(Algorithm::ALL.map(Algorithm::name))),
            ),
            ("jwks", "Its keys, as a JWK set.", jwks()),
            ("public_key", "A file with its public key, in PEM.", text()),
            (
                "secret",
                "The secret that it signs with, of 32 bytes or more.",
                text(),
            ),
            (
                "leeway",
                "How far its clock and ours may differ.",
                or(duration(), "60s"),
            ),
            ("tenant_claim", "The claim with a tenant's id.", text()),
            ("tenant", "The tenant of all of its tokens.", text()),
            (
                "models_claim",
                "The claim with the models that a token may ask for.",
                text(),
            ),
            (
                "limits_claim",
                "The claim with limits for the subject of a token.",
                text(),
            ),
        ],
    )
}

fn hmac() -> Value {
    section(
        &[],
        [
            (
                "window",
                "How far the time of a signature may be from ours.",
                or(duration(), "5m"),
            ),
            (
                "nonces",
                "How many nonces of a key are kept.",
                or(integer(1, 100_000_000), 1_000_000),
            ),
        ],
    )
}

fn jwks() -> Value {
    section(
        &[],
        [
            ("url", "Where the issuer publishes them.", text()),
            (
                "refresh",
                "How often they are asked for.",
                or(duration(), "15m"),
            ),
            (
                "ca",
                "The authority of the URL, in PEM. Default: the system's.",
                text(),
            ),
            ("file", "A file that has them.", text()),
        ],
    )
}
