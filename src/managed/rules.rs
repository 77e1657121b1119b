//! What a change may be, and what it writes.
//!
//! Owns what must hold between tenants and keys: those of the configuration file, which cannot be changed here, and
//! those that are made at run time. It is asked within the transaction that writes, with everything known that there
//! is. Does not handle what one definition may have (see `config::managed`), nor keys from elsewhere (see `import`).
//! Fails with [`Refused`].

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::change::{Change, Outcome, Refused};
use super::generate;
use super::import;
use super::row::{Actor, AuditRow, Batch, Definition, KeyRow, Previous, TenantRow, moment};
use super::set::{KeyEntry, Set, TenantEntry};
use crate::config::{Config, Problem, Tenant, managed};
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

    /// The tenant of the file with this id.
    pub fn file_tenant(&self, id: &str) -> Option<&Tenant> {
        self.config
            .tenants
            .iter()
            .find(|tenant| tenant.id.value == id)
    }

    fn create_tenant(
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

    fn managed_tenant(&self, id: &str) -> Result<&Arc<TenantEntry>, Refused> {
        if self.file_tenant(id).is_some() {
            return Err(Refused::OfTheFile(format!("the tenant `{id}`")));
        }
        let found = self.set.tenant(id);
        found.ok_or_else(|| Refused::NotFound(format!("tenant `{id}`")))
    }

    fn change_tenant(
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

    fn delete_tenant(&self, mut plan: Plan<'_>, id: &str) -> Result<Planned, Refused> {
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
        let quota = tenant.quota.as_ref();
        if quota.is_some_and(|quota| quota.value.nanos.is_some()) && self.config.prices.is_empty() {
            let message = "a quota in dollars needs prices, and there are none (add prices: { file: prices.yaml } to \
                           the configuration file, or limit `tokens`)";
            return Err(Refused::invalid("quota", message));
        }
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
        if names.any(|key| key.name.as_ref().is_some_and(|known| known.value == name)) {
            let message = format!("{}, in the configuration file", message());
            return Err(taken("name", message));
        }
        match self.set.key_named(tenant, name) {
            Some(key) if but != Some(key.row.id.as_str()) => Err(taken("name", message())),
            _ => Ok(()),
        }
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

    fn create_key(
        &self,
        mut plan: Plan<'_>,
        tenant: &str,
        definition: &Definition,
    ) -> Result<Planned, Refused> {
        let prefix = self.prefix_of(tenant)?;
        self.check_room(1)?;
        let begins = prefix.unwrap_or(generate::PREFIX);
        if prefix.is_none()
            && let Some((owner, other)) =
                self.others(tenant).find(|(_, other)| clash(begins, other))
        {
            let message = format!(
                "its keys would begin with `{begins}`, which clashes with `{other}`, the key_prefix of the tenant \
                 `{owner}` (give one of the two another key_prefix)"
            );
            return Err(taken("tenant", message));
        }
        let secret = generate::key(begins).ok_or(Refused::NoRandom)?;
        let hint = generate::hint(secret.expose(), begins);
        let row = self.new_key(tenant, secret.hash(), hint, definition, plan.now_ms)?;
        let id = row.id.clone();
        plan.note("key.create", tenant, Some(&id), None, Some(&row.definition));
        plan.batch.keys.push(row);
        Ok(plan.gives(Pending::Key(id, Some(secret))))
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

    fn managed_key(&self, id: &str) -> Result<&Arc<KeyEntry>, Refused> {
        if id.starts_with(ids::FILE_KEY) {
            return Err(Refused::OfTheFile(format!("the key `{id}`")));
        }
        let found = self.set.key(id);
        found.ok_or_else(|| Refused::NotFound(format!("key `{id}`")))
    }

    fn change_key(
        &self,
        mut plan: Plan<'_>,
        id: &str,
        patch: &Definition,
    ) -> Result<Planned, Refused> {
        let entry = self.managed_key(id)?;
        let before = &entry.row;
        let definition = merged(&before.definition, patch);
        let key = read(managed::read_key(before.hash, &definition))?;
        let Some(name) = &key.name else {
            return Err(Refused::invalid("name", "a key has a name"));
        };
        self.check_name(&before.tenant, &name.value, Some(id))?;
        let row = KeyRow {
            definition: managed::key_definition(&key),
            updated_ms: plan.now_ms,
            ..before.clone()
        };
        let (old, new) = (Some(&before.definition), Some(&row.definition));
        plan.note("key.change", &before.tenant, Some(id), old, new);
        plan.batch.keys.push(row);
        Ok(plan.gives(Pending::Key(id.to_owned(), None)))
    }

    fn rotate(&self, mut plan: Plan<'_>, id: &str, overlap: Duration) -> Result<Planned, Refused> {
        let entry = self.managed_key(id)?;
        let before = &entry.row;
        let begins = self.prefix_of(&before.tenant)?.unwrap_or(generate::PREFIX);
        let secret = generate::key(begins).ok_or(Refused::NoRandom)?;
        let overlap_ms = i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX);
        let until_ms = plan.now_ms.saturating_add(overlap_ms);
        let row = KeyRow {
            hash: secret.hash(),
            hint: generate::hint(secret.expose(), begins),
            previous: (overlap_ms > 0).then(|| Previous {
                hash: before.hash,
                hint: before.hint.clone(),
                until_ms,
            }),
            updated_ms: plan.now_ms,
            ..before.clone()
        };
        let told = |hint: &str, until_ms: Option<i64>| {
            let mut told = Definition::new();
            told.insert("hint".to_owned(), hint.into());
            if let Some(until_ms) = until_ms {
                told.insert("previous_until".to_owned(), moment(until_ms).into());
            }
            told
        };
        let old = told(&before.hint, None);
        let new = told(
            &row.hint,
            row.previous.as_ref().map(|previous| previous.until_ms),
        );
        plan.note(
            "key.rotate",
            &before.tenant,
            Some(id),
            Some(&old),
            Some(&new),
        );
        plan.batch.keys.push(row);
        Ok(plan.gives(Pending::Key(id.to_owned(), Some(secret))))
    }

    fn revoke(&self, mut plan: Plan<'_>, id: &str) -> Result<Planned, Refused> {
        let entry = self.managed_key(id)?;
        plan.revoke(entry);
        let row = Box::new(entry.row.clone());
        Ok(plan.gives(Pending::Done(Outcome::Revoked(row))))
    }
}

/// A change that is being planned.
pub struct Plan<'p> {
    actor: &'p Actor,
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

    fn revoke(&mut self, entry: &KeyEntry) {
        let row = &entry.row;
        let before = Some(&row.definition);
        self.note("key.revoke", &row.tenant, Some(&row.id), before, None);
        self.batch.keys.push(KeyRow {
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

/// A definition with a patch (RFC 7396): null removes a member, and objects are merged.
fn merged(before: &Definition, patch: &Definition) -> Definition {
    let mut merged_value = Value::Object(before.clone());
    merge(&mut merged_value, &managed::with_long_names(patch.clone()));
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
fn read<T>(read: Result<T, Vec<Problem>>) -> Result<T, Refused> {
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

fn taken(field: &'static str, message: String) -> Refused {
    Refused::Taken { field, message }
}

/// Whether one of two prefixes is the beginning of the other.
fn clash(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
