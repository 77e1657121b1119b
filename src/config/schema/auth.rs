//! The schema of the `auth` section.
//!
//! Owns its keys. Does not handle how they are read (see `config::auth`). Cannot fail.

use serde_json::Value;

use super::shapes::{duration, list, list_or, or, section, text, word};
use crate::jwt::Algorithm;

pub(super) fn section_of() -> Value {
    section(
        &[],
        [(
            "jwt",
            "The issuers whose tokens are accepted.",
            list(issuer()),
        )],
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
            ("file", "A file that has them.", text()),
        ],
    )
}
