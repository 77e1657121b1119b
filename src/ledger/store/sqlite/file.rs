//! One month's file, opened to be written.
//!
//! Owns its settings, the version of its tables, and the transaction that loads records. Does not handle what
//! is read from it (see `part`). A transaction that fails is rolled back.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{
    Connection, OptionalExtension, Statement, Transaction, TransactionBehavior, params,
};

use super::super::names::{Names, storable};
use super::super::row::{self, Additions, Row};
use super::super::{GROUPS, NAMES, NUMBERS, SUMS, StoreError};
use crate::ledger::journal::Position;
use crate::ledger::record::Record;
use crate::store::sqlite::open;

/// The changes that lead from each version of the tables to the next.
const MIGRATIONS: [&str; 1] = [include_str!("../schema/sqlite_1.sql")];

/// A month's file.
pub struct MonthFile {
    path: PathBuf,
    connection: Connection,
    names: Names,
    /// Which file it is: the device and the number there.
    id: Option<(u64, u64)>,
}

impl MonthFile {
    /// Opens or makes the file, and upgrades its tables.
    ///
    /// # Errors
    /// It cannot be written, or a newer release wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = open(path, &MIGRATIONS)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            names: Names::default(),
            id: id(path),
        })
    }

    /// Whether it still is the file of its name.
    pub fn is_there(&self) -> bool {
        self.id.is_some() && self.id == id(&self.path)
    }

    /// Loads records of this month, which a node has recorded, in one transaction, and moves the node's position if
    /// there is one. Returns how many were new.
    ///
    /// # Errors
    /// SQLite fails. Nothing has been loaded.
    pub fn load(
        &mut self,
        records: &[&Record<'_>],
        node: &str,
        moved: Option<Position>,
    ) -> Result<usize, StoreError> {
        let loaded = load(
            &mut self.connection,
            &mut self.names,
            records,
            (node, moved),
        );
        if loaded.is_err() {
            self.names.clear();
        }
        loaded.map_err(StoreError::sqlite(&self.path))
    }
}

fn id(path: &Path) -> Option<(u64, u64)> {
    let found = path.metadata().ok()?;
    Some((found.dev(), found.ino()))
}

fn load(
    connection: &mut Connection,
    names: &mut Names,
    records: &[&Record<'_>],
    (node, moved): (&str, Option<Position>),
) -> rusqlite::Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut additions = Additions::default();
    let mut insertion = transaction.prepare_cached(insert_sql())?;
    let mut loaded = 0;
    for record in records {
        let mut numbers = [0; 8];
        for (number, name) in numbers.iter_mut().zip(row::names(record)) {
            *number = number_of(&transaction, names, name)?;
        }
        let row = Row::of(record, numbers);
        if insert(&mut insertion, &row)? {
            additions.add(&row, record);
            loaded += 1;
        }
    }
    drop(insertion);
    add(&transaction, &additions, node)?;
    if let Some(position) = moved {
        set_position(&transaction, node, position)?;
    }
    transaction.commit()?;
    Ok(loaded)
}

fn number_of(
    transaction: &Transaction<'_>,
    names: &mut Names,
    name: &str,
) -> rusqlite::Result<i64> {
    if let Some(number) = names.get(name) {
        return Ok(number);
    }
    let stored = storable(name);
    let mut insert = transaction
        .prepare_cached("INSERT INTO names (name) VALUES (?1) ON CONFLICT (name) DO NOTHING")?;
    insert.execute(params![stored])?;
    let mut find = transaction.prepare_cached("SELECT id FROM names WHERE name = ?1")?;
    let number = find.query_row(params![stored], |row| row.get(0))?;
    names.insert(name, number);
    Ok(number)
}

/// Inserts a row. Returns whether it is new.
fn insert(insert: &mut Statement<'_>, row: &Row) -> rusqlite::Result<bool> {
    insert.raw_bind_parameter(1, row.at_ms)?;
    insert.raw_bind_parameter(2, row.id.to_be_bytes())?;
    let numbers = row.names.iter().chain(&row.numbers).chain([&row.total_ms]);
    let mut place = 2;
    for number in numbers {
        place += 1;
        insert.raw_bind_parameter(place, number)?;
    }
    insert.raw_bind_parameter(place + 1, row.period)?;
    insert.raw_bind_parameter(place + 2, row.key_period)?;
    Ok(insert.raw_execute()? > 0)
}

fn insert_sql() -> &'static str {
    static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let columns = NAMES.len() + NUMBERS.len() + 5;
        format!(
            "INSERT INTO requests (at_ms, id, {}, {}, total_ms, period, key_period) VALUES ({}) \
             ON CONFLICT (at_ms, id) DO NOTHING",
            NAMES.join(", "),
            NUMBERS.join(", "),
            placeholders(columns)
        )
    });
    &SQL
}

fn add(transaction: &Transaction<'_>, additions: &Additions, node: &str) -> rusqlite::Result<()> {
    static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        // A sum beyond an integer would become a fraction.
        let sums = SUMS.map(|sum| format!("{sum} = min({}, {sum} + excluded.{sum})", i64::MAX));
        format!(
            "INSERT INTO daily (day, {groups}, {names}) VALUES ({values}) \
             ON CONFLICT (day, {groups}) DO UPDATE SET {sums}",
            groups = GROUPS.join(", "),
            names = SUMS.join(", "),
            values = placeholders(1 + GROUPS.len() + SUMS.len()),
            sums = sums.join(", ")
        )
    });
    let mut daily = transaction.prepare_cached(&SQL)?;
    for (group, sums) in additions.sorted_daily() {
        for (place, number) in (1..).zip(group.iter().chain(&sums)) {
            daily.raw_bind_parameter(place, number)?;
        }
        daily.raw_execute()?;
    }
    let mut periods = transaction.prepare_cached(
        "INSERT INTO periods (period_start, tenant, key, node, tokens, charge_nanos) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (period_start, tenant, key, node) DO UPDATE SET \
         tokens = min(9223372036854775807, tokens + excluded.tokens), \
         charge_nanos = min(9223372036854775807, charge_nanos + excluded.charge_nanos)",
    )?;
    for ((period, tenant, key), used) in additions.sorted_periods() {
        periods.execute(params![
            period,
            tenant,
            key,
            node,
            used.tokens,
            used.charge_nanos
        ])?;
    }
    Ok(())
}

/// `?, ?, ?`, for as many values.
fn placeholders(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// Moves a node's position forward.
///
/// # Errors
/// SQLite fails.
pub fn set_position(
    connection: &Connection,
    node: &str,
    position: Position,
) -> rusqlite::Result<()> {
    let mut set = connection.prepare_cached(
        "INSERT INTO positions (node, segment, byte_offset) VALUES (?1, ?2, ?3) \
         ON CONFLICT (node) DO UPDATE SET segment = excluded.segment, byte_offset = excluded.byte_offset",
    )?;
    let (segment, offset) = (signed(position.segment), signed(position.offset));
    set.execute(params![node, segment, offset]).map(drop)
}

/// A node's position.
///
/// # Errors
/// SQLite fails.
pub fn position(connection: &Connection, node: &str) -> rusqlite::Result<Option<Position>> {
    let mut find =
        connection.prepare_cached("SELECT segment, byte_offset FROM positions WHERE node = ?1")?;
    let found = find.query_row(params![node], |row| {
        let (segment, offset): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Position {
            segment: u64::try_from(segment).unwrap_or(0),
            offset: u64::try_from(offset).unwrap_or(0),
        })
    });
    found.optional()
}

/// A journal is far too small to have a position that does not fit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The newest version of a month's tables.
pub fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}
