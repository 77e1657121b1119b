//! An answer is taken for what it is, whatever its label says.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::client::{Response, post};
use crate::support::form::{Form, post_form};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::{Reply, Upstream};
use crate::support::{DONE, FINISHED, chat, delta, streamed_chat};

const CHAT: &str = "/v1/chat/completions";
const USED: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7}}\n\n";

/// Labels that streams of events have had; none at all where it is empty.
const LABELS: [&str; 6] = [
    "application/json",
    "Application/JSON; charset=utf-8",
    "text/plain; charset=utf-8",
    "application/x-ndjson",
    "text/html",
    "",
];

/// The beginning of an answer in chunks with this label.
async fn begin(reply: &mut Reply, label: &str) {
    let label = match label {
        "" => String::new(),
        label => format!("content-type: {label}\r\n"),
    };
    let head = format!("HTTP/1.1 200 OK\r\n{label}transfer-encoding: chunked\r\n\r\n");
    reply.raw(head).await;
}

/// A provider that sends these pieces under a label, as chunks of their own.
async fn labelled(label: &'static str, pieces: Vec<String>) -> Upstream {
    let pieces: Arc<[String]> = pieces.into();
    Upstream::start(move |_, mut reply| {
        let pieces = Arc::clone(&pieces);
        async move {
            begin(&mut reply, label).await;
            for piece in pieces.iter() {
                reply.chunk(piece).await;
            }
            reply.end_stream().await;
            reply
        }
    })
    .await
}

fn whole_stream() -> String {
    [&delta("one"), &delta("two"), FINISHED, USED, DONE].concat()
}

