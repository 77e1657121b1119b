//! PostgreSQL: the same tables for all nodes, with a partition for each month.
//!
//! Owns the store, and the partitions that its rows need. Does not handle the connection (see `session`), the
//! statements (see `loading`), queries (see `reader`) or months that go (see `old_months`). A store that has
//! failed is dropped and another one opened: the connection may be broken.

mod id;
mod loading;
mod old_months;
mod reader;
mod session;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

pub use reader::Reader;

use tokio_postgres::types::ToSql;

use super::names::Names;
use super::{Balance, Month, Store, StoreError};
use crate::config::{self, Archive};
use crate::ledger::journal::Position;
use crate::ledger::record::Record;
use crate::secret::Secret;
use session::Session;
pub use session::place_of;

/// As many partitions are known to exist. One more, and it is looked again.
const MAX_KNOWN: usize = 120;

/// A database, opened to be written.
pub struct Postgres {
    session: Session,
    url: Secret,
    node: String,
    archive: Option<Archive>,
    retention: Option<Duration>,
    names: Names,
    partitions: BTreeSet<Month>,
}

impl Postgres {
    /// Connects, and makes or upgrades the tables.
    ///
    /// # Errors
    /// The server is away, the tables cannot be made, or a newer release wrote them.
    pub fn open(url: &Secret, config: &config::Ledger) -> Result<Self, StoreError> {
        let mut session = Session::open(url)?;
        session.upgrade()?;
        Ok(Self {
            session,
            url: url.clone(),
            node: config.node.clone(),
            archive: config.archive.clone(),
            retention: config.retention,
            names: Names::default(),
            partitions: BTreeSet::new(),
        })
    }

    /// Makes the partition of a month, if there is none. It is no part of the transaction that needs it,
    /// because it waits for all others that write.
    fn partition(&mut self, month: Month) -> Result<(), StoreError> {
        if self.partitions.contains(&month) {
            return Ok(());
        }
        let name = old_months::partition(month);
        self.session.run(async |client| {
            let transaction = client.transaction().await?;
            let lock = "SELECT pg_advisory_xact_lock($1)";
            transaction.execute(lock, &[&session::LOCK]).await?;
            let make = format!(
                "CREATE TABLE IF NOT EXISTS {name} PARTITION OF requests FOR VALUES FROM ({}) TO ({})",
                month.start_ms(),
                month.end_ms()
            );
            transaction.batch_execute(&make).await?;
            transaction.commit().await?;
            Ok(())
        })?;
        if self.partitions.len() >= MAX_KNOWN {
            self.partitions.clear();
        }
        self.partitions.insert(month);
        Ok(())
    }

    /// What was used in the periods for which a condition of SQL with one parameter is true.
    fn balances_where(
        &mut self,
        periods: &str,
        parameter: &(dyn ToSql + Sync),
    ) -> Result<Vec<Balance>, StoreError> {
        let sql = format!(
            "SELECT name, period_start, tokens, charge_nanos \
             FROM periods JOIN names ON names.id = periods.tenant WHERE {periods}"
        );
        let rows = self
            .session
            .run(async |client| Ok(client.query(&sql, &[parameter]).await?))?;
        let balance = |row: &tokio_postgres::Row| -> Result<Balance, StoreError> {
            let (tokens, charge_nanos): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
            Ok(Balance {
                tenant: row.try_get(0)?,
                period_start: row.try_get(1)?,
                tokens: u64::try_from(tokens).unwrap_or(0),
                charge_nanos: u64::try_from(charge_nanos).unwrap_or(0),
            })
        };
        rows.iter().map(balance).collect()
    }
}

impl Store for Postgres {
    fn position(&mut self) -> Result<Option<Position>, StoreError> {
        let node = self.node.as_str();
        self.session
            .run(async |client| loading::position(client, node).await)
    }

    fn load(&mut self, records: &[Record<'_>], next: Position) -> Result<usize, StoreError> {
        let months: BTreeSet<Month> = records.iter().map(|r| Month::of(r.at_ms)).collect();
        for month in months {
            self.partition(month)?;
        }
        let (names, node) = (&mut self.names, self.node.as_str());
        let loaded = self
            .session
            .run(async |client| loading::load(client, names, records, node, next).await);
        if loaded.is_err() {
            // Names that the transaction has added are not there, and another node may have removed a month.
            self.names.clear();
            self.partitions.clear();
        }
        loaded
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        // A commit of PostgreSQL is on its disk, unless its operator has chosen otherwise.
        Ok(())
    }

    fn balances(&mut self, starts: &[i64]) -> Result<Vec<Balance>, StoreError> {
        self.balances_where("period_start = ANY($1)", &starts)
    }

    fn later_balances(&mut self, after: i64) -> Result<Vec<Balance>, StoreError> {
        self.balances_where("period_start > $1", &after)
    }

    fn maintain(&mut self, now: SystemTime) -> Result<Vec<String>, StoreError> {
        old_months::maintain(self, now)
    }
}
