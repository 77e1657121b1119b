//! A body of any size and framing reaches the upstream as it was sent, but for the model.

use std::time::{Duration, Instant};

use crate::support::client::{Client, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROMPT, soon};

const SIZES: [usize; 5] = [65_535, 65_536, 65_537, 1 << 20, 20 << 20];

/// A chat request of exactly this many bytes.
fn body_of(size: usize) -> String {
    let head = format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"{PROMPT}"#);
    let tail = r#""}]}"#;
    let filler = "0123456789abcdef".repeat(size / 16 + 1);
    let room = size - head.len() - tail.len();
    format!("{head}{}{tail}", &filler[..room])
}

fn rewritten(body: &str) -> String {
    body.replacen("\"gpt-4o\"", "\"gpt-4o-2024-11-20\"", 1)
}

#[tokio::test]
async fn bodies_with_a_length_arrive_whole() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    for size in SIZES {
        let body = body_of(size);
        let response = gateway.post("/v1/chat/completions", &body).await;
        assert_eq!(response.status, 200, "{size} bytes");
        assert!(
            upstream.request().await.text() == rewritten(&body),
            "{size} bytes differ"
        );
    }
}

#[tokio::test]
async fn chunked_bodies_arrive_whole_and_with_a_length() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    for (size, chunk) in SIZES.into_iter().zip([7_001, 65_536, 1, 300_000, 1 << 20]) {
        // One byte a chunk is slow to write: a short body is enough for it.
        let body = body_of(if chunk == 1 { 2_000 } else { size });
        let mut client = gateway.connect().await;
        send_chunked(&mut client, &body, chunk).await;
        assert_eq!(client.response().await.status, 200, "{size} bytes");
        let seen = upstream.request().await;
        assert!(seen.text() == rewritten(&body), "{size} bytes differ");
        assert!(seen.header("transfer-encoding").is_empty());
    }
}

