//! Client packages that are not OpenAI's own: LangChain, LiteLLM's client, the AI SDK.
//!
//! Each script does the same straight at the provider and through the gateway, and what it sees must
//! be equal: whole answers, streams, calls of tools, errors. The provider gives what was recorded,
//! and the failures of `exchange`.

use std::process::Command;

use serde_json::Value;

use super::{accumulated, ask, exchange, node, python};
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::recorded::RECORDED;
use crate::support::upstream::Upstream;

/// What is wrong with the request, in the words of the API.
const BAD: &str = r#"{"error":{"message":"Invalid value: 'x'.","type":"invalid_request_error","param":"tools[0].type","code":"invalid_value"}}"#;

async fn provider() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let name = asked["model"].as_str().unwrap().trim_start_matches("same-");
        if RECORDED.contains(&name) {
            accumulated::give(name, asked["stream"] == true, &asked, &mut reply).await;
        } else if name == "bad" {
            reply.json("400 Bad Request", BAD).await;
        } else {
            exchange::answer(&request, &mut reply).await;
        }
        reply
    })
    .await
}

async fn compare(script: Option<Command>) {
    let Some(mut script) = script else { return };
    let upstream = provider().await;
    // A failure is told at once, as the provider tells it.
    let yaml = config(upstream.address, "", "");
    let once = "server:\n  retries: { attempts: 1 }\n";
    let gateway = Gateway::start(&yaml.replace("server:\n", once));
    script.env("PROVIDER_URL", format!("http://{}/v1", upstream.address));
    ask(script, &format!("http://{}/v1", gateway.address));
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_sees_the_same_as_at_the_provider() {
    compare(python("with_langchain.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn litellm_sees_the_same_as_at_the_provider() {
    compare(python("with_litellm.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ai_sdk_sees_the_same_as_at_the_provider() {
    let folder = Folder::new();
    compare(node("with_ai.mjs", &folder)).await;
}
