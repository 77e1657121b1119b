//! A provider key that an upstream says again stays with us: in errors of every status and form, in headers,
//! on every way, and in all that is logged.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::client::{Client, Response, post};
use crate::support::gateway::{Folder, Gateway, assert_no_secret, config};
use crate::support::upstream::{Listener, Upstream};
use crate::support::websocket::keyed;
use crate::support::{DONE, FINISHED, PROVIDER_KEY, chat, delta, streamed_chat, until};

/// What takes the key's place.
fn stars() -> String {
    "*".repeat(PROVIDER_KEY.len())
}

/// The key with each byte escaped, as JSON allows.
fn escaped() -> String {
    PROVIDER_KEY
        .bytes()
        .map(|byte| format!("\\u{byte:04X}"))
        .collect()
}

/// The usual configuration with a home, a route, one attempt, and what a test adds.
fn yaml(address: SocketAddr, more_of_upstream: &str, more: &str) -> String {
    let routes = "routes:\n  - { prefix: /other, upstream: far }\n";
    let server = "server:\n  passthrough: far\n  retries: { attempts: 1 }\n";
    config(address, more_of_upstream, &[routes, more].concat()).replace("server:\n", server)
}

fn start(upstream: &Upstream) -> Gateway {
    Gateway::start(&yaml(upstream.address, "", ""))
}

/// Asserts that a response holds no key in any form, but what takes its place.
#[track_caller]
fn assert_masked(what: &str, response: &Response) {
    let shown = format!("{:?} {}", response.headers, response.text());
    for key in [PROVIDER_KEY, &escaped(), &escaped().to_lowercase()] {
        assert!(!shown.contains(key), "{what}: {shown}");
    }
    assert!(shown.contains(&stars()), "{what}: {shown}");
}

/// A request on each way: the exchange, the tunnel, a route.
fn requests(headers: &str) -> [String; 3] {
    let body = chat("gpt-4o");
    ["/v1/chat/completions", "/v1/files", "/other/x"].map(|path| post(path, headers, &body))
}

fn error(message: &str) -> String {
    json!({ "error": { "message": message, "type": "invalid_request_error", "param": null, "code": "odd" } }).to_string()
}

#[tokio::test]
async fn an_error_of_any_status_is_masked_on_every_way_whole_and_in_pieces() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let status = request.header("x-client-request-id").concat();
        let body = match request.header("session-id").concat().as_str() {
            "escaped" => error("KEY").replace("KEY", &escaped()),
            "plain" => format!("<p>no route for {PROVIDER_KEY}</p>"),
            _ => error(&format!("bad header Authorization: Bearer {PROVIDER_KEY}")),
        };
        let kind = match body.starts_with('<') {
            true => "text/plain",
            false => "application/json",
        };
        reply
            .raw(format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
            ))
            .await;
        let size = if request.header("session-id") == ["pieces"] {
            5
        } else {
            1000
        };
        for piece in body.as_bytes().chunks(size) {
            reply
                .raw(format!(
                    "{:x}\r\n{}\r\n",
                    piece.len(),
                    str::from_utf8(piece).unwrap()
                ))
                .await;
        }
        reply.raw("0\r\n\r\n").await;
        reply
    })
    .await;
    for status in ["400", "404", "409", "422", "429", "500", "503"] {
        for form in ["whole", "pieces", "escaped", "plain"] {
            // A key that was told to wait is not asked with again.
            let gateway = start(&upstream);
            let headers = format!("x-client-request-id: {status}\r\nsession-id: {form}\r\n");
            for request in requests(&headers) {
                let mut client = gateway.connect().await;
                client.send(&request).await;
                let response = client.response().await;
                assert_eq!(response.status.to_string(), status, "{response:?}");
                assert_masked(&request, &response);
            }
            assert_no_secret(&gateway.output().text());
        }
    }
}

#[tokio::test]
async fn an_error_under_a_status_of_success_is_masked_on_every_way() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let filler = match request.header("session-id") == ["long"] {
            true => "x".repeat(40_000),
            false => String::new(),
        };
        let body = json!({ "error": { "message": format!("oops {PROVIDER_KEY} {filler} {PROVIDER_KEY}") } });
        reply.json("200 OK", &body.to_string()).await;
        reply
    })
    .await;
    let gateway = start(&upstream);
    for length in ["short", "long"] {
        for request in requests(&format!("session-id: {length}\r\n")) {
            let mut client = gateway.connect().await;
            client.send(&request).await;
            assert_masked(&request, &client.response().await);
        }
    }
}

