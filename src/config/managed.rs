//! Tenants and keys that are made while the gateway runs.
//!
//! Owns what may be said of one: the settings of the `tenants` section that have a meaning without the rest of the
//! file, read by the same readers, because JSON is YAML. Owns how one that a file defines is shown in that form, too.
//! Does not handle what must hold between several (see `managed::rules`). Fails with every mistake at once.

use serde_json::{Map, Value, json};

use super::client_keys::{self, ClientKey};
use super::document::{Context, Located, Place, Section, is_plain_name, with_root, write_nanos};
use super::expand::Variables;
use super::problem::{Problem, Severity};
use super::tenants::{self, Tenant};
use super::{Quota, RateLimits, Validity, Window};
use crate::secret::KeyHash;

/// How a reference to a variable begins, which only a file can have.
const VARIABLE: &str = "${";

/// Whether a text can be the id of a tenant or the name of a key.
pub fn is_name(text: &str) -> bool {
    is_plain_name(text)
}

/// Short names of limits, and the names that stand for the same.
const LONG_NAMES: [(&str, &str); 5] = [
    ("rps", "requests_per_second"),
    ("rpm", "requests_per_minute"),
    ("rpd", "requests_per_day"),
    ("tpm", "tokens_per_minute"),
    ("tpd", "tokens_per_day"),
];

/// Gives limits the names that they are shown by, so that a patch finds what it changes.
pub fn with_long_names(mut definition: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(limits)) = definition.get_mut("limits") {
        for (short, long) in LONG_NAMES {
            // Both at once are a mistake, which is told.
            if !limits.contains_key(long)
                && let Some(limit) = limits.remove(short)
            {
                limits.insert(long.to_owned(), limit);
            }
        }
    }
    definition
}

/// Reads what is said of a tenant.
///
/// # Errors
/// Every mistake in it.
pub fn read_tenant(id: &str, definition: &Map<String, Value>) -> Result<Tenant, Vec<Problem>> {
    read(definition, |section| tenants::take_managed(section, id))
}

/// Reads what is said of a key with this hash.
///
/// # Errors
/// Every mistake in it.
pub fn read_key(hash: KeyHash, definition: &Map<String, Value>) -> Result<ClientKey, Vec<Problem>> {
    read(definition, |section| {
        let settings = client_keys::take_settings(section);
        settings(Located {
            value: hash,
            place: Place::default(),
        })
    })
}

fn read<T>(
    definition: &Map<String, Value>,
    take: impl FnOnce(&mut Section<'_>) -> T,
) -> Result<T, Vec<Problem>> {
    let variables = Variables::default();
    let context = Context::new("definition", &variables);
    let text = serde_json::to_string(definition).unwrap_or_default();
    if text.contains(VARIABLE) {
        let hint = Some("write the value itself".to_owned());
        let message = "variables stand in the configuration file alone";
        context.report(&Place::default(), message, hint);
    }
    let read = with_root(&context, &text, |root| {
        let mut section = root.section()?;
        let read = take(&mut section);
        section.finish();
        Some(read)
    });
    let (mut problems, _) = context.into_noted();
    problems.retain(|problem| problem.severity == Severity::Error);
    match read {
        Some(read) if problems.is_empty() => Ok(read),
        _ => Err(problems),
    }
}

/// What a file says of a tenant, as far as it could be said at run time.
pub fn tenant_definition(tenant: &Tenant) -> Map<String, Value> {
    let mut definition = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            definition.insert(name.to_owned(), value);
        }
    };
    put("name", tenant.name.as_deref().map(Value::from));
    put("labels", labels(&tenant.labels));
    put("models", tenant.models.as_deref().map(models));
    put("limits", tenant.limits.as_ref().map(limits));
    put(
        "quota",
        tenant.quota.as_ref().map(|quota| shown_quota(&quota.value)),
    );
    let prefix = tenant.key_prefix.as_ref();
    put(
        "key_prefix",
        prefix.map(|prefix| prefix.value.as_str().into()),
    );
    put_validity(tenant.validity, &mut put);
    definition
}

/// What a file says of a key.
pub fn key_definition(key: &ClientKey) -> Map<String, Value> {
    let mut definition = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            definition.insert(name.to_owned(), value);
        }
    };
    put(
        "name",
        key.name.as_ref().map(|name| name.value.as_str().into()),
    );
    put("labels", labels(&key.labels));
    put("models", key.models.as_deref().map(models));
    put("limits", key.limits.as_ref().map(limits));
    let quota = key.quota.as_ref();
    put("quota", quota.map(|quota| shown_quota(&quota.value)));
    put_validity(key.validity, &mut put);
    definition
}

fn put_validity(validity: Validity, put: &mut impl FnMut(&str, Option<Value>)) {
    put("expires", validity.expires.map(|at| at.to_string().into()));
    put(
        "enabled",
        (!validity.is_enabled).then_some(Value::Bool(false)),
    );
}

fn labels(labels: &[(String, String)]) -> Option<Value> {
    let entries = labels.iter();
    let entries = entries.map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    (!labels.is_empty()).then(|| Value::Object(entries.collect()))
}

fn models(names: &[Located<String>]) -> Value {
    names.iter().map(|name| name.value.as_str()).collect()
}

fn limits(limits: &RateLimits) -> Value {
    let set = limits.set();
    let mut shown: Map<String, Value> =
        set.map(|(name, most)| (name.into(), most.into())).collect();
    if limits.window != Window::default() {
        shown.insert("window".to_owned(), limits.window.name().into());
    }
    Value::Object(shown)
}

fn shown_quota(quota: &Quota) -> Value {
    let mut shown = Map::new();
    if let Some(tokens) = quota.tokens {
        shown.insert("tokens".to_owned(), tokens.into());
    }
    if let Some(nanos) = quota.nanos {
        // As text it is exact.
        shown.insert("usd".to_owned(), write_nanos(nanos).into());
    }
    shown.insert("per".to_owned(), quota.per.name().into());
    let zone = quota.timezone.iana_name().unwrap_or("UTC");
    shown.insert("timezone".to_owned(), zone.into());
    shown.insert("warn_at".to_owned(), json!(quota.warn_at));
    Value::Object(shown)
}

#[cfg(test)]
mod tests;
