//! The provider of `check`: the endpoints whose bodies are read, whole and streamed, and its failures.

use crate::support::upstream::{Received, Reply, Upstream};

/// What the provider lists: one model for everyone, one that a rule answers by its own name, and one
/// that the tests' tenant may not ask for.
pub const MODELS: &str = r#"{"object":"list","data":[{"id":"same-listed","object":"model","created":7,"owned_by":"them"},{"id":"gpt-4o","object":"model","created":7,"owned_by":"them"},{"id":"forbidden","object":"model","created":7,"owned_by":"them"}]}"#;

/// A provider that answers as OpenAI does, as far as the scripts ask.
pub async fn provider() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        answer(&request, &mut reply).await;
        reply
    })
    .await
}

/// Answers one request by its path and model.
pub async fn answer(request: &Received, reply: &mut Reply) {
    if request.path == "/v1/models" {
        return reply.json("200 OK", MODELS).await;
    }
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
        ("/v1/responses/input_tokens", _) => {
            reply
                .json(
                    "200 OK",
                    r#"{"object":"response.input_tokens","input_tokens":3}"#,
                )
                .await;
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
