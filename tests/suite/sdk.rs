//! The official OpenAI SDKs, unchanged but for their base URL.
//!
//! `make test` installs them; the scripts in `tests/sdk` do the asking and the asserting.

use std::process::Command;

use crate::support::gateway::{Folder, Gateway, config};
use crate::support::tools::{require, root, run, skip, test_environment};
use crate::support::upstream::{Received, Reply, Upstream};
use crate::support::{CLIENT_KEY, PROMPT};

/// A provider that answers as OpenAI does, as far as the scripts ask.
async fn provider() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        answer(&request, &mut reply).await;
        reply
    })
    .await
}

async fn answer(request: &Received, reply: &mut Reply) {
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let model = body["model"].as_str().unwrap();
    let stream = body["stream"] == true;
    match (request.path.as_str(), model) {
        (_, "same-rate-limited") => {
            let error = r#"{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
            reply
                .json_with("429 Too Many Requests", "retry-after: 1\r\n", error)
                .await;
        }
        (_, "same-broken") => {
            reply.json("500 Internal Server Error", r#"{"error":{"message":"broken","type":"server_error","param":null,"code":null}}"#).await;
        }
        ("/v1/chat/completions", "same-cut") => {
            reply.begin_stream().await;
            reply
                .event(&chunk(r#"{"role":"assistant","content":"half"}"#, "null"))
                .await;
            reply.close();
        }
        ("/v1/chat/completions", "same-endless") => {
            reply.begin_stream().await;
            reply
                .event(&chunk(r#"{"role":"assistant","content":"first"}"#, "null"))
                .await;
            reply.wait_for_close().await;
        }
        ("/v1/chat/completions", _) if stream => chat_stream(&body, reply).await,
        ("/v1/chat/completions", _) => chat_whole(&body, request, reply).await,
        ("/v1/completions", _) => {
            reply.json("200 OK", r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"done","logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#).await;
        }
        ("/v1/embeddings", _) => {
            // 0.5 and -2.0, as the SDKs ask for them: base64 of little-endian floats.
            let data = match body["encoding_format"] == "base64" {
                true => r#""AAAAPwAAAMA=""#,
                false => "[0.5,-2.0]",
            };
            let body = format!(
                r#"{{"object":"list","model":"m","data":[{{"object":"embedding","index":0,"embedding":{data}}}],"usage":{{"prompt_tokens":1,"total_tokens":1}}}}"#
            );
            reply.json("200 OK", &body).await;
        }
        ("/v1/responses", _) => responses(stream, reply).await,
        ("/v1/moderations", _) => {
            reply.json("200 OK", r#"{"id":"modr-1","model":"m","results":[{"flagged":false,"categories":{},"category_scores":{},"category_applied_input_types":{}}]}"#).await;
        }
        _ => reply.json("404 Not Found", "{}").await,
    }
}

fn chunk(delta: &str, finish: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-2024-11-20","choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]}}"#
    )
}

async fn chat_stream(body: &serde_json::Value, reply: &mut Reply) {
    reply.begin_stream().await;
    if body["tools"].is_array() {
        for delta in [
            r#"{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"\"Oslo\"}"}}]}"#,
        ] {
            reply.event(&chunk(delta, "null")).await;
        }
        reply.event(&chunk("{}", "\"tool_calls\"")).await;
    } else {
        reply
            .event(&chunk(r#"{"role":"assistant","content":""}"#, "null"))
            .await;
        for word in ["Hello", ", ", "wörld", " 🌍"] {
            reply
                .event(&chunk(&format!(r#"{{"content":"{word}"}}"#), "null"))
                .await;
        }
        reply.event(&chunk("{}", "\"stop\"")).await;
    }
    reply.event("[DONE]").await;
    reply.end_stream().await;
}

async fn chat_whole(body: &serde_json::Value, request: &Received, reply: &mut Reply) {
    let message = match body["tools"].is_array() {
        true => r#"{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Oslo\"}"}}]}"#.to_owned(),
        false => format!(r#"{{"role":"assistant","content":"{} bytes","refusal":null}}"#, request.body.len()),
    };
    let finish = if body["tools"].is_array() {
        "tool_calls"
    } else {
        "stop"
    };
    reply.json("200 OK", &format!(r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":{},"choices":[{{"index":0,"message":{message},"logprobs":null,"finish_reason":"{finish}"}}],"usage":{{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}}}"#, body["model"])).await;
}

async fn responses(stream: bool, reply: &mut Reply) {
    let whole = |status: &str| {
        format!(
            r#"{{"id":"resp_1","object":"response","created_at":1,"status":"{status}","model":"m","output":[{{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{{"type":"output_text","text":"answered","annotations":[]}}]}}],"parallel_tool_calls":true,"tool_choice":"auto","tools":[],"error":null,"incomplete_details":null,"instructions":null,"metadata":{{}},"temperature":1,"top_p":1,"usage":{{"input_tokens":1,"input_tokens_details":{{"cached_tokens":0}},"output_tokens":1,"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":2}}}}"#
        )
    };
    if !stream {
        return reply.json("200 OK", &whole("completed")).await;
    }
    reply.begin_stream().await;
    let mut number = 0;
    let mut event = |kind: &str, rest: &str| {
        let text = format!(
            "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{rest}}}\n\n"
        );
        number += 1;
        text
    };
    let events = [
        event(
            "response.created",
            &format!("\"response\":{}", whole("in_progress")),
        ),
        event(
            "response.output_text.delta",
            r#""item_id":"msg_1","output_index":0,"content_index":0,"delta":"answered","logprobs":[]"#,
        ),
        event(
            "response.completed",
            &format!("\"response\":{}", whole("completed")),
        ),
    ];
    for event in events {
        reply.chunk(&event).await;
    }
    reply.end_stream().await;
}

/// Runs a script of `tests/sdk` against the API at `base`.
pub fn ask(mut command: Command, base: &str) {
    command
        .env("OPENAI_BASE_URL", base)
        .env("OPENAI_API_KEY", CLIENT_KEY)
        .env("PROMPT", PROMPT);
    let said = tokio::task::block_in_place(|| run(&mut command));
    assert!(said.trim_end().ends_with("all good"), "{said}");
}

/// A script for Python, where its SDK is installed.
pub fn python(script: &str) -> Option<Command> {
    let python = test_environment().join("venv/bin/python");
    if !python.exists() {
        skip("the Python SDK is not installed (make test installs it)");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(root().join("tests/sdk").join(script));
    Some(command)
}

/// A script for Node, where its SDK is installed, to be run from `folder`.
pub fn node(script: &str, folder: &Folder) -> Option<Command> {
    let node = require(&["node"], "nodejs")?;
    let modules = test_environment().join("node/node_modules");
    if !modules.join("openai").exists() {
        skip("the Node SDK is not installed (make test installs it)");
        return None;
    }
    // Modules are looked for beside the script.
    let copy = folder.0.join(script);
    std::fs::copy(root().join("tests/sdk").join(script), &copy).unwrap();
    std::os::unix::fs::symlink(modules, folder.0.join("node_modules")).unwrap();
    let mut command = Command::new(&node);
    // What browsers have is behind a flag in Node 20, and no longer known by later ones.
    let has_socket = run(Command::new(node).args(["-p", "typeof WebSocket"]));
    if has_socket.trim() == "undefined" {
        command.arg("--experimental-websocket");
    }
    command.arg(copy);
    Some(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_works_unchanged() {
    let Some(command) = python("check.py") else {
        return;
    };
    let upstream = provider().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    ask(command, &format!("http://{}/v1", gateway.address));
    upstream.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_works_unchanged() {
    let folder = Folder::new();
    let Some(command) = node("check.mjs", &folder) else {
        return;
    };
    let upstream = provider().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    ask(command, &format!("http://{}/v1", gateway.address));
    upstream.closed().await;
}
