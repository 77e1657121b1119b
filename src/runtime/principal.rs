//! The caller of a request.
//!
//! Owns what is known of a caller once it has been found: its tenant, and the credential that it has
//! shown. Each way of authentication yields one. Does not handle how a credential is looked up (see
//! `auth`). Cannot fail.

use std::sync::Arc;

use crate::secret::KeyHash;
use crate::tenants::Tenant;

/// A caller that has been found.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The tenant that the credential belongs to.
    pub tenant: Arc<Tenant>,
    /// The tenant's position in the snapshot; `None` where there are no client keys.
    pub position: Option<usize>,
    /// What was shown.
    pub credential: Credential,
}

/// What a caller has shown, and so by what means it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing: no client key is configured, and every caller is the same tenant.
    Anonymous,
    /// A client key.
    Key {
        /// Its hash.
        hash: KeyHash,
        /// Its name in reports: the one that was written, or its fingerprint.
        name: Arc<str>,
        /// Its name in the log: the same, or its fingerprint where names are masked.
        logged_name: Arc<str>,
        /// Its position among the keys of the snapshot.
        position: usize,
    },
}

impl Credential {
    /// The position of the key in the snapshot; `None` where none was needed.
    pub fn key_position(&self) -> Option<usize> {
        match self {
            Self::Anonymous => None,
            Self::Key { position, .. } => Some(*position),
        }
    }

    /// The name of the key; empty where none was needed.
    pub fn key_name(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Key { name, .. } => name,
        }
    }

    /// What the log calls the key; empty where none was needed.
    pub fn logged_key_name(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Key { logged_name, .. } => logged_name,
        }
    }
}
