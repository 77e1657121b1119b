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
    /// What was shown.
    pub credential: Credential,
}

/// What a caller has shown, and so by what means it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing: no client key is configured, and every caller is the same tenant.
    Anonymous,
    /// A client key, known by its hash.
    Key(KeyHash),
}
