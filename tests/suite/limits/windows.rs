//! Each limit by itself: at it, one over it, and after its window.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::{
    ANSWER, CHAT, Setup, admitted, ask, assert_refused, chat_up_to, gated, number, seconds,
    tokens_left,
};
use crate::support::client::post;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon};

async fn limited(upstream: &Upstream, limits: &str) -> Gateway {
    let tenant = format!(", limits: {{ {limits} }}");
    let setup = Setup {
        tenant: &tenant,
        ..Setup::default()
    };
    setup.start(upstream.address)
}

#[tokio::test]
async fn as_many_requests_pass_at_once_as_a_window_has_and_the_next_is_told_when_it_may() {
    // Three in a window: so the next may pass after a third of it at the latest, or a whole one where it slides.
    for (limit, window_s) in [
        ("requests_per_minute", 60),
        ("requests_per_hour", 3_600),
        ("requests_per_day", 86_400),
    ] {
        for (window, longest_s) in [("gcra", window_s / 3), ("sliding", window_s * 60 / 59 + 1)] {
            let upstream = Upstream::answering(ANSWER).await;
            let limits = format!("{limit}: 3, window: {window}");
            let gateway = limited(&upstream, &limits).await;
            for left in [2, 1, 0] {
                let passed = ask(&gateway, &chat("gpt-4o")).await;
                assert_eq!(passed.status, 200, "{limits}");
                assert_eq!(number(&passed, "x-ratelimit-limit-requests"), 3);
                assert_eq!(number(&passed, "x-ratelimit-remaining-requests"), left);
            }
            let refused = ask(&gateway, &chat("gpt-4o")).await;
            assert_refused(&refused, "requests", "tenant `tester`", limit);
            let wait = number(&refused, "retry-after");
            assert!(
                (longest_s / 2..=longest_s).contains(&wait),
                "{limits}: {wait}"
            );
            let told = (wait > 60).then_some("false");
            assert_eq!(refused.header("x-should-retry"), told, "{limits}");
            assert_eq!(upstream.requests(), 3, "{limits}");
        }
    }
}

#[tokio::test]
async fn a_limit_a_second_lets_no_more_through_than_time_has_paid_for_and_more_after_its_window() {
    for window in ["gcra", "sliding"] {
        let upstream = Upstream::answering(ANSWER).await;
        let gateway = limited(&upstream, &format!("rps: 2, window: {window}")).await;
        let mut client = gateway.connect().await;
        let began = Instant::now();
        let mut passed = 0_u32;
        let asking = async {
            loop {
                let response = client.post(CHAT, &chat("gpt-4o")).await;
                if response.status == 429 {
                    break response;
                }
                passed += 1;
            }
        };
        let refused = soon("a refusal", asking).await;
        let paid = 2.0 * began.elapsed().as_secs_f64();
        assert!(passed >= 2 && f64::from(passed) <= 2.0 + paid, "{passed}");
        assert_refused(
            &refused,
            "requests",
            "tenant `tester`",
            "requests_per_second",
        );
        assert!((1..=2).contains(&number(&refused, "retry-after")));
        assert_eq!(refused.header("x-should-retry"), None);
        assert_eq!(admitted(&gateway, &chat("gpt-4o")).await.status, 200);
    }
}

#[tokio::test]
async fn tokens_are_set_aside_before_a_request_and_what_it_has_used_is_counted_behind_it() {
    for limit in ["tokens_per_minute", "tokens_per_day"] {
        let upstream = Upstream::answering(ANSWER).await;
        let gateway = limited(&upstream, &format!("{limit}: 1000, window: sliding")).await;
        let first = ask(&gateway, &chat_up_to("gpt-4o", 900)).await;
        assert_eq!(first.status, 200);
        assert_eq!(number(&first, "x-ratelimit-limit-tokens"), 1000);
        // What is asked with is estimated.
        let input = 100 - number(&first, "x-ratelimit-remaining-tokens");
        assert!((5..50).contains(&input), "{input}");
        assert_eq!(tokens_left(&gateway).await, 990);

        // What just fits passes, and one token more does not.
        let over = ask(&gateway, &chat_up_to("gpt-4o", 991 - input)).await;
        assert_refused(&over, "tokens", "tenant `tester`", limit);
        assert!(number(&over, "retry-after") > 10);
        let fits = ask(&gateway, &chat_up_to("gpt-4o", 990 - input)).await;
        assert_eq!(fits.status, 200);
        assert_eq!(number(&fits, "x-ratelimit-remaining-tokens"), 0);
        assert_eq!(tokens_left(&gateway).await, 980);
    }
}

