//! A rule that asks a second candidate when the first one has said nothing for a while.

use std::time::Duration;

use super::{
    CHAT, GENEROUS, RESPONSES, assert_whole, at, broken, finish, gateway, healthy, outcomes, role,
    rule, serve, token,
};
use crate::support::client::post;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon, streamed_chat};

const TIERS: &str = "{ upstream: first }, { upstream: second, priority: 1 }";
const SOON: &str = ", hedge_after: 50ms";

fn before(first: &Upstream, second: &Upstream, of_second: &str, more: &str) -> Gateway {
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, of_second),
    ];
    gateway(GENEROUS, &upstreams, &[rule("gpt-4o", TIERS, more)])
}

/// Begins a stream, and says nothing.
async fn silent() -> Upstream {
    Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.event(&role()).await;
        reply.wait_for_close().await;
        reply
    })
    .await
}

/// Answers after a while, in whichever form is asked for.
async fn late(speaker: &'static str, wait: Duration) -> Upstream {
    Upstream::start(move |request, mut reply| async move {
        tokio::time::sleep(wait).await;
        serve(speaker, &request, &mut reply).await;
        reply
    })
    .await
}

#[tokio::test]
async fn the_faster_of_two_answers_and_the_other_is_left_at_once() {
    let (first, second) = (silent().await, healthy("second").await);
    let gateway = before(&first, &second, "", SOON);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "second");
    assert_eq!(outcomes(&gateway, &response), "first:hedged second:ok");
    soon("the end of the first connection", first.closed()).await;
    let left = r#"tollgate_attempts_total{upstream="first",verdict="hedged"}"#;
    assert_eq!(gateway.metric(left).await, 1.0);
    let tokens = r#"tollgate_hedged_tokens_total{upstream="first"}"#;
    assert!(gateway.metric(tokens).await > 1.0);
}

#[tokio::test]
async fn the_first_may_still_win() {
    let (first, second) = (
        late("first", Duration::from_millis(300)).await,
        silent().await,
    );
    let gateway = before(&first, &second, "", SOON);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "first");
    assert_eq!(outcomes(&gateway, &response), "first:ok second:hedged");
    soon("the end of the second connection", second.closed()).await;
}

#[tokio::test]
async fn nothing_else_is_asked_while_the_first_is_in_time() {
    let (first, second) = (healthy("first").await, healthy("second").await);
    let gateway = before(&first, &second, "", ", hedge_after: 60s");
    for _ in 0..10 {
        let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "first");
    }
    assert_eq!(second.requests(), 0);
}

#[tokio::test]
async fn one_that_fails_leaves_it_to_the_other() {
    let failing = Upstream::start(|_, mut reply| async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        reply.json("500 Internal Server Error", "{}").await;
        reply
    })
    .await;
    let slow = late("second", Duration::from_millis(400)).await;
    let gateway = before(&failing, &slow, "", SOON);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "second");
    assert_eq!(
        outcomes(&gateway, &response),
        "first:server_error second:ok"
    );
    let first = late("first", Duration::from_millis(400)).await;
    let second = broken().await;
    let gateway = before(&first, &second, "", SOON);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "first");
    assert_eq!(
        outcomes(&gateway, &response),
        "first:ok second:server_error"
    );
}

#[tokio::test]
async fn where_both_fail_the_next_is_asked_alone() {
    let first = Upstream::start(|_, mut reply| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        reply.close();
        reply
    })
    .await;
    let (second, third) = (
        broken().await,
        late("third", Duration::from_millis(200)).await,
    );
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, ""),
        at("third", third.address, ""),
    ];
    let targets = format!("{TIERS}, {{ upstream: third, priority: 2 }}");
    let gateway = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", &targets, SOON)]);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "third");
    let asked = outcomes(&gateway, &response);
    assert!(
        asked.starts_with("first:cut second:server_error "),
        "{asked}"
    );
    assert!(asked.ends_with("third:ok"), "{asked}");
}

#[tokio::test]
async fn a_whole_answer_is_hedged_only_where_a_stream_is_asked_for_it() {
    let (first, second) = (
        late("first", Duration::from_millis(300)).await,
        healthy("second").await,
    );
    let gateway = before(&first, &second, "", SOON);
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    assert_whole(&response, "first");
    assert_eq!(second.requests(), 0);
    let targets = "{ upstream: first, upstream_stream: always }, \
                   { upstream: second, priority: 1, upstream_stream: always }";
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, ""),
    ];
    let gateway = super::gateway(GENEROUS, &upstreams, &[rule("gpt-4o", targets, SOON)]);
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    assert_whole(&response, "second");
}