#[tokio::test]
async fn an_error_too_long_to_be_read_is_masked_to_its_end() {
    // The key stands across the place up to which an error is read, too.
    let text = |key: &str| format!("{}{key} {}{key}", "x".repeat(65_500), "y".repeat(50_000));
    let message = error(&text(PROVIDER_KEY));
    let length = message.len();
    let sent = message.clone();
    let upstream = Upstream::start(move |_, mut reply| {
        let sent = sent.clone();
        async move {
            let head = format!(
                "HTTP/1.1 400 Bad\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            );
            reply.raw(head).await;
            for piece in sent.as_bytes().chunks(13) {
                reply.raw(piece).await;
            }
            reply
        }
    })
    .await;
    let gateway = start(&upstream);
    for request in requests("") {
        let mut client = gateway.connect().await;
        client.send(&request).await;
        let response = client.response().await;
        assert_eq!(response.status, 400);
        assert!(response.complete);
        assert_eq!(response.text(), message.replace(PROVIDER_KEY, &stars()));
    }
}

#[tokio::test]
async fn a_whole_response_that_has_failed_is_masked() {
    let failed = json!({
        "id": "resp_1", "object": "response", "status": "failed", "model": "m", "output": [],
        "error": { "code": "server_error", "message": format!("bad key {PROVIDER_KEY}") },
        "usage": { "input_tokens": 1, "output_tokens": 0, "total_tokens": 1 },
    });
    let upstream = Upstream::start(move |_, mut reply| {
        let body = failed.to_string();
        async move {
            reply.json("200 OK", &body).await;
            reply
        }
    })
    .await;
    let gateway = start(&upstream);
    let response = gateway.post("/v1/responses", &chat("gpt-4o")).await;
    assert_masked("failed", &response);
    assert_eq!(response.json()["id"], "resp_1");
}

#[tokio::test]
async fn what_the_model_says_passes_as_it_came() {
    // Not even what looks like the key is changed where nothing has gone wrong.
    let said = json!({ "choices": [{ "message": { "content": PROVIDER_KEY } }] }).to_string();
    let answer = said.clone();
    let upstream = Upstream::start(move |_, mut reply| {
        let answer = answer.clone();
        async move {
            reply.json("200 OK", &answer).await;
            reply
        }
    })
    .await;
    let gateway = start(&upstream);
    let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(response.text(), said);
}

#[tokio::test]
async fn headers_of_every_answer_are_masked() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let headers = format!(
            "x-debug: Bearer {PROVIDER_KEY}\r\nx-short: {}\r\n",
            &PROVIDER_KEY[..5]
        );
        let status = request.header("x-client-request-id").concat();
        reply.json_with(&status, &headers, "{\"x\":1}").await;
        reply
    })
    .await;
    let gateway = start(&upstream);
    for status in ["200 OK", "404 Not Found", "500 Oops"] {
        for request in requests(&format!("x-client-request-id: {status}\r\n")) {
            let mut client = gateway.connect().await;
            client.send(&request).await;
            let response = client.response().await;
            assert_masked(&request, &response);
            assert_eq!(
                response.header("x-debug").unwrap(),
                format!("Bearer {}", stars())
            );
            assert_eq!(response.header("x-short").unwrap(), &PROVIDER_KEY[..5]);
        }
    }
}

/// The events of a response that fails and says the key.
fn failing_response() -> [String; 3] {
    let event = |value: Value| {
        format!(
            "event: {}\ndata: {value}\n\n",
            value["type"].as_str().unwrap()
        )
    };
    let response = |status: &str, error: Value| json!({ "id": "resp_1", "object": "response", "model": "m", "status": status, "error": error, "output": [] });
    let failed = json!({ "code": "server_error", "message": format!("bad key {PROVIDER_KEY}") });
    [
        event(
            json!({ "type": "response.created", "sequence_number": 0, "response": response("in_progress", Value::Null) }),
        ),
        event(
            json!({ "type": "response.output_text.delta", "sequence_number": 1, "output_index": 0, "item_id": "i",
                      "content_index": 0, "delta": "hi" }),
        ),
        event(
            json!({ "type": "response.failed", "sequence_number": 2, "response": response("failed", failed) }),
        ),
    ]
}

