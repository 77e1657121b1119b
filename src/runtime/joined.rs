//! The tenants and keys of the file, and those that were made at run time.
//!
//! Owns which of them are in force: the file wins. An id, a name, a hash or a prefix that the file has is not another
//! one's, so that a tenant has one definition and a key leads to one tenant. What is not in force for that reason is
//! told. Does not handle what may be made (see `managed::rules`). Cannot fail.

use std::collections::{HashMap, HashSet};

use crate::config::{ClientKey, Config, Tenant};
use crate::managed::{Set, TenantEntry};
use crate::secret::KeyHash;

/// As many things that are not in force are told.
const MOST_TOLD: usize = 20;

/// A tenant, and its keys.
#[derive(Debug)]
pub struct Member<'a> {
    /// The tenant.
    pub tenant: &'a Tenant,
    /// Its keys: those of the file first.
    pub keys: Vec<&'a ClientKey>,
}

/// All tenants that are in force.
#[derive(Debug, Default)]
pub struct Joined<'a> {
    /// Those of the file first.
    pub members: Vec<Member<'a>>,
    /// What was made at run time and is not in force, and why.
    pub left_out: Vec<String>,
    more_left_out: usize,
}

impl<'a> Joined<'a> {
    /// The tenants of a file alone.
    pub fn of_file(config: &'a Config) -> Self {
        let members = config.tenants.iter().map(|tenant| Member {
            tenant,
            keys: tenant.keys.iter().collect(),
        });
        Self {
            members: members.collect(),
            ..Self::default()
        }
    }

    /// The tenants of a file, and what was made at run time.
    pub fn with(config: &'a Config, set: &'a Set) -> Self {
        let mut joined = Self::of_file(config);
        if config.is_open() {
            let made = set.tenant_count() + set.key_count();
            if made > 0 {
                joined.leave_out(format!(
                    "{made} tenants and keys that were made at run time are not in force: the configuration has no \
                     `tenants`, and serves every caller on this machine without a key"
                ));
            }
            return joined;
        }
        let ids = config.tenants.iter().map(|tenant| tenant.id.value.as_str());
        let ids: HashSet<&str> = ids.collect();
        let prefixed = |tenant: &&Tenant| tenant.key_prefix.is_some();
        let prefixed: Vec<&Tenant> = config.tenants.iter().filter(prefixed).collect();
        for entry in set.tenants() {
            joined.add_tenant(entry, config, &ids, &prefixed);
        }
        joined.add_keys(set);
        if config.prices.is_empty() {
            joined.tell_unpriced_keys();
        }
        if joined.more_left_out > 0 {
            let more = joined.more_left_out;
            joined.left_out.push(format!("and {more} more"));
        }
        joined
    }

    fn leave_out(&mut self, what: String) {
        match self.left_out.len() < MOST_TOLD {
            true => self.left_out.push(what),
            false => self.more_left_out += 1,
        }
    }

    /// Adds a tenant, unless the file has its id (`ids`) or a prefix that clashes with its own (`prefixed`).
    fn add_tenant(
        &mut self,
        entry: &'a TenantEntry,
        config: &Config,
        ids: &HashSet<&str>,
        prefixed: &[&Tenant],
    ) {
        let Some(tenant) = &entry.tenant else { return };
        let id = &tenant.id.value;
        if ids.contains(id.as_str()) {
            self.leave_out(format!(
                "the tenant `{id}` was made at run time, and the configuration file defines it, too: the file's \
                 definition holds"
            ));
            return;
        }
        let clashing = tenant.key_prefix.as_ref().and_then(|prefix| {
            prefixed.iter().find(|other| {
                other.key_prefix.as_ref().is_some_and(|of_file| {
                    of_file.value.starts_with(&prefix.value)
                        || prefix.value.starts_with(&of_file.value)
                })
            })
        });
        if let Some(other) = clashing {
            self.leave_out(format!(
                "the tenant `{id}`, which was made at run time, is not in force: its key_prefix clashes with that of \
                 `{}` in the configuration file",
                other.id.value
            ));
            return;
        }
        if tenant
            .quota
            .as_ref()
            .is_some_and(|quota| quota.value.nanos.is_some())
            && config.prices.is_empty()
        {
            self.leave_out(format!(
                "the quota in dollars of the tenant `{id}`, which was made at run time, is never reached: the \
                 configuration has no prices"
            ));
        }
        self.members.push(Member {
            tenant,
            keys: Vec::new(),
        });
    }

    fn add_keys(&mut self, set: &'a Set) {
        let of_file = self.members.iter().flat_map(|member| &member.keys);
        let hashes: HashSet<KeyHash> = of_file.map(|key| key.hash.value).collect();
        let names = self.members.iter().flat_map(|member| {
            let id = member.tenant.id.value.as_str();
            // Limits and quotas are kept under it.
            member.keys.iter().map(move |key| (id, key.shown()))
        });
        let names: HashSet<(&str, String)> = names.collect();
        let positions = self.members.iter().enumerate();
        let positions: HashMap<&str, usize> = positions
            .map(|(position, member)| (member.tenant.id.value.as_str(), position))
            .collect();
        for entry in set.keys() {
            let row = &entry.row;
            let place = positions.get(row.tenant.as_str());
            let why = match place {
                None => format!("there is no tenant `{}` any more", row.tenant),
                Some(_) if names.contains(&(row.tenant.as_str(), row.name().to_owned())) => {
                    "the configuration file has a key of that name".to_owned()
                }
                Some(_)
                    if entry
                        .keys
                        .iter()
                        .any(|key| hashes.contains(&key.hash.value)) =>
                {
                    "the configuration file has the same key".to_owned()
                }
                Some(position) => {
                    if let Some(member) = self.members.get_mut(*position) {
                        member.keys.extend(&entry.keys);
                    }
                    continue;
                }
            };
            self.leave_out(format!(
                "the key `{}` of the tenant `{}`, which was made at run time, is not in force: {why}",
                row.name(),
                row.tenant
            ));
        }
    }

    /// Tells of keys with a quota in dollars where nothing has a price. Those of the file are refused as it is read.
    fn tell_unpriced_keys(&mut self) {
        let is_of_money = |key: &&&ClientKey| {
            let quota = key.quota.as_ref();
            quota.is_some_and(|quota| quota.value.nanos.is_some())
        };
        let unpriced = self.members.iter().filter(|m| m.tenant.prices.is_empty());
        let told = unpriced.flat_map(|member| {
            let id = member.tenant.id.value.as_str();
            let keys = member.keys.iter().filter(is_of_money);
            keys.map(move |key| {
                format!(
                    "the quota in dollars of the key `{}` of the tenant `{id}`, which was made at run time, is never \
                     reached: the configuration has no prices",
                    key.shown()
                )
            })
        });
        let mut told: Vec<String> = told.collect();
        // Both texts of a key that was rotated have its name.
        told.dedup();
        for line in told {
            self.leave_out(line);
        }
    }
}
