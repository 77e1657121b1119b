//! A value of a row that is shown: in a table, in CSV or in JSON.
//!
//! Owns its forms. Money is a decimal number of dollars, exact to the nano-dollar. Does not handle which values
//! there are (see `export` and `report`). Cannot fail.

use std::borrow::Cow;
use std::fmt::Write;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
    /// Nano-dollars.
    Nanos(i64),
    /// Yes or no.
    Flag(bool),
    /// Nothing: `null` in JSON, empty elsewhere.
    Nothing,
}

impl Cell {
    /// As a cell of a table or of CSV.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Nanos(nanos) => Cow::Owned(usd(*nanos)),
            Self::Flag(true) => Cow::Borrowed("true"),
            Self::Flag(false) => Cow::Borrowed("false"),
            Self::Nothing => Cow::Borrowed(""),
        }
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Text(text) => write_text(text, out),
            Self::Nothing => out.push_str("null"),
            _ => out.push_str(&self.text()),
        }
    }
}

/// Writes an object of JSON.
pub fn write_object<'n, 'c>(cells: impl Iterator<Item = (&'n str, &'c Cell)>, out: &mut String) {
    out.push('{');
    for (place, (name, cell)) in cells.enumerate() {
        if place > 0 {
            out.push(',');
        }
        write_text(name, out);
        out.push(':');
        cell.write_json(out);
    }
    out.push('}');
}

fn write_text(text: &str, out: &mut String) {
    // Text has a form in JSON always.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Nano-dollars as dollars, with as many digits as it takes.
pub fn usd(nanos: i64) -> String {
    let (whole, part) = (
        nanos.unsigned_abs() / 1_000_000_000,
        nanos.unsigned_abs() % 1_000_000_000,
    );
    let mut text = String::new();
    let sign = if nanos < 0 { "-" } else { "" };
    // Writing into a string cannot fail.
    let _ = write!(text, "{sign}{whole}.{part:09}");
    let digits = text.trim_end_matches('0').trim_end_matches('.').len();
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_and_has_no_digits_that_say_nothing() {
        let shown = [
            0,
            1,
            1_500,
            250_000_000,
            1_000_000_000,
            120_000_000_000,
            -5_000_000_000,
        ]
        .map(usd);
        assert_eq!(
            shown,
            ["0", "0.000000001", "0.0000015", "0.25", "1", "120", "-5"]
        );
        assert_eq!(usd(i64::MAX), "9223372036.854775807");
        assert_eq!(usd(i64::MIN), "-9223372036.854775808");
    }

    #[test]
    fn an_object_is_json_whatever_its_text() {
        let cells = [
            ("a", Cell::Text("\"\n\u{0}=1".to_owned())),
            ("b", Cell::Nanos(1_500)),
            ("c", Cell::Flag(true)),
            ("d", Cell::Nothing),
        ];
        let mut out = String::new();
        write_object(cells.iter().map(|(name, cell)| (*name, cell)), &mut out);
        let read: serde_json::Value = serde_json::from_str(&out).unwrap();
        let wanted =
            serde_json::json!({"a": "\"\n\u{0}=1", "b": 0.000_001_5, "c": true, "d": null});
        assert_eq!(read, wanted);
    }
}
