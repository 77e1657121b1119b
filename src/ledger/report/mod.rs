//! Reports: usage of a time, added up by tenant, key, model, upstream and day.
//!
//! Owns where the sums come from: those of whole days from the sums by day, and only the rest of the first and
//! last day from the rows. Does not handle what is asked (see `query`) or how it is shown (see `output`). It
//! blocks, for as long as the database takes. Fails with the database's error.

mod groups;
mod output;
mod query;

use std::fmt::Write;

pub use groups::MAX_ROWS;
pub use query::{Column, Query, time};

use super::store::{DAY_MS, Database, Part, SUMS, StoreError, day_of, day_start_ms, day_text};
use groups::Groups;

/// What a report says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was asked.
    pub query: Query,
    /// The rows, in the order of what they are added up by.
    pub rows: Vec<ReportRow>,
    /// Whether there are more rows than [`MAX_ROWS`].
    pub is_cut: bool,
}

/// A row of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// What it is added up by, in the order of the query's columns.
    pub group: Vec<String>,
    /// The sums, in the order of [`SUMS`].
    pub sums: [i64; SUMS.len()],
}

/// Makes a report.
///
/// # Errors
/// The database cannot be read.
pub fn report(database: &Database, query: Query) -> Result<Report, StoreError> {
    let mut groups = Groups::default();
    database.each_part(query.since_ms, query.until_ms, &mut |part| {
        add_part(part, &query, &mut groups)
    })?;
    let (rows, is_cut) = groups.finish();
    Ok(Report {
        query,
        rows,
        is_cut,
    })
}

/// When the newest request came that the database has, of the last weeks; `None` if it has none.
///
/// # Errors
/// The database cannot be read.
pub fn newest_ms(database: &Database, now_ms: i64) -> Result<Option<i64>, StoreError> {
    let mut newest = None;
    let since_ms = now_ms.saturating_sub(62 * DAY_MS);
    database.each_part(since_ms, i64::MAX, &mut |part| {
        let sql = "SELECT at_ms FROM requests ORDER BY at_ms DESC LIMIT 1";
        part.query(sql, 0, &mut |_, cells| {
            newest = newest.max(cells.first().copied());
            Ok(())
        })
    })?;
    Ok(newest)
}

/// Which sums are asked for, and where they are.
enum From {
    /// The sums by day, from one day to before another.
    Days(i64, i64),
    /// The rows of a time within one day.
    Rows(i64, i64),
}

/// Divides a time into whole days and what is left of the first and last day.
fn divide(since_ms: i64, until_ms: i64) -> Vec<From> {
    let first = match since_ms == day_start_ms(since_ms) || since_ms == i64::MIN {
        true => since_ms,
        false => day_start_ms(since_ms).saturating_add(DAY_MS),
    };
    let last = match until_ms == i64::MAX {
        true => until_ms,
        false => day_start_ms(until_ms),
    };
    if first > last {
        return vec![From::Rows(since_ms, until_ms)];
    }
    let mut parts = Vec::new();
    if since_ms < first {
        parts.push(From::Rows(since_ms, first));
    }
    if first < last {
        // No row is of the last day of the calendar.
        parts.push(From::Days(day_of(first), day_of(last)));
    }
    if last < until_ms {
        parts.push(From::Rows(last, until_ms));
    }
    parts
}

fn add_part(part: &mut dyn Part, query: &Query, groups: &mut Groups) -> Result<(), StoreError> {
    let tenant = match &query.tenant {
        None => None,
        Some(name) => match part.number(name)? {
            Some(number) => Some(number),
            // The part has nothing of this tenant.
            None => return Ok(()),
        },
    };
    for from in divide(query.since_ms, query.until_ms) {
        let sql = sql(&from, &query.by, tenant);
        part.query(&sql, query.by.len(), &mut |names, numbers| {
            let mut sums = [0; SUMS.len()];
            for (sum, number) in sums.iter_mut().zip(numbers) {
                *sum = *number;
            }
            // A sum over no rows at all is no row.
            if sums != [0; SUMS.len()] {
                groups.add(with_day_text(names, &query.by), &sums);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A day is a number in the database: 20261105.
fn with_day_text(mut names: Vec<String>, by: &[Column]) -> Vec<String> {
    for (name, column) in names.iter_mut().zip(by) {
        if *column == Column::Day {
            *name = day_text(name.parse().unwrap_or(0));
        }
    }
    names
}

/// The query that gives what some rows or days add up to: names, then sums. In both databases it is the same.
fn sql(from: &From, by: &[Column], tenant: Option<i64>) -> String {
    let (table, mut condition, day) = match from {
        From::Days(first, end) => ("daily", format!("day >= {first} AND day < {end}"), None),
        From::Rows(since_ms, until_ms) => {
            let condition = format!("at_ms >= {since_ms} AND at_ms < {until_ms}");
            ("requests", condition, Some(day_of(*since_ms)))
        }
    };
    if let Some(tenant) = tenant {
        let _ = write!(condition, " AND tenant = {tenant}");
    }
    let sums = SUMS.map(|sum| match (day, sum) {
        (Some(_), "requests") => "CAST(count(*) AS BIGINT) AS requests".to_owned(),
        (Some(_), "errors") => "CAST(coalesce(sum(CASE WHEN outcome = (SELECT id FROM names WHERE \
             name = 'ok') THEN 0 ELSE 1 END), 0) AS BIGINT) AS errors"
            .to_owned(),
        _ => format!("CAST(coalesce(sum({sum}), 0) AS BIGINT) AS {sum}"),
    });
    // The rows of one day have no column for it.
    let is_grouped = |column: &&Column| day.is_none() || **column != Column::Day;
    let grouped: Vec<&str> = by.iter().filter(is_grouped).map(|c| c.name()).collect();
    let mut inner = format!(
        "SELECT {}",
        [grouped.clone(), sums.iter().map(String::as_str).collect()]
            .concat()
            .join(", ")
    );
    let _ = write!(inner, " FROM {table} WHERE {condition}");
    if !grouped.is_empty() {
        let _ = write!(inner, " GROUP BY {}", grouped.join(", "));
    }
    let texts = by.iter().map(|column| match (column, day) {
        (Column::Day, Some(day)) => format!("'{day}'"),
        (Column::Day, None) => "CAST(day AS TEXT)".to_owned(),
        (column, _) => format!("{0}_name.name", column.name()),
    });
    let shown: Vec<String> = texts.chain(SUMS.map(str::to_owned)).collect();
    let joins = by
        .iter()
        .filter(|column| **column != Column::Day)
        .map(|column| {
            format!(
                " JOIN names AS {0}_name ON {0}_name.id = added.{0}",
                column.name()
            )
        });
    let joins: String = joins.collect();
    let order: Vec<String> = (1..=by.len()).map(|place| place.to_string()).collect();
    let order = match order.is_empty() {
        true => String::new(),
        false => format!(" ORDER BY {} LIMIT {}", order.join(", "), MAX_ROWS + 1),
    };
    format!(
        "SELECT {} FROM ({inner}) AS added{joins}{order}",
        shown.join(", ")
    )
}

#[cfg(test)]
mod tests;
