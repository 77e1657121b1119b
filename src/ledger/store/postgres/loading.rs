//! The transaction that loads records.
//!
//! Owns its statements. All rows go in one of them, an array for each column, which avoids the limit on parameters.
//! What is told of the records is a part of it. Does not handle partitions (see `old_months`) or the connection (see
//! `session`). A transaction that fails is rolled back.

use std::collections::BTreeSet;

use rustc_hash::FxHashSet;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, GenericClient, Transaction};

use super::super::names::{Names, storable};
use super::super::row::{self, Additions, OfPeriod, Row};
use super::super::{GROUPS, NAMES, NUMBERS, SUMS, StoreError, Telling};
use super::id::Id;
use crate::ledger::journal::Position;
use crate::ledger::record::Record;

/// Loads records, and moves the position; tells of those that are new. Returns how many were new.
///
/// # Errors
/// PostgreSQL fails. Nothing has been loaded.
pub async fn load(
    client: &mut Client,
    names: &mut Names,
    (records, telling): (&[Record<'_>], Option<&dyn Telling>),
    node: &str,
    next: Position,
) -> Result<usize, StoreError> {
    let transaction = client.transaction().await?;
    number_all(&transaction, names, records).await?;
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let mut numbers = [0; 8];
        for (number, name) in numbers.iter_mut().zip(row::names(record)) {
            // All of them are known, unless the names of one batch are more than are kept.
            *number = match names.get(name) {
                Some(number) => number,
                None => number_one(&transaction, name).await?,
            };
        }
        rows.push(Row::of(record, numbers));
    }
    let new = insert(&transaction, &rows).await?;
    let mut additions = Additions::default();
    let mut added = FxHashSet::default();
    let mut told = Vec::new();
    for (row, record) in rows.iter().zip(records) {
        // Within one batch too, a record counts once.
        if new.contains(&(row.at_ms, Id(row.id))) && added.insert((row.at_ms, row.id)) {
            additions.add(row, record);
            told.push(record);
        }
    }
    add_daily(&transaction, &additions).await?;
    add_periods(&transaction, &additions, node).await?;
    set_position(&transaction, node, next).await?;
    if let Some(telling) = telling.filter(|_| !told.is_empty()) {
        // Last, because the process that sends waits for the rows that it changes.
        telling.tell_within(&transaction, &told).await?;
    }
    transaction.commit().await?;
    Ok(added.len())
}

async fn number_all(
    transaction: &Transaction<'_>,
    names: &mut Names,
    records: &[Record<'_>],
) -> Result<(), StoreError> {
    let all = records.iter().flat_map(row::names);
    // In a fixed order, so that two nodes never wait for each other.
    let unknown: BTreeSet<&str> = all.filter(|name| names.get(name).is_none()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let stored: Vec<_> = unknown.iter().map(|name| storable(name)).collect();
    let sql = "INSERT INTO names (name) SELECT DISTINCT name FROM unnest($1::text[]) AS n (name) ORDER BY name \
               ON CONFLICT (name) DO NOTHING";
    let stored: Vec<&str> = stored.iter().map(|name| &**name).collect();
    transaction.execute(sql, &[&stored]).await?;
    let sql = "SELECT names.id::bigint FROM unnest($1::text[]) WITH ORDINALITY AS n (name, place) \
               JOIN names USING (name) ORDER BY place";
    let rows = transaction.query(sql, &[&stored]).await?;
    for (name, row) in unknown.iter().zip(rows) {
        names.insert(name, row.try_get(0)?);
    }
    Ok(())
}

async fn number_one(transaction: &Transaction<'_>, name: &str) -> Result<i64, StoreError> {
    let sql = "SELECT id::bigint FROM names WHERE name = $1";
    let row = transaction.query_one(sql, &[&storable(name)]).await?;
    Ok(row.try_get(0)?)
}

/// Inserts rows. Returns which are new.
async fn insert(
    transaction: &Transaction<'_>,
    rows: &[Row],
) -> Result<FxHashSet<(i64, Id)>, StoreError> {
    let at: Vec<i64> = rows.iter().map(|row| row.at_ms).collect();
    let ids: Vec<Id> = rows.iter().map(|row| Id(row.id)).collect();
    let mut columns = vec![Vec::with_capacity(rows.len()); NAMES.len() + NUMBERS.len() + 1];
    for row in rows {
        let numbers = row.names.iter().chain(&row.numbers).chain([&row.total_ms]);
        for (column, number) in columns.iter_mut().zip(numbers) {
            column.push(*number);
        }
    }
    let periods: Vec<Option<i64>> = rows.iter().map(|row| row.period).collect();
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&at, &ids];
    values.extend(columns.iter().map(|column| column as &(dyn ToSql + Sync)));
    values.push(&periods);
    let key_periods: Vec<Option<i64>> = rows.iter().map(|row| row.key_period).collect();
    values.push(&key_periods);
    let arrays: Vec<String> = (3..=values.len())
        .map(|n| format!("${n}::bigint[]"))
        .collect();
    let sql = format!(
        "INSERT INTO requests (at_ms, id, {}, {}, total_ms, period, key_period) \
         SELECT * FROM unnest($1::bigint[], $2::uuid[], {}) \
         ON CONFLICT (at_ms, id) DO NOTHING RETURNING at_ms, id",
        NAMES.join(", "),
        NUMBERS.join(", "),
        arrays.join(", ")
    );
    let new = transaction.query(&sql, &values).await?;
    let new = new.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    new.collect()
}

async fn add_daily(transaction: &Transaction<'_>, additions: &Additions) -> Result<(), StoreError> {
    let daily = additions.sorted_daily();
    let mut columns = vec![Vec::with_capacity(daily.len()); 1 + GROUPS.len() + SUMS.len()];
    for (group, sums) in &daily {
        for (column, number) in columns.iter_mut().zip(group.iter().chain(sums)) {
            column.push(*number);
        }
    }
    let sums = SUMS.map(|sum| saturating("daily", sum));
    let arrays: Vec<String> = (1..=columns.len())
        .map(|n| format!("${n}::bigint[]"))
        .collect();
    let sql = format!(
        "INSERT INTO daily (day, {groups}, {names}) SELECT * FROM unnest({arrays}) \
         ON CONFLICT (day, {groups}) DO UPDATE SET {sums}",
        groups = GROUPS.join(", "),
        names = SUMS.join(", "),
        arrays = arrays.join(", "),
        sums = sums.join(", ")
    );
    let values: Vec<&(dyn ToSql + Sync)> = columns
        .iter()
        .map(|column| column as &(dyn ToSql + Sync))
        .collect();
    transaction.execute(&sql, &values).await?;
    Ok(())
}

/// Adds to a column. An error, as PostgreSQL has for a sum that does not fit, would stop the loading for ever.
fn saturating(table: &str, column: &str) -> String {
    let most = i64::MAX;
    format!(
        "{column} = CASE WHEN {table}.{column} > {most} - excluded.{column} THEN {most} \
         ELSE {table}.{column} + excluded.{column} END"
    )
}

async fn add_periods(
    transaction: &Transaction<'_>,
    additions: &Additions,
    node: &str,
) -> Result<(), StoreError> {
    let periods = additions.sorted_periods();
    let column = |number: fn(&(OfPeriod, row::Used)) -> i64| -> Vec<i64> {
        periods.iter().map(number).collect()
    };
    let starts = column(|((start, ..), _)| *start);
    let tenants = column(|((_, tenant, _), _)| *tenant);
    let keys = column(|((.., key), _)| *key);
    let tokens = column(|(_, used)| used.tokens);
    let charges = column(|(_, used)| used.charge_nanos);
    let sql = format!(
        "INSERT INTO periods (period_start, tenant, key, node, tokens, charge_nanos) \
         SELECT start, tenant, key, $6, tokens, charge \
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) \
         AS p (start, tenant, key, tokens, charge) \
         ON CONFLICT (period_start, tenant, key, node) DO UPDATE SET {}, {}",
        saturating("periods", "tokens"),
        saturating("periods", "charge_nanos")
    );
    transaction
        .execute(&sql, &[&starts, &tenants, &keys, &tokens, &charges, &node])
        .await?;
    Ok(())
}

async fn set_position(
    transaction: &Transaction<'_>,
    node: &str,
    position: Position,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO positions (node, segment, byte_offset) VALUES ($1, $2, $3) \
         ON CONFLICT (node) DO UPDATE SET segment = excluded.segment, byte_offset = excluded.byte_offset";
    // A journal is far too small to have a position that does not fit.
    let segment = i64::try_from(position.segment).unwrap_or(i64::MAX);
    let offset = i64::try_from(position.offset).unwrap_or(i64::MAX);
    transaction
        .execute(sql, &[&node, &segment, &offset])
        .await?;
    Ok(())
}

/// A node's position.
///
/// # Errors
/// PostgreSQL fails.
pub async fn position(
    client: &impl GenericClient,
    node: &str,
) -> Result<Option<Position>, StoreError> {
    let sql = "SELECT segment, byte_offset FROM positions WHERE node = $1";
    let Some(row) = client.query_opt(sql, &[&node]).await? else {
        return Ok(None);
    };
    let (segment, offset): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Some(Position {
        segment: u64::try_from(segment).unwrap_or(0),
        offset: u64::try_from(offset).unwrap_or(0),
    }))
}
