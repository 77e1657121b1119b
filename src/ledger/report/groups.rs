//! The rows of a report, while they are added up.
//!
//! Owns their bound: of more than 100,000 rows the first ones in their order are kept, and the report says that
//! others are missing. Does not handle where sums come from (see the head of this folder). Cannot fail.

use std::collections::BTreeMap;

use super::super::store::{SUMS, add};
use super::ReportRow;

/// The most rows of a report.
pub const MAX_ROWS: usize = 100_000;

/// Sums by what they are added up by.
#[derive(Debug, Default)]
pub struct Groups {
    sums: BTreeMap<Vec<String>, [i64; SUMS.len()]>,
    is_cut: bool,
}

impl Groups {
    /// Adds sums to those of a group.
    pub fn add(&mut self, group: Vec<String>, sums: &[i64; SUMS.len()]) {
        add(self.sums.entry(group).or_default(), sums);
        if self.sums.len() > MAX_ROWS {
            // Whatever comes later of this group is behind all that are kept, too.
            self.sums.pop_last();
            self.is_cut = true;
        }
    }

    /// The rows in their order, and whether some are missing.
    pub fn finish(self) -> (Vec<ReportRow>, bool) {
        let rows = self.sums.into_iter();
        let rows = rows.map(|(group, sums)| ReportRow { group, sums });
        (rows.collect(), self.is_cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_bound_the_first_rows_are_kept_with_all_of_their_sums() {
        let mut groups = Groups::default();
        let name = |number: usize| vec![format!("{number:06}")];
        for _ in 0..2 {
            for number in (0..=MAX_ROWS).rev() {
                groups.add(name(number), &[1; SUMS.len()]);
            }
        }
        let (rows, is_cut) = groups.finish();
        assert!(is_cut);
        assert_eq!(rows.len(), MAX_ROWS);
        let row = |number| ReportRow {
            group: name(number),
            sums: [2; SUMS.len()],
        };
        assert_eq!(rows.last().unwrap(), &row(MAX_ROWS - 1));
        assert_eq!(rows[0], row(0));
    }
}
