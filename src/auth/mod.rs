//! From the key that a request carries to the tenant that owns it.
//!
//! Owns which headers carry a key and how it is looked up: by SHA-256, compared in constant time; a key
//! over 256 bytes is refused before that. Does not handle what a tenant may do (see `tenants`). A key
//! that no tenant owns gives `None`.

use std::collections::HashMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::secret::{KeyHash, MAX_CLIENT_KEY_BYTES};

/// The headers that carry a key besides `Authorization`.
const KEY_HEADERS: [&str; 3] = ["api-key", "x-api-key", "x-goog-api-key"];

/// Finds the key of a request: `Authorization: Bearer`, else one of `KEY_HEADERS`, in their order.
pub fn key_of(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme
            .eq_ignore_ascii_case(b"Bearer ")
            .then(|| key.trim_ascii())
    });
    let named = || KEY_HEADERS.iter().find_map(|name| headers.get(*name));
    bearer
        .or_else(|| named().map(|value| value.as_bytes().trim_ascii()))
        .filter(|key| !key.is_empty())
}

/// Whether there is an `Authorization` header with a value that is not `Bearer` and a key.
pub fn lacks_bearer(headers: &HeaderMap) -> bool {
    headers.get(AUTHORIZATION).is_some_and(|value| {
        let said = value.as_bytes().trim_ascii();
        !said.is_empty() && !said.eq_ignore_ascii_case(b"Bearer")
    })
}

/// The keys of every tenant.
#[derive(Debug, Default)]
pub struct Keys(HashMap<KeyHash, usize>);

impl Keys {
    /// Takes hashes with the position of the tenant that owns each.
    pub fn new(keys: impl IntoIterator<Item = (KeyHash, usize)>) -> Self {
        Self(keys.into_iter().collect())
    }

    /// The position of the tenant that owns `key`, and the key's hash.
    pub fn owner(&self, key: &[u8]) -> Option<(usize, KeyHash)> {
        if key.len() > MAX_CLIENT_KEY_BYTES {
            return None;
        }
        let hash = KeyHash::of(key);
        let (stored, tenant) = self.0.get_key_value(&hash)?;
        stored.matches(&hash).then_some((*tenant, hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_key_is_found_in_each_of_its_headers() {
        for (name, value) in [
            ("authorization", "Bearer k1"),
            ("authorization", "bearer  k1 "),
            ("api-key", "k1"),
            ("x-api-key", "k1"),
            ("x-goog-api-key", "k1"),
        ] {
            assert_eq!(key_of(&headers(name, value)), Some(&b"k1"[..]), "{name}");
        }
        for (name, value) in [
            ("authorization", "Basic azE6"),
            ("authorization", "Bearer "),
            ("x-key", "k1"),
        ] {
            assert_eq!(key_of(&headers(name, value)), None, "{value}");
        }
    }

    #[test]
    fn a_key_without_bearer_is_told_from_no_key() {
        for (value, lacks) in [
            ("sk-1234", true),
            ("Basic azE6", true),
            ("Token k1", true),
            ("Bearer", false),
            (" ", false),
        ] {
            assert_eq!(
                lacks_bearer(&headers("authorization", value)),
                lacks,
                "{value}"
            );
        }
        assert!(!lacks_bearer(&headers("x-key", "k1")));
    }

    #[test]
    fn the_owner_is_found_by_the_whole_key() {
        let keys = Keys::new([(KeyHash::of(b"one"), 7)]);
        assert_eq!(keys.owner(b"one"), Some((7, KeyHash::of(b"one"))));
        assert_eq!(keys.owner(b"on"), None);
        assert_eq!(keys.owner(b"one "), None);
    }

    #[test]
    fn a_key_over_the_bound_is_refused_even_if_it_were_known() {
        let long = [b'k'; MAX_CLIENT_KEY_BYTES + 1];
        let keys = Keys::new([(KeyHash::of(&long), 0)]);
        assert_eq!(keys.owner(&long), None);
    }
}
