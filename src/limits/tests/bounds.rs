//! What a scope and a reservation may take of memory.

use super::*;
use crate::limits::balance::MAX_LATER;
use crate::limits::rate::Rate;
use crate::limits::registry::ENTRY_BYTES;

/// What the counters of an `Arc` take.
const ARC_BYTES: usize = 16;

#[test]
fn a_scope_with_all_limits_takes_less_than_a_kibibyte() {
    let all = RateLimits {
        requests_per_second: Some(10),
        requests_per_minute: Some(100),
        requests_per_hour: Some(1_000),
        requests_per_day: Some(10_000),
        tokens_per_minute: Some(100_000),
        tokens_per_day: Some(1_000_000),
        concurrent: Some(8),
        stream_tokens_per_minute: Some(1_000),
        ..RateLimits::default()
    };
    let month = quota(Some(1), Some(1), Period::Month);
    let limits = Limits::new();
    let scopes: Vec<_> = (0..100_000)
        .map(|id| limits.scope(tenant(&format!("tenant-{id:06}")), Some(&all), Some(&month)))
        .collect();
    assert_eq!(limits.len(), scopes.len());
    let bytes: usize = scopes
        .iter()
        .map(|scope| {
            let rates = scope.lock().rates.len();
            let ScopeName::Tenant(name) = scope.name() else {
                unreachable!("they are tenants");
            };
            let heap = name.capacity() + rates * size_of::<Rate>() + month.warn_at.len();
            // A hash set is at least 7/16 full.
            ARC_BYTES + size_of::<Scope>() + heap + ENTRY_BYTES * 16 / 7
        })
        .sum();
    assert!(bytes / scopes.len() < 1_024, "{}", bytes / scopes.len());
}

#[test]
fn a_reservation_takes_little_of_an_open_stream() {
    assert!(
        size_of::<Reservation>() <= 64,
        "{}",
        size_of::<Reservation>()
    );
}

#[test]
fn of_more_later_periods_than_are_remembered_the_earliest_is_forgotten() {
    let scopes = with_quota(&quota(Some(100), None, Period::Day));
    let mut clock = Clock::at("2026-11-28T00:00:00Z");
    let first = clock.0.wall.as_second();
    assert!(scopes[0].load(first, 0, 0));
    let days = i64::try_from(MAX_LATER).unwrap() + 1;
    for day in 1..=days {
        scopes[0].load_later(first + day * 86_400, 100, 0);
    }
    for day in 1..=days {
        clock.pass(Duration::from_hours(24));
        let is_spent = reserve(&scopes, 1, 0, clock).is_err();
        assert_eq!(is_spent, day > 1, "{day}");
    }
}
