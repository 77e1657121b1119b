//! The form of a line, and what is omitted from it or masked.

use serde_json::{Value, json};

use super::*;
use crate::chatlog::tests::config;

pub(crate) fn entry() -> Entry {
    Entry {
        request_id: "req_1".to_owned(),
        time: "2026-11-21T08:02:35.506Z"
            .parse::<jiff::Timestamp>()
            .unwrap()
            .into(),
        tenant: Some("internal".to_owned()),
        endpoint: "chat_completions",
        model: "gpt-4o".to_owned(),
        sent_model: Some("gpt-4o-2024-11-20".to_owned()),
        upstream: Some("openai".to_owned()),
        forwarded_for: Some("203.0.113.77".to_owned()),
        request: Bytes::from_static(
            br#"{"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}],
                 "tools": [{"type": "function", "function": {"name": "f"}}], "seed": 1}"#,
        ),
        answer: Some(Bytes::from_static(
            br#"{"choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "hi"}}]}"#,
        )),
        is_partial: false,
        usage: Some(json!({"total_tokens": 12})),
        cost_nanos: Some(1_500_000),
        status: 200,
    }
}

fn line(entry: &Entry, config: &ChatLog) -> String {
    let mut line = b"left from the last".to_vec();
    entry.write_line(config, &mut line);
    String::from_utf8(line).unwrap()
}

fn read(entry: &Entry, config: &ChatLog) -> Value {
    let line = line(entry, config);
    assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_line_has_its_fields_in_this_order() {
    assert_eq!(
        line(&entry(), &config("chats.jsonl")),
        "{\"id\":\"req_1\",\"time\":\"2026-11-21T08:02:35.506Z\",\"tenant\":\"internal\",\
         \"endpoint\":\"chat_completions\",\"model\":\"gpt-4o\",\
         \"sent_model\":\"gpt-4o-2024-11-20\",\"upstream\":\"openai\",\
         \"forwarded_for\":\"203.0.113.0\",\
         \"messages\":[{\"role\":\"user\",\"content\":\"hello\"}],\
         \"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\
         \"answer\":{\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\
         \"message\":{\"role\":\"assistant\",\"content\":\"hi\"}}]},\
         \"usage\":{\"total_tokens\":12},\"cost_usd\":0.0015,\"status\":200}\n"
    );
}

#[test]
fn the_request_has_one_field_whatever_the_endpoint_calls_it() {
    for (request, messages, instructions) in [
        (
            r#"{"input":"x","instructions":"be brief"}"#,
            json!("x"),
            json!("be brief"),
        ),
        (
            r#"{"prompt":["x"],"input":null}"#,
            json!(["x"]),
            Value::Null,
        ),
        (r#"{"messages":[],"prompt":"p"}"#, json!([]), Value::Null),
        (r#"{"messages":1,"messag\u0065s":2}"#, json!(2), Value::Null),
        ("{", Value::Null, Value::Null),
        ("[1]", Value::Null, Value::Null),
        ("", Value::Null, Value::Null),
    ] {
        let entry = Entry {
            request: Bytes::from_static(request.as_bytes()),
            ..entry()
        };
        let read = read(&entry, &config("c"));
        assert_eq!(read["messages"], messages, "{request}");
        assert_eq!(read["instructions"], instructions, "{request}");
        assert_eq!(
            (&read["status"], &read["cost_usd"]),
            (&200.into(), &0.0015.into())
        );
    }
}

#[test]
fn a_broken_answer_is_marked_and_one_that_is_not_json_is_text() {
    let entry = Entry {
        answer: Some(Bytes::from_static(b"<html>\n\xff")),
        is_partial: true,
        tenant: None,
        usage: None,
        cost_nanos: None,
        status: 502,
        ..entry()
    };
    let read = read(&entry, &config("c"));
    assert_eq!(read["answer"], "<html>\n\u{fffd}");
    assert_eq!(
        (&read["partial"], &read["status"]),
        (&json!(true), &json!(502))
    );
    assert_eq!((&read["tenant"], read.get("usage")), (&Value::Null, None));
}

#[test]
fn keys_and_addresses_are_hidden_unless_the_operator_says_otherwise() {
    let key = format!("sk-{}", "1".repeat(40));
    let entry = Entry {
        request: format!(r#"{{"messages":"my key is {key}"}}"#).into(),
        answer: Some(format!(r#"{{"said":"{key}"}}"#).into()),
        forwarded_for: Some("203.0.113.77, [2001:db8::1]:80,who".to_owned()),
        ..entry()
    };
    let hidden = read(&entry, &config("c"));
    assert_eq!(hidden["messages"], "my key is sk-1…");
    assert_eq!(hidden["answer"]["said"], "sk-1…");
    assert_eq!(hidden["forwarded_for"], "203.0.113.0, 2001:db8::, unknown");
    let open = ChatLog {
        mask: Mask::default(),
        ..config("c")
    };
    let shown = read(&entry, &open);
    assert_eq!(shown["messages"], format!("my key is {key}"));
    assert_eq!(shown["answer"]["said"], key);
    assert_eq!(shown["forwarded_for"], "203.0.113.77, [2001:db8::1]:80,who");
}

#[test]
fn the_longest_parts_of_a_line_that_is_too_long_are_omitted() {
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    let config = ChatLog {
        max_line_bytes: 8 << 10,
        ..config("c")
    };
    let long = |messages, tools, answer| Entry {
        request: format!(
            r#"{{"messages":{},"tools":{}}}"#,
            text(messages),
            text(tools)
        )
        .into(),
        answer: Some(text(answer).into()),
        ..entry()
    };
    let one = read(&long(9000, 100, 4000), &config);
    assert_eq!(one["left_out"], json!({"messages": 9000}));
    assert_eq!(one.get("messages"), None);
    assert!(one["tools"].is_string() && one["answer"].is_string());
    let two = read(&long(5000, 4000, 6000), &config);
    assert_eq!(two["left_out"], json!({"messages": 5000, "answer": 6000}));
    let none = read(&long(3000, 100, 3000), &config);
    assert_eq!(none.get("left_out"), None);
}

#[test]
fn no_line_is_longer_than_allowed() {
    let worst = "\u{1}".repeat(1000);
    let mut random = fastrand::Rng::with_seed(7);
    let (least, _) = crate::config::LINE_BYTES;
    let mut longest = 0;
    for _ in 0..300 {
        let mut text = || format!("\"{}\"", "x".repeat(random.usize(..7000)));
        let entry = Entry {
            request_id: worst.clone(),
            tenant: Some(worst.clone()),
            model: worst.clone(),
            sent_model: Some(worst.clone()),
            upstream: Some(worst.clone()),
            forwarded_for: Some(worst.clone()),
            request: format!(
                r#"{{"input":{},"instructions":{},"tools":{},"functions":{}}}"#,
                text(),
                text(),
                text(),
                text()
            )
            .into(),
            answer: Some(worst.clone().into()),
            is_partial: true,
            ..entry()
        };
        let config = ChatLog {
            max_line_bytes: least,
            mask: Mask::default(),
            ..config("c")
        };
        let line = line(&entry, &config);
        assert!(line.len() <= least, "{}", line.len());
        longest = longest.max(line.len());
    }
    assert!(longest > least - 1000, "{longest}");
}
