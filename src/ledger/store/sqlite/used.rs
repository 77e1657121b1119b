//! What was used in periods, added up over files.
//!
//! Owns the sums. Does not handle which files there are (see `part`, `carried`). Fails with SQLite.

use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::super::row::Used;

/// What was used, by the start of the period, the tenant, its key, which is empty for the tenant's own quota, and the
/// node.
pub type UsedInPeriods = FxHashMap<(i64, String, String, String), Used>;

/// Numbers as they stand in a list of SQL.
pub fn list(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    numbers.join(", ")
}

/// Adds what a query of period, tenant, key, node, tokens and nano-dollars gives.
///
/// # Errors
/// SQLite fails.
pub fn add_used(
    connection: &Connection,
    sql: &str,
    used: &mut UsedInPeriods,
) -> rusqlite::Result<()> {
    let mut select = connection.prepare(sql)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (tokens, charge_nanos): (i64, i64) = (row.get(4)?, row.get(5)?);
        let sum = used
            .entry((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            .or_default();
        sum.tokens = sum.tokens.saturating_add(tokens);
        sum.charge_nanos = sum.charge_nanos.saturating_add(charge_nanos);
    }
    Ok(())
}
