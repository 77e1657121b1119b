//! Making, changing and deleting a tenant.
//!
//! Owns what must hold between a tenant and all others: ids and prefixes are each one tenant's alone, and what the file
//! defines is changed there. Does not handle what one definition may have (see `config::managed`). Fails with
//! [`Refused`].

use serde_json::Value;

use super::change::{Outcome, Refused};
use super::generate;
use super::known::{Known, Pending, Plan, Planned, clash, merged, read, taken};
use super::row::{Definition, TenantRow};
use super::set::TenantEntry;
use crate::config::{Tenant, managed};

impl Known<'_> {
    /// Makes a tenant.
    pub fn create_tenant(
        &self,
        mut plan: Plan<'_>,
        id: &str,
        definition: &Definition,
    ) -> Result<Planned, Refused> {
        if !managed::is_name(id) {
            let message = "an id has up to 64 letters, digits, `-`, `_` and `.` (as in team-a)";
            return Err(Refused::invalid("id", message));
        }
        if self.file_tenant(id).is_some() {
            return Err(Refused::OfTheFile(format!("the tenant `{id}`")));
        }
        if self.set.tenant(id).is_some() {
            return Err(taken(
                "id",
                format!("another tenant has the id `{id}` already"),
            ));
        }
        if self.set.tenant_count() >= self.bounds.tenants {
            let most = self.bounds.tenants;
            return Err(Refused::Full(format!(
                "there are {most} tenants that were made at run time, and no more can be: delete some"
            )));
        }
        let definition = merged(&Definition::new(), definition);
        let tenant = read(managed::read_tenant(id, &definition))?;
        self.check_tenant(&tenant, None)?;
        let row = TenantRow {
            id: id.to_owned(),
            definition: managed::tenant_definition(&tenant),
            created_ms: plan.now_ms,
            updated_ms: plan.now_ms,
            deleted_ms: None,
        };
        plan.note("tenant.create", id, None, None, Some(&row.definition));
        plan.batch.tenants.push(row);
        Ok(plan.gives(Pending::Tenant(id.to_owned())))
    }

    /// Changes what is said of a tenant.
    pub fn change_tenant(
        &self,
        mut plan: Plan<'_>,
        id: &str,
        patch: &Definition,
    ) -> Result<Planned, Refused> {
        let entry = self.managed_tenant(id)?;
        let definition = merged(&entry.row.definition, patch);
        let tenant = read(managed::read_tenant(id, &definition))?;
        self.check_tenant(&tenant, Some(entry))?;
        let row = TenantRow {
            definition: managed::tenant_definition(&tenant),
            updated_ms: plan.now_ms,
            ..entry.row.clone()
        };
        let before = Some(&entry.row.definition);
        plan.note("tenant.change", id, None, before, Some(&row.definition));
        plan.batch.tenants.push(row);
        Ok(plan.gives(Pending::Tenant(id.to_owned())))
    }

    /// Deletes a tenant, and revokes its keys.
    pub fn delete_tenant(&self, mut plan: Plan<'_>, id: &str) -> Result<Planned, Refused> {
        let entry = self.managed_tenant(id)?;
        let keys: Vec<_> = self.set.keys().filter(|key| key.row.tenant == id).collect();
        for key in &keys {
            plan.revoke(key);
        }
        let before = Some(&entry.row.definition);
        plan.note("tenant.delete", id, None, before, None);
        plan.batch.tenants.push(TenantRow {
            updated_ms: plan.now_ms,
            deleted_ms: Some(plan.now_ms),
            ..entry.row.clone()
        });
        Ok(plan.gives(Pending::Done(Outcome::Deleted(keys.len()))))
    }

    /// What must hold between a tenant and all others; `before` is what it was.
    fn check_tenant(&self, tenant: &Tenant, before: Option<&TenantEntry>) -> Result<(), Refused> {
        self.check_quota(&tenant.id.value, tenant.quota.as_ref())?;
        let prefix = tenant
            .key_prefix
            .as_ref()
            .map(|prefix| prefix.value.as_str());
        if let Some(entry) = before {
            let old = entry
                .row
                .definition
                .get("key_prefix")
                .and_then(Value::as_str);
            let mut keys = self.set.keys();
            if old != prefix && keys.any(|key| key.row.tenant == entry.row.id) {
                let message = "it cannot be changed while the tenant has keys, which begin with the one before (revoke \
                               them first)";
                return Err(Refused::invalid("key_prefix", message));
            }
        }
        let Some(prefix) = prefix else { return Ok(()) };
        if clash(prefix, generate::PREFIX) {
            let message = format!(
                "`{prefix}` clashes with `{}`, with which keys of tenants without a prefix begin",
                generate::PREFIX
            );
            return Err(taken("key_prefix", message));
        }
        match self
            .others(&tenant.id.value)
            .find(|(_, other)| clash(prefix, other))
        {
            Some((owner, other)) => {
                let message = format!(
                    "`{prefix}` clashes with `{other}`, the key_prefix of the tenant `{owner}` (take one that neither \
                     begins with the other nor is its beginning)"
                );
                Err(taken("key_prefix", message))
            }
            None => Ok(()),
        }
    }
}
