//! A report as CSV, as JSON, or as the cells of a table.
//!
//! Owns the names of its columns. Money is in dollars, exact to the nano-dollar. Does not handle the alignment of
//! a table (see `cli/table`). Cannot fail but where the output does.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{Report, ReportRow};
use crate::ledger::store::export::write_csv;
use crate::ledger::store::{Cell, SUMS, write_object};

impl Report {
    /// The names of its columns.
    pub fn columns(&self) -> Vec<&'static str> {
        let sums = SUMS.map(|sum| match sum {
            "cost_nanos" => "cost_usd",
            "charge_nanos" => "charge_usd",
            sum => sum,
        });
        self.query
            .by
            .iter()
            .map(|column| column.name())
            .chain(sums)
            .collect()
    }

    /// Writes it as CSV, with a line of names.
    ///
    /// # Errors
    /// The output fails.
    pub fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        write_csv(self.columns().into_iter(), out)?;
        for row in &self.rows {
            write_csv(row.cells().iter().map(Cell::text), out)?;
        }
        Ok(())
    }

    /// Writes it as an object of JSON: the time that was asked for, and a list of rows.
    ///
    /// # Errors
    /// The output fails.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.columns();
        let time = |ms: i64| match Timestamp::from_millisecond(ms) {
            Ok(time) if ms != i64::MIN && ms != i64::MAX => Cell::Text(time.to_string()),
            _ => Cell::Nothing,
        };
        let head = [
            ("since", time(self.query.since_ms)),
            ("until", time(self.query.until_ms)),
            ("is_cut", Cell::Flag(self.is_cut)),
        ];
        let mut text = String::new();
        write_object(head.iter().map(|(name, cell)| (*name, cell)), &mut text);
        // The rows stand within the same object.
        text.pop();
        text.push_str(",\"rows\":[");
        for (place, row) in self.rows.iter().enumerate() {
            text.push_str(if place > 0 { ",\n" } else { "\n" });
            let cells = row.cells();
            write_object(columns.iter().copied().zip(&cells), &mut text);
            out.write_all(text.as_bytes())?;
            text.clear();
        }
        text.push_str("]}\n");
        out.write_all(text.as_bytes())
    }
}

impl ReportRow {
    /// Its values, in the order of the columns.
    pub fn cells(&self) -> Vec<Cell> {
        let names = self.group.iter().cloned().map(Cell::Text);
        let sums = SUMS.iter().zip(self.sums).map(|(name, sum)| match *name {
            "cost_nanos" | "charge_nanos" => Cell::Nanos(sum),
            _ => Cell::Number(sum),
        });
        names.chain(sums).collect()
    }
}
