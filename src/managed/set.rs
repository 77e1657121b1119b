//! What is known of tenants and keys that are made at run time.
//!
//! Owns the rows as they were read last, what they mean, and finding them. Rows of a newer release that mean nothing to
//! this one are kept and are not in force. Does not handle where rows come from (see `store`), nor what of them is in
//! force beside a file (see `runtime::joined`). Cannot fail.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::row::{Delta, KeyRow, TenantRow};
use crate::config::{ClientKey, Located, Problem, Tenant, Validity, managed};
use crate::secret::KeyHash;

/// A tenant.
#[derive(Debug)]
pub struct TenantEntry {
    /// As it is stored.
    pub row: TenantRow,
    /// What it means; `None` where this release cannot read it.
    pub tenant: Option<Tenant>,
}

/// A key.
#[derive(Debug)]
pub struct KeyEntry {
    /// As it is stored.
    pub row: KeyRow,
    /// What clients may send: the key, and the one before it while that holds. Empty where this release cannot read it.
    pub keys: Vec<ClientKey>,
}

/// All that is known.
#[derive(Debug, Default)]
pub struct Set {
    version: i64,
    tenants: BTreeMap<String, Arc<TenantEntry>>,
    keys: BTreeMap<String, Arc<KeyEntry>>,
    /// The ids of keys, by tenant and name.
    names: HashMap<(String, String), String>,
    /// The ids of keys, by the hashes that they have and had before.
    hashes: HashMap<KeyHash, String>,
    /// The hashes of keys that were revoked.
    revoked: HashSet<KeyHash>,
}

impl Set {
    /// The version that it is of.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Takes what has changed since its version.
    pub fn apply(&mut self, delta: Delta) {
        if delta.is_whole {
            *self = Self::default();
        }
        self.version = delta.version;
        for row in delta.tenants {
            match row.deleted_ms {
                Some(_) => drop(self.tenants.remove(&row.id)),
                None => {
                    let entry = TenantEntry {
                        tenant: read(managed::read_tenant(&row.id, &row.definition), &row.id),
                        row,
                    };
                    self.tenants.insert(entry.row.id.clone(), Arc::new(entry));
                }
            }
        }
        for row in delta.keys {
            self.forget(&row.id);
            match row.revoked_ms {
                Some(_) => drop(self.revoked.insert(row.hash)),
                None => self.put(row),
            }
        }
    }

    fn forget(&mut self, id: &str) {
        let Some(entry) = self.keys.remove(id) else {
            return;
        };
        let row = &entry.row;
        let name = (row.tenant.clone(), row.name().to_owned());
        // Another key may have its name by now.
        if self.names.get(&name).is_some_and(|of| of == id) {
            self.names.remove(&name);
        }
        let previous = row.previous.as_ref().map(|previous| previous.hash);
        for hash in previous.into_iter().chain([row.hash]) {
            if self.hashes.get(&hash).is_some_and(|of| of == id) {
                self.hashes.remove(&hash);
            }
        }
    }

    fn put(&mut self, row: KeyRow) {
        let id = &row.id;
        let name = (row.tenant.clone(), row.name().to_owned());
        self.names.insert(name, id.clone());
        self.hashes.insert(row.hash, id.clone());
        if let Some(previous) = &row.previous {
            self.hashes.insert(previous.hash, id.clone());
        }
        let keys = match read(managed::read_key(row.hash, &row.definition), id) {
            Some(key) => with_previous(key, &row),
            None => Vec::new(),
        };
        let entry = KeyEntry { row, keys };
        self.keys.insert(entry.row.id.clone(), Arc::new(entry));
    }

    /// Every tenant, in the order of ids.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<TenantEntry>> {
        self.tenants.values()
    }

    /// Every key, in the order in which they were made.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<KeyEntry>> {
        self.keys.values()
    }

    /// How many tenants there are.
    pub fn tenant_count(&self) -> usize {
        self.tenants.len()
    }

    /// How many keys there are.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// The tenant with this id.
    pub fn tenant(&self, id: &str) -> Option<&Arc<TenantEntry>> {
        self.tenants.get(id)
    }

    /// The key with this id.
    pub fn key(&self, id: &str) -> Option<&Arc<KeyEntry>> {
        self.keys.get(id)
    }

    /// The key of a tenant that has this name.
    pub fn key_named(&self, tenant: &str, name: &str) -> Option<&Arc<KeyEntry>> {
        let id = self.names.get(&(tenant.to_owned(), name.to_owned()))?;
        self.keys.get(id)
    }

    /// The key that has this hash, or had it before.
    pub fn key_with(&self, hash: &KeyHash) -> Option<&Arc<KeyEntry>> {
        self.keys.get(self.hashes.get(hash)?)
    }

    /// Whether a key with this hash was revoked.
    pub fn is_revoked(&self, hash: &KeyHash) -> bool {
        self.revoked.contains(hash)
    }
}

/// A key, and the one before it, which has everything of it but how long it holds.
fn with_previous(key: ClientKey, row: &KeyRow) -> Vec<ClientKey> {
    let Some(previous) = &row.previous else {
        return vec![key];
    };
    // A moment that there is not has passed.
    let until = Timestamp::from_millisecond(previous.until_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let expires = key
        .validity
        .expires
        .map_or(until, |expires| expires.min(until));
    let before = ClientKey {
        hash: Located {
            value: previous.hash,
            ..key.hash.clone()
        },
        validity: Validity {
            expires: Some(expires),
            ..key.validity
        },
        ..key.clone()
    };
    vec![key, before]
}

/// What this release can read.
fn read<T>(read: Result<T, Vec<Problem>>, id: &str) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(problems) => {
            let problem = problems.first();
            let why = problem.map(|problem| format!("{}: {}", problem.path, problem.message));
            log::error!(
                "{id}, which was made at run time, is not in force: {}",
                why.unwrap_or_default()
            );
            None
        }
    }
}
