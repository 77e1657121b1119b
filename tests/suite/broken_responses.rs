//! A stream of `/v1/responses` that breaks ends with `response.failed`, and what there was of it.

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{PROMPT, streamed_chat};

const RESPONSES: &str = "/v1/responses";

/// An event as that API sends it.
pub fn event(kind: &str, number: u64, mut said: Value) -> String {
    said["type"] = json!(kind);
    said["sequence_number"] = json!(number);
    format!("event: {kind}\ndata: {said}\n\n")
}

/// A response as it begins.
pub fn begun() -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": "in_progress",
        "background": false, "error": null, "incomplete_details": null, "instructions": "short",
        "metadata": {}, "model": "served", "output": [], "parallel_tool_calls": true,
        "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": null,
    })
}

/// The events of a response up to the middle of its text.
pub fn beginning() -> Vec<String> {
    let call = json!({
        "id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "look",
        "arguments": "{\"a\":1}", "status": "completed",
    });
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress",
        "content": [],
    });
    let text = |text: &str| json!({"item_id": "msg_1", "output_index": 1, "content_index": 0, "delta": text, "logprobs": []});
    let part = json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []});
    let mut open = call.clone();
    open["arguments"] = json!("");
    open["status"] = json!("in_progress");
    vec![
        event("response.created", 0, json!({"response": begun()})),
        event("response.in_progress", 1, json!({"response": begun()})),
        event(
            "response.output_item.added",
            2,
            json!({"output_index": 0, "item": open}),
        ),
        event(
            "response.output_item.done",
            3,
            json!({"output_index": 0, "item": call}),
        ),
        event(
            "response.output_item.added",
            4,
            json!({"output_index": 1, "item": message}),
        ),
        event(
            "response.content_part.added",
            5,
            json!({"item_id": "msg_1", "output_index": 1, "content_index": 0, "part": part}),
        ),
        event("response.output_text.delta", 6, text("forty-")),
        event("response.output_text.delta", 7, text("two")),
    ]
}

/// What the client is told of [`beginning`] that broke.
fn output() -> Value {
    json!([
        {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "look",
         "arguments": "{\"a\":1}", "status": "completed"},
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "incomplete",
         "content": [{"type": "output_text", "text": "forty-two", "annotations": []}]},
    ])
}

/// A provider that sends this, and closes the connection.
async fn breaking(text: String) -> Upstream {
    Upstream::start(move |_, mut reply| {
        let text = text.clone();
        async move {
            reply.begin_stream().await;
            reply.chunk(&text).await;
            reply.close();
            reply
        }
    })
    .await
}

/// The last event of an answer, which follows on `before`.
#[track_caller]
fn last<'r>(response: &'r Response, before: &str) -> (&'r str, Value) {
    assert_eq!(response.status, 200);
    assert!(response.complete, "the transport ends properly behind it");
    let last = response.text().strip_prefix(before);
    let last = last.unwrap_or_else(|| panic!("{}", response.text()));
    let (name, data) = last.split_once("\ndata: ").unwrap();
    let data = data.strip_suffix("\n\n").unwrap();
    let name = name.strip_prefix("event: ").unwrap();
    (name, serde_json::from_str(data).unwrap())
}

#[tokio::test]
async fn a_response_that_breaks_has_failed_with_what_there_was_of_it() {
    let events = beginning().concat();
    for rest in [
        "",
        "event: response.output_text.delta\ndata: {\"type\":\"resp",
    ] {
        let upstream = breaking(events.clone() + rest).await;
        let gateway = Gateway::before(&upstream);
        let response = gateway.post(RESPONSES, &streamed_chat("gpt-4o")).await;
        let (name, failed) = last(&response, &events);
        assert_eq!(name, "response.failed");
        assert_eq!(failed["type"], "response.failed");
        assert_eq!(
            failed["sequence_number"], 8,
            "it follows the last that came"
        );
        let mut expected = begun();
        expected["status"] = json!("failed");
        expected["output"] = output();
        expected["error"] = json!({
            "code": "server_error",
            "message": "The model's provider broke off in the middle of its answer.",
        });
        assert_eq!(failed["response"], expected);
        gateway.access_line("status=200 error=upstream_cut");
    }
}

#[tokio::test]
async fn a_response_that_falls_silent_has_failed_too() {
    let events = beginning().concat();
    let sent = events.clone();
    let upstream = Upstream::start(move |_, mut reply| {
        let sent = sent.clone();
        async move {
            reply.begin_stream().await;
            reply.chunk(&sent).await;
            reply.wait_for_close().await;
            reply
        }
    })
    .await;
    let yaml = config(upstream.address, ", timeouts: { idle: 200ms }", "");
    let gateway = Gateway::start(&yaml);
    let response = gateway.post(RESPONSES, &streamed_chat("gpt-4o")).await;
    let (name, failed) = last(&response, &events);
    assert_eq!(name, "response.failed");
    let message = "The model's provider did not answer in time.";
    assert_eq!(failed["response"]["error"]["message"], message);
    assert_eq!(failed["response"]["output"], output());
    gateway.access_line("status=200 error=upstream_timeout");
}

