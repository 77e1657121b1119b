//! Months of PostgreSQL that are moved or removed.
//!
//! Owns which partitions go. One that is moved becomes a file of JSON lines, its sums stay for reports; of one
//! that is removed the sums go too. What tenants have used in periods, and positions, stay always; what was used with
//! keys, of which there are many more, goes with the sums once its period is over. One node does this at a
//! time; another one that finds it busy leaves it alone. Does not handle the file (see `compressed`). What fails
//! leaves the month where it was.

use std::io::Write;
use std::time::{Duration, SystemTime};

use super::super::compressed::{self, keep};
use super::super::export::{self, Lines};
use super::super::month::{LONGEST_PERIOD_SECONDS, ended_before};
use super::super::row::NO_KEY;
use super::super::{Month, StoreError};
use super::{Postgres, Reader};
use crate::store::postgres::LOCK;

/// The partition of a month.
pub fn partition(month: Month) -> String {
    format!("requests_{}", month.to_string().replace('-', "_"))
}

/// Moves and removes old months, as the configuration says. Returns what was done, a line each.
///
/// # Errors
/// A month could not be moved or removed.
pub fn maintain(store: &mut Postgres, now: SystemTime) -> Result<Vec<String>, StoreError> {
    if store.archive.is_none() && store.retention.is_none() {
        return Ok(Vec::new());
    }
    let locked: bool = store.session.run(async |client| {
        let lock = "SELECT pg_try_advisory_lock($1)";
        Ok(client.query_one(lock, &[&(LOCK + 1)]).await?.try_get(0)?)
    })?;
    if !locked {
        return Ok(Vec::new());
    }
    let done = maintain_alone(store, now);
    // A connection that has failed gives the lock back by itself.
    let unlock = "SELECT pg_advisory_unlock($1)";
    store.session.run(async |client| {
        client.execute(unlock, &[&(LOCK + 1)]).await?;
        Ok(())
    })?;
    done
}

fn maintain_alone(store: &mut Postgres, now: SystemTime) -> Result<Vec<String>, StoreError> {
    let mut done = Vec::new();
    let archive = store.archive.clone();
    let bound = |age: Duration| ended_before(now, age);
    for month in months(store)? {
        let is_over = |age: Option<Duration>| age.is_some_and(|age| month.end_ms() <= bound(age));
        if is_over(store.retention) {
            remove(store, month, true)?;
            done.push(format!(
                "{month} was removed: it is older than ledger.retention"
            ));
        } else if let Some(archive) = archive.as_ref().filter(|a| is_over(Some(a.after))) {
            let copy = keep(&archive.path, month, "jsonl", |out| {
                write(store, month, out)
            })?;
            remove(store, month, false)?;
            done.push(format!("{month} was moved to {}", copy.display()));
        }
    }
    if let (Some(archive), Some(retention)) = (&archive, store.retention) {
        for path in compressed::remove_before(&archive.path, bound(retention))? {
            let path = path.display();
            done.push(format!(
                "{path} was removed: it is older than ledger.retention"
            ));
        }
    }
    Ok(done)
}

/// The months that have a partition, in their order.
fn months(store: &mut Postgres) -> Result<Vec<Month>, StoreError> {
    let sql = "SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
               WHERE inhparent = 'requests'::regclass ORDER BY relname";
    let rows = store
        .session
        .run(async |client| Ok(client.query(sql, &[]).await?))?;
    let mut months = Vec::new();
    for row in rows {
        let name: String = row.try_get(0)?;
        let month = name.strip_prefix("requests_").map(|m| m.replace('_', "-"));
        months.extend(month.and_then(|month| Month::parse(&month)));
    }
    Ok(months)
}

/// Writes the rows of a month, and makes sure that it were all.
fn write(store: &mut Postgres, month: Month, out: &mut dyn Write) -> Result<(), StoreError> {
    let mut reader = Reader::open(&store.url)?;
    let written = export::part(
        &mut reader,
        Lines::Json,
        month.start_ms(),
        month.end_ms(),
        out,
    )?;
    let sql = format!("SELECT count(*) FROM {}", partition(month));
    let counted: i64 = store
        .session
        .run(async |client| Ok(client.query_one(&sql, &[]).await?.try_get(0)?))?;
    match u64::try_from(counted) == Ok(written) {
        true => Ok(()),
        false => Err(StoreError::NotVerified(format!("the copy of {month}"))),
    }
}

fn remove(store: &mut Postgres, month: Month, with_sums: bool) -> Result<(), StoreError> {
    store.partitions.remove(&month);
    let name = partition(month);
    store.session.run(async |client| {
        let transaction = client.transaction().await?;
        transaction
            .batch_execute(&format!("DROP TABLE {name}"))
            .await?;
        if with_sums {
            let (first, last) = month.days();
            let sql = format!("DELETE FROM daily WHERE day BETWEEN {first} AND {last}");
            transaction.batch_execute(&sql).await?;
            // One that begins at 0 does not end.
            let before = month.start_ms() / 1_000 - LONGEST_PERIOD_SECONDS;
            let sql = format!(
                "DELETE FROM periods WHERE period_start > 0 AND period_start < {before} AND key <> {NO_KEY}"
            );
            transaction.batch_execute(&sql).await?;
        }
        transaction.commit().await?;
        Ok(())
    })
}
