//! What a change is checked against, and what it writes.
//!
//! Owns looking for tenants and keys, those of the file among them, and what every change has: a batch, its lines of
//! the audit, and what comes of it. Does not handle which changes there are (see `tenant_changes`, `key_changes` and
//! `import`). Fails with [`Refused`].

use std::sync::Arc;

use serde_json::Value;

use super::change::{Outcome, Refused};
use super::row::{Actor, AuditRow, Batch, Definition, KeyRow};
use super::set::{KeyEntry, Set, TenantEntry};
use crate::config::{Config, Located, Problem, Quota, Tenant, managed};
use crate::ids;
use crate::secret::{KeyHash, Secret};

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Tenants.
    pub tenants: usize,
    /// Keys.
    pub keys: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            tenants: 10_000,
            keys: 100_000,
        }
    }
}

/// What a change is checked against.
#[derive(Clone, Copy)]
pub struct Known<'k> {
    /// What was made at run time.
    pub set: &'k Set,
    /// What the file says.
    pub config: &'k Config,
    /// How much there may be.
    pub bounds: Bounds,
}

/// What a change writes, and what comes of it.
pub struct Planned {
    /// What is written.
    pub batch: Batch,
    /// What comes of it.
    pub outcome: Pending,
}

/// What comes of a change, once it is written.
pub enum Pending {
    /// The tenant with this id.
    Tenant(String),
    /// The key with this id, and its text where that is told.
    Key(String, Option<Secret>),
    /// What does not have to be looked up.
    Done(Outcome),
}

impl Known<'_> {
    /// The tenant of the file with this id.
    pub fn file_tenant(&self, id: &str) -> Option<&Tenant> {
        self.config
            .tenants
            .iter()
            .find(|tenant| tenant.id.value == id)
    }

    /// The tenant with this id, which must have been made at run time.
    pub fn managed_tenant(&self, id: &str) -> Result<&Arc<TenantEntry>, Refused> {
        if self.file_tenant(id).is_some() {
            return Err(Refused::OfTheFile(format!("the tenant `{id}`")));
        }
        let found = self.set.tenant(id);
        found.ok_or_else(|| Refused::NotFound(format!("tenant `{id}`")))
    }

    /// The prefixes of all tenants but one, with their ids.
    pub fn others<'a>(&'a self, but: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let made = self.set.tenants().filter_map(|entry| entry.tenant.as_ref());
        let all = self.config.tenants.iter().chain(made);
        all.filter(move |tenant| tenant.id.value != but)
            .filter_map(|tenant| {
                let prefix = tenant.key_prefix.as_ref()?;
                Some((tenant.id.value.as_str(), prefix.value.as_str()))
            })
    }

    /// The prefix of the keys of a tenant, which there must be.
    pub fn prefix_of(&self, tenant: &str) -> Result<Option<&str>, Refused> {
        let of_file = self.file_tenant(tenant);
        let made = || {
            self.set
                .tenant(tenant)
                .and_then(|entry| entry.tenant.as_ref())
        };
        let found = of_file.or_else(made);
        let found = found.ok_or_else(|| {
            let message =
                format!("there is no tenant `{tenant}` (create it first, or name another one)");
            Refused::invalid("tenant", message)
        })?;
        Ok(found
            .key_prefix
            .as_ref()
            .map(|prefix| prefix.value.as_str()))
    }

    /// Checks that a name of a key is free; `but` is the id of the key that may have it.
    pub fn check_name(&self, tenant: &str, name: &str, but: Option<&str>) -> Result<(), Refused> {
        let message = || format!("another key of the tenant has the name `{name}` already");
        let of_file = self.file_tenant(tenant);
        let mut names = of_file.iter().flat_map(|tenant| &tenant.keys);
        if names.any(|key| key.shown() == name) {
            let message = format!("{}, in the configuration file", message());
            return Err(taken("name", message));
        }
        match self.set.key_named(tenant, name) {
            Some(key) if but != Some(key.row.id.as_str()) => Err(taken("name", message())),
            _ => Ok(()),
        }
    }

    /// Checks that what a tenant or one of its keys has a quota of has a price.
    pub fn check_quota(&self, tenant: &str, quota: Option<&Located<Quota>>) -> Result<(), Refused> {
        let is_of_money = quota.is_some_and(|quota| quota.value.nanos.is_some());
        let of_file = self.file_tenant(tenant);
        let has_own = of_file.is_some_and(|tenant| !tenant.prices.is_empty());
        if is_of_money && self.config.prices.is_empty() && !has_own {
            let message = "a quota in dollars needs prices, and there are none (add prices: { file: prices.yaml } to \
                           the configuration file, or limit `tokens`)";
            return Err(Refused::invalid("quota", message));
        }
        Ok(())
    }

    /// Checks that there may be so many more keys.
    pub fn check_room(&self, more: usize) -> Result<(), Refused> {
        let most = self.bounds.keys;
        match self.set.key_count() + more > most {
            true => Err(Refused::Full(format!(
                "there may be {most} keys that were made at run time, and with these there would be more: revoke some"
            ))),
            false => Ok(()),
        }
    }

    /// A key that there was not before.
    pub fn new_key(
        &self,
        tenant: &str,
        hash: KeyHash,
        hint: String,
        definition: &Definition,
        now_ms: i64,
    ) -> Result<KeyRow, Refused> {
        let definition = merged(&Definition::new(), definition);
        let key = read(managed::read_key(hash, &definition))?;
        let Some(name) = &key.name else {
            return Err(Refused::invalid("name", "it is missing (as in ci)"));
        };
        self.check_name(tenant, &name.value, None)?;
        self.check_quota(tenant, key.quota.as_ref())?;
        Ok(KeyRow {
            id: ids::key_id(),
            tenant: tenant.to_owned(),
            hash,
            hint,
            previous: None,
            definition: managed::key_definition(&key),
            created_ms: now_ms,
            updated_ms: now_ms,
            revoked_ms: None,
        })
    }

    /// The key with this id, which must have been made at run time.
    pub fn managed_key(&self, id: &str) -> Result<&Arc<KeyEntry>, Refused> {
        if id.starts_with(ids::FILE_KEY) {
            return Err(Refused::OfTheFile(format!("the key `{id}`")));
        }
        let found = self.set.key(id);
        found.ok_or_else(|| Refused::NotFound(format!("key `{id}`")))
    }
}

