//! A stream that fails once it has reached the client: the client is told within it, and it never
//! looks complete.

use std::time::Duration;

use super::{
    CHAT, GENEROUS, RESPONSES, TIERS, TOKENS, Told, assert_broken, assert_whole, at, error, finish,
    gateway, healthy, one_then_other, outcomes, role, rule, token, tokens, typed_event, whole,
};
use crate::support::client::Response;
use crate::support::streamed_chat;
use crate::support::upstream::Upstream;

/// The text of the first so many tokens.
fn beginning(speaker: &str, count: usize) -> String {
    (0..count).map(|n| format!("{speaker}{n} ")).collect()
}

/// Asks `first` for a stream, with a healthy one behind it that is not to be asked.
async fn streamed(first: &Upstream, more: &str) -> (Response, String) {
    let second = healthy("second").await;
    let front = one_then_other(&at("first", first.address, more), &second);
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    let outcomes = outcomes(&front, &response);
    assert_eq!((first.requests(), second.requests()), (1, 0), "{outcomes}");
    (response, outcomes)
}

/// A provider that says so many tokens, and whatever comes behind them in one piece.
async fn saying(count: usize, behind: &'static [&'static str], is_reset: bool) -> Upstream {
    Upstream::start(move |_, mut reply| async move {
        reply.begin_stream().await;
        tokens("first", 0..count, &mut reply).await;
        for event in behind {
            reply.event(event).await;
        }
        match is_reset {
            true => reply.reset(),
            false => reply.end_stream().await,
        }
        reply
    })
    .await
}

#[tokio::test]
async fn a_cut_after_40_of_60_tokens_is_told_behind_them() {
    let first = saying(40, &[], true).await;
    let (response, _) = streamed(&first, "").await;
    let told = assert_broken(&response, "upstream_cut");
    assert_eq!(told.text, beginning("first", 40));
    assert!(response.complete, "the transport ends properly behind it");
}

#[tokio::test]
async fn an_end_without_a_finish_reason_is_a_cut() {
    let first = saying(40, &[], false).await;
    let (response, _) = streamed(&first, "").await;
    let told = assert_broken(&response, "upstream_cut");
    assert_eq!(told.text, beginning("first", 40));
}

#[tokio::test]
async fn a_cut_of_a_responses_stream_is_told_in_its_own_form() {
    let first = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        let text = |n| format!(r#""delta":"first{n} ""#);
        let deltas = (0..40).map(|n| typed_event("response.output_text.delta", &text(n)));
        let begun = typed_event("response.created", r#""response":{"id":"resp_1"}"#);
        reply.chunk(&(begun + &deltas.collect::<String>())).await;
        reply.reset();
        reply
    })
    .await;
    let second = healthy("second").await;
    let front = one_then_other(&at("first", first.address, ""), &second);
    let response = front.post(RESPONSES, &streamed_chat("gpt-4o")).await;
    let told = assert_broken(&response, "server_error");
    assert_eq!(told.text, beginning("first", 40));
    let last = response.text().trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("event: response.failed\n"), "{last}");
    assert!(!response.text().contains("[DONE]"));
    assert_eq!(second.requests(), 0);
}

#[tokio::test]
async fn a_stall_is_cut_after_idle_though_comments_come() {
    let silent = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        tokens("first", 0..2, &mut reply).await;
        reply.wait_for_close().await;
        reply
    })
    .await;
    let commenting = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        tokens("first", 0..2, &mut reply).await;
        let every = Duration::from_millis(20);
        reply.chunks_until_close(": processing\n\n", every).await;
        reply
    })
    .await;
    for first in [silent, commenting] {
        let (response, _) = streamed(&first, ", timeouts: { idle: 300ms }").await;
        let told = assert_broken(&response, "upstream_timeout");
        assert_eq!(told.text, beginning("first", 2));
        first.closed().await;
    }
}

#[tokio::test]
async fn events_that_come_in_time_are_no_stall() {
    // As long as a few times `idle`, and never idle.
    let first = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.event(&role()).await;
        let mut pace = tokio::time::interval(Duration::from_millis(25));
        for n in 0..TOKENS {
            pace.tick().await;
            reply.event(&token("first", n)).await;
        }
        reply.event(&finish()).await;
        reply.event("[DONE]").await;
        reply.end_stream().await;
        reply
    })
    .await;
    let (response, outcomes) = streamed(&first, ", timeouts: { idle: 500ms }").await;
    assert_whole(&response, "first");
    assert_eq!(outcomes, "first:ok");
}

