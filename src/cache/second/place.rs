//! The names of values in Redis.
//!
//! Owns their form, `tollgate:answer:1:SCOPE:KEY`, both in hexadecimal: all answers of a tenant have one prefix. Does
//! not handle what the values are (see `cache::sealed`). Cannot fail.

use sha2::{Digest, Sha256};

use crate::cache::Key;

/// What all names begin with. The number is the form of the values.
const PREFIX: &str = "tollgate:answer:1:";

/// Whom an answer may be given to, as far as its name says so: the first half of the SHA-256 of a tenant's id, or of
/// nothing for answers that several tenants may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope([u8; 16]);

impl Scope {
    /// That of a tenant's id, which is empty for none.
    pub fn of(tenant: &str) -> Self {
        let hash: [u8; 32] = Sha256::digest(tenant.as_bytes()).into();
        Self(hash.first_chunk().copied().unwrap_or_default())
    }
}

/// The name of a value.
pub fn name(scope: &Scope, key: &Key) -> String {
    begin(scope) + &key.to_hex()
}

/// The key in a name; `None` where it is none of ours.
pub fn key_in(name: &[u8]) -> Option<Key> {
    let name = std::str::from_utf8(name).ok()?.strip_prefix(PREFIX)?;
    let (_, key) = name.split_once(':')?;
    Key::from_hex(key)
}

/// A pattern for the names of one scope, or of all.
pub fn pattern(scope: Option<&Scope>) -> String {
    let begin = scope.map_or_else(|| PREFIX.to_owned(), begin);
    begin + "*"
}

fn begin(scope: &Scope) -> String {
    format!("{PREFIX}{:032x}:", u128::from_be_bytes(scope.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_scope_and_its_key() {
        let (scope, key) = (Scope::of("reseller_01"), Key([0xa5; 32]));
        let name = name(&scope, &key);
        assert_eq!(key_in(name.as_bytes()), Some(key));
        let prefix = pattern(Some(&scope));
        assert!(name.starts_with(prefix.strip_suffix('*').unwrap()));
        assert!(!name.starts_with(pattern(Some(&Scope::of(""))).strip_suffix('*').unwrap()));
        assert_eq!(pattern(None), "tollgate:answer:1:*");
        // As `printf '' | sha256sum` has it.
        let of_all = "tollgate:answer:1:e3b0c44298fc1c149afbf4c8996fb924:*";
        assert_eq!(pattern(Some(&Scope::of(""))), of_all);
        for other in [
            "",
            "other:1",
            "tollgate:answer:1:x",
            "tollgate:answer:1:x:zz",
        ] {
            assert_eq!(key_in(other.as_bytes()), None);
        }
    }
}