#[tokio::test]
async fn what_is_kept_by_the_provider_is_asked_for_once() {
    let first = late("first", Duration::from_millis(200)).await;
    let second = healthy("second").await;
    let gateway = before(&first, &second, "", SOON);
    let response = r#"{"model":"gpt-4o","stream":true,"input":"Hello"}"#;
    let stored = streamed_chat("gpt-4o").replacen('{', r#"{"store":true,"#, 1);
    for (path, body) in [(RESPONSES, response), (CHAT, &stored)] {
        let answer = gateway.post(path, body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(outcomes(&gateway, &answer), "first:ok", "{path}");
    }
    assert_eq!(second.requests(), 0);
}

#[tokio::test]
async fn the_retry_budget_and_the_places_of_the_second_bound_it() {
    let first = late("first", Duration::from_millis(200)).await;
    let second = healthy("second").await;
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, ""),
    ];
    let rules = [rule("gpt-4o", TIERS, SOON)];
    let gateway = super::gateway("budget_percent: 0, budget_floor: 1", &upstreams, &rules);
    let mut asked = Vec::new();
    for _ in 0..3 {
        let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
        asked.push(outcomes(&gateway, &response));
    }
    assert_eq!(asked, ["first:hedged second:ok", "first:ok", "first:ok"]);

    // The only place is taken by a stream that goes on.
    let second = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.event(&token("second", 0)).await;
        reply.wait_for_close().await;
        reply
    })
    .await;
    let upstreams = [
        at("first", first.address, ""),
        at(
            "second",
            second.address,
            ", max_concurrent: 1, queue: { length: 0 }",
        ),
    ];
    let rules = [
        rule("gpt-4o", TIERS, SOON),
        rule("other", "{ upstream: second }", ""),
    ];
    let gateway = super::gateway(GENEROUS, &upstreams, &rules);
    let mut holder = gateway.connect().await;
    holder.send(post(CHAT, "", &streamed_chat("other"))).await;
    holder.head().await;
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "first");
    assert_eq!(outcomes(&gateway, &response), "first:ok");
}

#[tokio::test]
async fn a_candidate_that_could_not_be_asked_beside_is_there_when_the_first_fails() {
    let first = Upstream::start(|_, mut reply| async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        reply.close();
        reply
    })
    .await;
    let second = healthy("second").await;
    let upstreams = [
        at("first", first.address, ", ejection: off"),
        at("second", second.address, ""),
    ];
    let rules = [rule("gpt-4o", TIERS, SOON)];
    // Nothing may be asked again, but moving on is not asking again.
    let gateway = super::gateway("budget_percent: 0, budget_floor: 0", &upstreams, &rules);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "second");
    assert_eq!(outcomes(&gateway, &response), "first:cut second:ok");
}

#[tokio::test]
async fn a_client_that_leaves_leaves_both() {
    let (first, second) = (silent().await, silent().await);
    let gateway = before(&first, &second, "", SOON);
    let mut client = gateway.connect().await;
    client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
    soon("the second request", second.request()).await;
    drop(client);
    soon("the end of the first connection", first.closed()).await;
    soon("the end of the second connection", second.closed()).await;
    gateway
        .metric_becomes("tollgate_requests_in_flight", 0.0)
        .await;
    // What both may have used counts once, as the first one's.
    let line = gateway.access_line("status=499 ");
    assert!(line.contains("upstream=first "), "{line}");
}

#[tokio::test]
async fn a_target_that_is_always_late_is_ejected() {
    let (first, second) = (silent().await, healthy("second").await);
    let gateway = before(&first, &second, "", SOON);
    for _ in 0..5 {
        let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_eq!(outcomes(&gateway, &response), "first:hedged second:ok");
    }
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_eq!(outcomes(&gateway, &response), "second:ok");
}

#[tokio::test]
async fn a_fallback_is_asked_beside_where_the_rule_has_no_other_target() {
    let (first, second) = (silent().await, healthy("second").await);
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, ""),
    ];
    let rules = [
        rule(
            "gpt-4o",
            "{ upstream: first }",
            ", fallback: [spare], hedge_after: 50ms",
        ),
        rule("spare", "{ upstream: second }", ""),
    ];
    let gateway = super::gateway(GENEROUS, &upstreams, &rules);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "second");
    assert_eq!(outcomes(&gateway, &response), "first:hedged second:ok");
    assert!(
        !response
            .text()
            .contains(&finish().replace("\"m\"", "\"spare\""))
    );
}

#[tokio::test]
async fn an_answer_that_is_held_until_it_is_whole_is_not_silent() {
    let slow_to_end = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.event(&role()).await;
        for n in 0..super::TOKENS {
            reply.event(&token("first", n)).await;
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        reply.event(&finish()).await;
        reply.event("[DONE]").await;
        reply.end_stream().await;
        reply
    })
    .await;
    let second = healthy("second").await;
    let gateway = before(
        &slow_to_end,
        &second,
        "",
        ", hedge_after: 1s, commit: whole",
    );
    for _ in 0..3 {
        let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "first");
        assert_eq!(outcomes(&gateway, &response), "first:ok");
    }
    assert_eq!(second.requests(), 0);
}
