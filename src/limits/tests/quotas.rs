//! Quotas: periods, thresholds, and what is never given twice.

use super::*;

#[test]
fn what_is_spent_and_reserved_stays_within_the_quota_and_the_refusal_says_which() {
    let scopes = with_quota(&quota(Some(100), Some(1_000), Period::Day));
    let clock = Clock::new();
    let mut first = reserve(&scopes, 60, 100, clock).unwrap();
    let refusal = reserve(&scopes, 41, 0, clock).unwrap_err();
    assert_eq!(refusal.kind, LimitKind::QuotaTokens);
    assert_eq!(
        refusal.retry_after,
        Some(Duration::from_secs(1)),
        "only a request in flight is in its way"
    );
    first.settle(50, 1_000, clock.0);
    let refusal = reserve(&scopes, 0, 1, clock).unwrap_err();
    assert_eq!(
        (refusal.kind, refusal.limit),
        (LimitKind::QuotaMoney, 1_000)
    );
    assert_eq!(refusal.retry_after, Some(Duration::from_hours(12)));
    let refusal = reserve(&scopes, 101, 0, clock).unwrap_err();
    assert!(refusal.is_too_large());
    assert_eq!(refusal.retry_after, None);
}

#[test]
fn a_request_counts_in_the_quota_of_its_tenant_and_in_that_of_its_key() {
    let limits = Limits::new();
    let key = ScopeName::Key {
        tenant: "a".to_owned(),
        key: "ci".to_owned(),
    };
    let of_tenant = quota(Some(100), None, Period::Day);
    let of_key = quota(Some(50), None, Period::Total);
    let scopes = [
        limits.scope(tenant("a"), None, Some(&of_tenant)),
        limits.scope(key.clone(), None, Some(&of_key)),
    ];
    let clock = Clock::at("2026-11-28T12:00:00Z");
    let midnight: jiff::Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
    let mut held = reserve(&scopes, 40, 0, clock).unwrap();
    let periods = Periods {
        tenant: Some(midnight.as_second()),
        key: Some(0),
    };
    assert_eq!(held.periods(), periods);
    let refusal = reserve(&scopes, 20, 0, clock).unwrap_err();
    assert_eq!((refusal.scope.name(), refusal.limit), (&key, 50));
    assert_eq!(held.settle(30, 0, clock.0).periods, periods);
    assert_eq!(held.charge(5, 0, clock.0).periods, periods);
    let spent = |scope: &Scope| scope.quota_usage().unwrap().tokens;
    assert_eq!(scopes.each_ref().map(|scope| spent(scope)), [35, 35]);
    assert!(Arc::ptr_eq(&limits.find(&key).unwrap(), &scopes[1]));
    assert!(limits.find(&tenant("b")).is_none());
}

#[test]
fn what_another_process_has_spent_counts_in_the_period_in_which_it_was_spent() {
    let scopes = with_quota(&quota(Some(100), Some(1_000), Period::Day));
    let second = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second();
    let clock = Clock::at("2026-11-28T12:00:00Z");
    let tomorrow = Clock::at("2026-11-29T00:00:00Z");
    assert!(scopes[0].load(second("2026-11-28T00:00:00Z"), 10, 0));
    for (day, tokens, nanos) in [
        ("27", 1_000, 0),
        ("28", 20, 100),
        ("28", 30, 0),
        ("29", 40, 0),
        ("29", 50, 0),
    ] {
        let start = second(&format!("2026-11-{day}T00:00:00Z"));
        scopes[0].spend_elsewhere(start, tokens, nanos, clock.0.wall);
    }
    let usage = scopes[0].quota_usage().unwrap();
    assert_eq!((usage.tokens, usage.nanos), (60, 100));
    assert!(reserve(&scopes, 41, 0, clock).is_err());
    assert!(reserve(&scopes, 40, 0, clock).is_ok());
    assert!(reserve(&scopes, 11, 0, tomorrow).is_err());
    assert!(reserve(&scopes, 10, 0, tomorrow).is_ok());
    // The other process may be the first to come to a period.
    let after = Clock::at("2026-11-30T00:00:00Z");
    let start = second("2026-11-30T00:00:00Z");
    scopes[0].spend_elsewhere(start, 100, 0, after.0.wall);
    assert!(reserve(&scopes, 1, 0, after).is_err());
}

