//! What passes is written to the chat log: what was asked, the whole answer however it came, and what
//! it has used.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::client::post;
use crate::support::gateway::{Gateway, config};
use crate::support::recorded::recorded;
use crate::support::upstream::Upstream;
use crate::support::{DONE, PROMPT, chat, streamed_chat, until};

const CHAT: &str = "/v1/chat/completions";
const WRITTEN: &str = r#"tollgate_chat_log_lines_total{outcome="written"}"#;

/// A gateway that writes its chats down, and where.
fn logging(upstream: &Upstream, rule: &str, more: &str) -> (Gateway, PathBuf) {
    let target = "model: gpt-4o-2024-11-20 }]";
    let yaml = config(
        upstream.address,
        "",
        &format!("chat_log: {{ path: chats.jsonl{more} }}\n"),
    );
    let gateway = Gateway::start(&yaml.replace(target, &format!("{target}{rule}")));
    let file = gateway.folder().0.join("chats.jsonl");
    (gateway, file)
}

/// The lines of the log, once there are so many.
async fn lines(gateway: &Gateway, file: &PathBuf, count: u32) -> Vec<Value> {
    gateway.metric_becomes(WRITTEN, f64::from(count)).await;
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[tokio::test]
async fn a_stream_is_written_as_the_answer_that_it_amounts_to() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&recorded("openai_tools.sse")).await;
        reply.end_stream().await;
        reply
    })
    .await;
    let (gateway, file) = logging(&upstream, "", "");
    assert_eq!(
        gateway.post(CHAT, &streamed_chat("gpt-4o")).await.status,
        200
    );
    let line = lines(&gateway, &file, 1).await.remove(0);
    let whole: Value = serde_json::from_str(&recorded("openai_tools.json")).unwrap();
    assert_eq!(line["answer"], whole);
    assert_eq!(
        line["messages"],
        json!([{"role": "user", "content": PROMPT}])
    );
    assert_eq!(line["usage"]["output"], whole["usage"]["completion_tokens"]);
    for (member, value) in [
        ("tenant", json!("tester")),
        ("endpoint", json!("chat_completions")),
        ("model", json!("gpt-4o")),
        ("sent_model", json!("gpt-4o-2024-11-20")),
        ("upstream", json!("far")),
        ("status", json!(200)),
        ("partial", Value::Null),
    ] {
        assert_eq!(line[member], value, "{member}");
    }
    assert!(line["id"].as_str().unwrap().starts_with("req_"));
}

#[tokio::test]
async fn an_answer_in_one_and_an_error_are_written_too() {
    let upstream = Upstream::start(|request, mut reply| async move {
        match request.text().contains("gpt-4o-2024-11-20") {
            true => {
                let body = r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
                reply.json("200 OK", body).await;
            }
            false => reply.json("400 Bad Request", r#"{"error":{"message":"no, that is wrong"}}"#).await,
        }
        reply
    })
    .await;
    let (gateway, file) = logging(&upstream, "", "");
    gateway.post(CHAT, &chat("gpt-4o")).await;
    gateway.post(CHAT, &chat("same-x")).await;
    gateway.post("/v1/embeddings", &chat("same-x")).await;
    let mut lines = lines(&gateway, &file, 2).await;
    // Who has had the answer does not wait until its line is written.
    lines.sort_by_key(|line| line["status"].as_u64());
    assert_eq!(lines[0]["answer"]["choices"][0]["message"]["content"], "hi");
    assert_eq!(lines[0]["usage"]["input"], 3);
    assert_eq!(
        (&lines[1]["status"], &lines[1]["answer"]),
        (&json!(400), &Value::Null)
    );
    assert_eq!(lines[1]["model"], "same-x");
}

#[tokio::test]
async fn what_a_client_has_left_is_written_as_far_as_it_came() {
    let go_on = std::sync::Arc::new(Semaphore::new(0));
    let step = std::sync::Arc::clone(&go_on);
    let upstream = Upstream::start(move |_, mut reply| {
        let step = std::sync::Arc::clone(&step);
        async move {
            reply.begin_stream().await;
            reply.event(r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"half"}}]}"#).await;
            let went_on = tokio::select! {
                permit = step.acquire() => permit.map(|permit| permit.forget()).is_ok(),
                () = reply.wait_for_close() => false,
            };
            if went_on {
                reply.event(r#"{"id":"c","choices":[{"index":0,"delta":{"content":" and whole"},"finish_reason":"stop"}]}"#).await;
                reply.event(r#"{"id":"c","choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3}}"#).await;
                reply.chunk(DONE).await;
                reply.end_stream().await;
            }
            reply
        }
    })
    .await;
    for (way, content, is_partial) in [
        ("estimate", "half", json!(true)),
        ("drain", "half and whole", Value::Null),
    ] {
        let (gateway, file) = logging(&upstream, &format!(", on_client_gone: {way}"), "");
        let mut client = gateway.connect().await;
        client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
        client.head().await;
        client.chunk().await.unwrap();
        client.leave();
        if way == "drain" {
            gateway.access_line("error=client_gone");
            go_on.add_permits(1);
        }
        let line = lines(&gateway, &file, 1).await.remove(0);
        assert_eq!(line["answer"]["choices"][0]["message"]["content"], content);
        assert_eq!(line["partial"], is_partial);
        assert_eq!(
            line["usage"]["estimated"],
            json!(way == "estimate"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_line_has_no_more_of_an_address_and_of_keys_than_is_needed() {
    let upstream = Upstream::answering(r#"{"choices":[]}"#).await;
    let (gateway, file) = logging(&upstream, "", "");
    let body = chat("gpt-4o").replace(PROMPT, "my key is sk-proj-abcdefghijklmnopqrstuvwx");
    gateway.post(CHAT, &body).await;
    let line = lines(&gateway, &file, 1).await.remove(0);
    assert_eq!(line["forwarded_for"], "127.0.0.0");
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("my key is") && !text.contains("abcdefghijklmnop"),
        "{text}"
    );
}

#[tokio::test]
async fn nothing_is_written_of_what_is_not_wanted() {
    let upstream = Upstream::answering(r#"{"choices":[]}"#).await;
    let (gateway, file) = logging(&upstream, "", ", sample: 0");
    gateway.post(CHAT, &chat("gpt-4o")).await;
    until("the request's end", || {
        gateway.output().text().contains("status=200")
    })
    .await;
    assert_eq!(fs::metadata(&file).unwrap().len(), 0);
    let without = Gateway::before(&upstream);
    without.post(CHAT, &chat("gpt-4o")).await;
    assert!(!without.folder().0.join("chats.jsonl").exists());
}

#[tokio::test]
async fn what_is_queued_is_written_before_the_process_ends() {
    let upstream = Upstream::answering(r#"{"choices":[]}"#).await;
    let (mut gateway, file) = logging(&upstream, "", "");
    for _ in 0..20 {
        gateway.post(CHAT, &chat("gpt-4o")).await;
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 20);
}
