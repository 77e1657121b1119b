//! From the key that a request carries to the tenant that owns it.
//!
//! Owns which headers carry a key and how it is looked up: by SHA-256, compared in constant time; a key
//! over 256 bytes is refused before that. Prefixes are checked besides: one never grants anything, it only
//! says whose a key would have to be. Does not handle whether its tenant holds (see `mod.rs`). A key that is
//! not accepted gives [`Refused`].

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;

use super::Owner;
use crate::config::{Lapse, Validity};
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

/// A key of a tenant.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its hash.
    pub hash: KeyHash,
    /// The position of the tenant that owns it.
    pub tenant: usize,
    /// Its name in reports.
    pub name: Arc<str>,
    /// Its name in the log, which may not show the other.
    pub logged_name: Arc<str>,
    /// Whether and until when it holds.
    pub validity: Validity,
    /// The models that may be asked for with it, where they are fewer than its tenant's.
    pub models: Option<Arc<Vec<String>>>,
}

/// A key that was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'k> {
    /// The key.
    pub key: &'k Key,
    /// Its position among all keys.
    pub position: usize,
}

/// Why a key is not accepted: for the operator. The client is told the same in every case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No tenant owns it. The id is that of the tenant whose prefix it has.
    Unknown(Option<Arc<str>>),
    /// It is longer than any key, or begins with no tenant's prefix where every tenant has one.
    Impossible,
    /// It is the key of a tenant, but does not begin with that tenant's prefix, or begins with another's.
    WrongPrefix(Arc<str>),
    /// The key does not hold: the tenant, and the key's name in the log.
    Lapsed(Arc<str>, Arc<str>, Lapse),
}

impl Refused {
    /// Whether the key is one that is configured, so that the operator is told why it does not work.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::WrongPrefix(_) | Self::Lapsed(..))
    }

    /// The tenant that the key belongs to, or would belong to by its prefix.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Impossible | Self::Unknown(None) => None,
            Self::Unknown(Some(id)) | Self::WrongPrefix(id) | Self::Lapsed(id, ..) => Some(id),
        }
    }

    /// Its name in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unknown(_) | Self::Impossible => "unknown",
            Self::WrongPrefix(_) => "wrong_prefix",
            Self::Lapsed(_, _, lapse) => lapse.name(),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(None) => f.write_str("an unknown key"),
            Self::Unknown(Some(tenant)) => {
                write!(f, "an unknown key with the prefix of tenant {tenant}")
            }
            Self::Impossible => f.write_str("a key that can be no tenant's"),
            Self::WrongPrefix(tenant) => {
                write!(f, "a key of tenant {tenant} without the tenant's prefix")
            }
            Self::Lapsed(tenant, name, lapse) => {
                write!(f, "the key {name} of tenant {tenant} is {}", lapse.name())
            }
        }
    }
}

/// The keys of every tenant.
#[derive(Debug, Default)]
pub struct Keys {
    /// Positions of the keys.
    positions: HashMap<KeyHash, usize>,
    keys: Vec<Key>,
    /// The ids of the owners, and whether each has a prefix.
    owners: Vec<(Arc<str>, bool)>,
    /// Positions of the owners by their prefixes. None is the beginning of another.
    prefixes: HashMap<Box<[u8]>, usize>,
    /// The lengths that prefixes have, each once.
    lengths: Vec<usize>,
    /// Whether every owner has a prefix, so that a key without one need not be looked up.
    have_all_prefixes: bool,
}

impl Keys {
    /// Takes those who may have keys, and the keys.
    pub fn new(owners: &[Owner], keys: Vec<Key>) -> Self {
        let prefixes = owners.iter().enumerate().filter_map(|(position, owner)| {
            let prefix = owner.prefix.as_ref()?;
            Some((prefix.as_bytes().into(), position))
        });
        let prefixes: HashMap<Box<[u8]>, usize> = prefixes.collect();
        let mut lengths: Vec<usize> = prefixes.keys().map(|prefix| prefix.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let positions = keys.iter().enumerate();
        Self {
            positions: positions.map(|(position, k)| (k.hash, position)).collect(),
            have_all_prefixes: !owners.is_empty() && owners.iter().all(|o| o.prefix.is_some()),
            owners: owners
                .iter()
                .map(|owner| (Arc::clone(&owner.id), owner.prefix.is_some()))
                .collect(),
            keys,
            prefixes,
            lengths,
        }
    }

    /// Every key, by its position.
    pub fn all(&self) -> &[Key] {
        &self.keys
    }

    /// The key that a request has brought, if it holds now.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn find(&self, key: &[u8], now: Timestamp) -> Result<Found<'_>, Refused> {
        if key.len() > MAX_CLIENT_KEY_BYTES {
            return Err(Refused::Impossible);
        }
        let prefixed = self.prefixed(key);
        if self.have_all_prefixes && prefixed.is_none() {
            return Err(Refused::Impossible);
        }
        let found = self.look_up(key).and_then(|found| {
            let owner = self.owners.get(found.key.tenant)?;
            Some((found, owner))
        });
        let Some((found, (id, has_prefix))) = found else {
            let owner = prefixed.and_then(|position| self.owners.get(position));
            return Err(Refused::Unknown(owner.map(|(id, _)| Arc::clone(id))));
        };
        // A key has the prefix of its owner, and where that has none, no prefix at all.
        let expected = has_prefix.then_some(found.key.tenant);
        if prefixed != expected {
            return Err(Refused::WrongPrefix(Arc::clone(id)));
        }
        if let Some(lapse) = found.key.validity.lapse(now) {
            let (id, name) = (Arc::clone(id), Arc::clone(&found.key.logged_name));
            return Err(Refused::Lapsed(id, name, lapse));
        }
        Ok(found)
    }

    fn look_up(&self, key: &[u8]) -> Option<Found<'_>> {
        let hash = KeyHash::of(key);
        let (stored, position) = self.positions.get_key_value(&hash)?;
        if !stored.matches(&hash) {
            return None;
        }
        Some(Found {
            key: self.keys.get(*position)?,
            position: *position,
        })
    }

    /// The position of the owner whose prefix a key begins with.
    fn prefixed(&self, key: &[u8]) -> Option<usize> {
        let beginnings = self.lengths.iter().filter_map(|length| key.get(..*length));
        beginnings
            .filter_map(|beginning| self.prefixes.get(beginning).copied())
            .next()
    }
}

#[cfg(test)]
mod tests;