#[test]
fn a_threshold_that_another_process_has_reached_is_not_told_again() {
    let scopes = with_quota(&Quota {
        warn_at: vec![80],
        ..quota(Some(100), None, Period::Total)
    });
    let clock = Clock::new();
    assert!(scopes[0].load(0, 0, 0));
    scopes[0].spend_elsewhere(0, 85, 0, clock.0.wall);
    let settled = reserve(&scopes, 5, 0, clock).unwrap().settle(5, 0, clock.0);
    assert!(settled.crossed.is_empty());
    let settled = reserve(&scopes, 10, 0, clock)
        .unwrap()
        .settle(10, 0, clock.0);
    let percents: Vec<u8> = settled.crossed.iter().map(|c| c.percent).collect();
    assert_eq!(percents, [100]);
}

#[test]
fn a_quota_with_nothing_left_refuses_a_request_that_asks_for_nothing() {
    let scopes = with_quota(&quota(Some(100), None, Period::Total));
    let clock = Clock::new();
    assert!(
        reserve(&scopes, 100, 0, clock)
            .unwrap()
            .settle(100, 0, clock.0)
            .exhausted
    );
    let refusal = reserve(&scopes, 0, 0, clock).unwrap_err();
    assert_eq!(refusal.retry_after, None, "a total does not end");
}

#[test]
fn what_was_spent_while_the_clock_was_ahead_is_spent_when_its_period_begins() {
    let scopes = with_quota(&quota(Some(100), Some(100), Period::Day));
    let second = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second();
    let mut clock = Clock::at("2026-11-28T12:00:00Z");
    assert!(scopes[0].load(second("2026-11-28T00:00:00Z"), 10, 0));
    // The order does not matter, and neither does a second time.
    for (day, tokens) in [("30", 60), ("29", 90), ("30", 70), ("28", 100)] {
        scopes[0].load_later(second(&format!("2026-11-{day}T00:00:00Z")), tokens, 0);
    }
    let left = |clock| {
        let refused = |tokens: &u64| reserve(&scopes, *tokens, 0, clock).is_err();
        (1..=100).find(refused).map_or(100, |tokens| tokens - 1)
    };
    assert_eq!(left(clock), 90);
    for (wall, expected) in [
        ("2026-11-29T00:00:00Z", 10),
        ("2026-11-28T12:00:00Z", 10),
        ("2026-11-30T00:00:00Z", 40),
        ("2026-12-01T00:00:00Z", 100),
    ] {
        clock.set_wall(wall);
        assert_eq!(left(clock), expected, "{wall}");
    }
}

#[test]
fn the_next_period_begins_with_all_of_it() {
    let scopes = with_quota(&quota(Some(100), None, Period::Month));
    let mut clock = Clock::at("2026-11-30T23:59:59Z");
    let mut held = reserve(&scopes, 100, 0, clock).unwrap();
    held.settle(100, 0, clock.0);
    let refusal = reserve(&scopes, 1, 0, clock).unwrap_err();
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
    clock.pass(Duration::from_secs(1));
    let held = reserve(&scopes, 100, 0, clock).unwrap();
    let december = "2026-12-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap();
    assert_eq!(held.periods().tenant, Some(december.as_second()));
}

#[test]
fn a_period_follows_the_clocks_of_its_time_zone() {
    let mut berlin = quota(Some(100), None, Period::Day);
    berlin.timezone = TimeZone::get("Europe/Berlin").unwrap();
    let scopes = with_quota(&berlin);
    // Midnight there, before a day of 23 hours.
    let clock = Clock::at("2026-03-28T23:00:00Z");
    reserve(&scopes, 100, 0, clock)
        .unwrap()
        .settle(100, 0, clock.0);
    let refusal = reserve(&scopes, 1, 0, clock).unwrap_err();
    assert_eq!(refusal.retry_after, Some(Duration::from_hours(23)));
}

