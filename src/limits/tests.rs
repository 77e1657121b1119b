//! Limits as the gateway uses them: several scopes, one clock that the test moves.

mod admission;
mod bounds;
mod quotas;
mod random;
mod rules;
mod sharing;

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::counts::Mode;
use super::*;
use crate::config::{Period, Quota, RateLimits};

/// 2026-11-28, a Saturday, at noon in UTC.
const START: &str = "2026-11-28T12:00:00Z";

/// A clock that the test moves.
#[derive(Clone, Copy)]
struct Clock(Now);

impl Clock {
    fn new() -> Self {
        Self::at(START)
    }

    fn at(wall: &str) -> Self {
        Self(Now {
            monotonic: Duration::from_secs(1_000),
            wall: wall.parse().unwrap(),
        })
    }

    fn pass(&mut self, time: Duration) {
        self.0.monotonic += time;
        self.0.wall += time;
    }

    fn set_wall(&mut self, wall: &str) {
        self.0.wall = wall.parse().unwrap();
    }
}

fn tenant(id: &str) -> ScopeName {
    ScopeName::Tenant(id.to_owned())
}

/// A scope of a tenant, by itself.
fn scope(rates: &RateLimits) -> [Arc<Scope>; 1] {
    [Limits::new().scope(tenant("a"), Some(rates), None)]
}

fn with_quota(quota: &Quota) -> [Arc<Scope>; 1] {
    [Limits::new().scope(tenant("a"), None, Some(quota))]
}

fn quota(tokens: Option<u64>, nanos: Option<u64>, per: Period) -> Quota {
    Quota {
        tokens,
        nanos,
        per,
        timezone: TimeZone::UTC,
        warn_at: vec![80],
    }
}

fn demand(tokens: u64, nanos: u64) -> Demand {
    Demand { tokens, nanos }
}

fn reserve(
    scopes: &[Arc<Scope>],
    tokens: u64,
    nanos: u64,
    clock: Clock,
) -> Result<Reservation, Box<Refusal>> {
    Local.reserve(scopes, demand(tokens, nanos), clock.0)
}

/// All that a scope counts, as text.
fn counted(scope: &Scope) -> String {
    format!("{:?} {:?}", scope.in_flight(), scope.lock())
}
