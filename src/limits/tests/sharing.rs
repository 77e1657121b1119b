//! One node's part of limits that several nodes share: what it serves from, what it asks for, and when it gives it up.

use super::*;
use crate::limits::kind::LimitKind;
use crate::limits::report::{Grant, GrantedLimit, NodeUsage, Report};
use crate::limits::share::Asking;

/// A scope of a node that is called `a`, which shares it with others.
fn shared(rates: Option<&RateLimits>, quota: Option<&Quota>) -> [Arc<Scope>; 1] {
    let due = Arc::new(DueScopes::new("a", 1));
    [Limits::shared(due).scope(tenant("t"), rates, quota)]
}

fn rpm(limit: u64) -> RateLimits {
    RateLimits {
        requests_per_minute: Some(limit),
        ..RateLimits::default()
    }
}

/// What the store says: this node holds so many units of the only limit, and so many are left.
fn granted(held: u64, left: u64) -> Grant {
    let limit = GrantedLimit {
        held,
        level: 0.0,
        left,
        idle: 0,
        is_spent: false,
        wait: Duration::from_secs(7),
        reset: Duration::from_secs(9),
        reached: (0, 0),
    };
    Grant {
        limits: [limit].into_iter().collect(),
        epoch: "e".into(),
        start: 0,
        nodes: Vec::new(),
    }
}

fn told(scope: &Arc<Scope>, clock: Clock, grant: &Grant) -> Report {
    let report = scope.report(Asking::Among(2), clock.0).unwrap();
    scope.grant(&report, grant);
    report
}

#[test]
fn a_node_serves_what_it_was_granted_and_nothing_before() {
    let scopes = shared(Some(&rpm(100)), None);
    let mut clock = Clock::new();
    let refused = reserve(&scopes, 0, 0, clock).unwrap_err();
    assert_eq!(refused.kind, LimitKind::RequestsPerMinute);
    told(&scopes[0], clock, &granted(3, 97));
    let held: Vec<_> = (0..3)
        .map(|_| reserve(&scopes, 0, 0, clock).unwrap())
        .collect();
    assert!(reserve(&scopes, 0, 0, clock).is_err());
    // What was used is told, and stays used.
    drop(held);
    clock.pass(Duration::from_secs(1));
    let report = told(&scopes[0], clock, &granted(2, 90));
    assert_eq!((report.limits[0].used, report.limits[0].reported), (3, 0));
    // It asks for what it needs in two seconds at this speed.
    assert_eq!(report.limits[0].ahead, 6);
    assert!(reserve(&scopes, 0, 0, clock).is_ok());
}

#[test]
fn a_grant_lapses_before_another_node_may_have_it() {
    let scopes = shared(Some(&rpm(100)), None);
    let mut clock = Clock::new();
    told(&scopes[0], clock, &granted(50, 50));
    clock.pass(Duration::from_millis(5_999));
    assert!(reserve(&scopes, 0, 0, clock).is_ok());
    clock.pass(Duration::from_millis(1));
    assert!(reserve(&scopes, 0, 0, clock).is_err());
}

#[test]
fn what_is_not_asked_for_again_is_not_used_meanwhile() {
    let scopes = shared(Some(&rpm(100)), None);
    let mut clock = Clock::new();
    told(&scopes[0], clock, &granted(50, 50));
    clock.pass(Duration::from_secs(5));
    // No request came: all of it is given back, whenever the answer comes.
    let report = scopes[0].report(Asking::Among(2), clock.0).unwrap();
    assert_eq!((report.limits[0].ahead, report.limits[0].needed), (0, 0));
    assert!(reserve(&scopes, 0, 0, clock).is_err());
}

#[test]
fn without_the_store_a_node_has_an_equal_part() {
    let scopes = shared(Some(&rpm(10)), Some(&quota(Some(900), None, Period::Total)));
    let clock = Clock::new();
    let used = |node: &str, tokens| NodeUsage {
        node: node.into(),
        used: demand(tokens, 0),
    };
    scopes[0].period(clock.0.wall);
    scopes[0].learn(0, &[used("a", 100), used("b", 200), used("b", 150)]);
    assert_eq!(scopes[0].quota_usage().unwrap().tokens, 300);
    let alone = |tokens| {
        super::super::admission::admit(&scopes, demand(tokens, 0), clock.0, Mode::Alone(3))
    };
    // A third of what is left of the quota, and of the rate rounded up.
    assert!(alone(201).is_err());
    let held: Vec<_> = (0..4).map(|_| alone(50).unwrap()).collect();
    assert_eq!(
        alone(0).unwrap_err().refusal.kind,
        LimitKind::RequestsPerMinute
    );
    drop(held);
}

