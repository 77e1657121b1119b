//! Rows as lines that other programs read: CSV or JSON.
//!
//! Owns the columns of an exported row and that they are streamed: no more than 5,000 rows are held at a time.
//! Does not handle the rows of reports (see `report`). Fails where the database or the output does.

use std::io::{self, Write};

use jiff::Timestamp;
use rustc_hash::FxHashMap;

use super::cell::{Cell, write_object};
use super::names::storable;
use super::row;
use super::{NAMES, NUMBERS, Part, Row, SOURCES, StoreError};
use crate::ledger::record::Record;

/// As many rows are read at once.
const ROWS: usize = 5_000;
/// As many names are known at a time.
const MAX_NAMES: usize = 65_536;

/// The form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// CSV.
    Csv,
    /// An object of JSON in each line.
    Json,
}

/// The first line of a form that has one.
///
/// # Errors
/// The output fails.
pub fn write_head(lines: Lines, out: &mut dyn Write) -> Result<(), StoreError> {
    match lines {
        Lines::Csv => write_csv(columns(), out).map_err(StoreError::Stopped),
        Lines::Json => Ok(()),
    }
}

/// Writes the rows of a part from one time to before another. Returns how many there were.
///
/// # Errors
/// The part cannot be read, or the output fails.
pub fn part(
    part: &mut dyn Part,
    lines: Lines,
    since_ms: i64,
    until_ms: i64,
    out: &mut dyn Write,
) -> Result<u64, StoreError> {
    let mut names = FxHashMap::default();
    // Before all rows of this time.
    let mut after = match since_ms.checked_sub(1) {
        Some(before) => (before, u128::MAX),
        None => (i64::MIN, 0),
    };
    let mut written = 0_u64;
    loop {
        let rows = part.rows(after, until_ms, ROWS)?;
        let Some(last) = rows.last() else {
            return Ok(written);
        };
        after = (last.at_ms, last.id);
        learn(part, &rows, &mut names)?;
        for row in &rows {
            let name = |number: i64| names.get(&number).cloned().unwrap_or_default();
            write(lines, &cells(row, name), out).map_err(StoreError::Stopped)?;
        }
        written = written.saturating_add(rows.len() as u64);
    }
}

/// Makes sure that the names of all rows are known.
fn learn(
    part: &mut dyn Part,
    rows: &[Row],
    names: &mut FxHashMap<i64, String>,
) -> Result<(), StoreError> {
    if names.len() > MAX_NAMES {
        names.clear();
    }
    let all = rows.iter().flat_map(|row| row.names);
    let mut unknown: Vec<i64> = all.filter(|number| !names.contains_key(number)).collect();
    unknown.sort_unstable();
    unknown.dedup();
    if !unknown.is_empty() {
        let found = part.names(&unknown)?;
        names.extend(unknown.into_iter().zip(found));
    }
    Ok(())
}

/// The names of the columns.
fn columns() -> impl Iterator<Item = &'static str> {
    let numbers = NUMBERS.into_iter().map(|name| match name {
        "cost_nanos" => "cost_usd",
        "charge_nanos" => "charge_usd",
        name => name,
    });
    let ends = ["total_ms", "period", "key_period"];
    ["at", "id"]
        .into_iter()
        .chain(NAMES)
        .chain(numbers)
        .chain(ends)
}

/// Writes a record as the object of JSON that its exported row is.
pub fn write_record(record: &Record<'_>, out: &mut String) {
    let names = row::names(record);
    // Each name has its place as its number.
    let row = Row::of(record, [0, 1, 2, 3, 4, 5, 6, 7]);
    let name = |number: i64| {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        storable(names.get(place).copied().unwrap_or_default()).into_owned()
    };
    write_object(columns().zip(&cells(&row, name)), out);
}

fn cells(row: &Row, name: impl Fn(i64) -> String) -> Vec<Cell> {
    let time = |ms: i64| match Timestamp::from_millisecond(ms) {
        Ok(time) => Cell::Text(format!("{time:.3}")),
        // No clock shows such a time.
        Err(_) => Cell::Number(ms),
    };
    let mut cells = vec![time(row.at_ms), Cell::Text(format!("req_{:032x}", row.id))];
    cells.extend(row.names.iter().map(|number| Cell::Text(name(*number))));
    let numbers = NUMBERS.iter().zip(row.numbers);
    cells.extend(numbers.map(|(column, number)| match *column {
        "streamed" | "multimodal" | "tools" | "client_gone" | "unpriced" => Cell::Flag(number != 0),
        "source" => {
            let place = usize::try_from(number).unwrap_or(0);
            Cell::Text(SOURCES.get(place).copied().unwrap_or_default().to_owned())
        }
        "cost_nanos" | "charge_nanos" => Cell::Nanos(number),
        _ => Cell::Number(number),
    }));
    cells.push(Cell::Number(row.total_ms));
    for period in [row.period, row.key_period] {
        let period = period.map(|start| time(start.saturating_mul(1_000)));
        cells.push(period.unwrap_or(Cell::Nothing));
    }
    cells
}

fn write(lines: Lines, cells: &[Cell], out: &mut dyn Write) -> io::Result<()> {
    match lines {
        Lines::Csv => write_csv(cells.iter().map(|cell| cell.text()), out),
        Lines::Json => {
            let mut line = String::with_capacity(700);
            write_object(columns().zip(cells), &mut line);
            line.push('\n');
            out.write_all(line.as_bytes())
        }
    }
}

/// Writes a line of CSV.
///
/// # Errors
/// The output fails.
pub fn write_csv<T: AsRef<str>>(
    cells: impl Iterator<Item = T>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut writer = csv::WriterBuilder::new()
        .buffer_capacity(2_048)
        .from_writer(out);
    for cell in cells {
        writer.write_field(cell.as_ref().as_bytes())?;
    }
    writer.write_record(None::<&[u8]>)?;
    writer.flush()
}
