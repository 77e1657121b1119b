//! Nothing of an attempt reaches the client until it has really said something; meanwhile a client
//! may be kept awake.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{
    CHAT, GENEROUS, RESPONSES, TIERS, Told, assert_broken, assert_whole, at, broken, delta, error,
    finish, gateway, healthy, one_then_other, outcomes, role, rule, serve, token,
};
use crate::support::client::post;
use crate::support::gateway::Gateway;
use crate::support::streamed_chat;
use crate::support::upstream::Upstream;

/// A provider that says so many events that say nothing, and then tells of an error.
async fn empty_then_error(events: usize) -> Upstream {
    Upstream::start(move |_, mut reply| async move {
        reply.begin_stream().await;
        for _ in 0..events {
            reply.event(&role()).await;
        }
        let complaint = error("The server had an error.", "server_error", None);
        reply.event(&complaint).await;
        reply.end_stream().await;
        reply
    })
    .await
}

#[tokio::test]
async fn sixty_three_events_that_say_nothing_are_held_back() {
    let (first, second) = (empty_then_error(63).await, healthy("second").await);
    let front = one_then_other(&at("first", first.address, ""), &second);
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "second");
    assert_eq!(outcomes(&front, &response), "first:server_error second:ok");
}

/// What a client is sent while the provider waits to say more.
async fn committed_by(events: Vec<String>) {
    let step = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&step);
    let first = Upstream::start(move |_, mut reply| {
        let (held, events) = (Arc::clone(&held), events.clone());
        async move {
            reply.begin_stream().await;
            for event in &events {
                reply.event(event).await;
            }
            held.acquire().await.unwrap().forget();
            reply.event(&token("first", 0)).await;
            reply.event(&finish()).await;
            reply.event("[DONE]").await;
            reply.end_stream().await;
            reply
        }
    })
    .await;
    let second = healthy("second").await;
    let front = one_then_other(&at("first", first.address, ""), &second);
    let mut client = front.connect().await;
    client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
    assert_eq!(client.head().await.0, 200);
    let mut text = client.chunk().await.unwrap();
    step.add_permits(1);
    while let Some(chunk) = client.chunk().await.filter(|chunk| !chunk.is_empty()) {
        text += &chunk;
    }
    assert!(text.contains("first0 ") && text.ends_with("data: [DONE]\n\n"));
    assert_eq!((first.requests(), second.requests()), (1, 0));
}

#[tokio::test]
async fn the_sixty_fourth_event_passes_whatever_it_says() {
    committed_by(vec![role(); 64]).await;
}

#[tokio::test]
async fn two_hundred_and_fifty_six_kib_pass_whatever_they_say() {
    let large = format!(
        r#"{{"role":"assistant","padding":"{}"}}"#,
        "x".repeat(65 << 10)
    );
    committed_by(vec![delta(&large, "null"); 4]).await;
}

#[tokio::test]
async fn real_output_passes_at_once() {
    for real in [
        r#"{"content":"x"}"#,
        r#"{"reasoning_content":"x"}"#,
        r#"{"refusal":"x"}"#,
        r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]}"#,
    ] {
        committed_by(vec![role(), delta(real, "null")]).await;
    }
}

/// A gateway that keeps clients awake: `first` is silent, and then `second` is asked.
fn awake(first: &Upstream, second: &Upstream) -> Gateway {
    let upstreams = [
        at("first", first.address, ", timeouts: { first_token: 500ms }"),
        at("second", second.address, ""),
    ];
    let rules = [rule("gpt-4o", TIERS, ", keepalive_after: 50ms")];
    gateway(GENEROUS, &upstreams, &rules)
}

async fn silent() -> Upstream {
    Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.wait_for_close().await;
        reply
    })
    .await
}

#[tokio::test]
async fn a_success_follows_the_comments() {
    let (first, second) = (silent().await, healthy("second").await);
    let front = awake(&first, &second);
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert!(response.text().starts_with(": keepalive\n\n"));
    let kind = response.header("content-type").unwrap();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    assert_whole(&response, "second");
    let told = Told::of(&response);
    assert!(told.comments >= 2 && told.is_done, "{told:?}");
    assert_eq!(outcomes(&front, &response), "first:silent second:ok");
}

#[tokio::test]
async fn a_failure_behind_a_comment_is_told_in_the_stream() {
    let (first, second) = (silent().await, broken().await);
    let front = awake(&first, &second);
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert!(response.text().starts_with(": keepalive\n\n"));
    assert_eq!(response.status, 200);
    let told = Told::of(&response);
    assert!(told.error.is_some(), "{told:?}");
    assert!(!told.is_done && told.text.is_empty(), "{told:?}");
    assert!(response.complete);
    let trail = outcomes(&front, &response);
    assert!(
        trail.starts_with("first:silent second:server_error"),
        "{trail}"
    );
}

#[tokio::test]
async fn silence_behind_a_comment_is_told_in_the_stream() {
    let (first, second) = (silent().await, healthy("second").await);
    let upstreams = [
        at("first", first.address, ", timeouts: { first_token: 500ms }"),
        at("second", second.address, ""),
    ];
    let more = ", keepalive_after: 50ms";
    let rules = [rule("gpt-4o", "{ upstream: first }", more)];
    let front = gateway(GENEROUS, &upstreams, &rules);
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    let told = assert_broken(&response, "upstream_timeout");
    assert!(told.comments >= 1, "{told:?}");
    assert_eq!((first.requests(), second.requests()), (1, 0));
}

#[tokio::test]
async fn a_failure_before_any_comment_has_its_own_status() {
    let (first, second) = (broken().await, broken().await);
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, ""),
    ];
    let rules = [rule("gpt-4o", TIERS, ", keepalive_after: 10s")];
    let front = gateway(GENEROUS, &upstreams, &rules);
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    response.assert_error(500, "server_error", None, None);
}

#[tokio::test]
async fn a_failure_behind_a_comment_is_told_in_the_form_of_its_api() {
    let (first, second) = (silent().await, broken().await);
    let front = awake(&first, &second);
    let response = front.post(RESPONSES, &streamed_chat("gpt-4o")).await;
    assert!(response.text().starts_with(": keepalive\n\n"));
    let last = response.text().trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("event: error\n"), "{last}");
    assert!(Told::of(&response).error.is_some());
}

#[tokio::test]
async fn who_does_not_wait_for_a_stream_is_not_kept_awake() {
    let step = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&step);
    let first = Upstream::start(move |request, mut reply| {
        let held = Arc::clone(&held);
        async move {
            let is_second = request.text().contains("stream");
            if !is_second {
                held.acquire().await.unwrap().forget();
            }
            serve("first", &request, &mut reply).await;
            reply
        }
    })
    .await;
    let upstreams = [at("first", first.address, "")];
    let rules = [rule(
        "gpt-4o",
        "{ upstream: first }",
        ", keepalive_after: 10ms",
    )];
    let front = gateway(GENEROUS, &upstreams, &rules);
    let mut client = front.connect().await;
    client
        .send(post(CHAT, "", &crate::support::chat("gpt-4o")))
        .await;
    first.request().await;
    // Others are served meanwhile, for longer than it would have been kept waiting.
    for _ in 0..20 {
        assert_whole(&front.post(CHAT, &streamed_chat("gpt-4o")).await, "first");
    }
    step.add_permits(1);
    let response = client.response().await;
    assert_whole(&response, "first");
    assert_eq!(response.header("content-type"), Some("application/json"));
}