fn tokens(kind: &str) -> String {
    format!(r#"tollgate_tokens_total{{kind="{kind}",rule="gpt-4o",upstream="far"}}"#)
}

#[tokio::test]
async fn the_events_of_a_stream_leave_at_once_under_any_label() {
    for label in LABELS {
        let step = Arc::new(Semaphore::new(0));
        let held = Arc::clone(&step);
        let upstream = Upstream::start(move |_, mut reply| {
            let held = Arc::clone(&held);
            async move {
                begin(&mut reply, label).await;
                reply.chunk(&delta("one")).await;
                held.acquire().await.unwrap().forget();
                let rest = [&delta("two"), FINISHED, USED, DONE].concat();
                reply.chunk(&rest).await;
                reply.end_stream().await;
                reply
            }
        })
        .await;
        let gateway = Gateway::before(&upstream);
        let mut client = gateway.connect().await;
        client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
        let (status, headers) = client.head().await;
        assert_eq!(status, 200, "{label}");
        let of_type = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let types: Vec<_> = of_type.map(|(_, value)| value.as_str()).collect();
        assert_eq!(types, ["text/event-stream; charset=utf-8"], "{label}");
        // The upstream waits for this step, so nothing of the next event can be on its way.
        assert_eq!(client.chunk().await, Some(delta("one")), "{label}");
        step.add_permits(1);
        let rest = [&delta("two"), FINISHED, DONE].concat();
        assert_eq!(client.chunk().await, Some(rest), "{label}");
        assert_eq!(client.chunk().await.as_deref(), Some(""), "{label}");
        // What the client has not asked for is read, and kept from it.
        gateway.metric_becomes(&tokens("output"), 7.0).await;
        gateway.metric_becomes(&tokens("input"), 11.0).await;
    }
}

#[tokio::test]
async fn one_answer_is_gathered_from_a_stream_under_any_label() {
    for label in LABELS {
        let upstream = labelled(label, vec![whole_stream()]).await;
        let target = "model: gpt-4o-2024-11-20";
        let always = format!("{target}, upstream_stream: always");
        let yaml = config(upstream.address, "", "").replace(target, &always);
        let gateway = Gateway::start(&yaml);
        let response = gateway.post(CHAT, &chat("gpt-4o")).await;
        assert_eq!(response.header("content-type"), Some("application/json"));
        let content = &response.json()["choices"][0]["message"]["content"];
        assert_eq!(content, "onetwo", "{label}");
    }
}

#[tokio::test]
async fn an_error_in_a_stream_under_any_label_has_its_status() {
    const ERROR: &str = r#"data: {"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}"#;
    for label in LABELS {
        let upstream = labelled(label, vec![format!("{ERROR}\n\n")]).await;
        let gateway = Gateway::before(&upstream);
        let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
        let code = Some("context_length_exceeded");
        assert_eq!(response.status, 400, "{label}: {response:?}");
        assert_eq!(response.json()["error"]["code"], json!(code), "{label}");
        assert_eq!(upstream.requests(), 1, "{label}");
    }
}

#[tokio::test]
async fn a_stream_is_known_however_it_begins_and_is_cut() {
    let stream = whole_stream();
    for before in [
        "",
        "\u{feff}",
        "\r\n\n",
        ": hello\n\n",
        "event: message\n",
        "id: 1\r\n",
        "retry: 10\n\n",
    ] {
        let text = format!("{before}{stream}");
        for size in [1, 3, text.len()] {
            let pieces = text.as_bytes().chunks(size);
            let pieces = match text.is_ascii() {
                true => pieces
                    .map(|p| String::from_utf8(p.to_vec()).unwrap())
                    .collect(),
                false => vec![text.clone()],
            };
            let upstream = labelled("application/json", pieces).await;
            let gateway = Gateway::before(&upstream);
            let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
            let expected = text.replace(USED, "");
            assert_eq!(response.text(), expected, "{before:?} in pieces of {size}");
            assert!(response.complete);
        }
    }
}

#[tokio::test]
async fn what_a_body_is_is_looked_for_within_a_bound() {
    // Blank lines, and no more than is looked through of them: they pass, and what follows too.
    let text = "\n".repeat(2_000);
    let upstream = labelled("text/plain", vec![text.clone(), whole_stream()]).await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_eq!(response.header("content-type"), Some("text/plain"));
    assert_eq!(response.text(), text + &whole_stream());
    let upstream = labelled("text/plain", vec!["and so".into(), " it goes".into()]).await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_eq!(response.text(), "and so it goes");
}

#[tokio::test]
async fn a_label_is_believed_where_no_stream_was_asked_for() {
    let upstream = labelled("text/plain", vec![whole_stream()]).await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    assert_eq!(response.header("content-type"), Some("text/plain"));
    assert_eq!(response.text(), whole_stream());
}

#[tokio::test]
async fn json_is_known_under_the_label_of_a_stream_or_a_page() {
    const ANSWER: &str = r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7}}"#;
    const ERROR: &str =
        r#" {"error":{"message":"no","type":"invalid_request_error","code":"content_filter"}}"#;
    for label in ["text/event-stream", "text/html; charset=utf-8"] {
        for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
            let upstream = labelled(label, vec![ANSWER.to_owned()]).await;
            let gateway = Gateway::before(&upstream);
            let response = gateway.post(CHAT, &body).await;
            assert_eq!(response.status, 200, "{label}");
            assert_eq!(response.header("content-type"), Some("application/json"));
            assert_eq!(response.text(), ANSWER);
            gateway.metric_becomes(&tokens("output"), 7.0).await;
            let upstream = labelled(label, vec![ERROR.to_owned()]).await;
            let gateway = Gateway::before(&upstream);
            let response = gateway.post(CHAT, &body).await;
            assert_eq!(response.status, 400, "{label}: {response:?}");
            assert_eq!(response.json()["error"]["code"], "content_filter");
        }
    }
}

#[tokio::test]
async fn a_web_page_is_no_answer() {
    for label in ["text/html", "Text/HTML; charset=utf-8"] {
        for page in ["<!doctype html><p>Sign in</p>", "Sign in", ""] {
            let pieces = match page {
                "" => Vec::new(),
                page => vec![page.to_owned()],
            };
            let upstream = labelled(label, pieces).await;
            let gateway = Gateway::before(&upstream);
            for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
                let response = gateway.post(CHAT, &body).await;
                let code = Some("upstream_invalid_response");
                response.assert_error(502, "server_error", code, None);
            }
            gateway.output().wait_for("it answered with a web page");
        }
    }
}

