//! Tables for people to read.
//!
//! Owns the alignment of columns. Does not handle their content (see `check`, `route`, `usage` and `cache`). Cannot
//! fail.

/// Text as the cells of a row.
pub fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// Pads each column to its widest cell.
pub fn align(table: &[Vec<String>]) -> String {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in table {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            // A terminal would obey what a name may have in it.
            .map(|(cell, width)| format!("{:width$}  ", cell.replace(char::is_control, "\u{fffd}")))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
