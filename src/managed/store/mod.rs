//! Where tenants and keys that are made at run time are kept: a file of SQLite, or PostgreSQL.
//!
//! Owns what both can do. A change is made in one transaction, in which no other one is made: it begins with what has
//! changed since it was last looked, so that what is checked in memory holds. Does not handle what a change may be
//! (see `rules`). Everything here blocks. Fails with a [`StoreError`]; what was not committed has not happened.

mod postgres;
mod sqlite;

use std::path::PathBuf;
use std::time::Duration;

use super::row::{AuditRow, Batch, Definition, Delta};
use crate::secret::{KeyHash, Secret};
use crate::store::StoreError;

/// Makes of what has changed what is to be written; nothing where the change is refused.
pub type Plan<'p> = dyn FnMut(Delta) -> Option<Batch> + Send + 'p;

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// What is older is removed.
    pub before_ms: i64,
    /// As many lines of the audit are kept.
    pub lines: i64,
    /// As many tenants that were deleted, and keys that were revoked, are kept.
    pub gone: i64,
}

/// A database, opened to be read and written.
pub trait Store: Send {
    /// The version of what it has: it grows with each change.
    ///
    /// # Errors
    /// It cannot be read.
    fn version(&mut self) -> Result<i64, StoreError>;

    /// What has changed since a version.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&mut self, since: i64) -> Result<Delta, StoreError>;

    /// Makes a change, alone. `plan` gets what has changed since a version.
    ///
    /// # Errors
    /// It cannot be read or written. Nothing has changed, unless the connection was lost at the very end.
    fn change(&mut self, since: i64, plan: &mut Plan<'_>) -> Result<(), StoreError>;

    /// Lines of the audit that are older than one, or the newest ones; of a tenant, or of all.
    ///
    /// # Errors
    /// It cannot be read.
    fn audit(
        &mut self,
        before: Option<i64>,
        tenant: Option<&str>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError>;

    /// Removes what is older than it is kept.
    ///
    /// # Errors
    /// It cannot be written.
    fn prune(&mut self, retention: Retention) -> Result<(), StoreError>;

    /// Waits until another process has probably made a change beyond a version, for this time at most.
    ///
    /// # Errors
    /// The connection has ended.
    fn wait(&mut self, known: i64, patience: Duration) -> Result<(), StoreError>;
}

/// Which database there is.
#[derive(Clone, Debug)]
pub enum Place {
    /// This file of SQLite.
    File(PathBuf),
    /// PostgreSQL at this URL.
    Postgres(Secret),
}

impl Place {
    /// Opens it, and makes or upgrades its tables. `listens`: it is told of changes.
    ///
    /// # Errors
    /// It is away, cannot be written, or was written by a newer release.
    pub fn open(&self, listens: bool) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            Self::File(path) => Box::new(sqlite::Sqlite::open(path)?),
            Self::Postgres(url) => Box::new(postgres::Postgres::open(url, listens)?),
        })
    }
}

fn definition_of(text: &str) -> Result<Definition, StoreError> {
    let read = serde_json::from_str(text);
    read.map_err(|e| StoreError::Damaged(format!("a definition of the keys' database: {e}")))
}

fn hash_of(text: &str) -> Result<KeyHash, StoreError> {
    let damaged = || StoreError::Damaged("a hash of the keys' database is none".to_owned());
    KeyHash::from_hex(text).ok_or_else(damaged)
}

fn json_of(text: Option<String>) -> Option<serde_json::Value> {
    text.map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)))
}

fn text_of(value: &impl serde::Serialize) -> String {
    // What was read from JSON can be written as JSON.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
