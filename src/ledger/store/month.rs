//! Months and days of the ledger, in UTC.
//!
//! Owns their borders and their names. Does not handle the periods of quotas, which have time zones (see
//! `limits`). A time beyond the calendar counts as the nearest one within it; nothing fails.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

/// The milliseconds of a day in UTC.
pub const DAY_MS: i64 = 86_400_000;

/// No period of a quota takes longer, but the one without an end.
pub const LONGEST_PERIOD_SECONDS: i64 = 32 * 86_400;

/// A month in UTC: what one file or partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(Date);

impl Month {
    /// The month of a time in milliseconds since the Unix epoch.
    pub fn of(at_ms: i64) -> Self {
        Self(date_of(at_ms).first_of_month())
    }

    /// Reads `2026-11`.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-').filter(|_| text.len() == 7)?;
        let first = Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
        Some(Self(first))
    }

    /// When it begins, in milliseconds since the Unix epoch.
    pub fn start_ms(self) -> i64 {
        start_ms(self.0)
    }

    /// When it has ended: the start of the next one, in milliseconds since the Unix epoch.
    pub fn end_ms(self) -> i64 {
        // The last month of the calendar ends with it.
        let last = self.0.last_of_month();
        start_ms(last).saturating_add(DAY_MS)
    }

    /// Its first and last day, as [`day_of`] writes them.
    pub fn days(self) -> (i64, i64) {
        (number(self.0), number(self.0.last_of_month()))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

/// Tells the months of times, most of which are in the month of the time before.
#[derive(Debug, Default)]
pub struct Months {
    /// The month of the time before, and the times in it.
    latest: Option<(Month, Range<i64>)>,
}

impl Months {
    /// As [`Month::of`].
    pub fn of(&mut self, at_ms: i64) -> Month {
        match &self.latest {
            Some((month, times)) if times.contains(&at_ms) => *month,
            _ => {
                let month = Month::of(at_ms);
                self.latest = Some((month, month.start_ms()..month.end_ms()));
                month
            }
        }
    }
}

/// Tells the days of times, most of which are on the day of the time before.
#[derive(Debug, Default)]
pub struct Days {
    /// The day of the time before, and when it began.
    latest: Option<(i64, i64)>,
}

impl Days {
    /// As [`day_of`].
    pub fn of(&mut self, at_ms: i64) -> i64 {
        let start = day_start_ms(at_ms);
        match self.latest {
            Some((day, begun)) if begun == start => day,
            _ => {
                let day = day_of(at_ms);
                self.latest = Some((day, start));
                day
            }
        }
    }
}

/// The day of a time, as a number that people can read: 20261105.
pub fn day_of(at_ms: i64) -> i64 {
    number(date_of(at_ms))
}

/// A day as [`day_of`] writes it, in the form `2026-11-05`.
pub fn day_text(day: i64) -> String {
    format!(
        "{:04}-{:02}-{:02}",
        day / 10_000,
        day / 100 % 100,
        day % 100
    )
}

/// When the day of a time begins, in milliseconds since the Unix epoch.
pub fn day_start_ms(at_ms: i64) -> i64 {
    at_ms.saturating_sub(at_ms.rem_euclid(DAY_MS))
}

/// When a date begins, in milliseconds since the Unix epoch.
pub fn start_ms(date: Date) -> i64 {
    let start = date.to_zoned(TimeZone::UTC);
    // Later dates than the clock knows are after everything.
    start.map_or(i64::MAX, |start| start.timestamp().as_millisecond())
}

/// The time before which a month must have ended, in milliseconds since the Unix epoch. What is shorter than
/// an hour counts as one: records of requests that are still served belong to the month before.
pub fn ended_before(now: SystemTime, age: Duration) -> i64 {
    let age = age.max(Duration::from_secs(3600));
    let now = now.duration_since(SystemTime::UNIX_EPOCH);
    let before = now.unwrap_or_default().saturating_sub(age);
    i64::try_from(before.as_millis()).unwrap_or(i64::MAX)
}

fn number(date: Date) -> i64 {
    i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day())
}

fn date_of(at_ms: i64) -> Date {
    // Years that are written with four digits; a clock that shows others is wrong.
    let (first, last) = (date(1, 1, 1), date(9999, 12, 31));
    match Timestamp::from_millisecond(at_ms) {
        Ok(at) => TimeZone::UTC.to_datetime(at).date().clamp(first, last),
        Err(_) if at_ms < 0 => first,
        Err(_) => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_time_has_the_same_month_and_day_whatever_was_asked_before() {
        let (mut months, mut days) = (Months::default(), Days::default());
        let new_year = Month::of(ms("2026-12-31T00:00:00Z")).end_ms();
        let mut random = fastrand::Rng::with_seed(15);
        let near = |at: i64| [at - 1, at, at + 1, at + random.i64(..3 * DAY_MS)];
        let all = [i64::MIN, i64::MAX, -1, 0, 1].into_iter();
        let all = all.chain([new_year, new_year, 0, new_year].into_iter().flat_map(near));
        for at in all {
            assert_eq!(months.of(at), Month::of(at), "{at}");
            assert_eq!(days.of(at), day_of(at), "{at}");
        }
    }

    #[test]
    fn a_month_ends_where_the_next_one_begins() {
        let december = Month::of(ms("2026-12-31T23:59:59.999Z"));
        assert_eq!(december.to_string(), "2026-12");
        assert_eq!(december.start_ms(), ms("2026-12-01T00:00:00Z"));
        assert_eq!(december.end_ms(), ms("2027-01-01T00:00:00Z"));
        assert_eq!(Month::of(december.end_ms()).to_string(), "2027-01");
        assert_eq!(december.days(), (20_261_201, 20_261_231));
        assert_eq!(Month::of(ms("2028-02-29T12:00:00Z")).days().1, 20_280_229);
    }

    #[test]
    fn the_name_of_a_month_is_read_back_and_no_other_text_is() {
        let month = Month::of(ms("2026-11-28T10:00:00Z"));
        assert_eq!(Month::parse("2026-11"), Some(month));
        for wrong in [
            "2026-13",
            "2026-1",
            "26-11",
            "2026-11-01",
            "",
            "-026-11",
            "2026-+1",
        ] {
            assert_ne!(Month::parse(wrong), Some(month), "{wrong}");
        }
        assert_eq!(Month::parse("2026-13"), None);
    }

    #[test]
    fn a_day_is_a_number_that_people_can_read() {
        let at = ms("2026-11-05T23:59:59Z");
        assert_eq!(day_of(at), 20_261_105);
        assert_eq!(day_text(day_of(at)), "2026-11-05");
        assert_eq!(day_start_ms(at), ms("2026-11-05T00:00:00Z"));
        assert_eq!(day_start_ms(-1), -DAY_MS);
    }

    #[test]
    fn a_time_beyond_the_calendar_has_a_month_too() {
        assert_eq!(Month::of(i64::MAX).to_string(), "9999-12");
        assert_eq!(Month::of(i64::MIN).to_string(), "0001-01");
        assert!(Month::of(i64::MAX).end_ms() > 0);
    }
}
