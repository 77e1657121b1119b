//! A client gets its answer in the form that it asks for, whichever its provider is asked in.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::support::client::Response;
use crate::support::gateway::{Gateway, config};
use crate::support::recorded::{RECORDED, path, recorded};
use crate::support::upstream::Upstream;
use crate::support::{chat, soon, streamed_chat};

const CHAT: &str = "/v1/chat/completions";

/// A gateway whose target is asked for streams `always` or `never`.
fn asking(upstream: &Upstream, when: &str) -> Gateway {
    let target = "model: gpt-4o-2024-11-20";
    let yaml = config(upstream.address, "", "");
    Gateway::start(&yaml.replace(target, &format!("{target}, upstream_stream: {when}")))
}

/// A provider that has only this stream to give.
async fn streaming(text: String) -> Upstream {
    Upstream::start(move |_, mut reply| {
        let text = text.clone();
        async move {
            reply.stream(&text).await;
            reply
        }
    })
    .await
}

#[tokio::test]
async fn one_answer_is_gathered_from_each_recorded_stream() {
    for name in RECORDED {
        let upstream = streaming(recorded(&format!("{name}.sse"))).await;
        let gateway = asking(&upstream, "always");
        let response = gateway.post(path(name), &chat("gpt-4o")).await;
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        assert_eq!(response.header("content-type"), Some("application/json"));
        let expected: Value = serde_json::from_str(&recorded(&format!("{name}.json"))).unwrap();
        assert_eq!(response.json(), expected, "{name}");
        let asked: Value = serde_json::from_slice(&upstream.request().await.body).unwrap();
        assert_eq!(asked["stream"], true);
        let usage = match path(name) {
            "/v1/responses" => Value::Null,
            _ => serde_json::json!({ "include_usage": true }),
        };
        assert_eq!(asked["stream_options"], usage, "{name}");
        let told = r#"tollgate_usage_total{rule="gpt-4o",source="upstream",upstream="far"}"#;
        gateway.metric_becomes(told, 1.0).await;
    }
}

#[tokio::test]
async fn who_asks_for_a_stream_gets_it_as_it_comes() {
    let text = recorded("openai_chat.sse");
    let upstream = streaming(text.clone()).await;
    let gateway = asking(&upstream, "always");
    let body = streamed_chat("gpt-4o").replace(
        r#""stream":true"#,
        r#""stream":true,"stream_options":{"include_usage":true}"#,
    );
    assert_eq!(gateway.post(CHAT, &body).await.text(), text);
}