/// What comes of asking for a transcript in a format.
async fn transcribe(upstream: &Upstream, path: &str, format: Option<&str>) -> Response {
    let gateway = Gateway::before(upstream);
    let form = Form::default().text("model", "gpt-4o").file(b"RIFF");
    let form = match format {
        Some(format) => form.text("response_format", format),
        None => form,
    };
    let mut client = gateway.connect().await;
    client.send(post_form(path, &form.end())).await;
    client.response().await
}

#[tokio::test]
async fn a_transcript_that_was_asked_for_as_text_comes_under_any_label() {
    const SRT: &str = "1\n00:00:00,000 --> 00:00:01,000\nand so\n";
    const VTT: &str = "WEBVTT\n\n00:00.000 --> 00:01.000\nand so";
    for (format, label, text) in [
        (
            "text",
            "text/html; charset=utf-8",
            " And so my fellow Americans\n",
        ),
        ("text", "text/html", "[BLANK_AUDIO]"),
        ("text", "text/html", "<music> and so"),
        ("text", "text/plain; charset=utf-8", "and so"),
        ("text", "application/json", "and so"),
        ("text", "application/json", "\"and so\""),
        ("srt", "text/html", SRT),
        ("srt", "application/json", SRT),
        ("srt", "application/x-subrip", SRT),
        ("vtt", "text/html", VTT),
        ("vtt", "text/vtt", VTT),
    ] {
        for path in ["/v1/audio/transcriptions", "/v1/audio/translations"] {
            let upstream = labelled(label, vec![text.to_owned()]).await;
            let response = transcribe(&upstream, path, Some(format)).await;
            assert_eq!(response.status, 200, "{format} {label}: {response:?}");
            assert_eq!(response.text(), text, "{format} {label}");
            assert_eq!(response.header("content-type"), Some(label), "it stays");
        }
    }
}

#[tokio::test]
async fn a_web_page_is_no_transcript() {
    let path = "/v1/audio/transcriptions";
    let page = "\n<!DOCTYPE html><title>502</title>".to_owned();
    for (format, body) in [
        (Some("text"), page.clone()),
        (Some("srt"), page.clone()),
        (None, page),
        (None, "And so".to_owned()),
        (Some("json"), "And so".to_owned()),
        (Some("verbose_json"), "And so".to_owned()),
    ] {
        let upstream = labelled("text/html", vec![body]).await;
        let response = transcribe(&upstream, path, format).await;
        let code = Some("upstream_invalid_response");
        response.assert_error(502, "server_error", code, None);
    }
    // An error is one, in whichever format it was not asked for.
    let error =
        r#"{"error":{"message":"no","type":"invalid_request_error","code":"content_filter"}}"#;
    for label in ["text/html", "application/json"] {
        let upstream = labelled(label, vec![error.to_owned()]).await;
        let response = transcribe(&upstream, path, Some("text")).await;
        assert_eq!(response.status, 400, "{label}: {response:?}");
    }
}

#[tokio::test]
async fn sound_is_not_taken_for_anything_else() {
    let sound = "ID3\u{4}data: not at all\n\n".to_owned();
    let upstream = labelled("audio/mpeg", vec![sound.clone()]).await;
    let gateway = Gateway::before(&upstream);
    let body = streamed_chat("gpt-4o").replace("messages", "input");
    let response = gateway.post("/v1/audio/speech", &body).await;
    assert_eq!(response.text(), sound);
    assert_eq!(response.header("content-type"), Some("audio/mpeg"));
    let upstream = labelled("text/html", vec!["<html>".to_owned()]).await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post("/v1/audio/speech", &body).await;
    assert_eq!(response.status, 502);
    assert!(Value::is_object(&response.json()));
}
