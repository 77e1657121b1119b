//! The model that was asked for comes first: its target is asked once more before another model is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{CHAT, GENEROUS, at, broken, error, failing, gateway, healthy, outcomes, rule, serve};
use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{chat, streamed_chat};

/// Fails so often with this answer, and is well then.
async fn failing_first(times: usize, status: &'static str, headers: &'static str) -> Upstream {
    let turn = Arc::new(AtomicUsize::new(0));
    Upstream::start(move |request, mut reply| {
        let turn = turn.fetch_add(1, Ordering::SeqCst);
        async move {
            if turn < times {
                let body = error("Not now.", "server_error", None);
                reply.json_with(status, headers, &body).await;
            } else {
                serve("first", &request, &mut reply).await;
            }
            reply
        }
    })
    .await
}

/// A gateway whose only target is `first`; another model is `other`.
fn with_fallback(first: &Upstream, other: &Upstream, more: &str) -> Gateway {
    let upstreams = [
        at("first", first.address, ", ejection: off"),
        at("other", other.address, ""),
    ];
    let more = format!(", fallback: [spare]{more}");
    let rules = [
        rule("gpt-4o", "{ upstream: first }", &more),
        rule("spare", "{ upstream: other }", ""),
    ];
    gateway(GENEROUS, &upstreams, &rules)
}

async fn ask(gateway: &Gateway) -> (Response, String) {
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    let outcomes = outcomes(gateway, &response);
    (response, outcomes)
}

const FAILURE: &str = "500 Internal Server Error";
const OVERLOADED: &str = "503 Service Unavailable";
const TOO_MANY: &str = "429 Too Many Requests";

#[tokio::test]
async fn a_target_that_is_well_in_a_moment_keeps_its_requests() {
    for (status, headers, least, outcome) in [
        (FAILURE, "", 0, "server_error"),
        (OVERLOADED, "", 0, "overloaded"),
        (OVERLOADED, "retry-after: 1\r\n", 1, "overloaded"),
        (TOO_MANY, "retry-after: 1\r\n", 1, "rate_limited"),
    ] {
        let first = failing_first(1, status, headers).await;
        let other = healthy("other").await;
        let gateway = with_fallback(&first, &other, "");
        let started = Instant::now();
        let (_, asked) = ask(&gateway).await;
        assert_eq!(asked, format!("first:{outcome} first:ok"), "{headers}");
        assert!(started.elapsed() >= Duration::from_secs(least), "{headers}");
        assert_eq!(other.requests(), 0);
    }
}

#[tokio::test]
async fn a_target_is_asked_at_most_twice() {
    let other = healthy("other").await;
    for (first, outcome) in [
        (broken().await, "server_error"),
        (
            failing(TOO_MANY, "retry-after: 0.1\r\n", error("No.", "", None)).await,
            "rate_limited",
        ),
    ] {
        let gateway = with_fallback(&first, &other, "");
        let (_, asked) = ask(&gateway).await;
        let twice = format!("first:{outcome} first:{outcome}");
        assert_eq!(asked, format!("{twice} other:ok"));
        // The same where no other model is left.
        let upstreams = [at("first", first.address, ", ejection: off")];
        let rules = [rule("gpt-4o", "{ upstream: first }", "")];
        let gateway = super::gateway(GENEROUS, &upstreams, &rules);
        let (_, asked) = ask(&gateway).await;
        assert_eq!(asked, twice);
    }
}

#[tokio::test]
async fn another_model_is_asked_at_once_where_waiting_would_be_long_or_the_rule_says_so() {
    let other = healthy("other").await;
    let long = failing_first(1, TOO_MANY, "retry-after: 30\r\n").await;
    let gateway = with_fallback(&long, &other, "");
    assert_eq!(ask(&gateway).await.1, "first:rate_limited other:ok");
    let first = failing_first(1, FAILURE, "").await;
    let gateway = with_fallback(&first, &other, ", fallback_at: once");
    assert_eq!(ask(&gateway).await.1, "first:server_error other:ok");
    // Where no other model is left, it is asked once more all the same.
    let first = failing_first(1, FAILURE, "").await;
    let upstreams = [at("first", first.address, "")];
    let rules = [rule("gpt-4o", "{ upstream: first }", ", fallback_at: once")];
    let gateway = super::gateway(GENEROUS, &upstreams, &rules);
    assert_eq!(ask(&gateway).await.1, "first:server_error first:ok");
}

#[tokio::test]
async fn an_upstream_that_was_asked_twice_just_now_is_not_asked_once_more() {
    let (first, other) = (broken().await, healthy("other").await);
    let upstreams = [
        at("first", first.address, ", ejection: off"),
        at("other", other.address, ""),
    ];
    let targets = "{ upstream: first, model: a }, { upstream: first, model: b }";
    let rules = [
        rule("gpt-4o", targets, ", fallback: [spare]"),
        rule("spare", "{ upstream: other }", ""),
    ];
    let gateway = gateway(GENEROUS, &upstreams, &rules);
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    assert_eq!(
        outcomes(&gateway, &response),
        "first:server_error first:server_error other:ok"
    );
}
