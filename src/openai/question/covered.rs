//! The members of an object that the hash covers.
//!
//! Owns that each name stands once, and the hash of all of them. Does not handle what a value's hash is (see
//! `canonical`), nor which members are left out (see `members`). Fails for a name that stands twice.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Hash, Unsuited};
use crate::openai::canonical;

/// The hashes of members by their names.
#[derive(Default)]
pub(super) struct Covered<'b>(BTreeMap<Cow<'b, str>, Hash>);

impl<'b> Covered<'b> {
    /// Adds a member. Servers disagree about which of two with one name counts, so the second is refused.
    pub(super) fn add(&mut self, key: Cow<'b, str>, value: &RawValue) -> Result<(), Unsuited> {
        match self.0.insert(key, hash(value)?) {
            Some(_) => Err(Unsuited::Malformed),
            None => Ok(()),
        }
    }

    /// The hash of all of them.
    pub(super) fn hash(&self) -> Hash {
        let mut hash = Sha256::new();
        for (key, value) in &self.0 {
            hash.update((key.len() as u64).to_le_bytes());
            hash.update(key.as_bytes());
            hash.update(value);
        }
        hash.finalize().into()
    }
}

/// The hash of a value.
pub(super) fn hash(value: &RawValue) -> Result<Hash, Unsuited> {
    canonical::hash(value).map_err(|_| Unsuited::Malformed)
}
