//! Reading amounts: limits, money, shares in percent, and moments.
//!
//! Owns what each may look like. Numbers are never rounded: what has more digits than can be kept is
//! refused. Does not handle plain numbers, durations and sizes (see `values`). A value of another form is
//! reported with its place and gives `None`.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use saphyr::{Scalar, YamlData};

use super::Node;

/// The largest count: above it, JSON and YAML of some programs are no longer exact.
const MOST: u64 = 1 << 53;
/// Nano-dollars of a dollar.
const DOLLAR_NANOS: u64 = 1_000_000_000;
/// The largest amount of money, in dollars.
const MOST_DOLLARS: u64 = 1_000_000_000;
/// Thousandths of a percent.
const PERCENT_MILLIS: u64 = 1_000;
/// The largest markup, in percent.
const MOST_PERCENT: u64 = 10_000;

/// Nano-dollars as dollars, exactly, as they can be written in a configuration: `2.5`.
pub fn write_nanos(nanos: u64) -> String {
    let (dollars, rest) = (nanos / DOLLAR_NANOS, nanos % DOLLAR_NANOS);
    let text = format!("{dollars}.{rest:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Node<'_> {
    /// A count above zero that bounds something.
    pub fn limit(&self) -> Option<u64> {
        self.limit_up_to(MOST)
    }

    /// A count above zero that bounds something, up to `most`.
    pub fn limit_up_to(&self, most: u64) -> Option<u64> {
        let number = match &self.yaml.data {
            YamlData::Value(Scalar::Integer(number)) => Some(i128::from(*number)),
            YamlData::Value(Scalar::String(_)) => self.text()?.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number <= 0 => {
                self.report("must be above 0", Some("for no limit, leave it out"));
                None
            }
            Some(number) if number <= i128::from(most) => u64::try_from(number).ok(),
            _ => {
                let message = format!("expected a whole number from 1 to {most}");
                self.report(message, Some("for no limit, leave it out"));
                None
            }
        }
    }

    /// Dollars with up to nine decimals, as nano-dollars.
    pub fn nanos(&self) -> Option<u64> {
        let text = self.decimal()?;
        match read_decimal(&text, 9) {
            Ok((dollars, nanos)) if dollars < MOST_DOLLARS => {
                Some(dollars * DOLLAR_NANOS + u64::from(nanos))
            }
            Ok(_) => {
                let message = format!("must be below {MOST_DOLLARS} dollars");
                self.report(message, None);
                None
            }
            Err(Flaw::Negative) => {
                self.report("must not be negative", Some("write 0, or leave it out"));
                None
            }
            Err(Flaw::TooLong) => {
                self.report(
                    "has more than 9 decimals",
                    Some("round it to a billionth of a dollar"),
                );
                None
            }
            Err(Flaw::NoNumber) => {
                let hint = "a number without a sign of a currency, as in 2.50";
                self.report("expected an amount of US dollars", Some(hint));
                None
            }
        }
    }

    /// A share of a whole from 1 to 100 percent: `80%`, or the number alone.
    pub fn percent(&self) -> Option<u8> {
        let text = self.decimal()?;
        let text = text.trim();
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let percent = number.parse().ok();
        let percent = percent.filter(|percent| (1..=100).contains(percent));
        if percent.is_none() {
            let hint = "as in 80%";
            self.report(
                "expected a whole number of percent from 1 to 100",
                Some(hint),
            );
        }
        percent
    }

    /// What is added to a price, as in `20%` or `12.5%`, in thousandths of a percent.
    pub fn markup(&self) -> Option<u32> {
        let text = self.decimal()?;
        let text = text.trim();
        let Some(number) = text.strip_suffix('%') else {
            self.report("expected a share in percent", Some("as in 20%"));
            return None;
        };
        match read_decimal(number.trim_end(), 3) {
            Ok((percent, thousandths)) if percent < MOST_PERCENT => {
                u32::try_from(percent * PERCENT_MILLIS + u64::from(thousandths)).ok()
            }
            Ok(_) => {
                self.report(format!("must be below {MOST_PERCENT}%"), None);
                None
            }
            Err(Flaw::Negative) => {
                let hint =
                    "to charge less than the provider does, write `prices` of the tenant's own";
                self.report("must not be negative", Some(hint));
                None
            }
            Err(Flaw::TooLong | Flaw::NoNumber) => {
                let message = "expected a share in percent with up to 3 decimals";
                self.report(message, Some("as in 12.5%"));
                None
            }
        }
    }

    /// A moment: RFC 3339, or a day, which stands for its beginning in UTC.
    pub fn moment(&self) -> Option<Timestamp> {
        let text = self.text()?;
        let text = text.trim();
        // A longer text may be a day with a time of no zone: its time would be lost.
        let day = text.parse::<Date>().ok().filter(|_| text.len() == 10);
        let beginning = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
        let moment = beginning.map(|beginning| beginning.timestamp());
        let moment = moment.or_else(|| text.parse().ok());
        if moment.is_none() {
            self.report(
                "expected a day, or a time with its zone",
                Some("as in 2027-01-01, its beginning in UTC, or 2027-01-01T00:00:00+01:00"),
            );
        }
        moment
    }

    /// A number as it would be written. That of a float is the shortest one that is read as the same
    /// float: what the operator wrote, unless that had more digits than a float keeps.
    fn decimal(&self) -> Option<String> {
        match &self.yaml.data {
            YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.0.to_string()),
            _ => self.text(),
        }
    }
}

