//! The text of a key that is made here.
//!
//! Owns its form: a beginning that tells people and scanners what it is, and 256 bits of the system's random numbers
//! as letters and digits. Does not handle what is kept of it (see `row`). Fails where the system has no random numbers.

use rustls::crypto::ring::default_provider;

use crate::secret::Secret;

/// How a key begins whose tenant has no prefix.
pub const PREFIX: &str = "tg_";
/// Letters and digits of a key: 62 of each position, 256 bits in all.
const LENGTH: usize = 43;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The largest multiple of 62 that a byte can be below: others are thrown away, so that none is more probable.
const FAIR: u8 = 248;
/// As many characters of the end of a key are shown.
const SHOWN: usize = 4;
/// Of a key that is shorter, nothing is shown.
const LEAST_SHOWN: usize = 20;

/// Makes a key; `None` where the system has no random numbers.
pub fn key(prefix: &str) -> Option<Secret> {
    let random = default_provider().secure_random;
    let mut text = String::with_capacity(prefix.len() + LENGTH);
    text.push_str(prefix);
    let mut bytes = [0; 64];
    while text.len() < prefix.len() + LENGTH {
        random.fill(&mut bytes).ok()?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR);
        let digits = fair.filter_map(|byte| ALPHABET.get(usize::from(byte % 62)));
        let left = prefix.len() + LENGTH - text.len();
        text.extend(digits.take(left).map(|digit| char::from(*digit)));
    }
    bytes.fill(0);
    Some(Secret::new(text))
}

/// What is shown of a key: how it begins, if that is its tenant's, and its end.
pub fn hint(key: &str, prefix: &str) -> String {
    let shown = match key.starts_with(prefix) {
        true => prefix,
        false => "",
    };
    let end = key.char_indices().rev().nth(SHOWN - 1);
    match end {
        Some((at, _)) if key.len() >= LEAST_SHOWN + prefix.len() => {
            format!("{shown}…{}", key.get(at..).unwrap_or_default())
        }
        _ => format!("{shown}…"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_long_distinct_and_of_letters_and_digits() {
        let keys: Vec<Secret> = (0..200).map(|_| key("rs1_").unwrap()).collect();
        let distinct: HashSet<&str> = keys.iter().map(Secret::expose).collect();
        assert_eq!(distinct.len(), keys.len());
        let mut seen = HashSet::new();
        for key in &keys {
            let random = key.expose().strip_prefix("rs1_").unwrap();
            assert_eq!(random.len(), LENGTH);
            assert!(random.bytes().all(|byte| ALPHABET.contains(&byte)));
            seen.extend(random.bytes());
        }
        // All of them come, which a bias or a slip in the alphabet would show.
        assert_eq!(seen.len(), ALPHABET.len());
    }

    #[test]
    fn of_a_key_the_beginning_of_its_tenant_and_four_characters_are_shown() {
        assert_eq!(hint("tg_0123456789abcdefghijkl", "tg_"), "tg_…ijkl");
        assert_eq!(hint("sk-0123456789abcdefghijkl", "tg_"), "…ijkl");
        assert_eq!(hint("short", "tg_"), "…");
        assert_eq!(hint("tg_tooshort", "tg_"), "tg_…");
        assert_eq!(hint("0123456789äöüß0123456789äöüß", ""), "…äöüß");
    }
}
