//! Signed requests: what a signature covers, how it is verified, and what the body must be.
//!
//! Owns a fixed profile of RFC 9421 (HTTP Message Signatures) with RFC 9530 (Digest Fields): one signature by
//! `hmac-sha256`, which covers the method, the path, the query and the digest of the body. `input` reads what is
//! signed, `digest` checks bodies. Does not handle whose key it is, whether the time is right, nor whether a nonce was
//! used before (see `auth::signatures`). Fails with [`Fault`]; nothing of a signature is in it.

mod digest;
mod input;

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Method};
use sha2::Sha256;

pub use digest::{BodyCheck, BodyDigest};
pub use input::{ACCEPTED, Signed};

/// The header that says what a signature covers.
pub const SIGNATURE_INPUT: &str = "signature-input";
/// The header that has the signature.
pub const SIGNATURE: &str = "signature";
/// The header that has the digest of the body.
pub const CONTENT_DIGEST: &str = "content-digest";

/// What of a request can be signed.
#[derive(Clone, Copy)]
pub struct Message<'r> {
    /// Its method.
    pub method: &'r Method,
    /// Its path, as it was sent.
    pub path: &'r str,
    /// Its query without the question mark, as it was sent.
    pub query: Option<&'r str>,
    /// Its headers.
    pub headers: &'r HeaderMap,
}

/// What is wrong with a signature before any key is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One of the headers is missing, stands twice, is too long or cannot be read.
    Header(&'static str),
    /// There are several signatures.
    Several,
    /// It does not cover what it must cover.
    NotCovered(&'static str),
    /// It covers what cannot be signed here, or is not in the request.
    Unsupported,
    /// It lacks a parameter, or one has another form.
    Parameter(&'static str),
    /// It is made by another algorithm.
    Algorithm,
}

impl Fault {
    /// Its name in metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Header(_) | Self::Several | Self::Parameter(_) => "malformed",
            Self::NotCovered(_) | Self::Unsupported => "component",
            Self::Algorithm => "algorithm",
        }
    }
}

/// For the log, and for the client, which has made the signature.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => {
                write!(
                    f,
                    "the header {name} is missing, stands twice or cannot be read"
                )
            }
            Self::Several => f.write_str("the request has several signatures, and one is expected"),
            Self::NotCovered(name) => write!(f, "the signature does not cover {name}"),
            Self::Unsupported => f.write_str(
                "the signature covers a component that is not in the request, stands twice or is \
                 not supported",
            ),
            Self::Parameter(name) => {
                write!(
                    f,
                    "the signature's parameter {name} is missing or cannot be read"
                )
            }
            Self::Algorithm => f.write_str("the signature's algorithm is not hmac-sha256"),
        }
    }
}

/// A secret that requests are signed with. Its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

/// Shows nothing of the secret.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([REDACTED])")
    }
}

impl SigningKey {
    /// Takes the bytes of a secret; `None` where they cannot be a key, which HMAC does not know.
    pub fn new(secret: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(secret).ok().map(Self)
    }

    /// Whether it has signed these bytes; compares in constant time.
    fn has_signed(&self, bytes: &[u8], tag: &[u8]) -> bool {
        let mut mac = self.0.clone();
        mac.update(bytes);
        mac.verify_slice(tag).is_ok()
    }
}

#[cfg(test)]
mod tests;