/// A change that is being planned.
pub struct Plan<'p> {
    /// By which credential and from where.
    pub actor: &'p Actor,
    /// When it is made.
    pub now_ms: i64,
    /// What it writes so far.
    pub batch: Batch,
}

impl Plan<'_> {
    /// Notes a line of the audit.
    pub fn note(
        &mut self,
        action: &str,
        tenant: &str,
        key: Option<&str>,
        before: Option<&Definition>,
        after: Option<&Definition>,
    ) {
        self.batch.audit.push(AuditRow {
            id: 0,
            at_ms: self.now_ms,
            action: action.to_owned(),
            actor: self.actor.clone(),
            tenant: tenant.to_owned(),
            key: key.map(str::to_owned),
            before: before.cloned().map(Value::Object),
            after: after.cloned().map(Value::Object),
        });
    }

    /// Revokes a key.
    pub fn revoke(&mut self, entry: &KeyEntry) {
        let row = &entry.row;
        let before = Some(&row.definition);
        self.note("key.revoke", &row.tenant, Some(&row.id), before, None);
        self.batch.keys.push(KeyRow {
            updated_ms: self.now_ms,
            revoked_ms: Some(self.now_ms),
            ..row.clone()
        });
        if let Some(previous) = &row.previous {
            self.retire(row, previous.hash, &previous.hint);
        }
    }

    /// Keeps the hash of a text that a key no longer has, so that it is never taken again.
    pub fn retire(&mut self, row: &KeyRow, hash: KeyHash, hint: &str) {
        self.batch.keys.push(KeyRow {
            id: ids::key_id(),
            hash,
            hint: hint.to_owned(),
            previous: None,
            updated_ms: self.now_ms,
            revoked_ms: Some(self.now_ms),
            ..row.clone()
        });
    }

    /// Ends the planning.
    pub fn gives(self, outcome: Pending) -> Planned {
        Planned {
            batch: self.batch,
            outcome,
        }
    }
}

/// The members that a tenant or a key may have.
const MEMBERS: [&str; 10] = [
    "id",
    "tenant",
    "name",
    "labels",
    "models",
    "limits",
    "quota",
    "key_prefix",
    "expires",
    "enabled",
];

/// A definition with a patch (RFC 7396): null removes a member, and objects are merged. A null under a name that no
/// member has stays, so that the name is refused as any other value's would be.
pub fn merged(before: &Definition, patch: &Definition) -> Definition {
    let mut merged_value = Value::Object(before.clone());
    merge(&mut merged_value, &managed::with_long_names(patch.clone()));
    if let Some(merged) = merged_value.as_object_mut() {
        let nulls = patch.iter().filter(|(_, value)| value.is_null());
        let unknown = nulls.filter(|(name, _)| !MEMBERS.contains(&name.as_str()));
        merged.extend(unknown.map(|(name, _)| (name.clone(), Value::Null)));
    }
    match merged_value {
        Value::Object(merged) => merged,
        _ => Definition::new(),
    }
}

fn merge(target: &mut Value, patch: &Definition) {
    if !target.is_object() {
        *target = Value::Object(Definition::new());
    }
    let Some(members) = target.as_object_mut() else {
        return;
    };
    for (name, value) in patch {
        match value {
            Value::Null => drop(members.remove(name)),
            Value::Object(patch) => {
                merge(members.entry(name.clone()).or_insert(Value::Null), patch);
            }
            other => drop(members.insert(name.clone(), other.clone())),
        }
    }
}

/// What a definition means, or its first mistake. All of them are told.
pub fn read<T>(read: Result<T, Vec<Problem>>) -> Result<T, Refused> {
    read.map_err(|problems| {
        let field = problems.first().map(|problem| problem.path.clone());
        let told = problems.iter().enumerate().map(|(number, problem)| {
            let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})"));
            let text = format!("{}{}", problem.message, hint.unwrap_or_default());
            match number {
                // The field of the first stands before it.
                0 => text,
                _ if problem.path.is_empty() => text,
                _ => format!("{}: {text}", problem.path),
            }
        });
        let told: Vec<String> = told.collect();
        Refused::invalid(field.unwrap_or_default(), told.join("; "))
    })
}

/// What is refused because something has it already.
pub fn taken(field: &'static str, message: String) -> Refused {
    Refused::Taken { field, message }
}

/// Whether one of two prefixes is the beginning of the other.
pub fn clash(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
