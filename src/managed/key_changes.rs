//! Making, changing, rotating and revoking a key.
//!
//! Owns what a key that is made begins with, and what a rotation leaves of the one before. Does not handle keys from
//! elsewhere (see `import`), nor what one definition may have (see `config::managed`). Fails with [`Refused`].

use std::time::Duration;

use super::change::{Outcome, Refused};
use super::generate;
use super::known::{Known, Pending, Plan, Planned, clash, merged, read, taken};
use super::row::{Definition, KeyRow, Previous, moment};
use crate::config::managed;

impl Known<'_> {
    /// Makes a key.
    pub fn create_key(
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

    /// Changes what is said of a key.
    pub fn change_key(
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
        self.check_quota(&before.tenant, key.quota.as_ref())?;
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

    /// Makes another text for a key.
    pub fn rotate(
        &self,
        mut plan: Plan<'_>,
        id: &str,
        overlap: Duration,
    ) -> Result<Planned, Refused> {
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
        if row.previous.is_none() {
            plan.retire(before, before.hash, &before.hint);
        }
        if let Some(ended) = &before.previous {
            plan.retire(before, ended.hash, &ended.hint);
        }
        plan.batch.keys.push(row);
        Ok(plan.gives(Pending::Key(id.to_owned(), Some(secret))))
    }

    /// Revokes a key.
    pub fn revoke(&self, mut plan: Plan<'_>, id: &str) -> Result<Planned, Refused> {
        let entry = self.managed_key(id)?;
        plan.revoke(entry);
        let row = Box::new(entry.row.clone());
        Ok(plan.gives(Pending::Done(Outcome::Revoked(row))))
    }
}
