//! A form that names a model is passed on byte for byte, but for the model.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::client::{Response, post};
use crate::support::form::{BOUNDARY, Form, form_of, head, post_chunked, post_form};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROMPT, PROVIDER_KEY};

const ENDPOINTS: [&str; 4] = [
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/images/edits",
    "/v1/images/variations",
];
const TRANSCRIPTIONS: &str = ENDPOINTS[0];

/// What a file may hold: all bytes, what looks like a part, and a boundary but for its end.
fn file() -> Vec<u8> {
    let mut file: Vec<u8> = (0..=255).collect();
    let decoy =
        "\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o\r\n------Form\r\n";
    file.extend(decoy.bytes());
    file
}

/// A form whose model comes before the file, or after it.
fn form(model: &str, model_first: bool) -> Vec<u8> {
    let form = Form::default().text("prompt", PROMPT);
    let form = match model_first {
        true => form.text("model", model).file(&file()),
        false => form.file(&file()).text("model", model),
    };
    form.text("temperature", "0.20").end()
}

async fn send(gateway: &Gateway, request: impl AsRef<[u8]>) -> Response {
    let mut client = gateway.connect().await;
    client.send(request).await;
    client.response().await
}

#[tokio::test]
async fn the_model_is_rewritten_wherever_it_stands_and_nothing_else() {
    let upstream = Upstream::answering(r#"{"text":"said"}"#).await;
    let gateway = Gateway::before(&upstream);
    for path in ENDPOINTS {
        for model_first in [true, false] {
            for (asked, sent) in [("gpt-4o", "gpt-4o-2024-11-20"), ("same-x", "same-x")] {
                let answer = send(&gateway, post_form(path, &form(asked, model_first))).await;
                assert_eq!((answer.status, answer.text()), (200, r#"{"text":"said"}"#));
                let seen = upstream.request().await;
                let expected = form(sent, model_first);
                assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", path));
                assert!(seen.body == expected, "{path} {asked}: the forms differ");
                assert_eq!(seen.header("content-length"), [expected.len().to_string()]);
                assert!(seen.header("transfer-encoding").is_empty());
                let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
                assert_eq!(seen.header("content-type"), [content_type]);
                let key = format!("Bearer {PROVIDER_KEY}");
                assert_eq!(seen.header("authorization"), [key]);
            }
        }
    }
    gateway.access_line("model=gpt-4o sent=gpt-4o-2024-11-20 upstream=far status=200");
    let metrics = gateway.get_admin("/metrics").await;
    for name in ["audio_transcriptions", "images_edits"] {
        assert!(metrics.text().contains(&format!("endpoint=\"{name}\"")));
    }
}

#[tokio::test]
async fn a_form_is_left_as_its_client_writes_it() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let content_type = "Multipart/Form-Data;charset=utf-8; boundary=\"a b:?\"";
    let form = |model: &str| {
        format!(
            "\r\n--a b:? \t\r\nX-Odd: 1\r\ncontent-disposition:FORM-DATA; NAME=model;\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n{model}\r\n--a b:?\r\n\
             Content-Disposition: form-data; name=\"timestamp_granularities[]\"\r\n\r\n\r\n\
             --a b:?--\r\nan epilogue\r\n"
        )
    };
    let body = form("gpt-4o");
    let request = post(TRANSCRIPTIONS, "", &body).replace("application/json", content_type);
    assert_eq!(send(&gateway, request).await.status, 200);
    let seen = upstream.request().await;
    assert_eq!(seen.text(), form("gpt-4o-2024-11-20"));
    assert_eq!(seen.header("content-type"), [content_type]);
}

#[tokio::test]
async fn a_chunked_form_arrives_whole_and_with_a_length() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let large = form_of("gpt-4o", 3 << 20);
    let large_sent = form_of("gpt-4o-2024-11-20", 3 << 20);
    let (small, small_sent) = (form("gpt-4o", false), form("gpt-4o-2024-11-20", false));
    for (form, sent, size) in [
        (&small, &small_sent, 1),
        (&small, &small_sent, 7),
        (&large, &large_sent, 7_001),
        (&large, &large_sent, 1 << 20),
    ] {
        let answer = send(&gateway, post_chunked(TRANSCRIPTIONS, form, size)).await;
        assert_eq!(answer.status, 200, "chunks of {size}");
        let seen = upstream.request().await;
        assert!(seen.body == *sent, "chunks of {size}: the forms differ");
        assert_eq!(seen.header("content-length"), [sent.len().to_string()]);
        assert!(seen.header("transfer-encoding").is_empty());
    }
}

#[tokio::test]
async fn a_form_can_ask_for_a_stream() {
    let step = Arc::new(Semaphore::new(0));
    let go_on = Arc::clone(&step);
    let upstream = Upstream::start(move |_, mut reply| {
        let step = Arc::clone(&step);
        async move {
            reply.begin_stream().await;
            reply.event(r#"{"type":"transcript.text.delta"}"#).await;
            step.acquire().await.unwrap().forget();
            reply.event(r#"{"type":"transcript.text.done"}"#).await;
            reply.close();
            reply
        }
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let streamed = Form::default()
        .text("stream", "true")
        .text("model", "gpt-4o");
    let mut client = gateway.connect().await;
    client
        .send(post_form(TRANSCRIPTIONS, &streamed.end()))
        .await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 200);
    assert!(
        headers
            .iter()
            .any(|(_, value)| value == "text/event-stream")
    );
    let first = client.chunk().await.unwrap();
    assert_eq!(first, "data: {\"type\":\"transcript.text.delta\"}\n\n");
    go_on.add_permits(1);
    assert!(client.chunk().await.unwrap().contains("text.done"));
    // The upstream broke off between two events: that is said in the stream.
    let error = client.chunk().await.unwrap();
    assert!(error.starts_with("data: {\"error\":{"), "{error}");
    assert_eq!(client.chunk().await.as_deref(), Some(""));
}

#[tokio::test]
async fn only_a_form_that_asks_for_a_stream_is_held_to_the_first_token() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        if body.contains("true") {
            reply.wait_for_close().await;
        } else {
            reply.json("200 OK", "{}").await;
        }
        reply
    })
    .await;
    let more = ", timeouts: { first_token: 100ms }";
    let gateway = Gateway::start(&config(upstream.address, more, ""));
    let asking = |stream: &str| {
        let form = Form::default()
            .text("model", "gpt-4o")
            .text("stream", stream);
        post_form(TRANSCRIPTIONS, &form.end())
    };
    let late = send(&gateway, asking("true")).await;
    late.assert_error(504, "server_error", Some("upstream_timeout"), None);
    upstream.closed().await;
    assert_eq!(send(&gateway, asking("false")).await.status, 200);
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_form_comes() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let form = form_of("same-x", 2 << 20);
    let expecting = format!("expect: 100-continue\r\ncontent-length: {}\r\n", form.len());
    let mut client = gateway.connect().await;
    client.send(head(TRANSCRIPTIONS, &expecting)).await;
    assert_eq!(client.head().await.0, 100);
    client.send(&form).await;
    assert_eq!(client.response().await.status, 200);
    let seen = upstream.request().await;
    assert!(seen.body == form && seen.header("expect").is_empty());
}

#[tokio::test]
async fn forms_on_one_connection_follow_each_other() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    for bytes in [10, 2 << 20, 0, 3 << 20, 100] {
        let form = form_of("same-x", bytes);
        client.send(post_form(TRANSCRIPTIONS, &form)).await;
        assert_eq!(client.response().await.status, 200, "{bytes}");
        assert!(upstream.request().await.body == form, "{bytes}");
    }
    assert_eq!(upstream.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn targets_share_the_forms_by_weight_each_with_its_model() {
    let (one, two) = (
        Upstream::answering("{}").await,
        Upstream::answering("{}").await,
    );
    let gateway = Gateway::start(&format!(
        "server: {{ listen: ['127.0.0.1:0'], admin: '127.0.0.1:0' }}
upstreams:
  one: {{ base_url: 'http://{}' }}
  two: {{ base_url: 'http://{}' }}
models:
  - match: m
    targets: [{{ upstream: one, model: whisper-1, weight: 3 }}, {{ upstream: two, model: w }}]
tenants: [{{ id: t, keys: ['{CLIENT_KEY}'] }}]",
        one.address, two.address
    ));
    for _ in 0..8 {
        let form = form("m", false);
        assert_eq!(
            send(&gateway, post_form(TRANSCRIPTIONS, &form))
                .await
                .status,
            200
        );
    }
    assert_eq!((one.requests(), two.requests()), (6, 2));
    assert!(one.request().await.body == form("whisper-1", false));
    assert!(two.request().await.body == form("w", false));
}

#[tokio::test]
async fn json_is_taken_where_a_form_is() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let body =
        format!(r#"{{"images":[{{"file_id":"f"}}], "model" : "gpt-4o","prompt":"{PROMPT}"}}"#);
    for path in ENDPOINTS {
        assert_eq!(gateway.post(path, &body).await.status, 200, "{path}");
        let seen = upstream.request().await;
        assert_eq!(seen.text(), body.replace("gpt-4o", "gpt-4o-2024-11-20"));
        assert_eq!(seen.header("content-type"), ["application/json"]);
    }
    let broken = gateway.post("/v1/images/edits", "{").await;
    broken.assert_error(400, "invalid_request_error", None, None);
    assert!(broken.text().contains("JSON"), "{}", broken.text());
}
