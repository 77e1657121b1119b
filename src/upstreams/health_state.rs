//! What the health checks of one server have found.
//!
//! Owns when the next check is due, and how many results in a row change the state. A server is
//! healthy until its checks say otherwise. Does not make the checks (see `health`), and does not
//! handle what requests show of the server (see `breaker`). Cannot fail.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::HealthCheck;
use crate::ids;

/// What the checks of one server have found.
#[derive(Debug)]
pub struct Health {
    is_up: AtomicBool,
    streak: Mutex<Streak>,
    checks: AtomicU64,
}

#[derive(Debug, Default)]
struct Streak {
    /// Results in a row that contradict the state.
    against: u32,
    due: Option<Instant>,
    is_running: bool,
    /// What the last check that failed has found.
    last_failure: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            is_up: AtomicBool::new(true),
            streak: Mutex::default(),
            checks: AtomicU64::new(0),
        }
    }
}

impl Health {
    /// Whether the server can be asked.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// How many checks have been made.
    pub fn checks(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }

    /// What the last check that failed has found.
    pub fn last_failure(&self) -> Option<String> {
        self.streak.lock().last_failure.clone()
    }

    /// Takes the next check, if it is due.
    pub(super) fn begin(&self, now: Instant) -> bool {
        let mut streak = self.streak.lock();
        let is_due = streak.due.is_none_or(|due| due <= now);
        let begins = is_due && !streak.is_running;
        streak.is_running |= begins;
        begins
    }

    /// Takes a result. Returns whether the server is healthy now and was not, or the other way round.
    pub(super) fn end(
        &self,
        found: Result<(), String>,
        settings: &HealthCheck,
        now: Instant,
    ) -> bool {
        self.checks.fetch_add(1, Ordering::Relaxed);
        let was_up = self.is_up();
        let mut streak = self.streak.lock();
        streak.is_running = false;
        streak.due = Some(now + jittered(settings));
        let enough = match was_up {
            true => settings.unhealthy_after,
            false => settings.healthy_after,
        };
        streak.against = match found.is_ok() == was_up {
            true => 0,
            false => streak.against.saturating_add(1),
        };
        if let Err(what) = found {
            streak.last_failure = Some(what);
        }
        let changes = streak.against >= enough;
        if changes {
            streak.against = 0;
            self.is_up.store(!was_up, Ordering::Relaxed);
        }
        changes
    }

    /// No check is wanted any more: the server counts as healthy.
    pub(super) fn forget(&self) {
        if !self.is_up() {
            self.is_up.store(true, Ordering::Relaxed);
        }
    }
}

/// The interval, a little sooner or later, so that many gateways do not ask at once.
fn jittered(settings: &HealthCheck) -> Duration {
    let spread = settings.interval * settings.jitter_percent / 100;
    let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
    let later = ids::random_below(spread_ms.saturating_mul(2).saturating_add(1));
    settings.interval.saturating_sub(spread) + Duration::from_millis(later)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: HealthCheck = HealthCheck {
        ask: None,
        interval: Duration::from_secs(10),
        jitter_percent: 10,
        timeout: Duration::from_secs(1),
        unhealthy_after: 3,
        healthy_after: 2,
    };

    #[test]
    fn only_so_many_results_in_a_row_change_anything() {
        let health = Health::default();
        let now = Instant::now();
        let mut end = |well: bool| {
            assert!(health.begin(now + Duration::from_secs(60)));
            assert!(
                !health.begin(now + Duration::from_secs(60)),
                "one at a time"
            );
            let found = if well { Ok(()) } else { Err("gone".to_owned()) };
            health.end(found, &SETTINGS, now)
        };
        assert!(![false, false, true, false, false].into_iter().any(&mut end));
        assert!(end(false));
        assert!(!health.is_up());
        assert_eq!(health.last_failure().unwrap(), "gone");
        assert!(![true, false, true].into_iter().any(&mut end));
        assert!(end(true));
        assert!(health.is_up());
    }

    #[test]
    fn a_check_is_due_after_its_interval_give_or_take_the_jitter() {
        let health = Health::default();
        let now = Instant::now();
        assert!(health.begin(now), "the first is due at once");
        health.end(Ok(()), &SETTINGS, now);
        assert!(!health.begin(now + Duration::from_millis(8_999)));
        assert!(health.begin(now + Duration::from_millis(11_001)));
        let waits: Vec<Duration> = (0..100).map(|_| jittered(&SETTINGS)).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
