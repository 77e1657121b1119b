//! What the official SDKs make of answers that are given again: the scripts in `tests/sdk` do the asking.
//!
//! The provider gives what was recorded, and is asked once for each answer that is kept.

use std::process::Command;

use serde_json::Value;

use crate::sdk::{accumulated, ask, exchange, node, python};
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::upstream::Upstream;

/// What each script has kept: both forms of three endpoints, an embedding as Base64 and as numbers, speech, and an
/// answer to three questions that mean the same.
const KEPT: usize = 9 + 3;
/// What the provider was asked for: one answer to those questions, and a vector of each.
const ASKED: usize = 9 + 1 + 3;

async fn provider() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let model = asked["model"].as_str().unwrap();
        match request.path.as_str() {
            "/v1/embeddings" => exchange::answer(&request, &mut reply).await,
            "/v1/audio/speech" => {
                let sound: Vec<u8> = (0..=u8::MAX).cycle().take(20_000).collect();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: {}\r\n\r\n",
                    sound.len()
                );
                reply.raw([head.as_bytes(), &sound].concat()).await;
            }
            _ => {
                let name = model.strip_prefix("same-").unwrap();
                let streams = asked["stream"] == true;
                accumulated::give(name, streams, &asked, &mut reply).await;
            }
        }
        reply
    })
    .await
}

/// Runs a script, and asserts that the provider was asked for what is kept and for nothing else.
async fn asks_again(script: Option<Command>) {
    let Some(script) = script else { return };
    let upstream = provider().await;
    let section = "vector_cache: { embedding_model: same-vectors, threshold: 0.9 }\n";
    let yaml = config(upstream.address, "", section).replace(
        "  - { match: { prefix: same- }, targets",
        // Speech has no temperature: it may differ each time.
        "  - { match: same-meaning, cache: { when: always, by_meaning: true }, \
           targets: [{ upstream: far, model: same-openai_chat }] }\n  \
           - { match: same-tts, cache: { when: always }, targets: [{ upstream: far }] }\n  \
           - { match: { prefix: same- }, cache: true, targets",
    );
    let gateway = Gateway::start(&yaml);
    ask(script, &format!("http://{}/v1", gateway.address));
    assert_eq!(upstream.requests(), ASKED);
    assert!((gateway.metric("tollgate_cache_entries").await - KEPT as f64).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_reads_hits_of_each_kind() {
    asks_again(python("reuse.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_reads_hits_of_each_kind() {
    let folder = Folder::new();
    asks_again(node("reuse.mjs", &folder)).await;
}
