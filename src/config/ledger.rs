//! The `ledger` section: where usage is recorded.
//!
//! Owns its keys and defaults. Does not handle how it is recorded (see `ledger`). What cannot be read is
//! reported with its place.

use std::path::PathBuf;
use std::time::Duration;

use super::document::Located;
use crate::secret::Secret;

/// Where usage is recorded.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The folder of the journal, and of the database where that is SQLite.
    pub path: Located<PathBuf>,
    /// The URL of a PostgreSQL database; `None` for SQLite in the folder.
    pub postgres: Option<Secret>,
    /// What this node is called in a database that several nodes share.
    pub node: String,
    /// What is done with requests of tenants without a quota while nothing can be recorded.
    pub on_failure: OnFailure,
    /// Older months are moved and compressed.
    pub archive: Option<Archive>,
    /// Older months are removed; `None` for never.
    pub retention: Option<Duration>,
}

/// What is done while nothing can be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Requests are served, and not recorded.
    #[default]
    Serve,
    /// Requests are refused.
    Refuse,
}

/// When and where months are moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Months that ended longer ago than this.
    pub after: Duration,
    /// The folder that they are moved to.
    pub path: PathBuf,
}
