//! The databases that records are loaded into: SQLite by default, PostgreSQL.
//!
//! Owns what both can do: load records exactly once, tell where the loading stands and what was used in a
//! period, move and remove old months, and answer queries. Does not handle when records are loaded (see
//! `load`) or what a report asks (see `report`). Everything here blocks: it is called on threads of its own.
//! Fails with a [`StoreError`]; what was not committed has not happened.

mod cell;
mod compressed;
pub mod export;
mod month;
mod names;
mod postgres;
mod row;
mod sqlite;
mod telling;

use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

pub use cell::{Cell, usd, write_object};
pub use month::{DAY_MS, Month, Months, day_of, day_start_ms, day_text, start_ms};
pub use row::{GROUPS, NAMES, NUMBERS, Row, SOURCES, SUMS, Used, add};
pub use telling::{Teller, Telling, Written};

use super::journal::Position;
use super::record::Record;
use crate::config;
use crate::secret::Secret;
pub use crate::store::StoreError;

/// What a tenant has used in a period, or what was used with one of its keys, as one node has recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The tenant's id.
    pub tenant: String,
    /// The key's name; empty for what the tenant's own quota counts.
    pub key: String,
    /// The node that has recorded it, with the number of its journal.
    pub node: String,
    /// When the period began, in seconds since the Unix epoch.
    pub period_start: i64,
    /// Tokens of input and output.
    pub tokens: u64,
    /// What is charged, in nano-dollars.
    pub charge_nanos: u64,
}

/// What has been used, as of one moment.
#[derive(Debug, Default)]
pub struct Usage {
    /// What all tenants have used, and what was used with keys that have a quota.
    pub balances: Vec<Balance>,
    /// Up to where journals were loaded at that moment, in the order in which their nodes were asked for.
    pub positions: Vec<Option<Position>>,
}

/// A database that a loader writes to. Others may write to it at the same time.
pub trait Store: Send {
    /// Up to where this node's journal has been loaded; `None` if nothing of it has.
    ///
    /// # Errors
    /// The database cannot be read.
    fn position(&mut self) -> Result<Option<Position>, StoreError>;

    /// The same of another node.
    ///
    /// # Errors
    /// The database cannot be read.
    fn position_of(&mut self, node: &str) -> Result<Option<Position>, StoreError>;