#[tokio::test]
async fn a_response_that_was_never_created_is_told_as_an_error() {
    let delta = event("response.output_text.delta", 40, json!({"delta": "x"}));
    for (before, number) in [
        (delta.clone(), 41),
        (
            event("response.created", 3, json!({"response": {"no": "id"}})) + &delta,
            41,
        ),
        (
            "data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n".repeat(2),
            2,
        ),
    ] {
        let upstream = breaking(before.clone()).await;
        let gateway = Gateway::before(&upstream);
        let response = gateway.post(RESPONSES, &streamed_chat("gpt-4o")).await;
        let (name, error) = last(&response, &before);
        assert_eq!(name, "error");
        let expected = json!({
            "type": "error", "code": "upstream_cut", "param": null, "sequence_number": number,
            "message": "The model's provider broke off in the middle of its answer.",
        });
        assert_eq!(error, expected);
    }
}

#[tokio::test]
async fn a_response_that_says_little_of_itself_is_filled_in() {
    let created = r#"{"type":"response.created","response":{"id":"resp_1"}}"#;
    let before = format!(
        "data: {created}\n\ndata: {{\"type\":\"response.output_text.delta\",\"delta\":\"x\"}}\n\n"
    );
    let upstream = breaking(before.clone()).await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post(RESPONSES, &streamed_chat("gpt-4o")).await;
    let (_, failed) = last(&response, &before);
    assert_eq!(failed["sequence_number"], 2);
    let response = &failed["response"];
    assert_eq!(response["model"], "gpt-4o");
    assert!(
        response["created_at"]
            .as_i64()
            .is_some_and(|at| at > 1_700_000_000)
    );
    let expected = json!(["response", true, "auto", [], []]);
    let members = [
        "object",
        "parallel_tool_calls",
        "tool_choice",
        "tools",
        "output",
    ];
    assert_eq!(json!(members.map(|name| &response[name])), expected);
}

#[tokio::test]
async fn a_response_that_fails_carries_the_model_that_its_stream_does() {
    let events = beginning().concat();
    let upstream = breaking(events.clone()).await;
    let target = "model: gpt-4o-2024-11-20";
    let requested = format!("{target}, response_model: requested");
    let yaml = config(upstream.address, "", "").replace(target, &requested);
    let gateway = Gateway::start(&yaml);
    let response = gateway.post(RESPONSES, &streamed_chat("gpt-4o")).await;
    let before = events.replace("\"served\"", "\"gpt-4o\"");
    let (name, failed) = last(&response, &before);
    assert_eq!(
        (name, &failed["response"]["model"]),
        ("response.failed", &json!("gpt-4o"))
    );
}

#[tokio::test]
async fn what_is_kept_of_a_response_is_bounded() {
    // What is repeated of the request is left out where it is long.
    let mut long = begun();
    long["instructions"] = json!("i".repeat(5_000));
    long["tools"] = json!([{"type": "function", "name": "f", "description": "d".repeat(5_000)}]);
    let text = |n: usize| {
        event(
            "response.output_text.delta",
            n as u64,
            json!({"output_index": 0, "content_index": 0, "delta": format!("{n:>1000}")}),
        )
    };
    let message = json!({"id": "m", "type": "message", "role": "assistant", "status": "in_progress", "content": []});
    let mut events = vec![
        event("response.created", 0, json!({"response": long})),
        event(
            "response.output_item.added",
            1,
            json!({"output_index": 0, "item": message}),
        ),
    ];
    events.extend((2..500).map(text));
    let before = events.concat();
    let sent = before.clone();
    let upstream = Upstream::start(move |_, mut reply| {
        let sent = sent.clone();
        async move {
            reply.begin_stream().await;
            for piece in sent.as_bytes().chunks(10_000) {
                reply.chunk(str::from_utf8(piece).unwrap()).await;
            }
            reply.close();
            reply
        }
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post(RESPONSES, &streamed_chat("gpt-4o")).await;
    let (name, failed) = last(&response, &before);
    assert_eq!(
        (name, &failed["sequence_number"]),
        ("response.failed", &json!(500))
    );
    let failed = &failed["response"];
    assert_eq!(
        (&failed["instructions"], &failed["tools"]),
        (&Value::Null, &json!([]))
    );
    let kept = failed["output"][0]["content"][0]["text"].as_str().unwrap();
    let said: String = (2..500).map(|n| format!("{n:>1000}")).collect();
    assert!(said.starts_with(kept), "it is the beginning");
    assert!((200_000..262_144).contains(&kept.len()), "{}", kept.len());
}

#[tokio::test]
async fn a_failure_before_anything_has_passed_is_an_error_event_with_a_number() {
    // The upstream refuses once the client is being kept awake.
    let upstream = Upstream::start(|_, mut reply| async move {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let body = r#"{"error":{"message":"no","type":"invalid_request_error","code":"x"}}"#;
        reply.json("400 Bad Request", body).await;
        reply
    })
    .await;
    let yaml = config(upstream.address, "", "");
    let rule = "match: gpt-4o, ";
    let yaml = yaml.replace(rule, &format!("{rule}keepalive_after: 100ms, "));
    let gateway = Gateway::start(&yaml);
    let response = gateway.post(RESPONSES, &streamed_chat("gpt-4o")).await;
    let comments = response.text().matches(": keepalive\n\n").count();
    assert!(comments > 0 && !response.text().contains(PROMPT));
    let (name, error) = last(&response, &": keepalive\n\n".repeat(comments));
    assert_eq!(name, "error");
    assert_eq!(error["sequence_number"], 0);
    assert_eq!(error["type"], "error");
}