#[tokio::test]
async fn an_error_in_a_stream_is_masked_first_or_later_and_in_pieces() {
    let told = format!("data: {}\n\n", error(&format!("bad key {PROVIDER_KEY}")));
    let responses = failing_response().concat();
    for (path, stream) in [
        ("/v1/chat/completions", told.clone()),
        ("/v1/chat/completions", [delta("hi"), told.clone()].concat()),
        (
            "/v1/chat/completions",
            [delta("hi"), told.replace(PROVIDER_KEY, &escaped())].concat(),
        ),
        ("/v1/responses", responses),
        // Unread, it passes as it came but for that.
        ("/v1/threads/t/runs", [delta("hi"), told].concat()),
    ] {
        for size in [7, 10_000] {
            let sent = stream.clone();
            let upstream = Upstream::start(move |_, mut reply| {
                let stream = sent.clone();
                async move {
                    reply.begin_stream().await;
                    for piece in stream.as_bytes().chunks(size) {
                        reply.chunk(str::from_utf8(piece).unwrap()).await;
                    }
                    reply.end_stream().await;
                    reply
                }
            })
            .await;
            let gateway = start(&upstream);
            let response = gateway.post(path, &streamed_chat("gpt-4o")).await;
            assert_masked(&format!("{path} in pieces of {size}"), &response);
            assert_no_secret(&gateway.output().text());
        }
    }
}

#[tokio::test]
async fn an_error_is_masked_where_an_answer_is_given_another_form() {
    let told = error(&format!("bad key {PROVIDER_KEY}"));
    let long = json!({ "error": { "message": format!("{PROVIDER_KEY}{}", "x".repeat(40_000)) },
                       "choices": [{ "index": 0, "message": { "role": "assistant", "content": "hi" } }] });
    let upstream = Upstream::start(move |request, mut reply| {
        let (told, long) = (told.clone(), long.to_string());
        async move {
            let asks_for_stream = request.text().contains("\"stream\":true");
            match (asks_for_stream, request.header("session-id") == ["long"]) {
                (true, _) => {
                    reply
                        .stream(&[delta("hi"), format!("data: {told}\n\n")].concat())
                        .await
                }
                (false, true) => reply.json("200 OK", &long).await,
                (false, false) => reply.json("200 OK", &told).await,
            }
            reply
        }
    })
    .await;
    for (streams, body) in [
        ("always", chat("gpt-4o")),
        ("never", streamed_chat("gpt-4o")),
    ] {
        let model = "model: gpt-4o-2024-11-20";
        let streamed = format!("{model}, upstream_stream: {streams}");
        let gateway = Gateway::start(&yaml(upstream.address, "", "").replace(model, &streamed));
        assert_masked(streams, &gateway.post("/v1/chat/completions", &body).await);
        let mut client = gateway.connect().await;
        client
            .send(post("/v1/chat/completions", "session-id: long\r\n", &body))
            .await;
        let response = client.response().await;
        assert!(
            !response.text().contains(PROVIDER_KEY),
            "{streams}: {response:?}"
        );
    }
}

#[tokio::test]
async fn the_chat_log_holds_no_key_that_an_upstream_says() {
    let upstream = Upstream::start(|request, mut reply| async move {
        match request.path.as_str() {
            "/v1/responses" => reply.stream(&failing_response().concat()).await,
            _ => {
                reply
                    .json("400 Bad", &error(&format!("bad key {PROVIDER_KEY}")))
                    .await
            }
        }
        reply
    })
    .await;
    let folder = Folder::new();
    let file = folder.0.join("chats.jsonl");
    let more = format!("chat_log: {{ path: '{}', mask: [] }}\n", file.display());
    let gateway = Gateway::start(&yaml(upstream.address, "", &more));
    for path in ["/v1/responses", "/v1/chat/completions"] {
        assert_masked(path, &gateway.post(path, &streamed_chat("gpt-4o")).await);
    }
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    until("both chats are written", || written().lines().count() == 2).await;
    assert!(written().contains("resp_1"), "{}", written());
    assert!(!written().contains(PROVIDER_KEY), "{}", written());
}