async fn send_chunked(client: &mut Client, body: &str, size: usize) {
    let mut bytes = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for chunk in body.as_bytes().chunks(size) {
        bytes.extend(format!("{:x};ext=1\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\ntrailer: x\r\n\r\n");
    client.send(bytes).await;
}

#[tokio::test]
async fn bodies_of_no_byte_and_of_one_are_refused_in_words() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    for body in ["", "1", "{"] {
        let response = gateway.post("/v1/chat/completions", body).await;
        response.assert_error(400, "invalid_request_error", None, None);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_body_that_comes_in_small_pieces_is_waited_for() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let request = post("/v1/chat/completions", "", &body_of(500));
    let mut client = gateway.connect().await;
    for piece in request.as_bytes().chunks(100) {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_body_comes() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let body = body_of(100_000);
    let request = post("/v1/chat/completions", "expect: 100-continue\r\n", &body);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut client = gateway.connect().await;
    client.send(format!("{head}\r\n\r\n")).await;
    assert_eq!(client.head().await.0, 100);
    client.send(body).await;
    assert_eq!(client.response().await.status, 200);
    assert!(upstream.request().await.header("expect").is_empty());
}

#[tokio::test]
async fn a_client_that_expects_to_continue_and_may_not_is_told_at_once() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let request = post(
        "/v1/chat/completions",
        "expect: 100-continue\r\n",
        &body_of(100_000),
    )
    .replace(CLIENT_KEY, "wrong");
    let (head, _) = request.split_once("\r\n\r\n").unwrap();
    let mut client = gateway.connect().await;
    client.send(format!("{head}\r\n\r\n")).await;
    assert_eq!(client.response().await.status, 401);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_refused_body_is_read_and_nothing_behind_it_is_taken_for_a_request() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let refused = post("/v1/chat/completions", "", &body_of(1 << 20)).replace(CLIENT_KEY, "wrong");
    let second = post("/v1/chat/completions", "", &body_of(500));
    let mut client = gateway.connect().await;
    client.send(refused).await;
    client.try_send(second).await;
    let response = client.response().await;
    response.assert_error(401, "invalid_request_error", Some("invalid_api_key"), None);
    assert!(soon("the close", client.is_closed()).await);
    assert_eq!(upstream.requests(), 0, "nothing may reach the upstream");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_and_without_its_length_announced() {
    let upstream = Upstream::answering("{}").await;
    let yaml = crate::support::gateway::config(upstream.address, "", "")
        .replace("max_body: 64MiB", "max_body: 1MiB");
    let gateway = Gateway::start(&yaml);
    let limit = 1 << 20;
    let response = gateway.post("/v1/chat/completions", &body_of(limit)).await;
    assert_eq!(response.status, 200, "the limit itself is allowed");
    let error = Some("request_too_large");
    let response = gateway
        .post("/v1/chat/completions", &body_of(limit + 1))
        .await;
    response.assert_error(413, "invalid_request_error", error, None);
    let mut client = gateway.connect().await;
    send_chunked(&mut client, &body_of(limit + 1), 100_000).await;
    let response = client.response().await;
    response.assert_error(413, "invalid_request_error", error, None);
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_body_that_is_not_utf8_is_refused_wherever_it_is_not() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    for bad in [&b"\xff"[..], b"\xc0\xa2", b"\xed\xa0\x80", b"\xe2\x82"] {
        let before = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"x"#;
        let body = [before.as_bytes(), bad, br#""}]}"#].concat();
        // `same-x` goes out as it came, with nothing in it changed.
        for model in ["gpt-4o", "same-x"] {
            let text = String::from_utf8_lossy(&body).replace("gpt-4o", model);
            let length = body.len() + model.len() - "gpt-4o".len();
            let head = post("/v1/chat/completions", "", "");
            let head = head.replace("content-length: 0", &format!("content-length: {length}"));
            let at = text.find(model).unwrap();
            let body = [&body[..at], model.as_bytes(), &body[at + 6..]].concat();
            let mut client = gateway.connect().await;
            client.send([head.as_bytes(), &body].concat()).await;
            let response = client.response().await;
            let code = Some("invalid_encoding");
            response.assert_error(400, "invalid_request_error", code, None);
            let message = response.json()["error"]["message"].to_string();
            let place = before.len() + model.len() - "gpt-4o".len();
            assert!(message.contains(&format!("byte {place}")), "{message}");
        }
    }
    assert_eq!(upstream.requests(), 0);
    let whole = r#"{"model":"gpt-4o","messages":[{"content":"é€😀"}]}"#;
    assert_eq!(
        gateway.post("/v1/chat/completions", whole).await.status,
        200
    );
}

#[tokio::test]
async fn large_bodies_keep_no_other_request_waiting() {
    // Every value is a step for a parser.
    let values = "0,".repeat(15 << 20);
    let body = format!("{{\"model\":\"gpt-4o\",\"x\":[{values}0]}}");
    let upstream = Upstream::answering("{}").await;
    let one_worker =
        config(upstream.address, "", "").replace("server:\n", "server:\n  threads: 1\n");
    let gateway = Gateway::start_quietly(&one_worker);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (mut client, request) = (
            gateway.connect().await,
            post("/v1/chat/completions", "", &body),
        );
        all.spawn(async move {
            client.send(request).await;
            client.response().await.status
        });
    }
    let mut waits = Vec::new();
    while !all.is_empty() {
        if let Some(status) = all.try_join_next() {
            assert_eq!(status.unwrap(), 200);
        }
        let asked = Instant::now();
        assert_eq!(gateway.get("/health").await.status, 200);
        waits.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let line = gateway.access_line("path=/v1/chat/completions");
    let (_, own) = line.split_once(" own_ms=").unwrap();
    let own: f64 = own.split(' ').next().unwrap().parse().unwrap();
    let longest = waits.iter().max().unwrap().as_secs_f64() * 1000.0;
    // Behind the work on one body, a request would wait for nearly all of that.
    assert!(longest < own / 2.0, "{longest} ms of {own}; {waits:?}");
}