/// What is wrong with a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Negative,
    TooLong,
    NoNumber,
}

/// The whole part of a decimal number, and its decimals as a number of `places` digits, at most 9.
fn read_decimal(text: &str, places: usize) -> Result<(u64, u32), Flaw> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('-') {
        return Err(match read_decimal(rest, places) {
            Err(Flaw::NoNumber) => Flaw::NoNumber,
            _ => Flaw::Negative,
        });
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(decimals) {
        return Err(Flaw::NoNumber);
    }
    let decimals = decimals.trim_end_matches('0');
    if decimals.len() > places {
        return Err(Flaw::TooLong);
    }
    let padded = format!("{decimals:0<places$}");
    // A whole part of more digits than fit is above every bound.
    let whole = whole.parse().unwrap_or(u64::MAX);
    Ok((whole, padded.parse().map_err(|_| Flaw::NoNumber)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_read_exactly() {
        for (text, expected) in [
            ("2.50", Ok((2, 500_000_000))),
            ("0.000000001", Ok((0, 1))),
            ("10", Ok((10, 0))),
            ("1.", Ok((1, 0))),
            ("0.1000000000000", Ok((0, 100_000_000))),
            ("99999999999999999999999", Ok((u64::MAX, 0))),
            ("0.0000000001", Err(Flaw::TooLong)),
            ("-1", Err(Flaw::Negative)),
            ("-0.0000000001", Err(Flaw::Negative)),
            ("- 1", Err(Flaw::Negative)),
            ("", Err(Flaw::NoNumber)),
            (".5", Err(Flaw::NoNumber)),
            ("1e3", Err(Flaw::NoNumber)),
            ("1,5", Err(Flaw::NoNumber)),
            ("$5", Err(Flaw::NoNumber)),
            ("NaN", Err(Flaw::NoNumber)),
            ("inf", Err(Flaw::NoNumber)),
            ("-inf", Err(Flaw::NoNumber)),
            ("1.2.3", Err(Flaw::NoNumber)),
        ] {
            assert_eq!(read_decimal(text, 9), expected, "{text}");
        }
        assert_eq!(read_decimal("12.5", 3), Ok((12, 500)));
        assert_eq!(read_decimal("12.0005", 3), Err(Flaw::TooLong));
    }

    #[test]
    fn an_amount_is_written_so_that_it_can_be_read_back() {
        for (nanos, written) in [
            (0, "0"),
            (1, "0.000000001"),
            (2_500_000_000, "2.5"),
            (10_000_000_000, "10"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            assert_eq!(write_nanos(nanos), written);
            let (dollars, rest) = read_decimal(written, 9).unwrap();
            assert_eq!(dollars * DOLLAR_NANOS + u64::from(rest), nanos);
        }
    }

    #[test]
    fn the_smallest_float_is_written_without_an_exponent() {
        assert_eq!(1e-9.to_string(), "0.000000001");
        assert_eq!(0.15.to_string(), "0.15");
    }
}