    /// Loads records, and moves the position to `next`. A record that is there already changes nothing, so
    /// that loading records again after a failure counts each of them once. Returns how many were new.
    ///
    /// # Errors
    /// The database cannot be written. The position has not moved; the records may be loaded again.
    fn load(&mut self, records: &[Record<'_>], next: Position) -> Result<usize, StoreError> {
        self.load_and_tell(records, next, None)
    }

    /// The same, with what is told of the records.
    ///
    /// # Errors
    /// As with [`load`](Self::load), or they cannot be told of.
    fn load_and_tell(
        &mut self,
        records: &[Record<'_>],
        next: Position,
        telling: Option<&dyn Telling>,
    ) -> Result<usize, StoreError>;

    /// Makes sure that a power cut loses nothing of what has been loaded.
    ///
    /// # Errors
    /// The disk fails.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// What all tenants and keys have used in the periods that began at these times.
    ///
    /// # Errors
    /// The database cannot be read.
    fn balances(&mut self, starts: &[i64]) -> Result<Vec<Balance>, StoreError>;

    /// What all tenants and keys have used in the periods that began at these times, and in those that begin after
    /// another one: there are some where the clock was ahead of what it is now. Times are in seconds since the Unix
    /// epoch. With it, up to where the journals of some nodes were loaded at that very moment.
    ///
    /// # Errors
    /// The database cannot be read.
    fn usage(&mut self, starts: &[i64], after: i64, nodes: &[String]) -> Result<Usage, StoreError>;

    /// Moves and removes old months, as the configuration says. To be called only when everything has been
    /// loaded. Returns what was done, a line each.
    ///
    /// # Errors
    /// A month could not be moved or removed: it is still where it was.
    fn maintain(&mut self, now: SystemTime) -> Result<Vec<String>, StoreError>;
}

/// What is done with each row of a query.
pub type EachRow<'a> = dyn FnMut(Vec<String>, &[i64]) -> Result<(), StoreError> + 'a;

/// A part of a database that is queried at once, with numbers for names of its own: a month's file of SQLite,
/// or all of a PostgreSQL database.
pub trait Part {
    /// Runs a query that gives so many texts in each row, and then integers.
    ///
    /// # Errors
    /// The database cannot be read, or `each` fails.
    fn query(&mut self, sql: &str, texts: usize, each: &mut EachRow<'_>) -> Result<(), StoreError>;

    /// The number of a name, if the part has it.
    ///
    /// # Errors
    /// The database cannot be read.
    fn number(&mut self, name: &str) -> Result<Option<i64>, StoreError>;

    /// The names of numbers, in their order; a number without a name gives an empty one.
    ///
    /// # Errors
    /// The database cannot be read.
    fn names(&mut self, numbers: &[i64]) -> Result<Vec<String>, StoreError>;

    /// The rows after a time and id, in their order, before `until_ms`: at most `limit` of them.
    ///
    /// # Errors
    /// The database cannot be read.
    fn rows(
        &mut self,
        after: (i64, u128),
        until_ms: i64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;

    /// What of the part does not fit together, a line each. Says to `tell` what it looks at.
    ///
    /// # Errors
    /// The database cannot be read, or not told.
    fn check(&mut self, tell: &mut dyn Write) -> Result<Vec<String>, StoreError>;

    /// Up to where a node's journal is in this part.
    ///
    /// # Errors
    /// The database cannot be read.
    fn position(&mut self, node: &str) -> Result<Option<Position>, StoreError>;
}

/// What a check of all parts has found.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is damaged, a line each.
    pub damage: Vec<String>,
    /// Why parts could not be checked.
    pub unread: Vec<StoreError>,
}

impl Checked {
    /// Checks a part that was opened. One that is damaged or cannot be read is noted, so that the next ones are
    /// checked, too.
    ///
    /// # Errors
    /// `tell` takes no more.
    fn add(
        &mut self,
        part: Result<&mut dyn Part, StoreError>,
        tell: &mut dyn Write,
    ) -> Result<(), StoreError> {
        match part.and_then(|part| part.check(tell)) {
            Ok(lines) => self.damage.extend(lines),
            Err(error @ StoreError::Stopped(_)) => return Err(error),
            Err(error) if error.is_damage() => self.damage.push(error.to_string()),
            Err(error) => self.unread.push(error),
        }
        Ok(())
    }
}

/// Which database there is.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file for each month in this folder.
    Sqlite(PathBuf),
    /// PostgreSQL at this URL.
    Postgres(Secret),
}

impl Database {
    /// The database of a configuration.
    pub fn of(config: &config::Ledger) -> Self {
        match &config.postgres {
            Some(url) => Self::Postgres(url.clone()),
            None => Self::Sqlite(config.path.value.clone()),
        }
    }

    /// Opens it to be written, and makes or upgrades its tables.
    ///
    /// # Errors
    /// It is away, cannot be written, or was written by a newer release.
    pub fn open(&self, config: &config::Ledger) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            Self::Sqlite(folder) => Box::new(sqlite::Sqlite::open(folder, config)?),
            Self::Postgres(url) => Box::new(postgres::Postgres::open(url, config)?),
        })
    }

    /// What there is no ledger in, if nothing has been written yet: the folder or the database. An empty ledger is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn missing(&self) -> Result<Option<String>, StoreError> {
        Ok(match self {
            Self::Sqlite(folder) => {
                (!sqlite::exists(folder)?).then(|| folder.display().to_string())
            }
            Self::Postgres(url) => {
                let reader = postgres::Reader::open(url)?;
                (!reader.has_tables()).then(|| postgres::place_of(url))
            }
        })
    }

    /// Checks all parts. Says to `tell` what it looks at.
    ///
    /// # Errors
    /// There is no way to the parts, or `tell` takes no more.
    pub fn check(&self, tell: &mut dyn Write) -> Result<Checked, StoreError> {
        let mut checked = Checked::default();
        match self {
            Self::Sqlite(folder) => sqlite::check(folder, &mut checked, tell)?,
            Self::Postgres(url) => checked.add(Ok(&mut postgres::Reader::open(url)?), tell)?,
        }
        Ok(checked)
    }

    /// Gives each part that has rows from `since_ms` to before `until_ms`, in the order of time. It is opened
    /// for reading alone, so this works while a gateway runs and while none does.
    ///
    /// # Errors
    /// A part cannot be read, or `each` fails.
    pub fn each_part(
        &self,
        since_ms: i64,
        until_ms: i64,
        each: &mut dyn FnMut(&mut dyn Part) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(folder) => sqlite::each_part(folder, since_ms, until_ms, each),
            Self::Postgres(url) => each(&mut postgres::Reader::open(url)?),
        }
    }
}

/// What `SELECT` gives of a request: its time, then its numbers in the order of [`Row`].
fn row_columns() -> String {
    format!(
        "at_ms, {}, {}, total_ms, period, key_period",
        NAMES.join(", "),
        NUMBERS.join(", ")
    )
}