#[test]
fn a_request_settles_into_the_period_in_which_it_was_reserved() {
    let scopes = with_quota(&quota(Some(100), None, Period::Day));
    let mut clock = Clock::new();
    let mut old = reserve(&scopes, 90, 0, clock).unwrap();
    let dropped = reserve(&scopes, 10, 0, clock).unwrap();
    let began = old.periods();
    clock.pass(Duration::from_hours(24));
    let new = reserve(&scopes, 100, 0, clock).unwrap();
    assert_ne!(new.periods(), began);
    let settled = old.settle(90, 0, clock.0);
    assert_eq!(settled.periods, began);
    assert!(settled.crossed.is_empty(), "its period is over");
    drop(dropped);
    let usage = scopes[0].quota_usage().unwrap();
    assert_eq!((usage.tokens, usage.tokens_reserved), (0, 100));
    assert!(
        reserve(&scopes, 1, 0, clock).is_err(),
        "nothing was given back to the new one"
    );
}

#[test]
fn a_clock_that_goes_backwards_opens_no_period_again() {
    let scopes = with_quota(&quota(Some(100), None, Period::Day));
    let mut clock = Clock::at("2026-11-28T23:59:59Z");
    reserve(&scopes, 100, 0, clock)
        .unwrap()
        .settle(100, 0, clock.0);
    clock.set_wall("2026-11-29T00:00:00Z");
    reserve(&scopes, 70, 0, clock)
        .unwrap()
        .settle(70, 0, clock.0);
    for wall in [
        "2026-11-28T23:59:58Z",
        "2026-11-27T00:00:00Z",
        "2026-11-29T00:00:00Z",
    ] {
        clock.set_wall(wall);
        let refusal = reserve(&scopes, 31, 0, clock).unwrap_err();
        assert!(refusal.retry_after.unwrap() >= Duration::from_hours(24));
        let mut held = reserve(&scopes, 10, 0, clock).unwrap();
        let twenty_ninth = "2026-11-29T00:00:00Z".parse::<jiff::Timestamp>().unwrap();
        assert_eq!(held.periods().tenant, Some(twenty_ninth.as_second()));
        held.settle(0, 0, clock.0);
    }
    assert_eq!(scopes[0].quota_usage().unwrap().tokens, 70);
}

#[test]
fn a_threshold_is_told_once_in_a_period() {
    let mut thresholds = quota(Some(100), Some(1_000), Period::Day);
    thresholds.warn_at = vec![50, 80];
    let scopes = with_quota(&thresholds);
    let mut clock = Clock::new();
    let told = |tokens, nanos, clock: Clock| {
        let mut held = reserve(&scopes, 0, 0, clock).unwrap();
        let settled = held.settle(tokens, nanos, clock.0);
        let crossed = settled.crossed.iter();
        crossed
            .map(|one| (one.kind, one.percent))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(49, 0, clock), []);
    assert_eq!(told(1, 499, clock), [(LimitKind::QuotaTokens, 50)]);
    assert_eq!(told(1, 1, clock), [(LimitKind::QuotaMoney, 50)]);
    assert_eq!(
        told(0, 500, clock),
        [(LimitKind::QuotaMoney, 80), (LimitKind::QuotaMoney, 100)]
    );
    clock.pass(Duration::from_hours(24));
    assert_eq!(
        told(80, 0, clock),
        [(LimitKind::QuotaTokens, 50), (LimitKind::QuotaTokens, 80)]
    );
}

#[test]
fn the_first_refusal_of_a_period_says_so() {
    let scopes = with_quota(&quota(Some(100), None, Period::Day));
    let mut clock = Clock::new();
    let mut held = reserve(&scopes, 95, 0, clock).unwrap();
    let first = |tokens, clock| {
        let refusal = reserve(&scopes, tokens, 0, clock).unwrap_err();
        refusal.first_of_quota
    };
    assert!(!first(10, clock), "a request in flight is in the way");
    held.settle(95, 0, clock.0);
    assert!(!first(101, clock), "it never passes");
    assert!(first(10, clock));
    assert!(!first(10, clock));
    clock.pass(Duration::from_hours(24));
    reserve(&scopes, 95, 0, clock)
        .unwrap()
        .settle(95, 0, clock.0);
    assert!(first(10, clock));
}

