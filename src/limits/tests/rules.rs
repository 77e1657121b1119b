//! New rules for a scope that counts already.

use super::*;
use crate::config::Window;

fn minute(requests: u64, tokens: u64) -> RateLimits {
    RateLimits {
        requests_per_minute: Some(requests),
        tokens_per_minute: Some(tokens),
        ..RateLimits::default()
    }
}

fn remaining(held: &Reservation, clock: Clock) -> (u64, u64) {
    let told = held.standing(clock.0).unwrap();
    (
        told.requests.unwrap().remaining,
        told.tokens.unwrap().remaining,
    )
}

#[test]
fn what_was_counted_stays_where_the_window_is_the_same() {
    for window in [Window::Gcra, Window::Sliding] {
        let limits = Limits::new();
        let clock = Clock::new();
        let with_window = |requests, tokens| RateLimits {
            window,
            ..minute(requests, tokens)
        };
        let month = |tokens| quota(Some(tokens), None, Period::Month);
        let old = [limits.scope(
            tenant("a"),
            Some(&with_window(10, 100)),
            Some(&month(1_000)),
        )];
        let mut open = reserve(&old, 30, 0, clock).unwrap();
        reserve(&old, 20, 0, clock).unwrap().settle(20, 0, clock.0);
        let new = limits.scope(tenant("a"), Some(&with_window(5, 60)), Some(&month(500)));
        assert!(Arc::ptr_eq(&new, &old[0]));
        assert_eq!(remaining(&open, clock), (3, 10), "{window:?}");
        assert_eq!(new.quota_usage().unwrap().tokens_reserved, 30);
        open.settle(10, 0, clock.0);
        assert_eq!(remaining(&open, clock), (3, 30), "{window:?}");
        let usage = new.quota_usage().unwrap();
        assert_eq!((usage.tokens, usage.tokens_limit), (30, Some(500)));
    }
}

#[test]
fn a_rate_that_is_new_gets_nothing_back_that_it_never_set_aside() {
    let limits = Limits::new();
    let clock = Clock::new();
    let only_requests = RateLimits {
        requests_per_minute: Some(10),
        tokens_per_day: Some(1_000),
        ..RateLimits::default()
    };
    let scopes = [limits.scope(tenant("a"), Some(&only_requests), None)];
    let old = reserve(&scopes, 60, 0, clock).unwrap();
    limits.scope(tenant("a"), Some(&minute(10, 100)), None);
    let new = reserve(&scopes, 60, 0, clock).unwrap();
    drop(old);
    assert_eq!(
        remaining(&new, clock).1,
        40,
        "those of the new one stay set aside"
    );
}

#[test]
fn other_periods_count_anew_and_take_nothing_from_before() {
    let limits = Limits::new();
    let clock = Clock::at("2026-11-01T12:00:00Z");
    let scopes = [limits.scope(
        tenant("a"),
        None,
        Some(&quota(Some(100), None, Period::Month)),
    )];
    let mut old = reserve(&scopes, 60, 0, clock).unwrap();
    let dropped = reserve(&scopes, 40, 0, clock).unwrap();
    // The day and the month begin at the same time.
    limits.scope(
        tenant("a"),
        None,
        Some(&quota(Some(100), None, Period::Day)),
    );
    assert!(scopes[0].needs_balance());
    let new = reserve(&scopes, 100, 0, clock).unwrap();
    old.settle(60, 0, clock.0);
    drop(dropped);
    let usage = scopes[0].quota_usage().unwrap();
    assert_eq!((usage.tokens, usage.tokens_reserved), (0, 100));
    drop(new);
    // Without a quota for a while, the old term is not taken for one of the new quota.
    let mut old = reserve(&scopes, 100, 0, clock).unwrap();
    limits.scope(tenant("a"), None, None);
    assert_eq!(scopes[0].quota_usage(), None);
    limits.scope(
        tenant("a"),
        None,
        Some(&quota(Some(100), None, Period::Day)),
    );
    let new = reserve(&scopes, 100, 0, clock).unwrap();
    old.settle(100, 0, clock.0);
    assert_eq!(scopes[0].quota_usage().unwrap().tokens, 0);
    drop(new);
}

#[test]
fn permits_are_counted_through_any_change() {
    let limits = Limits::new();
    let clock = Clock::new();
    let scopes = [limits.scope(tenant("a"), Some(&minute(100, 100)), None)];
    let _first = reserve(&scopes, 0, 0, clock).unwrap();
    let mut one = minute(100, 100);
    one.concurrent = Some(1);
    limits.scope(tenant("a"), Some(&one), None);
    let refusal = reserve(&scopes, 0, 0, clock).unwrap_err();
    assert_eq!(refusal.kind, LimitKind::Concurrent);
}

#[test]
fn another_quota_has_other_thresholds() {
    let limits = Limits::new();
    let clock = Clock::new();
    let of = |tokens| quota(Some(tokens), None, Period::Day);
    let scopes = [limits.scope(tenant("a"), None, Some(&of(100)))];
    let told = |used| {
        let mut held = reserve(&scopes, 0, 0, clock).unwrap();
        held.settle(used, 0, clock.0).crossed.len()
    };
    assert_eq!(told(100), 2);
    limits.scope(tenant("a"), None, Some(&of(1_000)));
    assert_eq!(told(699), 0);
    assert_eq!(told(1), 1);
}

#[test]
fn the_pace_of_streams_follows_the_rules() {
    let limits = Limits::new();
    let clock = Clock::new();
    let paced = |limit| RateLimits {
        stream_tokens_per_minute: limit,
        ..RateLimits::default()
    };
    let scopes = [limits.scope(tenant("a"), Some(&paced(Some(600))), None)];
    let pacer = reserve(&scopes, 0, 0, clock).unwrap().pacer().unwrap();
    assert_eq!(pacer.take(20, clock.0), Duration::from_secs(1));
    limits.scope(tenant("a"), Some(&paced(Some(1_200))), None);
    assert_eq!(pacer.take(20, clock.0), Duration::from_secs(1));
    limits.scope(tenant("a"), Some(&paced(None)), None);
    assert_eq!(pacer.take(1_000, clock.0), Duration::ZERO);
}

#[test]
fn a_scope_is_forgotten_when_neither_a_snapshot_nor_a_request_holds_it() {
    let limits = Limits::new();
    let scopes = [limits.scope(tenant("a"), Some(&minute(1, 1)), None)];
    let held = reserve(&scopes, 0, 0, Clock::new()).unwrap();
    drop(scopes);
    limits.forget_unused();
    assert_eq!(limits.len(), 1, "a request holds it");
    drop(held);
    limits.forget_unused();
    assert!(limits.is_empty());
}
