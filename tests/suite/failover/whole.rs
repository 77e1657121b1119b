//! A rule whose clients get an answer once it is whole: whatever breaks before that is replaced unseen.

use std::time::Duration;

use super::{
    CHAT, GENEROUS, assert_whole, at, delta, error, finish, gateway, healthy, outcomes, rule,
    tokens,
};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Reply, Upstream};
use crate::support::{chat, streamed_chat};

/// How an answer goes wrong behind its fortieth token.
#[derive(Clone, Copy, Debug)]
enum Break {
    Close,
    Stall,
    Malformed,
    Error,
    End,
}

/// Says forty tokens, and breaks.
async fn breaking(how: Break) -> Upstream {
    Upstream::start(move |request: Received, mut reply: Reply| async move {
        assert!(request.text().contains(r#""stream":true"#), "{how:?}");
        reply.begin_stream().await;
        tokens("first", 0..40, &mut reply).await;
        match how {
            Break::Close => reply.close(),
            Break::Stall => reply.wait_for_close().await,
            Break::Malformed => {
                reply.chunk("data: {\"choices\":[{\"delta\":\n\n").await;
                tokens("first", 40..60, &mut reply).await;
                reply.event(&finish()).await;
                reply.event("[DONE]").await;
                reply.end_stream().await;
            }
            Break::Error => {
                let error = error("The server had an error.", "server_error", None);
                reply.event(&error).await;
                reply.end_stream().await;
            }
            Break::End => reply.end_stream().await,
        }
        reply
    })
    .await
}

fn before(first: &Upstream, other: &Upstream, more: &str) -> Gateway {
    let timeouts = ", ejection: off, timeouts: { first_token: 10s, idle: 300ms }";
    let upstreams = [
        at("first", first.address, timeouts),
        at("other", other.address, ""),
    ];
    let targets = "{ upstream: first }, { upstream: other, priority: 1 }";
    gateway(GENEROUS, &upstreams, &[rule("gpt-4o", targets, more)])
}

#[tokio::test]
async fn what_breaks_after_output_is_replaced_unseen_in_both_forms() {
    for (how, reason) in [
        (Break::Close, "first:cut first:cut"),
        (Break::Stall, "first:silent"),
        (Break::Malformed, "first:invalid_response"),
        (Break::Error, "first:server_error"),
        (Break::End, "first:cut first:cut"),
    ] {
        let (first, other) = (breaking(how).await, healthy("other").await);
        let gateway = before(&first, &other, ", commit: whole");
        for body in [streamed_chat("gpt-4o"), chat("gpt-4o")] {
            let response = gateway.post(CHAT, &body).await;
            assert_whole(&response, "other");
            assert!(!response.text().contains("first"), "{how:?}");
            // Of an answer in JSON it is not looked at what a client would not see.
            if response.header("content-type") != Some("application/json") || !is_unseen(how) {
                let asked = outcomes(&gateway, &response);
                assert_eq!(asked, format!("{reason} other:ok"), "{how:?}");
            }
        }
        let wasted = r#"tollgate_wasted_tokens_total{upstream="first"}"#;
        assert!(gateway.metric(wasted).await > 0.5, "{how:?}");
    }
}

fn is_unseen(how: Break) -> bool {
    matches!(how, Break::Malformed)
}

#[tokio::test]
async fn a_rule_that_does_not_say_so_passes_what_has_come() {
    let (first, other) = (breaking(Break::Close).await, healthy("other").await);
    let gateway = before(&first, &other, "");
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert!(response.text().contains("first39"), "{response:?}");
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn a_client_that_waits_for_a_whole_answer_hears_something() {
    let slow = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        tokens("first", 0..60, &mut reply).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        reply.event(&finish()).await;
        reply.event("[DONE]").await;
        reply.end_stream().await;
        reply
    })
    .await;
    let other = healthy("other").await;
    let gateway = before(&slow, &other, ", commit: whole, keepalive_after: 50ms");
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "first");
    let text = response.text();
    let comment = text.find(": keepalive").unwrap();
    assert!(comment < text.find("first0").unwrap(), "{text}");
}

#[tokio::test]
async fn one_that_is_too_long_to_be_held_passes_as_it_comes() {
    let long = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        let content = format!(r#"{{"content":"{}"}}"#, "word ".repeat(10_000));
        for _ in 0..200 {
            reply.event(&delta(&content, "null")).await;
        }
        reply.close();
        reply
    })
    .await;
    let other = healthy("other").await;
    let gateway = before(&long, &other, ", commit: whole");
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert!(response.text().len() > 8 << 20);
    assert!(response.text().contains("upstream_cut"));
    let held = gateway
        .metric(r#"tollgate_answers_held_total{until="bytes"}"#)
        .await;
    assert!((held - 1.0).abs() < 0.1, "{held}");
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_may_be_bounded_as_well() {
    let silent = Upstream::start(|_, mut reply| async move {
        reply.wait_for_close().await;
        reply
    })
    .await;
    let other = healthy("other").await;
    for (resends, moves_on) in [("", false), (", resend_lost: true", true)] {
        let timeouts = format!(", ejection: off, timeouts: {{ answer: 200ms }}{resends}");
        let upstreams = [
            at("first", silent.address, timeouts.as_str()),
            at("other", other.address, ""),
        ];
        let targets = "{ upstream: first }, { upstream: other, priority: 1 }";
        let gateway = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", targets, "")]);
        let response = gateway.post(CHAT, &chat("gpt-4o")).await;
        if moves_on {
            assert_whole(&response, "other");
        } else {
            response.assert_error(504, "server_error", Some("upstream_timeout"), None);
            assert_eq!(response.header("x-should-retry"), None);
        }
        let first = outcomes(&gateway, &response);
        assert!(first.starts_with("first:lost"), "{first}");
    }
}
