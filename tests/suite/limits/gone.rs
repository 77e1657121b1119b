//! A client that leaves is charged as its rule's `on_client_gone` says.

use super::{CHAT, Setup, streamed_up_to, tokens_left, tokens_left_become};
use crate::support::client::{Client, post};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Listener, Reply};
use crate::support::{FINISHED, delta};

const LIMIT: u64 = 100_000;
const USED: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":700,\"total_tokens\":730}}\n\ndata: [DONE]\n\n";

/// A stream of which a client has had a hundred words.
async fn begun(on_client_gone: &str) -> (Gateway, Listener, Client, Reply) {
    let upstream = Listener::bind().await;
    let rule = format!(", on_client_gone: {on_client_gone}");
    let setup = Setup {
        rule: &rule,
        tenant: ", limits: { tokens_per_day: 100000, window: sliding }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let mut client = gateway.connect().await;
    let body = streamed_up_to("gpt-4o", 5000);
    client.send(post(CHAT, "", &body)).await;
    let (_, mut far) = upstream.accept().await;
    far.begin_stream().await;
    far.chunk(&delta(&"word ".repeat(100))).await;
    assert_eq!(client.head().await.0, 200);
    assert!(client.chunk().await.unwrap().contains("word"));
    assert!(tokens_left(&gateway).await < LIMIT - 5000);
    (gateway, upstream, client, far)
}

#[tokio::test]
async fn estimate_charges_what_has_passed() {
    let (gateway, _upstream, client, mut far) = begun("estimate").await;
    client.leave();
    far.wait_for_close().await;
    gateway.access_line("error=client_gone");
    let used = LIMIT - tokens_left(&gateway).await;
    assert!((95..200).contains(&used), "{used}");
}

#[tokio::test]
async fn absorb_charges_nothing_that_the_provider_has_not_reported() {
    let (gateway, _upstream, client, mut far) = begun("absorb").await;
    client.leave();
    far.wait_for_close().await;
    gateway.access_line("error=client_gone");
    assert_eq!(tokens_left(&gateway).await, LIMIT);
}

#[tokio::test]
async fn drain_charges_what_the_provider_reports_at_the_end() {
    let (gateway, _upstream, client, mut far) = begun("drain").await;
    client.leave();
    gateway.access_line("error=client_gone");
    assert!(tokens_left(&gateway).await < LIMIT - 5000);
    far.chunk(FINISHED).await;
    far.chunk(USED).await;
    far.end_stream().await;
    tokens_left_become(&gateway, LIMIT - 730).await;
}

#[tokio::test]
async fn what_breaks_while_it_is_drained_is_estimated() {
    let (gateway, _upstream, client, mut far) = begun("drain").await;
    client.leave();
    gateway.access_line("error=client_gone");
    far.chunk(&delta(&"word ".repeat(100))).await;
    far.reset();
    drop(far);
    let asking = async {
        loop {
            let used = LIMIT - tokens_left(&gateway).await;
            if used < 5000 {
                break used;
            }
        }
    };
    let used = crate::support::soon("the settlement of the answer", asking).await;
    assert!((95..400).contains(&used), "{used}");
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_is_charged_for_what_it_has_asked() {
    let upstream = Listener::bind().await;
    let setup = Setup {
        tenant: ", limits: { tokens_per_day: 100000, window: sliding }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let mut client = gateway.connect().await;
    let body = streamed_up_to("gpt-4o", 5000);
    client.send(post(CHAT, "", &body)).await;
    let (_, mut far) = upstream.accept().await;
    client.leave();
    far.wait_for_close().await;
    gateway.access_line("status=499");
    let used = LIMIT - tokens_left(&gateway).await;
    assert!((5..50).contains(&used), "{used}");
}