const MALFORMED: &str = r#"{"id":"chatcmpl-1","choices":[{"delta":{"conte"#;

#[tokio::test]
async fn an_event_that_cannot_be_read_is_passed_or_dropped_as_the_rule_says() {
    let first = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        tokens("first", 0..30, &mut reply).await;
        reply.event(MALFORMED).await;
        for n in 30..TOKENS {
            reply.event(&token("first", n)).await;
        }
        reply.event(&finish()).await;
        reply.event("[DONE]").await;
        reply.end_stream().await;
        reply
    })
    .await;
    let second = healthy("second").await;
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, ""),
    ];
    let rules = [
        rule("untold", TIERS, ""),
        rule("pass", TIERS, ", malformed_events: pass"),
        rule("drop", TIERS, ", malformed_events: drop"),
    ];
    let front = gateway(GENEROUS, &upstreams, &rules);
    for (model, malformed) in [("untold", 1), ("pass", 1), ("drop", 0)] {
        let response = front.post(CHAT, &streamed_chat(model)).await;
        assert_whole(&response, "first");
        let told = Told::of(&response);
        assert_eq!(told.malformed, malformed, "{model}");
        assert!(told.is_done, "{model}");
        let is_there = response.text().contains(&format!("data: {MALFORMED}\n\n"));
        assert_eq!(is_there, malformed == 1, "as it came");
    }
    assert_eq!(second.requests(), 0);
}

#[tokio::test]
async fn a_done_that_is_missing_is_supplied_behind_a_finish_reason() {
    let first = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        tokens("first", 0..TOKENS, &mut reply).await;
        reply.event(&finish()).await;
        reply.end_stream().await;
        reply
    })
    .await;
    let (response, outcomes) = streamed(&first, "").await;
    assert_whole(&response, "first");
    assert!(response.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(outcomes, "first:ok");
}

#[tokio::test]
async fn a_done_that_is_there_is_not_doubled() {
    let first = healthy("first").await;
    let (response, _) = streamed(&first, "").await;
    assert_whole(&response, "first");
    assert_eq!(response.text().matches("[DONE]").count(), 1);
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_stream_is_not_followed_by_done() {
    // A provider that says [DONE] behind its own error does not make it complete.
    let complaint = error("The server had an error.", "server_error", Some("boom"));
    let complaint: &'static str = complaint.leak();
    let behind: &'static [&'static str] = Box::leak(Box::new([complaint, "[DONE]"]));
    let first = saying(40, behind, false).await;
    let (response, _) = streamed(&first, "").await;
    let told = Told::of(&response);
    assert_eq!(told.text, beginning("first", 40));
    assert!(told.error.is_some() && !told.is_done, "{told:?}");
}

#[tokio::test]
async fn a_whole_time_that_ends_in_the_middle_is_told() {
    let first = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.event(&token("first", 0)).await;
        let every = Duration::from_millis(20);
        let event = format!("data: {}\n\n", token("first", 1));
        reply.chunks_until_close(&event, every).await;
        reply
    })
    .await;
    let (response, _) = streamed(&first, ", timeouts: { total: 400ms }").await;
    let told = assert_broken(&response, "upstream_timeout");
    assert!(told.text.starts_with("first0 "));
    assert_ne!(told.text, whole("first"));
    first.closed().await;
}

#[tokio::test]
async fn a_done_that_is_missing_is_supplied_though_the_connection_broke() {
    for is_reset in [false, true] {
        let first = Upstream::start(move |_, mut reply| async move {
            reply.begin_stream().await;
            tokens("first", 0..super::TOKENS, &mut reply).await;
            reply.event(&finish()).await;
            match is_reset {
                true => reply.reset(),
                false => reply.close(),
            }
            reply
        })
        .await;
        let upstreams = [at("first", first.address, "")];
        let front = gateway(
            GENEROUS,
            &upstreams,
            &[rule("gpt-4o", "{ upstream: first }", "")],
        );
        let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "first");
        assert!(Told::of(&response).is_done);
    }
}