#[test]
fn that_nothing_is_left_is_told_once_in_a_period() {
    let scopes = with_quota(&quota(Some(100), None, Period::Day));
    let mut clock = Clock::new();
    let told = |tokens, clock: Clock| {
        let mut held = reserve(&scopes, 0, 0, clock).unwrap();
        let settled = held.settle(tokens, 0, clock.0);
        settled.crossed.iter().any(|one| one.percent == 100)
    };
    let first = |tokens, clock| {
        let refusal = reserve(&scopes, tokens, 0, clock).unwrap_err();
        refusal.first_of_quota
    };
    assert!(told(100, clock));
    assert!(!first(1, clock), "the threshold has told it");
    clock.pass(Duration::from_hours(24));
    assert!(!told(95, clock));
    assert!(first(10, clock));
    assert!(!told(5, clock), "the refusal has told it");
}

#[test]
fn no_usage_however_large_credits_anybody() {
    let scopes = with_quota(&quota(Some(u64::MAX), Some(u64::MAX), Period::Day));
    let clock = Clock::new();
    let mut first = reserve(&scopes, u64::MAX - 5, 7, clock).unwrap();
    let mut second = reserve(&scopes, 5, 7, clock).unwrap();
    assert!(reserve(&scopes, 1, 0, clock).is_err());
    first.settle(u64::MAX, u64::MAX, clock.0);
    second.settle(u64::MAX, u64::MAX, clock.0);
    let usage = scopes[0].quota_usage().unwrap();
    assert_eq!((usage.tokens, usage.nanos), (u64::MAX, u64::MAX));
    assert!(reserve(&scopes, 0, 0, clock).is_err());
    assert!(reserve(&scopes, u64::MAX, u64::MAX, clock).is_err());
}

#[test]
fn a_balance_is_loaded_once_and_its_thresholds_count_as_told() {
    let scopes = with_quota(&quota(Some(100), None, Period::Month));
    let [scope] = &scopes;
    let clock = Clock::new();
    assert!(scope.needs_balance());
    let start = scope.period(clock.0.wall).unwrap();
    // A request that is settled before the balance is known counts, too.
    reserve(&scopes, 5, 0, clock).unwrap().settle(5, 0, clock.0);
    assert!(!scope.load(start - 1, 50, 0), "another period");
    assert!(scope.load(start, 85, 0));
    assert!(!scope.load(start, 85, 0), "a second time");
    assert!(!scope.needs_balance());
    assert_eq!(scope.quota_usage().unwrap().tokens, 90);
    let settled = reserve(&scopes, 5, 0, clock).unwrap().settle(5, 0, clock.0);
    assert!(settled.crossed.is_empty(), "80 % was told before");
    let settled = reserve(&scopes, 5, 0, clock).unwrap().settle(5, 0, clock.0);
    assert_eq!(settled.crossed[0].percent, 100);
    let unlimited = super::scope(&RateLimits::default());
    assert!(!unlimited[0].needs_balance() && !unlimited[0].load(start, 1, 1));
}

#[test]
fn a_balance_of_a_period_that_has_ended_is_not_taken_over() {
    let scopes = with_quota(&quota(Some(100), None, Period::Day));
    let mut clock = Clock::new();
    let start = scopes[0].period(clock.0.wall).unwrap();
    clock.pass(Duration::from_hours(24));
    drop(reserve(&scopes, 1, 0, clock).unwrap());
    assert!(!scopes[0].load(start, 100, 0));
    drop(reserve(&scopes, 100, 0, clock).unwrap());
}

#[test]
fn what_a_message_has_used_is_charged_in_the_current_period() {
    let mut both = quota(Some(100), None, Period::Day);
    both.warn_at = vec![];
    let rates = RateLimits {
        tokens_per_day: Some(1_000),
        ..RateLimits::default()
    };
    let scopes = [Limits::new().scope(tenant("a"), Some(&rates), Some(&both))];
    let mut clock = Clock::new();
    let mut socket = reserve(&scopes, 10, 0, clock).unwrap();
    socket.settle(0, 0, clock.0);
    assert!(!socket.charge(60, 0, clock.0).exhausted);
    clock.pass(Duration::from_hours(24));
    let charged = socket.charge(120, 0, clock.0);
    assert!(charged.exhausted);
    assert_ne!(charged.periods, socket.periods());
    assert_eq!(charged.crossed.len(), 1);
    assert_eq!(scopes[0].quota_usage().unwrap().tokens, 120);
    let told = socket.standing(clock.0).unwrap().tokens.unwrap();
    assert_eq!(told.remaining, 880, "a day has paid for the first 60");
}
