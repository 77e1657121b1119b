//! The time of day, and the age of the process.
//!
//! Owns the wall clock and its text form. Does not handle what is measured: durations on the request
//! path are `Instant`s, taken where they are needed. Cannot fail.

use std::fmt::Display;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Marks the start of the process; later calls change nothing.
pub fn start() {
    LazyLock::force(&STARTED);
}

/// How long the process has been running.
pub fn uptime() -> Duration {
    STARTED.elapsed()
}

/// Now.
#[allow(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The same as a timestamp. A time that none can say is the Unix epoch.
pub fn timestamp() -> Timestamp {
    Timestamp::try_from(now()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Now, as RFC 3339 in UTC with milliseconds: `2026-11-21T07:12:00.123Z`.
pub fn now_rfc3339() -> impl Display {
    // A clock that was never set may stand before the epoch, for which there is no text.
    humantime::format_rfc3339_millis(now().max(SystemTime::UNIX_EPOCH))
}

/// Seconds since the Unix epoch, as the OpenAI wire's `created` wants them.
pub fn now_unix_seconds() -> i64 {
    let since = now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_has_milliseconds_and_is_utc() {
        let now = now_rfc3339().to_string();
        assert_eq!(now.len(), "2026-11-21T07:12:00.123Z".len());
        assert!(now.ends_with('Z'));
    }
}
