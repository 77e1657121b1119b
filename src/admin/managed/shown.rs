//! What is told of tenants, keys and changes.
//!
//! Owns the form: what a file defines and what was made at run time look the same, but for `source`. A hash and the
//! text of a key are never told. Does not handle the text of a key that was just made (see the head of this folder).
//! Cannot fail.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::asked::Page;
use crate::admin::tenants::quota;
use crate::clock;
use crate::config::{ClientKey, Config, Tenant, managed};
use crate::ids;
use crate::limits::{Limits, ScopeName};
use crate::managed::{AuditRow, Definition, KeyEntry, Set, TenantEntry, moment};

/// A list, and the rest of it.
fn list(data: Vec<Value>, next: Option<String>) -> Value {
    json!({ "object": "list", "data": data, "has_more": next.is_some(), "next": next })
}

/// A page of entries that come in the order of their ids.
fn page<'a>(
    entries: impl Iterator<Item = (String, Box<dyn FnOnce() -> Value + 'a>)>,
    page: &Page,
) -> Value {
    let after = page.after.as_deref().unwrap_or_default();
    let mut behind = entries.filter(|(id, _)| id.as_str() > after).peekable();
    let mut data = Vec::new();
    let mut last = None;
    while data.len() < page.limit
        && let Some((id, shown)) = behind.next()
    {
        data.push(shown());
        last = Some(id);
    }
    let next = last.filter(|_| behind.peek().is_some());
    list(data, next)
}

/// A page of all keys.
pub fn keys(config: &Config, set: &Set, asked: &Page) -> Value {
    let is_asked = |tenant: &str| asked.tenant.as_deref().is_none_or(|asked| asked == tenant);
    let tenants = config.tenants.iter();
    let tenants = tenants.filter(|tenant| is_asked(&tenant.id.value));
    let mut of_file: Vec<(String, &Tenant, &ClientKey)> = tenants
        .flat_map(|tenant| {
            let keys = tenant.keys.iter();
            keys.map(move |key| (file_id(key), tenant, key))
        })
        .collect();
    of_file.sort_by(|one, other| one.0.cmp(&other.0));
    let of_file = of_file.into_iter().map(|(id, tenant, key)| {
        let shown: Box<dyn FnOnce() -> Value> = Box::new(move || file_key(tenant, key));
        (id, shown)
    });
    // Their ids come behind those of the file's.
    let made = set.keys().filter(|entry| is_asked(&entry.row.tenant));
    let made = made.map(|entry| {
        let shown: Box<dyn FnOnce() -> Value> = Box::new(move || key(entry));
        (entry.row.id.clone(), shown)
    });
    page(of_file.chain(made), asked)
}

/// A page of all tenants.
pub fn tenants(config: &Config, set: &Set, asked: &Page) -> Value {
    let of_file = config.tenants.iter().map(|written| {
        let shown: Box<dyn FnOnce() -> Value> = Box::new(move || file_tenant(written));
        (written.id.value.clone(), shown)
    });
    let ids = config.tenants.iter().map(|tenant| tenant.id.value.as_str());
    let ids: HashSet<&str> = ids.collect();
    let made = set.tenants();
    let made = made.filter(|entry| !ids.contains(entry.row.id.as_str()));
    let made = made.map(|entry| {
        let shown: Box<dyn FnOnce() -> Value> = Box::new(move || tenant(entry));
        (entry.row.id.clone(), shown)
    });
    let mut all: Vec<_> = of_file.chain(made).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    page(all.into_iter(), asked)
}

/// One key, of the file or not.
pub fn one_key(config: &Config, set: &Set, id: &str) -> Option<Value> {
    if let Some(entry) = set.key(id) {
        return Some(key(entry));
    }
    config.tenants.iter().find_map(|tenant| {
        let mut keys = tenant.keys.iter();
        let found = keys.find(|key| file_id(key) == id)?;
        Some(file_key(tenant, found))
    })
}

