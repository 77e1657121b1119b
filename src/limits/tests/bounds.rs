//! What a scope and a reservation may take of memory.

use super::*;
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
