//! PostgreSQL: the same tables for all nodes, with a partition for each month.
//!
//! Owns the store, and the partitions that its rows need. Does not handle the connection (see `store::postgres`), the
//! statements (see `loading`), queries (see `reader`) or months that go (see `old_months`). A store that has
//! failed is dropped and another one opened: the connection may be broken.

mod id;
mod loading;
mod old_months;
mod reader;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

pub use reader::Reader;

use tokio_postgres::IsolationLevel;

use super::names::Names;
use super::{Balance, Month, Store, StoreError, Telling, Usage};
use crate::config::{self, Archive};
use crate::ledger::journal::Position;
use crate::ledger::record::Record;
use crate::secret::Secret;
pub use crate::store::postgres::place_of;
use crate::store::postgres::{LOCK, Session, Tables};

/// The tables of the ledger.
const TABLES: Tables = Tables {
    version: "schema_version",
    migrations: &[include_str!("../schema/postgres_1.sql")],
};
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
    /// Whether the tables of what is told are there.
    can_tell: bool,
}

impl Postgres {
    /// Connects, and makes or upgrades the tables.
    ///
    /// # Errors
    /// The server is away, the tables cannot be made, or a newer release wrote them.
    pub fn open(url: &Secret, config: &config::Ledger) -> Result<Self, StoreError> {
        let mut session = Session::open(url)?;
        session.upgrade(&TABLES)?;
        Ok(Self {
            session,
            url: url.clone(),
            node: config.node.clone(),
            archive: config.archive.clone(),
            retention: config.retention,
            names: Names::default(),
            partitions: BTreeSet::new(),
            can_tell: false,
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
            transaction.execute(lock, &[&LOCK]).await?;
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
}

/// What was used in the periods for which a condition of SQL is true.
fn balances_sql(periods: &str) -> String {
    format!(
        "SELECT tenants.name, coalesce(keys.name, ''), node, period_start, tokens, charge_nanos \
         FROM periods JOIN names AS tenants ON tenants.id = periods.tenant \
         LEFT JOIN names AS keys ON keys.id = periods.key WHERE {periods}"
    )
}

fn balance(row: &tokio_postgres::Row) -> Result<Balance, StoreError> {
    let (tokens, charge_nanos): (i64, i64) = (row.try_get(4)?, row.try_get(5)?);
    Ok(Balance {
        tenant: row.try_get(0)?,
        key: row.try_get(1)?,
        node: row.try_get(2)?,
        period_start: row.try_get(3)?,
        tokens: u64::try_from(tokens).unwrap_or(0),
        charge_nanos: u64::try_from(charge_nanos).unwrap_or(0),
    })
}

impl Store for Postgres {
    fn position(&mut self) -> Result<Option<Position>, StoreError> {
        let node = self.node.clone();
        self.position_of(&node)
    }

    fn position_of(&mut self, node: &str) -> Result<Option<Position>, StoreError> {
        self.session
            .run(async |client| loading::position(client, node).await)
    }

    fn load_and_tell(
        &mut self,
        records: &[Record<'_>],
        next: Position,
        telling: Option<&dyn Telling>,
    ) -> Result<usize, StoreError> {
        if let Some(telling) = telling.filter(|_| !self.can_tell) {
            telling.prepare(&mut self.session)?;
            self.can_tell = true;
        }
        let months: BTreeSet<Month> = records.iter().map(|r| Month::of(r.at_ms)).collect();
        for month in months {
            self.partition(month)?;
        }
        let (names, node) = (&mut self.names, self.node.as_str());
        let loaded = self
            .session
            .run(async |client| loading::load(client, names, (records, telling), node, next).await);
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
        Ok(self.usage(starts, i64::MAX, &[])?.balances)
    }

    fn usage(&mut self, starts: &[i64], after: i64, nodes: &[String]) -> Result<Usage, StoreError> {
        self.session.run(async |client| {
            // What is read is of one moment.
            let transaction = client.build_transaction().read_only(true);
            let transaction = transaction.isolation_level(IsolationLevel::RepeatableRead);
            let transaction = transaction.start().await?;
            let sql = balances_sql("period_start = ANY($1) OR period_start > $2");
            let rows = transaction.query(&sql, &[&starts, &after]).await?;
            let mut positions = Vec::with_capacity(nodes.len());
            for node in nodes {
                positions.push(loading::position(&transaction, node).await?);
            }
            transaction.commit().await?;
            let balances = rows.iter().map(balance).collect::<Result<_, _>>()?;
            Ok(Usage {
                balances,
                positions,
            })
        })
    }

    fn maintain(&mut self, now: SystemTime) -> Result<Vec<String>, StoreError> {
        old_months::maintain(self, now)
    }
}
