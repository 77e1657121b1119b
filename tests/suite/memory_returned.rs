//! Memory that is needed for a while is not kept.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::client::{Client, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{DONE, chat, delta, streamed_chat, until};

const CHAT: &str = "/v1/chat/completions";
const ESTIMATED: &str = r#"tollgate_usage_total{rule="gpt-4o",source="estimated",upstream="far"}"#;
const UNTOLD: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#;
const TOLD: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
const USED: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
const STREAMS: usize = 400;

#[tokio::test]
async fn an_estimate_takes_a_few_megabytes() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let answer = match request.text().contains("tell") {
            true => TOLD,
            false => UNTOLD,
        };
        reply.json("200 OK", answer).await;
        reply
    })
    .await;
    let gateway = Gateway::start_quietly(&config(upstream.address, "", ""));
    let telling = chat("gpt-4o").replace(r#""model""#, r#""user":"tell","model""#);
    for _ in 0..20 {
        assert_eq!(gateway.post(CHAT, &telling).await.status, 200);
    }
    gateway.metric_becomes(ESTIMATED, 0.0).await;
    let before = gateway.rss_bytes();
    assert_eq!(gateway.post(CHAT, &chat("gpt-4o")).await.status, 200);
    gateway.metric_becomes(ESTIMATED, 1.0).await;
    let grown = gateway.rss_bytes().saturating_sub(before);
    // The tables of all tokenizers, with what can be derived from them, take 67 MB.
    assert!(grown < 20 << 20, "{grown}");
}

#[tokio::test]
async fn what_streams_took_is_given_back_after_they_have_ended() {
    let ended = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&ended);
    let upstream = Upstream::start(move |_, mut reply| {
        let held = Arc::clone(&held);
        async move {
            reply.begin_stream().await;
            reply.chunk(&delta("so")).await;
            let _ = held.acquire().await;
            reply.chunk(&[USED, DONE].concat()).await;
            reply.end_stream().await;
            reply
        }
    })
    .await;
    let yaml = config(upstream.address, "", "").replace("log: {", "log: { access: false,");
    let gateway = Gateway::start_quietly(&yaml);
    assert_eq!(gateway.get("/v1/models").await.status, 200);
    let before = gateway.rss_bytes();
    let mut open = Vec::new();
    let request = post(CHAT, "", &streamed_chat("gpt-4o"));
    for _ in 0..STREAMS {
        let mut client = gateway.connect().await;
        client.send(&request).await;
        assert_eq!(client.head().await.0, 200);
        assert!(client.chunk().await.is_some());
        open.push(client);
    }
    let grown = gateway.rss_bytes() - before;
    assert!(
        grown > 8 << 20,
        "it takes {grown} to hold {STREAMS} streams"
    );
    ended.add_permits(STREAMS);
    let mut ends = JoinSet::new();
    for client in open {
        ends.spawn(read_to_end(client));
    }
    ends.join_all().await;
    until("most memory is given back", || {
        gateway.rss_bytes() < before + grown / 2
    })
    .await;
}

async fn read_to_end(mut client: Client) {
    // The last chunk is empty; the connection is kept.
    while client.chunk().await.is_some_and(|chunk| !chunk.is_empty()) {}
}
