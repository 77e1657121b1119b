//! The caller of a request.
//!
//! Owns what is known of a caller once it has been found: its tenant, and the credential that it has
//! shown. Does not handle how a credential is accepted (see `auth`). Cannot fail.

use std::sync::Arc;

use crate::auth::{Credential, OwnLimits, Signature};
use crate::tenants::Tenant;

/// A caller that has been found.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The tenant that the credential belongs to.
    pub tenant: Arc<Tenant>,
    /// The tenant's position in the snapshot; `None` where there are no tenants.
    pub position: Option<usize>,
    /// What was shown; `None` where nothing is needed, because there are no tenants.
    pub credential: Option<Credential>,
    /// The limits that its credential brings.
    pub limits: Option<Arc<OwnLimits>>,
    /// The signature of the request, where it has one. It has counted.
    pub signature: Option<Box<Signature>>,
}

impl Principal {
    /// The position of its key in the snapshot; `None` where it has shown another credential or none.
    pub fn key_position(&self) -> Option<usize> {
        self.credential.as_ref()?.key
    }

    /// The name of its credential in reports; empty where none was needed.
    pub fn credential_name(&self) -> &str {
        self.credential.as_ref().map_or("", |shown| &shown.name)
    }

    /// The name of its credential in the log; `None` where none was needed.
    pub fn logged_credential_name(&self) -> Option<&str> {
        let credential = self.credential.as_ref()?;
        Some(&*credential.logged_name)
    }
}
