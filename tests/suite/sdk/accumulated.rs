//! What the SDKs' own helpers make of a stream, as the judges of ours.
//!
//! A provider gives what was recorded, and the scripts read it straight from there and through the
//! gateway. The model's name says how: `same-NAME` as it is asked, `always-NAME` only ever as a
//! stream, `never-NAME` never as one. So what comes in the other form was made by the gateway.

use std::process::Command;

use serde_json::Value;

use super::{ask, node, python};
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::recorded::{RECORDED, path, recorded};
use crate::support::upstream::{Reply, Upstream};

/// A provider of all that was recorded.
async fn provider() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let (form, name) = asked["model"].as_str().unwrap().split_once('-').unwrap();
        assert_eq!(request.path, path(name));
        let streams = match form {
            "always" => true,
            "never" => false,
            _ => asked["stream"] == true,
        };
        give(name, streams, &asked, &mut reply).await;
        reply
    })
    .await
}

/// Gives what was recorded under a name, as a stream or as one.
pub async fn give(name: &str, streams: bool, asked: &Value, reply: &mut Reply) {
    if !streams {
        let answer = recorded(&format!("{name}.json"));
        return reply.json("200 OK", &answer).await;
    }
    let text = recorded(&format!("{name}.sse"));
    let tells_usage = asked["stream_options"]["include_usage"] == true;
    let is_chunks = path(name) != "/v1/responses";
    match is_chunks && !tells_usage {
        true => reply.stream(&without_usage(&text)).await,
        false => reply.stream(&text).await,
    }
}

/// A recorded stream as it would have come to whom has not asked for the usage.
fn without_usage(text: &str) -> String {
    let events = text.split_inclusive("\n\n");
    events.filter_map(unasked).collect()
}

/// An event without its usage; nothing where it is there for the usage alone.
fn unasked(event: &str) -> Option<String> {
    let Some(data) = event.strip_prefix("data: {") else {
        return Some(event.to_owned());
    };
    let mut chunk: Value = serde_json::from_str(&format!("{{{data}")).unwrap();
    let usage = chunk.as_object_mut().unwrap().remove("usage");
    let tells = usage.is_some_and(|usage| usage.is_object());
    let says = chunk["choices"].as_array().is_some_and(|c| !c.is_empty());
    (says || !tells).then(|| format!("data: {chunk}\n\n"))
}

/// Runs a script that is told the recorded names and where the provider itself is.
async fn judge(script: Option<Command>) {
    let Some(mut script) = script else { return };
    let upstream = provider().await;
    let rule = |form: &str| {
        format!(
            "  - {{ match: {{ prefix: {form}- }}, targets: [{{ upstream: far, upstream_stream: {form} }}] }}\n"
        )
    };
    let yaml = config(upstream.address, "", "")
        .replace(
            "models:\n",
            &format!("models:\n{}{}", rule("always"), rule("never")),
        )
        .replace("'same-*'", "'same-*', 'always-*', 'never-*'");
    let gateway = Gateway::start(&yaml);
    script
        .args(RECORDED)
        .env("PROVIDER_URL", format!("http://{}/v1", upstream.address));
    ask(script, &format!("http://{}/v1", gateway.address));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_accumulates_the_same_objects_as_the_gateway() {
    judge(python("accumulated.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_accumulates_the_same_objects_as_the_gateway() {
    let folder = Folder::new();
    judge(node("accumulated.mjs", &folder)).await;
}