#[tokio::test]
async fn a_stream_that_fails_gives_the_status_of_its_failure() {
    let begun = r#"data: {"id":"c","choices":[{"index":0,"delta":{"content":"so"}}]}"#;
    for (rest, status) in [
        (
            r#"data: {"error":{"message":"busy","type":"server_error","code":"server_is_overloaded"}}"#,
            503,
        ),
        (
            r#"data: {"error":{"message":"no","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            400,
        ),
        (": and nothing more", 502),
        (
            r#"data: {"choices":[{"index":0,"delta":{"content":" cut of"#,
            502,
        ),
    ] {
        let upstream = streaming(format!("{begun}\n\n{rest}\n\n")).await;
        let gateway = asking(&upstream, "always");
        let response = gateway.post(CHAT, &chat("gpt-4o")).await;
        assert_eq!(response.status, status, "{rest}: {}", response.text());
        assert!(response.json()["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_noticed_before_the_whole_time_is_up() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply
            .event(r#"{"choices":[{"index":0,"delta":{"content":"so"}}]}"#)
            .await;
        reply.wait_for_close().await;
        reply
    })
    .await;
    let yaml = config(upstream.address, ", timeouts: { idle: 100ms }", "");
    let target = "model: gpt-4o-2024-11-20";
    let gateway =
        Gateway::start(&yaml.replace(target, &format!("{target}, upstream_stream: always")));
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    response.assert_error(504, "server_error", Some("upstream_timeout"), None);
    upstream.closed().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_its_answer_is_gathered_closes_the_upstream() {
    let begun = Arc::new(Semaphore::new(0));
    let has_begun = Arc::clone(&begun);
    let upstream = Upstream::start(move |_, mut reply| {
        let begun = Arc::clone(&begun);
        async move {
            reply.begin_stream().await;
            reply
                .event(r#"{"choices":[{"index":0,"delta":{"content":"so"}}]}"#)
                .await;
            begun.add_permits(1);
            reply.wait_for_close().await;
            reply
        }
    })
    .await;
    let gateway = asking(&upstream, "always");
    let mut client = gateway.connect().await;
    client
        .send(crate::support::client::post(CHAT, "", &chat("gpt-4o")))
        .await;
    soon("the stream's beginning", has_begun.acquire())
        .await
        .unwrap()
        .forget();
    client.leave();
    upstream.closed().await;
}

#[tokio::test]
async fn what_cannot_be_streamed_is_asked_for_as_one() {
    let upstream = Upstream::answering(r#"{"choices":[]}"#).await;
    let gateway = asking(&upstream, "always");
    for member in [
        r#""best_of":3"#,
        r#""background":true"#,
        r#""audio":{"format":"mp3","voice":"alloy"}"#,
    ] {
        let body = chat("gpt-4o")
            .replace('{', &format!("{{{member},"))
            .replacen(&format!("[{{{member},"), "[{", 1);
        assert_eq!(gateway.post(CHAT, &body).await.status, 200);
        assert!(
            !upstream.request().await.text().contains("stream"),
            "{member}"
        );
    }
    gateway.post("/v1/embeddings", &chat("gpt-4o")).await;
    assert!(!upstream.request().await.text().contains("stream"));
}

/// The data of each event of a stream.
fn data(response: &Response) -> Vec<String> {
    let events = response.text().split("\n\n");
    let data =
        events.filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")));
    data.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_stream_is_made_of_each_recorded_answer() {
    for name in RECORDED {
        let answer = recorded(&format!("{name}.json"));
        let given = answer.clone();
        let upstream = Upstream::start(move |_, mut reply| {
            let answer = given.clone();
            async move {
                reply.json("200 OK", &answer).await;
                reply
            }
        })
        .await;
        let gateway = asking(&upstream, "never");
        let response = gateway.post(path(name), &streamed_chat("gpt-4o")).await;
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        let kind = response.header("content-type").unwrap();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        let events = data(&response);
        match path(name) {
            "/v1/responses" => {
                let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
                let whole: Value = serde_json::from_str(&answer).unwrap();
                assert_eq!(last["response"], whole);
            }
            _ => {
                assert_eq!(events.last().unwrap(), "[DONE]");
                assert!(
                    !response.text().contains("\"usage\":{\"prompt"),
                    "nobody asked"
                );
            }
        }
        let asked: Value = serde_json::from_slice(&upstream.request().await.body).unwrap();
        assert_eq!(asked["stream"], false);
        let told = r#"tollgate_usage_total{rule="gpt-4o",source="upstream",upstream="far"}"#;
        gateway.metric_becomes(told, 1.0).await;
    }
}

#[tokio::test]
async fn a_stream_that_is_made_tells_the_usage_to_whom_asks_for_it() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.json("200 OK", &recorded("openai_chat.json")).await;
        reply
    })
    .await;
    let gateway = asking(&upstream, "never");
    let body = streamed_chat("gpt-4o").replace(
        r#""stream":true"#,
        r#""stream":true,"stream_options":{"include_usage":true}"#,
    );
    let events = data(&gateway.post(CHAT, &body).await);
    let whole: Value = serde_json::from_str(&recorded("openai_chat.json")).unwrap();
    let last: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!(last["usage"], whole["usage"]);
    assert_eq!(last["choices"], serde_json::json!([]));
    let asked: Value = serde_json::from_slice(&upstream.request().await.body).unwrap();
    assert_eq!(asked["stream_options"], Value::Null);
}

#[tokio::test]
async fn an_error_stays_an_error_whoever_wanted_a_stream() {
    let upstream = Upstream::start(|_, mut reply| async move {
        let body =
            r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}"#;
        reply.json("400 Bad Request", body).await;
        reply
    })
    .await;
    for when in ["always", "never"] {
        let gateway = asking(&upstream, when);
        for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
            let response = gateway.post(CHAT, &body).await;
            assert_eq!(
                (response.status, &response.json()["error"]["message"]),
                (400, &"no".into())
            );
        }
    }
}

#[tokio::test]
async fn an_answer_of_no_known_shape_is_no_stream() {
    let upstream = Upstream::answering(r#"{"hello":"world"}"#).await;
    let gateway = asking(&upstream, "never");
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    response.assert_error(502, "server_error", Some("upstream_invalid_response"), None);
}

#[tokio::test]
async fn a_response_whose_last_event_lacks_the_output_is_gathered_from_its_items() {
    let event = |kind: &str, said: &str| format!("data: {{\"type\":\"{kind}\",{said}}}\n\n");
    let call = r#"{"id":"fc_1","type":"function_call","call_id":"call_9","name":"look","arguments":"{}","status":"completed"}"#;
    let text = [
        event(
            "response.created",
            r#""response":{"id":"r","status":"in_progress","output":[]}"#,
        ),
        event(
            "response.output_item.added",
            r#""output_index":0,"item":{"id":"m","type":"message","status":"in_progress","role":"assistant","content":[]}"#,
        ),
        event(
            "response.output_text.delta",
            r#""output_index":0,"content_index":0,"delta":"forty-""#,
        ),
        event(
            "response.output_text.delta",
            r#""output_index":0,"content_index":0,"delta":"two""#,
        ),
        event(
            "response.output_item.done",
            &format!(r#""output_index":1,"item":{call}"#),
        ),
        event(
            "response.completed",
            r#""response":{"id":"r","status":"completed","output":[],"usage":{"input_tokens":5,"output_tokens":3,"total_tokens":8}}"#,
        ),
    ];
    let upstream = streaming(text.concat()).await;
    let gateway = asking(&upstream, "always");
    let response = gateway.post("/v1/responses", &chat("gpt-4o")).await;
    let expected = serde_json::json!({
        "id": "r", "status": "completed",
        "output": [
            {"id": "m", "type": "message", "status": "completed", "role": "assistant",
             "content": [{"type": "output_text", "text": "forty-two", "annotations": []}]},
            serde_json::from_str::<Value>(call).unwrap(),
        ],
        "usage": {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8},
    });
    assert_eq!(response.json(), expected);
}

#[tokio::test]
async fn no_piece_of_a_list_is_lost_when_it_is_gathered() {
    let chunk = |delta: &str, more: &str| {
        format!("data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{delta}{more}}}]}}\n\n")
    };
    let text = [
        chunk(
            r#"{"role":"assistant","images":[{"image_url":{"url":"a"},"index":0}]}"#,
            r#","token_ids":[1]"#,
        ),
        chunk(
            r#"{"images":[{"image_url":{"url":"b"},"index":1}]}"#,
            r#","token_ids":[2,3]"#,
        ),
        chunk(
            r#"{"thinking_blocks":[{"type":"thinking","thinking":"so"}]}"#,
            "",
        ),
        chunk(
            r#"{"thinking_blocks":[{"type":"thinking","thinking":"","signature":"s"}]}"#,
            "",
        ),
        chunk(r#"{"content":"hi"}"#, r#","finish_reason":"stop""#),
        "data: [DONE]\n\n".to_owned(),
    ];
    let upstream = streaming(text.concat()).await;
    let gateway = asking(&upstream, "always");
    let answer = gateway.post(CHAT, &chat("gpt-4o")).await.json();
    let choice = &answer["choices"][0];
    let expected = serde_json::json!([
        {"image_url": {"url": "a"}, "index": 0},
        {"image_url": {"url": "b"}, "index": 1},
    ]);
    assert_eq!(choice["message"]["images"], expected);
    let expected = serde_json::json!([{"type": "thinking", "thinking": "so", "signature": "s"}]);
    assert_eq!(choice["message"]["thinking_blocks"], expected);
    assert_eq!(choice["token_ids"], serde_json::json!([1, 2, 3]));
}
