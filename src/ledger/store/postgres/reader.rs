//! PostgreSQL, opened to be read.
//!
//! Owns queries and checks. Does not handle what is written (see `loading`). A transaction that only reads is
//! what all of them are, so that nothing can change by mistake. Fails with PostgreSQL's error.

use std::io::Write;

use super::super::{EachRow, NAMES, NUMBERS, Part, Row, StoreError, row_columns};
use super::id::Id;
use super::{TABLES, loading};
use crate::ledger::journal::Position;
use crate::secret::Secret;
use crate::store::postgres::Session;

/// As many rows of an answer are held at a time.
const FETCHED: usize = 10_000;

/// A connection that reads.
pub struct Reader {
    session: Session,
    has_tables: bool,
}

impl Reader {
    /// Connects.
    ///
    /// # Errors
    /// The server is away, or a newer release wrote the tables.
    pub fn open(url: &Secret) -> Result<Self, StoreError> {
        let mut session = Session::open(url)?;
        let has_tables = session.version(&TABLES)? > 0;
        let mut reader = Self {
            session,
            has_tables,
        };
        reader.batch("SET default_transaction_read_only = on")?;
        Ok(reader)
    }

    /// Whether a gateway has made its tables.
    pub fn has_tables(&self) -> bool {
        self.has_tables
    }

    fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.session
            .run(async |client| Ok(client.batch_execute(sql).await?))
    }
}

impl Part for Reader {
    fn query(&mut self, sql: &str, texts: usize, each: &mut EachRow<'_>) -> Result<(), StoreError> {
        if !self.has_tables {
            return Ok(());
        }
        // In pieces, so that memory does not grow with the answer.
        let declare = format!("BEGIN; DECLARE answer NO SCROLL CURSOR FOR {sql}");
        self.batch(&declare)?;
        let fetch = format!("FETCH {FETCHED} FROM answer");
        let mut numbers = Vec::new();
        loop {
            let rows = self
                .session
                .run(async |client| Ok(client.query(&fetch, &[]).await?))?;
            if rows.is_empty() {
                return self.batch("COMMIT");
            }
            for row in rows {
                let names = (0..texts).map(|column| row.try_get(column));
                let names = names.collect::<Result<Vec<String>, _>>()?;
                numbers.clear();
                for column in texts..row.len() {
                    numbers.push(row.try_get(column)?);
                }
                each(names, &numbers)?;
            }
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<i64>, StoreError> {
        if !self.has_tables || name.contains('\0') {
            return Ok(None);
        }
        let sql = "SELECT id::bigint FROM names WHERE name = $1";
        let found = self
            .session
            .run(async |client| Ok(client.query_opt(sql, &[&name]).await?))?;
        Ok(found.map(|row| row.try_get(0)).transpose()?)
    }

    fn names(&mut self, numbers: &[i64]) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT coalesce(name, '') FROM unnest($1::bigint[]) WITH ORDINALITY AS n (id, place) \
                   LEFT JOIN names ON names.id = n.id ORDER BY place";
        let rows = self
            .session
            .run(async |client| Ok(client.query(sql, &[&numbers]).await?))?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    fn rows(
        &mut self,
        after: (i64, u128),
        until_ms: i64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        if !self.has_tables {
            return Ok(Vec::new());
        }
        let columns = row_columns().replace(", ", "::bigint, ");
        let sql = format!(
            "SELECT id, {columns} FROM requests WHERE (at_ms, id) > ($1, $2) AND at_ms >= $1 AND at_ms < $3 \
             ORDER BY at_ms, id LIMIT $4"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.session.run(async |client| {
            let (at_ms, id) = (after.0, Id(after.1));
            let rows = client
                .query(&sql, &[&at_ms, &id, &until_ms, &limit])
                .await?;
            Ok(rows)
        })?;
        rows.iter().map(row_of).collect()
    }

    fn check(&mut self, tell: &mut dyn Write) -> Result<Vec<String>, StoreError> {
        let mut rows = (0, 0);
        let sql = "SELECT (SELECT count(*) FROM requests), \
                   (SELECT coalesce(sum(requests), 0)::bigint FROM daily)";
        self.query(sql, 0, &mut |_, cells| {
            if let [counted, summed] = cells {
                rows = (*counted, *summed);
            }
            Ok(())
        })?;
        let mut wrong = Vec::new();
        // Of months that were moved, the sums are kept and the rows are not.
        if rows.0 > rows.1 {
            wrong.push(format!(
                "PostgreSQL: there are {} rows, and the sums by day have {}",
                rows.0, rows.1
            ));
        }
        let verdict = if wrong.is_empty() { "ok" } else { "damaged" };
        let told = writeln!(tell, "PostgreSQL: {verdict}, {} rows", rows.0);
        told.map_err(StoreError::Stopped)?;
        Ok(wrong)
    }

    fn position(&mut self, node: &str) -> Result<Option<Position>, StoreError> {
        if !self.has_tables {
            return Ok(None);
        }
        self.session
            .run(async |client| loading::position(client, node).await)
    }
}

fn row_of(columns: &tokio_postgres::Row) -> Result<Row, StoreError> {
    let Id(id) = columns.try_get(0)?;
    let mut row = Row {
        id,
        at_ms: columns.try_get(1)?,
        ..Row::default()
    };
    for (column, number) in (2..).zip(row.names.iter_mut().chain(&mut row.numbers)) {
        *number = columns.try_get::<usize, i64>(column)?;
    }
    let total = 2 + NAMES.len() + NUMBERS.len();
    row.total_ms = columns.try_get(total)?;
    row.period = columns.try_get(total + 1)?;
    row.key_period = columns.try_get(total + 2)?;
    Ok(row)
}