#[tokio::test]
async fn a_request_for_more_than_the_limit_is_never_told_to_wait() {
    let upstream = Upstream::answering(ANSWER).await;
    let gateway = limited(&upstream, "tpm: 1000").await;
    let refused = ask(&gateway, &chat_up_to("gpt-4o", 1001)).await;
    refused.assert_error(429, "tokens", Some("rate_limit_exceeded"), None);
    let body = refused.json();
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("Request too large for tenant `tester` on tokens_per_minute"));
    assert_eq!(refused.header("retry-after"), None);
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn each_way_to_bound_the_output_is_set_aside_for_every_choice() {
    let upstream = Upstream::answering(ANSWER).await;
    let gateway = limited(&upstream, "tpm: 100000, window: sliding").await;
    let mut sums = Vec::new();
    for members in [
        r#""max_tokens":5000"#,
        r#""max_completion_tokens":5000"#,
        r#""max_output_tokens":5000"#,
        r#""max_tokens":1000,"n":5"#,
    ] {
        let left = tokens_left(&gateway).await;
        let body = chat("gpt-4o").replacen('{', &format!("{{{members},"), 1);
        let passed = ask(&gateway, &body).await;
        sums.push(left - number(&passed, "x-ratelimit-remaining-tokens"));
    }
    // What is asked with is alike, but for the length of the members.
    let expected = 5_020..5_030;
    assert!(sums.iter().all(|sum| expected.contains(sum)), "{sums:?}");
}

#[tokio::test]
async fn where_a_request_bounds_nothing_what_its_rule_has_used_is_set_aside() {
    let long = ANSWER.replace(r#""completion_tokens":4"#, r#""completion_tokens":5000"#);
    let long: &'static str = Box::leak(long.into_boxed_str());
    let upstream = Upstream::answering(long).await;
    let gateway = limited(&upstream, "tpm: 1000000, window: sliding").await;
    let mut set_aside = Vec::new();
    for _ in 0..10 {
        let left = tokens_left(&gateway).await;
        let passed = ask(&gateway, &chat("gpt-4o")).await;
        set_aside.push(left - number(&passed, "x-ratelimit-remaining-tokens"));
    }
    assert!(set_aside.is_sorted(), "{set_aside:?}");
    assert!(
        set_aside[9] > 2_000 && set_aside[9] < 6_000,
        "{set_aside:?}"
    );
}

#[tokio::test]
async fn as_many_requests_are_in_flight_as_the_limit_says() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let gateway = limited(&upstream, "concurrent: 2").await;
    let (mut one, mut two) = (gateway.connect().await, gateway.connect().await);
    for client in [&mut one, &mut two] {
        client.send(post(CHAT, "", &chat("gpt-4o"))).await;
        upstream.request().await;
    }
    for _ in 0..3 {
        let refused = ask(&gateway, &chat("gpt-4o")).await;
        assert_refused(&refused, "requests", "tenant `tester`", "concurrent");
        assert_eq!(number(&refused, "retry-after"), 1);
    }
    gate.add_permits(2);
    // A request has given its permit back before the last byte of its answer.
    assert_eq!(one.response().await.status, 200);
    gate.add_permits(1);
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    assert_eq!(two.response().await.status, 200);
    assert_eq!(upstream.requests(), 3);
}

#[tokio::test]
async fn a_refusal_never_counts_against_the_limit() {
    let upstream = Upstream::answering(ANSWER).await;
    let gateway = limited(
        &upstream,
        "requests_per_hour: 2, requests_per_day: 5, tokens_per_day: 100000",
    )
    .await;
    for _ in 0..2 {
        assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    }
    let first = ask(&gateway, &chat("gpt-4o")).await;
    assert_refused(&first, "requests", "tenant `tester`", "requests_per_hour");
    for _ in 0..20 {
        ask(&gateway, &chat("gpt-4o")).await;
    }
    let last = ask(&gateway, &chat("gpt-4o")).await;
    for name in ["x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"] {
        assert!(seconds(&last, name) <= seconds(&first, name), "{name}");
    }
    let wait = |refused| number(refused, "retry-after");
    assert!(wait(&last) <= wait(&first));
    let left = |refused| number(refused, "x-ratelimit-remaining-tokens");
    assert!(left(&last) >= left(&first));
    let refused = r#"tollgate_limited_total{limit="requests_per_hour",scope="tenant"}"#;
    gateway.metric_becomes(refused, 22.0).await;
}
