//! What holds for any requests in any order, from fixed seeds; and on many threads at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config::Window;

#[test]
fn ten_thousand_random_requests_never_spend_more_than_the_quota() {
    for seed in 0..5 {
        let mut random = fastrand::Rng::with_seed(seed);
        let scopes = with_quota(&quota(Some(1_000_000), Some(50_000_000), Period::Total));
        let mut clock = Clock::new();
        let mut open: Vec<(Reservation, Demand)> = Vec::new();
        let (mut admitted, mut refused) = (0, 0);
        let mut real = demand(0, 0);
        for _ in 0..10_000 {
            clock.pass(Duration::from_millis(random.u64(..100)));
            let wanted = demand(random.u64(..2_000), random.u64(..100_000));
            match Local.reserve(&scopes, wanted, clock.0) {
                Ok(held) => open.push((held, wanted)),
                Err(_) => refused += 1,
            }
            while open.len() > random.usize(..40) {
                let (mut held, most) = open.swap_remove(random.usize(..open.len()));
                admitted += 1;
                if random.u8(..10) == 0 {
                    continue;
                }
                let used = demand(random.u64(..=most.tokens), random.u64(..=most.nanos));
                held.settle(used.tokens, used.nanos, clock.0);
                real = demand(real.tokens + used.tokens, real.nanos + used.nanos);
            }
            assert!(real.tokens <= 1_000_000 && real.nanos <= 50_000_000);
        }
        drop(open);
        let usage = scopes[0].quota_usage().unwrap();
        assert_eq!((usage.tokens, usage.nanos), (real.tokens, real.nanos));
        assert_eq!((usage.tokens_reserved, usage.nanos_reserved), (0, 0));
        assert!(admitted > 500 && refused > 500, "{admitted} {refused}");
    }
}

/// Sums the second members of those within `window` of each first member, and gives the largest.
fn most_in_a_window(events: &[(Duration, u64)], window: Duration) -> u64 {
    let (mut sum, mut end, mut most) = (0, 0, 0);
    for (from, units) in events {
        while let Some((_, units)) = events.get(end).filter(|(at, _)| *at - *from < window) {
            sum += units;
            end += 1;
        }
        most = most.max(sum);
        sum -= units;
    }
    most
}

#[test]
fn no_window_has_more_than_the_limit_when_it_slides_and_twice_when_it_does_not() {
    for (window, times) in [(Window::Sliding, 1), (Window::Gcra, 2)] {
        for seed in 0..5 {
            let mut random = fastrand::Rng::with_seed(seed);
            let scopes = scope(&RateLimits {
                requests_per_minute: Some(50),
                tokens_per_minute: Some(20_000),
                window,
                ..RateLimits::default()
            });
            let mut clock = Clock::new();
            let mut open: Vec<(Reservation, u64)> = Vec::new();
            let (mut requests, mut tokens) = (Vec::new(), Vec::new());
            for _ in 0..10_000 {
                clock.pass(Duration::from_millis(random.u64(..900)));
                let wanted = random.u64(1..2_000);
                if let Ok(held) = reserve(&scopes, wanted, 0, clock) {
                    requests.push((clock.0.monotonic, 1));
                    open.push((held, wanted));
                }
                while open.len() > random.usize(..12) {
                    let (mut held, most) = open.swap_remove(random.usize(..open.len()));
                    let used = random.u64(..=most);
                    held.settle(used, 0, clock.0);
                    tokens.push((clock.0.monotonic, used));
                }
            }
            let minute = Duration::from_secs(60);
            let (requests, tokens) = (
                most_in_a_window(&requests, minute),
                most_in_a_window(&tokens, minute),
            );
            assert!(requests <= 50 * times, "{requests} with {window:?}, {seed}");
            assert!(tokens <= 20_000 * times, "{tokens} with {window:?}, {seed}");
            assert!(requests > 40 && tokens > 10_000, "{requests} {tokens}");
        }
    }
}

#[test]
fn reservations_that_are_dropped_anywhere_give_everything_back() {
    let limits = Limits::new();
    let rates = RateLimits {
        tokens_per_minute: Some(1_000),
        tokens_per_day: Some(1_000),
        concurrent: Some(10),
        ..RateLimits::default()
    };
    let total = quota(Some(1_000), Some(1_000), Period::Total);
    let scopes = [
        limits.scope(ScopeName::Gateway, Some(&rates), None),
        limits.scope(tenant("a"), Some(&rates), Some(&total)),
    ];
    let mut random = fastrand::Rng::with_seed(11);
    let mut clock = Clock::new();
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..5_000 {
        clock.pass(Duration::from_millis(random.u64(..2_000)));
        match reserve(&scopes, random.u64(..=1_000), random.u64(..=1_000), clock) {
            Ok(mut held) => {
                match random.u8(..4) {
                    0 => drop(held.settle(0, 0, clock.0)),
                    1 => held.release(),
                    _ => {}
                }
                open.push(held);
            }
            Err(_) => refused += 1,
        }
        if random.bool() && !open.is_empty() {
            open.swap_remove(random.usize(..open.len()));
        }
    }
    assert!(refused > 100);
    open.clear();
    let all = reserve(&scopes, 1_000, 1_000, clock).unwrap();
    assert_eq!(scopes[0].in_flight(), 1);
    drop(all);
    let usage = scopes[1].quota_usage().unwrap();
    assert_eq!((usage.tokens_reserved, usage.nanos_reserved), (0, 0));
}

#[test]
fn of_a_hundred_threads_exactly_as_many_pass_as_the_budget_pays_for() {
    let scopes = with_quota(&quota(None, Some(1_000), Period::Total));
    let clock = Clock::new();
    let passed = AtomicUsize::new(0);
    let together = std::sync::Barrier::new(100);
    std::thread::scope(|threads| {
        for _ in 0..100 {
            threads.spawn(|| {
                together.wait();
                if let Ok(mut held) = reserve(&scopes, 50, 100, clock) {
                    held.settle(50, 100, clock.0);
                    passed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 10);
    assert_eq!(scopes[0].quota_usage().unwrap().nanos, 1_000);
}

#[test]
fn threads_that_name_scopes_in_any_order_never_wait_for_each_other_for_ever() {
    let limits = Limits::new();
    let plenty = RateLimits {
        tokens_per_minute: Some(u64::MAX / 2),
        concurrent: Some(3),
        ..RateLimits::default()
    };
    let mut scopes: Vec<_> = (0..4)
        .map(|id| limits.scope(tenant(&id.to_string()), Some(&plenty), None))
        .collect();
    let most = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for seed in 0..8 {
            let mut random = fastrand::Rng::with_seed(seed);
            random.shuffle(&mut scopes);
            let (scopes, most) = (scopes.clone(), &most);
            threads.spawn(move || {
                for _ in 0..2_000 {
                    let Ok(mut held) = reserve(&scopes, 1, 0, Clock::new()) else {
                        continue;
                    };
                    let now = usize::try_from(scopes[0].in_flight()).unwrap();
                    most.fetch_max(now, Ordering::Relaxed);
                    held.settle(1, 0, Clock::new().0);
                }
            });
        }
    });
    assert!((1..=3).contains(&most.into_inner()));
    assert!(scopes.iter().all(|scope| scope.in_flight() == 0));
}
