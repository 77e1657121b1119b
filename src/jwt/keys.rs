//! The keys that verify tokens.
//!
//! Owns reading them from a JWK set, from PEM and from a secret, and which of them may have signed a token. A set may
//! have keys of other kinds and for other uses: they are left out. A secret is never taken from a set, which is
//! public. Fails with what is wrong; nothing of a key is in it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use serde_json::Value;

use super::algorithm::{Algorithm, Family};
use super::json;
use crate::secret::KeyHash;

/// A longer set is not read.
pub const MAX_SET_BYTES: usize = 1 << 20;
/// As many keys of a set are looked at.
const MAX_KEYS: usize = 100;
/// Smaller RSA keys can be broken, and larger ones cost too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why keys cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// It is no JWK set.
    NoSet,
    /// It has more bytes, or more keys, than are read.
    TooLarge,
    /// None of its keys can verify a signature.
    NoneUsable,
    /// It is no public key in PEM, or one of another kind.
    NoPem,
    /// An RSA key has too few bits, or too many.
    RsaBits,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSet => "it is not a JWK set: a JSON object with a list of `keys`",
            Self::TooLarge => "it has more than 1 MiB or 100 keys",
            Self::NoneUsable => {
                "it has no key that can be used: RSA with 2048 to 8192 bits, P-256, P-384 or Ed25519, for signatures"
            }
            Self::NoPem => "it is not a public key in PEM (BEGIN PUBLIC KEY) for these algorithms",
            Self::RsaBits => "its RSA key does not have 2048 to 8192 bits",
        })
    }
}

/// The keys of an issuer.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Of what it was read from: two sets are the same where they were read from the same.
    hash: KeyHash,
}

/// One key.
#[derive(Clone)]
struct Key {
    /// Its name in headers of tokens.
    id: Option<String>,
    /// The one algorithm that it is for.
    algorithm: Option<Algorithm>,
    family: Family,
    key: DecodingKey,
}

/// A key is not shown: it may be a secret.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.keys.len())
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl KeySet {
    /// Reads a JWK set.
    ///
    /// # Errors
    /// It is none, it is too large, or it has no key that can be used.
    pub fn from_jwks(text: &[u8]) -> Result<Self, KeyFault> {
        if text.len() > MAX_SET_BYTES {
            return Err(KeyFault::TooLarge);
        }
        let mut set = json::object(text).ok_or(KeyFault::NoSet)?;
        let Some(Value::Array(keys)) = set.remove("keys") else {
            return Err(KeyFault::NoSet);
        };
        if keys.len() > MAX_KEYS {
            return Err(KeyFault::TooLarge);
        }
        let keys: Vec<Key> = keys.into_iter().filter_map(public_key).collect();
        match keys.is_empty() {
            true => Err(KeyFault::NoneUsable),
            false => Ok(Self::new(keys, text)),
        }
    }

    /// Reads a public key in PEM, for algorithms of these kinds.
    ///
    /// # Errors
    /// It is none of them, or an RSA key of a wrong size.
    pub fn from_pem(text: &[u8], families: &[Family]) -> Result<Self, KeyFault> {
        let mut fault = KeyFault::NoPem;
        for family in families {
            match from_pem(text, *family) {
                Ok(key) => return Ok(Self::new(vec![key], text)),
                Err(KeyFault::RsaBits) => fault = KeyFault::RsaBits,
                Err(_) => {}
            }
        }
        Err(fault)
    }

    /// A secret that both sides have; `None` for an empty one.
    pub fn from_secret(secret: &[u8]) -> Option<Self> {
        let key = Key {
            id: None,
            algorithm: None,
            family: Family::Secret,
            key: DecodingKey::from_secret(secret).ok()?,
        };
        Some(Self::new(vec![key], secret))
    }

    fn new(keys: Vec<Key>, source: &[u8]) -> Self {
        Self {
            keys,
            hash: KeyHash::of(source),
        }
    }

    /// Whether a key has this name.
    pub fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// The keys that may have signed a token: those of its name, else, where it names none, all for its algorithm.
    pub(super) fn fitting(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        let fitting = self.keys.iter().filter(move |key| {
            // A key without a name, as of PEM, may be the one that the token names.
            let is_named = key.id.is_none() || id.is_none() || key.id.as_deref() == id;
            let is_for_it = key.algorithm.is_none_or(|only| only == algorithm);
            is_named && is_for_it && key.family == algorithm.family()
        });
        fitting.map(|key| &key.key)
    }
}

