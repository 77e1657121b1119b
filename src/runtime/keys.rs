//! Tenants and keys that are made at run time, and the file that they join.
//!
//! Owns what of both is in force. Does not handle how it comes in force (see `managed`), nor what is known (see the
//! engine `managed`). Fails where the database cannot be read.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Config;
use crate::managed::{AuditRow, Managed};
use crate::store::StoreError;

/// Tenants and keys that are made at run time, and the file that they join.
pub struct Keys {
    /// What is known of them.
    managed: Arc<Managed>,
    /// Locked while a snapshot takes the place of another one.
    pub(super) in_force: Mutex<InForce>,
}

/// What is in force.
pub(super) struct InForce {
    /// The file.
    pub(super) config: Arc<Config>,
    /// The version of the keys; `None` where it has to be put in force anew.
    pub(super) version: Option<i64>,
    /// What of them is not in force, as it was told.
    pub(super) left_out: Vec<String>,
}

/// Why no key can be made at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKeys;

impl Keys {
    /// Takes what is known, and the file that is in force.
    pub fn new(managed: Arc<Managed>, config: &Config) -> Self {
        Self {
            managed,
            in_force: Mutex::new(InForce {
                config: Arc::new(config.clone()),
                version: None,
                left_out: Vec::new(),
            }),
        }
    }

    /// What is known.
    pub fn managed(&self) -> &Arc<Managed> {
        &self.managed
    }

    /// The file that is in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.in_force.lock().config)
    }

    /// Lines of the audit before one, or the newest, of a tenant or of all. Blocks.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit(
        &self,
        before: Option<i64>,
        tenant: Option<&str>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        self.managed.audit(before, tenant, limit)
    }
}
