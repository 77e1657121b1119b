//! A tenant, a key and a line of the audit, as they are stored.
//!
//! Owns their members, and what is shown of them. Does not handle how they are stored (see `store`), nor what may be in
//! a definition (see `config::managed`). A hash is never shown, and the text of a key is never stored.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::secret::KeyHash;

/// What is said of a tenant or a key, in the form of the configuration.
pub type Definition = Map<String, Value>;

/// A moment as it is shown; empty where there is none.
pub fn moment(ms: i64) -> String {
    let at = Timestamp::from_millisecond(ms);
    at.map_or_else(|_| String::new(), |at| at.to_string())
}

/// A tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantRow {
    /// Its id.
    pub id: String,
    /// What is said of it.
    pub definition: Definition,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it was changed last.
    pub updated_ms: i64,
    /// When it was deleted; `None` while it is there.
    pub deleted_ms: Option<i64>,
}

/// A key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRow {
    /// Its id.
    pub id: String,
    /// The id of the tenant that it belongs to.
    pub tenant: String,
    /// Its hash.
    pub hash: KeyHash,
    /// What is shown of it.
    pub hint: String,
    /// What it was before it was rotated.
    pub previous: Option<Previous>,
    /// What is said of it; its name is in it.
    pub definition: Definition,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it was changed last.
    pub updated_ms: i64,
    /// When it was revoked; `None` while it is not.
    pub revoked_ms: Option<i64>,
}

/// A key that another one has taken the place of, and that holds for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Previous {
    /// Its hash.
    pub hash: KeyHash,
    /// What is shown of it.
    pub hint: String,
    /// Until when it holds, in milliseconds since the Unix epoch.
    pub until_ms: i64,
}

impl KeyRow {
    /// Its name.
    pub fn name(&self) -> &str {
        let name = self.definition.get("name").and_then(Value::as_str);
        name.unwrap_or_default()
    }
}

/// By which credential a change was asked for, from where, and for which person or program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// What the request says of itself; empty where it says nothing.
    pub name: String,
    /// By what it was allowed.
    pub credential: String,
    /// The address that it came from.
    pub source: String,
}

/// One change, as it is noted.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// Its number, which grows; 0 before it is stored.
    pub id: i64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What was done, as in `key.rotate`.
    pub action: String,
    /// By which credential and from where.
    pub actor: Actor,
    /// The id of the tenant.
    pub tenant: String,
    /// The id of the key; `None` for a change of the tenant.
    pub key: Option<String>,
    /// What was said of it before.
    pub before: Option<Value>,
    /// What is said of it since.
    pub after: Option<Value>,
}

/// What a change writes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Tenants, as they are now.
    pub tenants: Vec<TenantRow>,
    /// Keys, as they are now.
    pub keys: Vec<KeyRow>,
    /// A line for each.
    pub audit: Vec<AuditRow>,
}

/// What has changed since a version.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    /// The version that it leads to.
    pub version: i64,
    /// Whether it has everything, so that what is not in it is not there.
    pub is_whole: bool,
    /// Tenants that have changed. Those that were deleted are among them.
    pub tenants: Vec<TenantRow>,
    /// Keys that have changed. Those that were revoked are among them.
    pub keys: Vec<KeyRow>,
}