/// A key of a set, where it is a public one that can verify signatures.
fn public_key(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let common = &jwk.common;
    let is_for_signatures = match &common.public_key_use {
        Some(usage) => *usage == PublicKeyUse::Signature,
        None => true,
    };
    let may_verify = match &common.key_operations {
        Some(operations) => operations.contains(&KeyOperations::Verify),
        None => true,
    };
    if !is_for_signatures || !may_verify {
        return None;
    }
    let family = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).ok()?;
            RSA_BITS.contains(&bits(&modulus)).then_some(Family::Rsa)?
        }
        AlgorithmParameters::EllipticCurve(curve) => {
            let length = |number: &str| URL_SAFE_NO_PAD.decode(number).map_or(0, |n| n.len());
            match (&curve.curve, length(&curve.x), length(&curve.y)) {
                (EllipticCurve::P256, 32, 32) => Family::P256,
                (EllipticCurve::P384, 48, 48) => Family::P384,
                _ => return None,
            }
        }
        AlgorithmParameters::OctetKeyPair(pair) => match pair.curve {
            EllipticCurve::Ed25519 => Family::Ed25519,
            _ => return None,
        },
        // A secret among them: a set is public.
        _ => return None,
    };
    let algorithm = match common.key_algorithm {
        // One that is not known is not one of ours.
        Some(named) => Some(Algorithm::named(&named.to_string())?),
        None => None,
    };
    if algorithm.is_some_and(|algorithm| algorithm.family() != family) {
        return None;
    }
    Some(Key {
        id: common.key_id.clone(),
        algorithm,
        family,
        key: DecodingKey::from_jwk(&jwk).ok()?,
    })
}

fn from_pem(text: &[u8], family: Family) -> Result<Key, KeyFault> {
    let read = match family {
        Family::Rsa => DecodingKey::from_rsa_pem(text),
        Family::P256 | Family::P384 => DecodingKey::from_ec_pem(text),
        Family::Ed25519 => DecodingKey::from_ed_pem(text),
        Family::Secret => return Err(KeyFault::NoPem),
    };
    let key = read.map_err(|_| KeyFault::NoPem)?;
    let bytes = key.try_get_as_bytes().map_err(|_| KeyFault::NoPem)?;
    match family {
        Family::Rsa if !RSA_BITS.contains(&rsa_bits(bytes)) => return Err(KeyFault::RsaBits),
        // A point of the curve: one byte, and both coordinates.
        Family::P256 if bytes.len() != 65 => return Err(KeyFault::NoPem),
        Family::P384 if bytes.len() != 97 => return Err(KeyFault::NoPem),
        Family::Ed25519 if bytes.len() != 32 => return Err(KeyFault::NoPem),
        _ => {}
    }
    Ok(Key {
        id: None,
        algorithm: None,
        family,
        key,
    })
}

/// The bits of an RSA key in PKCS#1: a sequence whose first member is the modulus.
fn rsa_bits(der: &[u8]) -> usize {
    use x509_parser::der_parser::der::parse_der_sequence;
    let sequence = parse_der_sequence(der).ok();
    let modulus = sequence.as_ref().and_then(|(_, sequence)| {
        let members = sequence.as_sequence().ok()?;
        members.first()?.as_slice().ok()
    });
    modulus.map_or(0, bits)
}

/// The bits of an unsigned number.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let significant = number.get(zeros..).unwrap_or_default();
    let leading = significant.first().map_or(0, |byte| byte.leading_zeros());
    significant.len() * 8 - leading as usize
}