#[tokio::test]
async fn a_compressed_error_of_the_tunnel_is_unpacked_and_masked() {
    let upstream = Upstream::start(|request, mut reply| async move {
        assert_eq!(request.header("accept-encoding"), ["gzip, br"]);
        let body = gzipped(&error(&format!("bad key {PROVIDER_KEY}")));
        let coding = request.header("session-id").concat();
        let head = format!(
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        reply.raw([head.as_bytes(), &body].concat()).await;
        reply
    })
    .await;
    let gateway = start(&upstream);
    let ask = |path, coding| {
        let headers =
            format!("accept-encoding: gzip, deflate, br, zstd\r\nsession-id: {coding}\r\n");
        let request = post(path, &headers, "{}");
        async {
            let mut client = gateway.connect().await;
            client.send(request).await;
            client.response().await
        }
    };
    for path in ["/v1/files", "/other/x"] {
        let response = ask(path, "gzip").await;
        assert_eq!(response.status, 404);
        assert_eq!(response.header("content-encoding"), None);
        assert_eq!(
            response.json()["error"]["message"],
            format!("bad key {}", stars())
        );
        // What we cannot read is told in our words.
        let response = ask(path, "zstd").await;
        response.assert_error(404, "server_error", Some("upstream_error"), None);
        assert_eq!(response.header("content-encoding"), None);
    }
}

/// A text as a gzip member of stored blocks, which needs no compressor.
fn gzipped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let length = u16::try_from(bytes.len()).unwrap();
    let mut packed = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01".to_vec();
    packed.extend(length.to_le_bytes());
    packed.extend((!length).to_le_bytes());
    packed.extend(bytes);
    let crc = !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| match crc & 1 {
            1 => (crc >> 1) ^ 0xedb8_8320,
            _ => crc >> 1,
        })
    });
    packed.extend(crc.to_le_bytes());
    packed.extend(u32::from(length).to_le_bytes());
    packed
}

#[tokio::test]
async fn a_websocket_that_is_declined_tells_no_key() {
    let listener = Listener::bind().await;
    let gateway = Gateway::start(&config(listener.address, "", ""));
    let mut client = gateway.connect().await;
    client.send(keyed("/v1/realtime?model=gpt-4o", "")).await;
    let mut reply = listener.accept_header().await;
    let headers = format!("x-debug: {PROVIDER_KEY}\r\n");
    reply
        .json_with(
            "404 Not Found",
            &headers,
            &error(&format!("no model for {PROVIDER_KEY}")),
        )
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 404);
    assert_masked("declined", &response);
    assert_eq!(response.header("x-debug").unwrap(), stars());
}

#[tokio::test]
async fn a_list_of_models_and_a_health_check_that_fail_tell_no_key() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply
            .raw(format!(
                "HTTP/1.1 200 OK\r\nBad Header {PROVIDER_KEY}\r\nx: {PROVIDER_KEY}\r\n\r\n"
            ))
            .await;
        reply.close();
        reply
    })
    .await;
    let check = ", health_check: { path: /health, interval: 100ms, timeout: 5s }";
    let gateway = Gateway::start(&yaml(upstream.address, check, ""));
    let response = gateway.get("/v1/models").await;
    assert!(!format!("{response:?}").contains(PROVIDER_KEY));
    let shown = loop {
        let shown = gateway.get_admin("/status").await.text().to_owned();
        if shown.contains("invalid response") {
            break shown;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert!(!shown.contains(PROVIDER_KEY), "{shown}");
    gateway
        .output()
        .wait_for("its models are unknown: invalid response");
    assert_no_secret(&gateway.output().text());
}

#[tokio::test]
async fn a_client_sees_the_masked_event_when_it_comes_and_nothing_is_held_back_of_others() {
    let listener = Listener::bind().await;
    let gateway = Gateway::start(&yaml(listener.address, "", ""));
    let mut client: Client = gateway.connect().await;
    client
        .send(post("/v1/threads/t/runs", "", &streamed_chat("gpt-4o")))
        .await;
    let (_, mut reply) = listener.accept().await;
    reply.begin_stream().await;
    client.head().await;
    // Each event passes at once, although the stream is looked through.
    for text in ["hi", "there"] {
        reply.chunk(&delta(text)).await;
        assert_eq!(client.chunk().await.unwrap(), delta(text));
    }
    let told = format!("data: {}\n\n", error(PROVIDER_KEY));
    reply.chunk(&told).await;
    assert_eq!(
        client.chunk().await.unwrap(),
        told.replace(PROVIDER_KEY, &stars())
    );
    reply.chunk(&[FINISHED, DONE].concat()).await;
    assert_eq!(client.chunk().await.unwrap(), [FINISHED, DONE].concat());
}
