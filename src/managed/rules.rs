//! Which changes there are.
//!
//! Owns the way from a change to what it writes. It is asked within the transaction that writes, with everything known
//! that there is: what must hold between tenants and keys is checked in memory. Does not handle the changes themselves
//! (see `tenant_changes`, `key_changes` and `import`). Fails with [`Refused`].

use super::change::{Change, Refused};
use super::import;
use super::known::{Known, Plan, Planned};
use super::row::{Actor, Batch};

impl Known<'_> {
    /// Checks a change, and says what it writes.
    ///
    /// # Errors
    /// Why it may not be.
    pub fn plan(&self, change: &Change, actor: &Actor, now_ms: i64) -> Result<Planned, Refused> {
        if self.config.is_open() {
            return Err(Refused::Open);
        }
        let plan = Plan {
            actor,
            now_ms,
            batch: Batch::default(),
        };
        match change {
            Change::CreateTenant(id, definition) => self.create_tenant(plan, id, definition),
            Change::ChangeTenant(id, patch) => self.change_tenant(plan, id, patch),
            Change::DeleteTenant(id) => self.delete_tenant(plan, id),
            Change::CreateKey(tenant, definition) => self.create_key(plan, tenant, definition),
            Change::ChangeKey(id, patch) => self.change_key(plan, id, patch),
            Change::RotateKey(id, overlap) => self.rotate(plan, id, *overlap),
            Change::RevokeKey(id) => self.revoke(plan, id),
            Change::Import(keys) => import::plan(self, plan, keys),
        }
    }
}