/// A key with what is used of its quota; null without one.
pub fn with_usage(mut key: Value, limits: &Limits) -> Value {
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = ScopeName::Key {
        tenant: text("tenant").to_owned(),
        key: text("name").to_owned(),
    };
    let now = clock::timestamp();
    let usage = limits.find(&name).and_then(|scope| quota(&scope, now));
    put(&mut key, "usage", usage.into());
    key
}

/// One tenant, of the file or not.
pub fn one_tenant(config: &Config, set: &Set, id: &str) -> Option<Value> {
    let mut of_file = config.tenants.iter();
    match of_file.find(|tenant| tenant.id.value == id) {
        Some(written) => Some(file_tenant(written)),
        None => set.tenant(id).map(|entry| tenant(entry)),
    }
}

/// A tenant that was made at run time.
pub fn tenant(entry: &TenantEntry) -> Value {
    let row = &entry.row;
    let times = (Some(row.created_ms), Some(row.updated_ms));
    object("tenant", &row.id, "runtime", &row.definition, times)
}

fn file_tenant(written: &Tenant) -> Value {
    let definition = managed::tenant_definition(written);
    object(
        "tenant",
        &written.id.value,
        "file",
        &definition,
        (None, None),
    )
}

/// A key that was made at run time.
pub fn key(entry: &KeyEntry) -> Value {
    let row = &entry.row;
    let times = (Some(row.created_ms), Some(row.updated_ms));
    let mut shown = object("key", &row.id, "runtime", &row.definition, times);
    let until = row
        .previous
        .as_ref()
        .map(|previous| moment(previous.until_ms));
    put(&mut shown, "tenant", row.tenant.as_str().into());
    put(&mut shown, "hint", row.hint.as_str().into());
    put(&mut shown, "previous_until", until.into());
    shown
}

fn file_key(tenant: &Tenant, written: &ClientKey) -> Value {
    let mut definition = managed::key_definition(written);
    let name = definition.entry("name");
    name.or_insert_with(|| written.shown().into());
    let mut shown = object("key", &file_id(written), "file", &definition, (None, None));
    put(&mut shown, "tenant", tenant.id.value.as_str().into());
    put(&mut shown, "hint", Value::Null);
    put(&mut shown, "previous_until", Value::Null);
    shown
}

fn file_id(key: &ClientKey) -> String {
    ids::file_key_id(key.hash.value.head())
}

fn put(shown: &mut Value, name: &str, value: Value) {
    if let Some(members) = shown.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn object(
    kind: &str,
    id: &str,
    source: &str,
    definition: &Definition,
    (created, updated): (Option<i64>, Option<i64>),
) -> Value {
    let of = |name: &str| definition.get(name).cloned().unwrap_or(Value::Null);
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    put("object", kind.into());
    put("id", id.into());
    put("source", source.into());
    put("name", of("name"));
    put(
        "labels",
        definition
            .get("labels")
            .cloned()
            .unwrap_or_else(|| json!({})),
    );
    put("models", of("models"));
    put("limits", of("limits"));
    put("quota", of("quota"));
    if kind == "tenant" {
        put("key_prefix", of("key_prefix"));
    }
    put("expires", of("expires"));
    put("enabled", (of("enabled") != Value::Bool(false)).into());
    put("created", created.map(moment).into());
    put("updated", updated.map(moment).into());
    Value::Object(shown)
}

/// Lines of the audit: so many, and whether there are more.
pub fn audit(mut lines: Vec<AuditRow>, limit: usize) -> Value {
    let has_more = lines.len() > limit;
    lines.truncate(limit);
    let next = lines.last().filter(|_| has_more);
    let next = next.map(|line| line.id.to_string());
    let data = lines.into_iter().map(|line| {
        json!({
            "object": "audit",
            "id": line.id.to_string(),
            "at": moment(line.at_ms),
            "action": line.action,
            "actor": line.actor.name,
            "credential": line.actor.credential,
            "source": line.actor.source,
            "tenant": line.tenant,
            "key": line.key,
            "before": line.before,
            "after": line.after,
        })
    });
    list(data.collect(), next)
}
