//! Secrets: provider keys and client keys, from parse to use.
//!
//! Owns the type that holds a key, the hash that stands for one, and the length that a client's key
//! may have. Does not handle where keys come from (see `config`) or which tenant has one (see `auth`).
//! A value can only be read through [`Secret::expose`], so a reviewer finds each use; printing one in
//! any way shows `[REDACTED]`. Cannot fail.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A longer client key is refused before it is hashed or looked up.
pub const MAX_CLIENT_KEY_BYTES: usize = 256;

/// A key as it goes over the wire. Wiped from memory when dropped.
#[derive(Clone, Debug)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes ownership of a key.
    pub fn new(value: String) -> Self {
        Self(SecretString::from(value))
    }

    /// The key itself. Call it only where the key is put on the wire or hashed.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The SHA-256 of the key.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.expose().as_bytes())
    }

    /// The 32 bytes that it stands for, in base64 or as 64 hexadecimal digits; `None` where it is neither.
    pub fn to_key(&self) -> Option<[u8; 32]> {
        let text = self.expose();
        match KeyHash::from_hex(text) {
            Some(KeyHash(bytes)) => Some(bytes),
            None => STANDARD.decode(text).ok()?.try_into().ok(),
        }
    }

    /// Enough of the key to recognise it in a table, never enough to use it: `sk-p…`, or `…`
    /// when the key is so short that four characters would give much of it away.
    pub fn masked(&self) -> String {
        mask(self.expose())
    }
}

/// Compares in constant time for secrets of the same length.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose()
            .as_bytes()
            .ct_eq(other.expose().as_bytes())
            .into()
    }
}

/// The SHA-256 of a key: what is stored and looked up instead of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes the bytes of a key.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Reads 64 hexadecimal digits, as in `sha256:…` in the configuration.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Writes the 64 hexadecimal digits that [`KeyHash::from_hex`] reads.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Compares in constant time, so that the answer's delay tells nothing about the stored hash.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The first 64 bits: a place on a ring, the same on every machine and in every release.
    pub fn head(&self) -> u64 {
        let head = self.0.first_chunk().copied().unwrap_or_default();
        u64::from_be_bytes(head)
    }

    /// The first 128 bits: enough to tell what is no secret from everything else.
    pub fn first_half(&self) -> u128 {
        let half = self.0.first_chunk().copied().unwrap_or_default();
        u128::from_be_bytes(half)
    }

    /// The first eight hexadecimal digits: names a key in logs and tables.
    pub fn fingerprint(&self) -> String {
        let mut digits = self.to_hex();
        digits.truncate(8);
        digits
    }
}

/// Shows the first four characters of a key of at least twelve, nothing of a shorter one.
pub fn mask(key: &str) -> String {
    if key.chars().count() < 12 {
        return "…".to_owned();
    }
    let head: String = key.chars().take(4).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_its_value() {
        let secret = Secret::new("sk-canary-0123456789".to_owned());
        assert!(!format!("{secret:?}").contains("canary"));
        assert_eq!(secret.masked(), "sk-c…");
        assert_eq!(Secret::new("short".to_owned()).masked(), "…");
    }

    #[test]
    fn secrets_are_equal_where_their_values_are() {
        let secret = |value: &str| Secret::new(value.to_owned());
        assert!(secret("sk-1") == secret("sk-1"));
        assert!(secret("sk-1") != secret("sk-2"));
        assert!(secret("sk-1") != secret("sk-11"));
    }

    #[test]
    fn a_key_of_32_bytes_is_base64_or_hexadecimal() {
        let key = |text: &str| Secret::new(text.to_owned()).to_key();
        let base64 = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        assert_eq!(key(base64), Some([1; 32]));
        assert_eq!(key(&"01".repeat(32)), Some([1; 32]));
        for wrong in [
            "",
            "AQEB",
            "01",
            &"0x".repeat(32),
            "a password of some thirty-two by",
        ] {
            assert_eq!(key(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_hash_from_hex_matches_the_hash_of_the_key() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let hash = KeyHash::from_hex(hex).unwrap();
        assert!(hash.matches(&KeyHash::of(b"test")));
        assert!(!hash.matches(&KeyHash::of(b"Test")));
        assert_eq!(hash.fingerprint(), "9f86d081");
    }

    #[test]
    fn hex_of_the_wrong_length_or_alphabet_is_refused() {
        assert!(KeyHash::from_hex("9f86").is_none());
        assert!(KeyHash::from_hex(&"g".repeat(64)).is_none());
        assert!(KeyHash::from_hex(&"é".repeat(32)).is_none());
    }
}