#[test]
fn what_is_told_twice_or_late_of_a_quota_counts_once() {
    let scopes = shared(None, Some(&quota(Some(900), None, Period::Total)));
    let clock = Clock::new();
    scopes[0].period(clock.0.wall);
    let used = |tokens| {
        [NodeUsage {
            node: "b".into(),
            used: demand(tokens, 0),
        }]
    };
    for tokens in [10, 30, 20, 30] {
        scopes[0].learn(0, &used(tokens));
    }
    // Of another period.
    scopes[0].learn(5, &used(500));
    assert_eq!(scopes[0].quota_usage().unwrap().tokens, 30);
    let mut grant = granted(100, 700);
    grant.nodes = used(40).to_vec();
    told(&scopes[0], clock, &grant);
    assert_eq!(scopes[0].quota_usage().unwrap().tokens, 40);
    let mut held = reserve(&scopes, 100, 0, clock).unwrap();
    held.settle(70, 0, clock.0);
    assert_eq!(scopes[0].quota_usage().unwrap().tokens, 110);
    let report = scopes[0].report(Asking::Among(2), clock.0).unwrap();
    assert_eq!(report.quota.unwrap().own, demand(70, 0));
}

#[test]
fn a_threshold_is_told_by_the_process_that_the_store_names() {
    let scopes = shared(None, Some(&quota(Some(100), None, Period::Total)));
    let clock = Clock::new();
    scopes[0].period(clock.0.wall);
    let reached = |percent, others| {
        let mut grant = granted(0, 0);
        grant.limits[0].reached = (percent, others);
        let report = scopes[0].report(Asking::Among(2), clock.0).unwrap();
        let reached = scopes[0].grant(&report, &grant);
        reached.iter().map(|r| r.percent).collect::<Vec<_>>()
    };
    assert_eq!(reached(80, 80), [0_u8; 0]);
    assert_eq!(reached(80, 0), [0_u8; 0], "another one has told");
    assert_eq!(reached(100, 80), [100]);
    assert_eq!(reached(100, 80), [0_u8; 0]);
}

#[test]
fn a_threshold_that_another_node_has_told_is_not_told_with_the_next_one() {
    let quota = Quota {
        warn_at: vec![50, 80],
        ..quota(Some(100), None, Period::Total)
    };
    let scopes = shared(None, Some(&quota));
    let clock = Clock::new();
    scopes[0].period(clock.0.wall);
    let mut grant = granted(0, 0);
    grant.limits[0].reached = (100, 50);
    let report = scopes[0].report(Asking::Among(2), clock.0).unwrap();
    let reached = scopes[0].grant(&report, &grant);
    let percents: Vec<u8> = reached.iter().map(|r| r.percent).collect();
    assert_eq!(percents, [80, 100]);
}

#[test]
fn a_refusal_by_a_limit_that_was_raised_is_no_news_of_the_new_one() {
    let due = Arc::new(DueScopes::new("a", 1));
    let limits = Limits::shared(due);
    let of = |tokens| Some(quota(Some(tokens), None, Period::Total));
    let scope = limits.scope(tenant("t"), None, of(100).as_ref());
    let mut clock = Clock::new();
    scope.period(clock.0.wall);
    let mut spent = granted(0, 0);
    spent.limits[0].is_spent = true;
    spent.nodes = vec![NodeUsage {
        node: "b".into(),
        used: demand(100, 0),
    }];
    told(&scope, clock, &spent);
    assert!(reserve(&[Arc::clone(&scope)], 10, 0, clock).is_err());
    let refused = |clock: Clock| {
        let report = scope.report(Asking::Among(2), clock.0).unwrap();
        report.quota.unwrap().has_refused
    };
    assert_eq!(refused(clock), [true, false]);
    limits.scope(tenant("t"), None, of(1_000).as_ref());
    clock.pass(Duration::from_secs(1));
    assert_eq!(refused(clock), [false, false]);
}

#[test]
fn a_period_that_has_not_begun_by_the_clock_of_the_store_is_left() {
    let scopes = shared(None, Some(&quota(Some(900), None, Period::Day)));
    let mut clock = Clock::new();
    clock.set_wall("2026-12-05T12:00:00Z");
    let ahead = scopes[0].period(clock.0.wall).unwrap();
    scopes[0].learn(
        ahead,
        &[NodeUsage {
            node: "a".into(),
            used: demand(5, 0),
        }],
    );
    clock.set_wall(START);
    let today = scopes[0]
        .report(Asking::Among(2), clock.0)
        .unwrap()
        .quota
        .unwrap();
    assert!(today.start < ahead, "{today:?}");
    assert_eq!((today.own, today.start % 86_400), (demand(0, 0), 0));
}
