//! What is held of an answer takes about as much memory as it has bytes, in however small pieces it comes.

use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{chat, streamed_chat};

const CHAT: &str = "/v1/chat/completions";

/// Of a body, each byte as a chunk of its own.
fn in_bytes(body: &str) -> String {
    let mut chunks = String::with_capacity(body.len() * 6 + 5);
    for byte in body.chars() {
        chunks.extend(["1\r\n", byte.encode_utf8(&mut [0; 4]), "\r\n"]);
    }
    chunks.push_str("0\r\n\r\n");
    chunks
}

/// An upstream that answers with this, byte by byte.
async fn dripping(media: &str, body: &str) -> Upstream {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ntransfer-encoding: chunked\r\n\r\n");
    let answer = [head, in_bytes(body)].concat();
    Upstream::start(move |_, mut reply| {
        let answer = answer.clone();
        async move {
            reply.raw(answer).await;
            reply
        }
    })
    .await
}

/// A whole answer that says so much. It reports its usage: the tables of an estimate take more than itself.
fn answer(bytes: usize) -> String {
    format!(
        "{{\"object\":\"chat.completion\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"{}\"}},\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":1}}}}",
        "x".repeat(bytes)
    )
}

async fn grown(gateway: &Gateway, body: &str) -> u64 {
    let before = gateway.peak_rss_bytes();
    let response = gateway.post(CHAT, body).await;
    assert_eq!(response.status, 200, "{response:?}");
    gateway.access_line("status=200");
    gateway.peak_rss_bytes() - before
}

const LONG: usize = 1 << 20;

#[tokio::test]
async fn an_answer_for_the_chat_log_is_held_in_joined_pieces() {
    let upstream = dripping("application/json", &answer(LONG)).await;
    let log = "chat_log: { path: chats.jsonl, max_bytes: 4MiB }";
    let gateway = Gateway::start_quietly(&config(upstream.address, "", log));
    let grown = grown(&gateway, &chat("gpt-4o")).await;
    // A piece of each byte would take a hundred.
    assert!(grown < 16 << 20, "{grown}");
}

#[tokio::test]
async fn an_answer_that_a_stream_is_made_of_is_held_in_joined_pieces() {
    let upstream = dripping("application/json", &answer(LONG)).await;
    let yaml = config(upstream.address, "", "");
    let model = "model: gpt-4o-2024-11-20";
    let gateway =
        Gateway::start_quietly(&yaml.replace(model, &format!("{model}, upstream_stream: never")));
    let grown = grown(&gateway, &streamed_chat("gpt-4o")).await;
    assert!(grown < 24 << 20, "{grown}");
}
