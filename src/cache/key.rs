//! What an answer is kept under.
//!
//! Owns the hash, and that no two lists of parts have the same: each part goes in with its length. Does not handle
//! which parts there are (see `gateway::exchange::cache`). Cannot fail.

use sha2::{Digest, Sha256};

/// A hash over everything that an answer depends on, and the tenant that may get it. A tenant cannot make a request
/// that has the key of another's: that would take two inputs with the same SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

impl Key {
    /// Its 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// The key of such digits; `None` where there are others.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

/// Puts a key together.
pub struct KeyParts(Sha256);

impl KeyParts {
    /// Without any part. `form` tells keys of different meaning apart.
    pub fn new(form: &str) -> Self {
        let mut parts = Self(Sha256::new());
        parts.add(form.as_bytes());
        parts
    }

    /// Adds a part.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// The key.
    pub fn finish(self) -> Key {
        Key(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[&str]) -> Key {
        let mut all = KeyParts::new("test");
        parts.iter().for_each(|part| all.add(part.as_bytes()));
        all.finish()
    }

    #[test]
    fn a_key_is_read_from_its_digits() {
        let some = key(&["a"]);
        assert_eq!(Key::from_hex(&some.to_hex()), Some(some));
        for other in ["", "0f", &"0g".repeat(32), &"é".repeat(32)] {
            assert_eq!(Key::from_hex(other), None, "{other}");
        }
    }

    #[test]
    fn no_other_parts_have_the_same_key() {
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
        for other in [&["a", "bc"][..], &["abc"], &["ab", "c", ""], &["c", "ab"]] {
            assert_ne!(key(&["ab", "c"]), key(other), "{other:?}");
        }
    }
}
