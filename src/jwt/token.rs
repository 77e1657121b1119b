//! A token: taken apart, and verified.
//!
//! Owns its form (RFC 7515: three parts of base64url without padding) and its header: which of its members decide,
//! and which are refused. Keys that a header brings along or points to are not looked at. Does not handle claims (see
//! `claims`). Fails with [`Malformed`] or [`Unverified`].

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::claims::Claims;
use super::json;
use super::keys::KeySet;

/// A longer token is not read.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;
/// A key's name is no longer.
const MAX_KEY_ID_BYTES: usize = 256;
/// As many keys are tried for a token that names none.
const MAX_TRIES: usize = 8;

/// Why a token cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is longer than [`MAX_TOKEN_BYTES`].
    TooLong,
    /// Its parts, their encoding or their JSON are not as they have to be.
    Form,
    /// Its header names no algorithm that is known.
    Algorithm,
    /// Its header has something that must be understood (`crit`), or changes how it is read (`b64`, `zip`).
    Critical,
    /// Its header says that it is no token.
    Type,
}

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// No key may have signed the token.
    NoKey,
    /// It does not fit any of those keys.
    Signature,
}

/// A token that has been taken apart, and whose signature has not been verified.
#[derive(Clone, Debug)]
pub struct Token<'t> {
    algorithm: Algorithm,
    key_id: Option<String>,
    /// What is signed.
    message: &'t str,
    signature: &'t str,
    claims: Claims,
}

/// Whether a credential has the form of a token: three parts, the first of them JSON that names an algorithm. What is
/// longer than a token may be counts as one, so that it is told so.
pub fn is_token(credential: &[u8]) -> bool {
    if credential.iter().filter(|byte| **byte == b'.').count() != 2 {
        return false;
    }
    let header = credential.split(|byte| *byte == b'.').next();
    let header = header.unwrap_or_default();
    match header.len() > MAX_TOKEN_BYTES {
        true => header.starts_with(b"eyJ"),
        false => decode(header).is_some_and(|header| header.contains_key("alg")),
    }
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// What is wrong with its form or its header.
    pub fn read(credential: &'t [u8]) -> Result<Self, Malformed> {
        if credential.len() > MAX_TOKEN_BYTES {
            return Err(Malformed::TooLong);
        }
        let text = str::from_utf8(credential).map_err(|_| Malformed::Form)?;
        let (message, signature) = text.rsplit_once('.').ok_or(Malformed::Form)?;
        let (header, claims) = message.split_once('.').ok_or(Malformed::Form)?;
        if claims.contains('.') {
            return Err(Malformed::Form);
        }
        let header = decode(header.as_bytes()).ok_or(Malformed::Form)?;
        let (algorithm, key_id) = read_header(&header)?;
        let claims = decode(claims.as_bytes()).ok_or(Malformed::Form)?;
        if URL_SAFE_NO_PAD.decode(signature).is_err() {
            return Err(Malformed::Form);
        }
        Ok(Self {
            algorithm,
            key_id,
            message,
            signature,
            claims: Claims::new(claims),
        })
    }

    /// The algorithm that it says it is signed with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The name of the key that it says it is signed with.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The issuer that it says it has. It has to be found by it, and proves nothing before the signature does.
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.text("iss").ok().flatten()
    }

    /// What it says, once its signature has been verified with a key of its issuer.
    ///
    /// # Errors
    /// No key fits, or the signature does not.
    pub fn verify(self, keys: &KeySet) -> Result<Claims, Unverified> {
        let mut fitting = keys
            .fitting(self.key_id.as_deref(), self.algorithm)
            .peekable();
        if fitting.peek().is_none() {
            return Err(Unverified::NoKey);
        }
        let named = self.algorithm.in_library();
        let is_signed = fitting.take(MAX_TRIES).any(|key| {
            let verified = crypto::verify(self.signature, self.message.as_bytes(), key, named);
            verified == Ok(true)
        });
        match is_signed {
            true => Ok(self.claims),
            false => Err(Unverified::Signature),
        }
    }
}

fn decode(part: &[u8]) -> Option<Map<String, Value>> {
    json::object(&URL_SAFE_NO_PAD.decode(part).ok()?)
}

/// The algorithm, and the key's name.
fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), Malformed> {
    if ["crit", "b64", "zip", "enc"]
        .iter()
        .any(|name| header.contains_key(*name))
    {
        return Err(Malformed::Critical);
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(named)) => {
            let named = named.to_ascii_lowercase();
            let named = named.strip_prefix("application/").unwrap_or(&named);
            if !matches!(named, "jwt" | "at+jwt") {
                return Err(Malformed::Type);
            }
        }
        Some(_) => return Err(Malformed::Type),
    }
    let algorithm = header.get("alg").and_then(Value::as_str);
    let algorithm = algorithm.and_then(Algorithm::named);
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) if id.len() <= MAX_KEY_ID_BYTES => Some(id.clone()),
        Some(_) => return Err(Malformed::Form),
    };
    Ok((algorithm.ok_or(Malformed::Algorithm)?, key_id))
}
