//! The time of day, and the age of the process.
//!
//! Owns the wall clock and its text form. Does not handle what is measured: durations on the request
//! path are `Instant`s, taken where they are needed. Cannot fail.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

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

/// Now, as RFC 3339 in UTC with milliseconds: `2026-11-21T07:12:00.123Z`.
pub fn now_rfc3339() -> String {
    format!("{:.3}", timestamp())
}

#[allow(clippy::disallowed_methods, reason = "this is the place")]
fn timestamp() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Seconds since the Unix epoch, as the OpenAI wire's `created` wants them.
pub fn now_unix_seconds() -> i64 {
    timestamp().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_has_milliseconds_and_is_utc() {
        let now = now_rfc3339();
        assert_eq!(now.len(), "2026-11-21T07:12:00.123Z".len());
        assert!(now.ends_with('Z'));
    }
}
