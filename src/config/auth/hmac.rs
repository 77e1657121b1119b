//! Signed requests: the key `auth.hmac`, and the keys of a tenant that sign.
//!
//! Owns what holds for all signatures, and the keys of tenants: an id and a secret. Does not handle signatures (see
//! `signature` and `auth::signatures`), nor that each id is one tenant's (see `validate`). What cannot be read is
//! reported with its place; nothing of a secret is in a message.

use std::time::Duration;

use crate::config::document::{Located, Node, is_plain_name};
use crate::config::key_list;
use crate::config::validity::{self, Validity};
use crate::secret::Secret;

/// A shorter secret could be guessed.
const LEAST_SECRET_BYTES: usize = 32;
/// HMAC hashes a longer one, and nothing is gained.
const MOST_SECRET_BYTES: usize = 1024;
/// How far the time of a signature may be from ours.
const WINDOW: Duration = Duration::from_secs(300);
const WINDOW_BOUNDS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(3_600)];
/// As many nonces of a key are kept.
const NONCES: u32 = 1_000_000;
const MOST_NONCES: u32 = 100_000_000;

/// What holds for all signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureTerms {
    /// How far the time of one may be from ours.
    pub window: Duration,
    /// As many nonces of a key are kept.
    pub nonces: u32,
}

impl Default for SignatureTerms {
    fn default() -> Self {
        Self {
            window: WINDOW,
            nonces: NONCES,
        }
    }
}

/// A key of a tenant's that signs requests.
#[derive(Clone, Debug, PartialEq)]
pub struct SignatureKey {
    /// Its id, which signatures name.
    pub id: Located<String>,
    /// What it signs with.
    pub secret: Secret,
    /// Whether and until when it holds.
    pub validity: Validity,
}

/// Reads what holds for all signatures.
pub(super) fn read(node: &Node<'_>) -> SignatureTerms {
    let mut terms = SignatureTerms::default();
    let Some(mut section) = node.section() else {
        return terms;
    };
    if let Some(window) = section.take("window").and_then(|n| read_window(&n)) {
        terms.window = window;
    }
    if let Some(nonces) = section.take("nonces").and_then(|n| n.count(1, MOST_NONCES)) {
        terms.nonces = nonces;
    }
    section.finish();
    terms
}

fn read_window(node: &Node<'_>) -> Option<Duration> {
    let window = node.duration()?;
    let [least, most] = WINDOW_BOUNDS;
    if window < least || window > most {
        node.report("expected 5s to 1h", Some("window: 5m"));
        return None;
    }
    Some(window)
}

/// Reads the keys of a tenant.
pub fn read_keys(node: &Node<'_>) -> Vec<SignatureKey> {
    let entries = node.list().unwrap_or_default();
    entries.iter().filter_map(read_key).collect()
}

fn read_key(node: &Node<'_>) -> Option<SignatureKey> {
    let mut section = node.section()?;
    let id = section.require("id").and_then(|n| read_id(&n));
    let secret = section.require("secret").and_then(|n| read_secret(&n));
    let validity = validity::take(&mut section);
    section.finish();
    Some(SignatureKey {
        id: id?,
        secret: secret?,
        validity,
    })
}

fn read_id(node: &Node<'_>) -> Option<Located<String>> {
    let id = node.name()?;
    if !is_plain_name(&id) {
        node.report(
            "an id has up to 64 letters, digits, `-`, `_` and `.`",
            Some("as in id: batch-1"),
        );
        return None;
    }
    Some(node.locate(id))
}

fn read_secret(node: &Node<'_>) -> Option<Secret> {
    let secret = Secret::new(node.text()?);
    let length = secret.expose().len();
    if secret.expose().starts_with("sha256:") {
        let hint = "write the secret, as ${NAME}";
        node.report(
            "a signature is verified with the secret itself, not its hash",
            Some(hint),
        );
        return None;
    }
    if !(LEAST_SECRET_BYTES..=MOST_SECRET_BYTES).contains(&length) {
        let message = format!(
            "a secret has {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES} bytes, and this has {length}"
        );
        node.report(message, Some("make one with: openssl rand -hex 32"));
        return None;
    }
    key_list::warn_of_bare_variable(secret.expose(), node);
    Some(secret)
}
