//! Several limits in several scopes: all of them or none.

use super::*;
use crate::config::Window;

fn rates(minute: Option<u64>, tokens: Option<u64>, concurrent: Option<u32>) -> RateLimits {
    RateLimits {
        requests_per_minute: minute,
        tokens_per_minute: tokens,
        concurrent,
        ..RateLimits::default()
    }
}

/// The scopes of one request, with plenty of everything but what the last one says.
fn four(last: &RateLimits) -> Vec<Arc<Scope>> {
    let limits = Limits::new();
    let plenty = rates(Some(1_000), Some(1_000_000), Some(100));
    let month = quota(Some(1_000_000), None, Period::Month);
    let key = ScopeName::Key {
        tenant: "a".to_owned(),
        key: "k".to_owned(),
    };
    vec![
        limits.scope(ScopeName::Gateway, Some(&plenty), None),
        limits.scope(ScopeName::Rule("m".to_owned()), Some(&plenty), None),
        limits.scope(tenant("a"), Some(&plenty), Some(&month)),
        limits.scope(key, Some(last), None),
    ]
}

#[test]
fn a_refusal_changes_nothing_in_any_scope() {
    for (last, kind) in [
        (rates(Some(1), None, None), LimitKind::RequestsPerMinute),
        (rates(None, Some(15), None), LimitKind::TokensPerMinute),
        (rates(None, None, Some(1)), LimitKind::Concurrent),
    ] {
        let scopes = four(&last);
        let clock = Clock::new();
        let held = reserve(&scopes, 10, 0, clock).unwrap();
        let before: Vec<_> = scopes.iter().map(|scope| counted(scope)).collect();
        for _ in 0..3 {
            let refusal = reserve(&scopes, 10, 0, clock).unwrap_err();
            assert_eq!(refusal.kind, kind);
            assert!(matches!(refusal.scope.name(), ScopeName::Key { .. }));
        }
        let after: Vec<_> = scopes.iter().map(|scope| counted(scope)).collect();
        assert_eq!(before, after);
        drop(held);
    }
}

#[test]
fn of_several_limits_the_one_with_the_longest_wait_is_named() {
    let scopes = scope(&RateLimits {
        requests_per_second: Some(1),
        requests_per_minute: Some(1),
        requests_per_hour: Some(1),
        concurrent: Some(1),
        ..RateLimits::default()
    });
    let _held = reserve(&scopes, 0, 0, Clock::new()).unwrap();
    let refusal = reserve(&scopes, 0, 0, Clock::new()).unwrap_err();
    assert_eq!(refusal.kind, LimitKind::RequestsPerHour);
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(3_600)));
}

#[test]
fn after_the_time_that_a_refusal_names_the_request_passes() {
    for window in [Window::Gcra, Window::Sliding] {
        let scopes = scope(&RateLimits {
            requests_per_minute: Some(7),
            tokens_per_day: Some(1_000),
            window,
            ..RateLimits::default()
        });
        let mut clock = Clock::new();
        let mut waited = 0;
        for _ in 0..200 {
            match reserve(&scopes, 90, 0, clock) {
                Ok(mut held) => drop(held.settle(90, 0, clock.0)),
                Err(refusal) => {
                    let wait = refusal.retry_after.unwrap();
                    clock.pass(wait - Duration::from_nanos(1));
                    assert!(reserve(&scopes, 90, 0, clock).is_err(), "{window:?}");
                    clock.pass(Duration::from_nanos(1));
                    reserve(&scopes, 90, 0, clock)
                        .unwrap()
                        .settle(90, 0, clock.0);
                    waited += 1;
                }
            }
        }
        assert!(waited > 20);
    }
}

#[test]
fn a_request_that_alone_asks_for_more_than_the_limit_has_no_time_to_wait_for() {
    let scopes = scope(&rates(None, Some(100), None));
    let refusal = reserve(&scopes, 101, 0, Clock::new()).unwrap_err();
    assert!(refusal.is_too_large());
    assert_eq!((refusal.asked, refusal.limit), (101, 100));
    assert_eq!(refusal.retry_after, None);
    drop(reserve(&scopes, 100, 0, Clock::new()).unwrap());
}

#[test]
fn a_permit_comes_back_when_the_reservation_is_dropped_or_released() {
    let scopes = scope(&rates(None, None, Some(2)));
    let clock = Clock::new();
    let mut first = reserve(&scopes, 0, 0, clock).unwrap();
    let second = reserve(&scopes, 0, 0, clock).unwrap();
    let refusal = reserve(&scopes, 0, 0, clock).unwrap_err();
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
    drop(second);
    let third = reserve(&scopes, 0, 0, clock).unwrap();
    first.settle(0, 0, clock.0);
    assert!(reserve(&scopes, 0, 0, clock).is_err(), "settling keeps it");
    first.release();
    first.release();
    drop(first);
    assert_eq!(scopes[0].in_flight(), 1);
    drop(third);
    assert_eq!(scopes[0].in_flight(), 0);
}

