//! One month's file, opened to be read.
//!
//! Owns queries and checks of a file. Does not handle what is written to it (see `file`). It works while
//! another connection writes. Fails with the file's name.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::super::{EachRow, NAMES, NUMBERS, Part, Row, StoreError, row_columns};
use super::file::{known_version, position};
use super::used::{UsedInPeriods, add_used};
use crate::ledger::journal::Position;
use crate::store::sqlite::{newer, version};

/// How long a statement waits for a connection that writes.
const BUSY: Duration = Duration::from_secs(5);

/// A month's file.
pub struct FilePart {
    path: PathBuf,
    connection: Connection,
}

/// Opens a file; `None` if it has no tables yet, as after a crash when it was made.
///
/// # Errors
/// It cannot be read, or a newer release wrote it.
pub fn open(path: &Path) -> Result<Option<FilePart>, StoreError> {
    let failed = StoreError::sqlite(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    connection.busy_timeout(BUSY).map_err(&failed)?;
    let (found, known) = (version(&connection).map_err(&failed)?, known_version());
    if found > known {
        return Err(newer(path, found, known));
    }
    let path = path.to_owned();
    Ok((found > 0).then_some(FilePart { path, connection }))
}

impl FilePart {
    /// The id of the file.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn file_id(&self) -> Result<Vec<u8>, StoreError> {
        let id = self
            .connection
            .query_row("SELECT id FROM file", [], |row| row.get(0));
        id.map_err(StoreError::sqlite(&self.path))
    }

    /// Adds up what was used in the periods for which a condition of SQL on `period_start` is true.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn balances(&self, periods: &str, used: &mut UsedInPeriods) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT period_start, tenants.name, coalesce(keys.name, ''), node, tokens, charge_nanos \
             FROM periods JOIN names AS tenants ON tenants.id = periods.tenant \
             LEFT JOIN names AS keys ON keys.id = periods.key WHERE {periods}"
        );
        add_used(&self.connection, &sql, used).map_err(StoreError::sqlite(&self.path))
    }

    /// What was used in all periods that began before a time, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn balances_before(&self, before: i64) -> Result<UsedInPeriods, StoreError> {
        let mut used = UsedInPeriods::default();
        self.balances(&format!("period_start < {before}"), &mut used)?;
        Ok(used)
    }

    /// The positions of all nodes.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn positions(&self) -> Result<Vec<(String, Position)>, StoreError> {
        let read = || {
            let mut select = self.connection.prepare("SELECT node FROM positions")?;
            let nodes = select.query_map([], |row| row.get::<_, String>(0))?;
            let nodes = nodes.collect::<rusqlite::Result<Vec<String>>>()?;
            let mut positions = Vec::new();
            for node in nodes {
                let position = position(&self.connection, &node)?;
                positions.extend(position.map(|position| (node, position)));
            }
            Ok(positions)
        };
        read().map_err(StoreError::sqlite(&self.path))
    }

    /// What SQLite finds wrong with the file, a line each.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn integrity(&self) -> Result<Vec<String>, StoreError> {
        let read = || {
            let mut check = self.connection.prepare("PRAGMA integrity_check(100)")?;
            let lines = check.query_map([], |row| row.get::<_, String>(0))?;
            lines.collect::<rusqlite::Result<Vec<String>>>()
        };
        let mut lines: Vec<String> = read().map_err(StoreError::sqlite(&self.path))?;
        lines.retain(|line| line != "ok");
        Ok(lines)
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        StoreError::sqlite(&self.path)
    }
}

impl Part for FilePart {
    fn query(&mut self, sql: &str, texts: usize, each: &mut EachRow<'_>) -> Result<(), StoreError> {
        let failed = self.failed();
        let mut select = self.connection.prepare(sql).map_err(&failed)?;
        let columns = select.column_count();
        let mut rows = select.query([]).map_err(&failed)?;
        let mut numbers = Vec::with_capacity(columns);
        while let Some(row) = rows.next().map_err(&failed)? {
            let names = (0..texts).map(|column| row.get(column));
            let names = names.collect::<rusqlite::Result<Vec<String>>>();
            numbers.clear();
            for column in texts..columns {
                numbers.push(row.get(column).map_err(&failed)?);
            }
            each(names.map_err(&failed)?, &numbers)?;
        }
        Ok(())
    }

    fn number(&mut self, name: &str) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT id FROM names WHERE name = ?1";
        let found = self
            .connection
            .query_row(sql, params![name], |row| row.get(0));
        found.optional().map_err(self.failed())
    }

    fn names(&mut self, numbers: &[i64]) -> Result<Vec<String>, StoreError> {
        let failed = self.failed();
        let sql = "SELECT name FROM names WHERE id = ?1";
        let mut select = self.connection.prepare_cached(sql).map_err(&failed)?;
        let mut names = Vec::with_capacity(numbers.len());
        for number in numbers {
            let name = select.query_row(params![number], |row| row.get(0));
            let name: Option<String> = name.optional().map_err(&failed)?;
            names.push(name.unwrap_or_default());
        }
        Ok(names)
    }

    fn rows(
        &mut self,
        after: (i64, u128),
        until_ms: i64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let sql = format!(
            "SELECT id, {} FROM requests WHERE (at_ms, id) > (?1, ?2) AND at_ms < ?3 \
             ORDER BY at_ms, id LIMIT ?4",
            row_columns()
        );
        let read = || {
            let mut select = self.connection.prepare_cached(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let (at_ms, id) = (after.0, after.1.to_be_bytes());
            let rows = select.query_map(params![at_ms, id, until_ms, limit], row_of)?;
            rows.collect::<rusqlite::Result<Vec<Row>>>()
        };
        read().map_err(self.failed())
    }

    fn check(&mut self, tell: &mut dyn Write) -> Result<Vec<String>, StoreError> {
        let place = self.path.display().to_string();
        let mut rows = (0, 0);
        let sql = "SELECT (SELECT count(*) FROM requests), (SELECT coalesce(sum(requests), 0) FROM daily)";
        let mut wrong = self.integrity()?;
        let counted = self.query(sql, 0, &mut |_, cells| {
            if let [counted, summed] = cells {
                rows = (*counted, *summed);
            }
            Ok(())
        });
        match counted {
            // The lines above say more of it.
            Err(error) if error.is_damage() && !wrong.is_empty() => {}
            counted => counted?,
        }
        if rows.0 != rows.1 {
            wrong.push(format!(
                "there are {} rows, and the sums by day have {}",
                rows.0, rows.1
            ));
        }
        let verdict = if wrong.is_empty() { "ok" } else { "damaged" };
        let told = writeln!(tell, "{place}: {verdict}, {} rows", rows.0);
        told.map_err(StoreError::Stopped)?;
        let lines = wrong.into_iter().map(|line| format!("{place}: {line}"));
        Ok(lines.collect())
    }

    fn position(&mut self, node: &str) -> Result<Option<Position>, StoreError> {
        position(&self.connection, node).map_err(self.failed())
    }
}

fn row_of(columns: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let mut row = Row {
        id: u128::from_be_bytes(columns.get(0)?),
        at_ms: columns.get(1)?,
        ..Row::default()
    };
    for (column, number) in (2..).zip(row.names.iter_mut().chain(&mut row.numbers)) {
        *number = columns.get(column)?;
    }
    let total = 2 + NAMES.len() + NUMBERS.len();
    row.total_ms = columns.get(total)?;
    row.period = columns.get(total + 1)?;
    row.key_period = columns.get(total + 2)?;
    Ok(row)
}
