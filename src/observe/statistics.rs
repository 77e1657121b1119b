//! The line of statistics: what happened in a time.
//!
//! Owns its fields. A time in which nothing happened has no line. Does not handle when it is written (see
//! `server::statistics`) or what is counted (see `metrics`). Cannot fail: memory that cannot be read is missing.

use std::time::{Duration, Instant};

use log::Level;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;

use super::logging::{self, Fields, STATISTICS};

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were answered.
    pub requests: u64,
    /// Those that ended in an error.
    pub errors: u64,
    /// Tokens that were used.
    pub tokens: u64,
    /// Lines of the log that were lost.
    pub lost_lines: u64,
    /// Requests that are being served now.
    pub in_flight: usize,
}

/// What was written last.
#[derive(Debug)]
pub struct Statistics {
    totals: Totals,
    at: Instant,
}

impl Statistics {
    /// Begins to count at these.
    pub fn since(totals: Totals, at: Instant) -> Self {
        Self { totals, at }
    }

    /// Writes what has happened since the last line, unless it is nothing.
    pub fn write(&mut self, totals: Totals, now: Instant) {
        let before = std::mem::replace(self, Self::since(totals, now));
        if has_happened(before.totals, totals) && log::log_enabled!(target: STATISTICS, Level::Info)
        {
            let time = now.saturating_duration_since(before.at);
            logging::write_fields(Level::Info, STATISTICS, |fields| {
                fill(fields, before.totals, totals, time);
                fields.number("rss_bytes", resident_bytes());
            });
        }
    }
}

/// Whether there is something to tell. A night without requests leaves no lines.
fn has_happened(before: Totals, now: Totals) -> bool {
    now.in_flight > 0 || before != now
}

fn fill(fields: &mut Fields<'_>, before: Totals, now: Totals, time: Duration) {
    let since = |count: fn(&Totals) -> u64| count(&now).saturating_sub(count(&before));
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let requests = since(|totals| totals.requests);
    let tokens = since(|totals| totals.tokens);
    // With one digit behind the point.
    let tenths_a_second = |count: u64| Some(count.saturating_mul(10_000) / millis.max(1));
    fields.fraction("seconds", Some(millis / 100), 10);
    fields.number("requests", Some(requests));
    fields.number("errors", Some(since(|totals| totals.errors)));
    fields.number("in_flight", Some(now.in_flight));
    fields.fraction("requests_per_second", tenths_a_second(requests), 10);
    fields.number("tokens", Some(tokens));
    fields.fraction("tokens_per_second", tenths_a_second(tokens), 10);
    fields.number("lost_lines", Some(since(|totals| totals.lost_lines)));
}

/// The memory of the process that is in use, in bytes.
fn resident_bytes() -> Option<u64> {
    let families = ProcessCollector::for_self().collect();
    let mut families = families.iter();
    let resident = families.find(|family| family.name() == "process_resident_memory_bytes")?;
    let bytes = resident.get_metric().first()?.get_gauge().get_value();
    // A gauge is a number with a fraction, and this one has none.
    format!("{bytes:.0}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_happened_since_the_last() {
        let before = Totals {
            requests: 100,
            errors: 10,
            tokens: 5000,
            lost_lines: 1,
            in_flight: 9,
        };
        let now = Totals {
            requests: 190,
            errors: 12,
            tokens: 30_130,
            lost_lines: 1,
            in_flight: 4,
        };
        let text = logging::text_of(|fields| fill(fields, before, now, Duration::from_secs(30)));
        assert_eq!(
            text,
            "seconds=30.0 requests=90 errors=2 in_flight=4 requests_per_second=3.0 tokens=25130 \
             tokens_per_second=837.6 lost_lines=0"
        );
    }

    #[test]
    fn a_time_without_requests_has_no_line() {
        let idle = Totals {
            requests: 7,
            ..Totals::default()
        };
        let busy = Totals {
            in_flight: 1,
            ..idle
        };
        assert!(!has_happened(idle, idle));
        assert!(has_happened(busy, busy), "a request takes long");
        assert!(has_happened(busy, idle), "the last one has ended");
        assert!(has_happened(Totals::default(), idle));
    }

    #[test]
    fn the_memory_in_use_is_known() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