#[test]
fn a_task_that_panics_gives_everything_back() {
    let scopes = scope(&rates(None, Some(100), Some(1)));
    let held = reserve(&scopes, 100, 0, Clock::new()).unwrap();
    let task = std::thread::spawn(move || {
        let _held = held;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(task.join().is_err());
    drop(reserve(&scopes, 100, 0, Clock::new()).unwrap());
}

#[test]
fn tokens_that_were_not_used_are_there_again_and_the_request_stays_counted() {
    let scopes = scope(&rates(Some(10), Some(100), None));
    let clock = Clock::new();
    let mut held = reserve(&scopes, 100, 0, clock).unwrap();
    let refusal = reserve(&scopes, 1, 0, clock).unwrap_err();
    assert_eq!(refusal.kind, LimitKind::TokensPerMinute);
    assert_eq!(
        refusal.retry_after,
        Some(Duration::from_secs(1)),
        "only a request in flight is in the way"
    );
    held.settle(30, 0, clock.0);
    held.settle(99, 0, clock.0);
    let told = held.standing(clock.0).unwrap();
    assert_eq!(
        told.tokens.unwrap().remaining,
        70,
        "the second changes nothing"
    );
    assert_eq!(told.requests.unwrap().remaining, 9);
    drop(held);
    drop(reserve(&scopes, 70, 0, clock).unwrap());
    let held = reserve(&scopes, 70, 0, clock).unwrap();
    let told = held.standing(clock.0).unwrap();
    assert_eq!(told.requests.unwrap().remaining, 7);
}

#[test]
fn tokens_beyond_the_reservation_are_a_debt_that_later_requests_wait_for() {
    for window in [Window::Gcra, Window::Sliding] {
        let scopes = scope(&RateLimits {
            tokens_per_minute: Some(60),
            window,
            ..RateLimits::default()
        });
        let mut clock = Clock::new();
        reserve(&scopes, 10, 0, clock)
            .unwrap()
            .settle(90, 0, clock.0);
        clock.pass(Duration::from_secs(29));
        assert!(reserve(&scopes, 0, 0, clock).is_err(), "{window:?}");
        clock.pass(Duration::from_secs(33));
        drop(reserve(&scopes, 30, 0, clock).unwrap());
    }
}

#[test]
fn the_tightest_rates_of_the_tenant_and_its_key_are_told() {
    let mut last = rates(Some(5), None, None);
    last.requests_per_day = Some(50);
    let scopes = four(&last);
    let clock = Clock::new();
    let held = reserve(&scopes, 10, 0, clock).unwrap();
    let told = held.standing(clock.0).unwrap();
    assert_eq!(
        told.requests,
        Some(RateStanding {
            kind: LimitKind::RequestsPerMinute,
            limit: 5,
            remaining: 4,
            reset: Duration::from_secs(12),
        })
    );
    assert_eq!(told.tokens.unwrap().remaining, 1_000_000 - 10);
    let others = reserve(&scopes[..2], 10, 0, clock).unwrap();
    assert_eq!(others.standing(clock.0), None, "those of others are not");
}

#[test]
fn a_refusal_tells_how_the_rates_stand() {
    let scopes = four(&rates(Some(1), None, None));
    let _held = reserve(&scopes, 10, 0, Clock::new()).unwrap();
    let refusal = reserve(&scopes, 10, 0, Clock::new()).unwrap_err();
    let told = refusal.standing.unwrap().requests.unwrap();
    assert_eq!((told.remaining, told.reset), (0, Duration::from_secs(60)));
}

#[test]
fn a_scope_that_is_named_twice_counts_once_and_the_order_does_not_matter() {
    let mut scopes = four(&rates(Some(2), None, None));
    scopes.reverse();
    scopes.push(Arc::clone(&scopes[0]));
    let first = reserve(&scopes, 0, 0, Clock::new()).unwrap();
    assert_eq!(scopes[0].in_flight(), 1);
    drop(reserve(&scopes, 0, 0, Clock::new()).unwrap());
    assert!(reserve(&scopes, 0, 0, Clock::new()).is_err());
    drop(first);
}

#[test]
fn the_pacer_of_a_stream_is_shared_by_all_streams_of_its_scope() {
    let scopes = scope(&RateLimits {
        stream_tokens_per_minute: Some(600),
        ..RateLimits::default()
    });
    let clock = Clock::new();
    let (first, second) = (
        reserve(&scopes, 0, 0, clock).unwrap().pacer().unwrap(),
        reserve(&scopes, 0, 0, clock).unwrap().pacer().unwrap(),
    );
    assert_eq!(first.take(10, clock.0), Duration::ZERO);
    assert_eq!(second.take(10, clock.0), Duration::from_secs(1));
    let unpaced = scope(&rates(Some(1), None, None));
    assert!(reserve(&unpaced, 0, 0, clock).unwrap().pacer().is_none());
}

#[test]
fn the_clocks_can_be_read() {
    let first = Now::read();
    assert!(Now::read().monotonic >= first.monotonic);
    assert!(first.wall > "2026-01-01T00:00:00Z".parse().unwrap());
}
