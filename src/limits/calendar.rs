//! The periods of a quota: when one begins and ends.
//!
//! Owns the calendar, in the time zone of the quota; changes of its clocks are jiff's. Does not handle what is counted
//! in a period (see `balance`). Cannot fail: beyond the times that jiff knows, a period does not end.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use crate::config::Period;

/// A period, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Its first second.
    pub(super) start: i64,
    /// The first second after it; `i64::MAX` if it does not end.
    pub(super) end: i64,
}

/// The period that `at` is in. A period [`Period::Total`] begins at 0.
pub(super) fn period_of(at: Timestamp, per: Period, zone: &TimeZone) -> Span {
    let unending = Span {
        start: 0,
        end: i64::MAX,
    };
    if per == Period::Total {
        return unending;
    }
    bounds(at, per, zone).unwrap_or(unending)
}

fn bounds(at: Timestamp, per: Period, zone: &TimeZone) -> Result<Span, jiff::Error> {
    let day = at.to_zoned(zone.clone()).date();
    let (first, next) = match per {
        Period::Week => {
            let past = i64::from(day.weekday().to_monday_zero_offset());
            let monday = day.checked_sub(past.days())?;
            (monday, monday.checked_add(7.days())?)
        }
        Period::Month => {
            let first = day.first_of_month();
            (first, first.checked_add(1.month())?)
        }
        // `Total` has no bounds and does not come here.
        Period::Day | Period::Total => (day, day.checked_add(1.day())?),
    };
    // Midnight may not exist on a day on which clocks change; its first instant does.
    let begin = |date: jiff::civil::Date| -> Result<i64, jiff::Error> {
        let midnight: Zoned = date.to_zoned(zone.clone())?;
        Ok(midnight.start_of_day()?.timestamp().as_second())
    };
    Ok(Span {
        start: begin(first)?,
        end: begin(next)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(at: &str, per: Period, zone: &str) -> (String, String) {
        let zone = TimeZone::get(zone).unwrap();
        let span = period_of(at.parse().unwrap(), per, &zone);
        let text = |seconds| Timestamp::from_second(seconds).unwrap().to_string();
        (text(span.start), text(span.end))
    }

    fn owned(pair: (&str, &str)) -> (String, String) {
        (pair.0.to_owned(), pair.1.to_owned())
    }

    #[test]
    fn periods_begin_at_midnight_of_their_time_zone() {
        assert_eq!(
            span("2026-11-28T20:00:00Z", Period::Day, "Asia/Tokyo"),
            owned(("2026-11-28T15:00:00Z", "2026-11-29T15:00:00Z"))
        );
        // 2026-11-28 is a Saturday.
        assert_eq!(
            span("2026-11-28T20:00:00Z", Period::Week, "UTC"),
            owned(("2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"))
        );
        assert_eq!(
            span("2026-12-31T23:30:00Z", Period::Month, "Europe/Berlin"),
            owned(("2026-12-31T23:00:00Z", "2027-01-31T23:00:00Z"))
        );
        assert_eq!(
            span("2028-02-29T12:00:00Z", Period::Month, "UTC"),
            owned(("2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"))
        );
    }

    #[test]
    fn a_day_on_which_clocks_change_has_23_or_25_hours() {
        assert_eq!(
            span("2026-03-29T12:00:00Z", Period::Day, "Europe/Berlin"),
            owned(("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"))
        );
        assert_eq!(
            span("2026-10-25T12:00:00Z", Period::Day, "Europe/Berlin"),
            owned(("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"))
        );
        // Beirut's clocks skip midnight itself.
        assert_eq!(
            span("2026-03-29T12:00:00Z", Period::Day, "Asia/Beirut"),
            owned(("2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z"))
        );
    }

    #[test]
    fn periods_follow_each_other_without_gap_or_overlap_in_any_time_zone() {
        // Apia skipped a whole day in 2011, Lord Howe changes by half an hour, Havana repeats midnight.
        for zone in [
            "UTC",
            "Pacific/Apia",
            "Australia/Lord_Howe",
            "America/Havana",
            "America/Sao_Paulo",
            "Asia/Kathmandu",
        ] {
            let zone = TimeZone::get(zone).unwrap();
            for per in [Period::Day, Period::Week, Period::Month] {
                let mut at: Timestamp = "2011-01-15T12:00:00Z".parse().unwrap();
                for _ in 0..800 {
                    let here = period_of(at, per, &zone);
                    assert!(here.start <= at.as_second() && at.as_second() < here.end);
                    at = Timestamp::from_second(here.end).unwrap();
                    assert_eq!(period_of(at, per, &zone).start, here.end, "{at} {zone:?}");
                }
            }
        }
    }

    #[test]
    fn a_total_and_the_end_of_all_times_do_not_end() {
        let total = period_of(Timestamp::UNIX_EPOCH, Period::Total, &TimeZone::UTC);
        assert_eq!((total.start, total.end), (0, i64::MAX));
        let last = period_of(Timestamp::MAX, Period::Day, &TimeZone::UTC);
        assert_eq!(last.end, i64::MAX);
    }
}
