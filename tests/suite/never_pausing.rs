//! An upstream that always has something ready, or that makes a step just before each timeout, gets no more
//! time for it: deadlines are for the whole. Nor does it keep a client that leaves from being noticed.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{Client, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::{Listener, Reply, Upstream};
use crate::support::websocket::keyed;
use crate::support::{chat, delta, soon, streamed_chat};

const CHAT: &str = "/v1/chat/completions";
const LATE: Option<&str> = Some("upstream_timeout");
const BYTES: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n";
const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A chunk, many times.
fn many(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len()).repeat(500)
}

/// An upstream that begins like this, and then sends the same for as long as it is taken.
async fn flooding(begin: impl Into<String>, flood: impl Into<String>) -> Upstream {
    let (begin, flood) = (begin.into(), flood.into());
    Upstream::start(move |_, mut reply| {
        let (begin, flood) = (begin.clone(), flood.clone());
        async move {
            reply.raw(begin).await;
            reply.flood(&flood).await;
            reply
        }
    })
    .await
}

fn gateway(upstream: &Upstream, timeouts: &str, target: &str) -> Gateway {
    let more = format!(", timeouts: {{ {timeouts} }}");
    let retries = "server:\n  retries: { attempts: 1 }\n";
    let yaml = config(upstream.address, &more, "").replace("server:\n", retries);
    let model = "model: gpt-4o-2024-11-20";
    Gateway::start_quietly(&yaml.replace(model, &format!("{model}{target}")))
}

#[tokio::test]
async fn a_stream_without_a_pause_ends_after_total() {
    let upstream = flooding(STREAM, many(&delta("x"))).await;
    let gateway = gateway(&upstream, "total: 200ms", "");
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert!(response.text().contains("upstream_timeout"));
    gateway.output().wait_for("timeouts.total has passed");
    upstream.closed().await;
}

#[tokio::test]
async fn comments_without_a_pause_are_no_events() {
    let begin = [STREAM.to_owned(), many(&delta("x"))].concat();
    let upstream = flooding(begin, many(": c\n\n")).await;
    let gateway = gateway(&upstream, "idle: 200ms", "");
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert!(response.text().contains("upstream_timeout"));
    gateway.output().wait_for("timeouts.idle has passed");
    upstream.closed().await;
}

#[tokio::test]
async fn an_answer_that_is_no_stream_breaks_off_after_total() {
    let upstream = flooding(BYTES, many(&"x".repeat(8000))).await;
    let gateway = gateway(&upstream, "total: 200ms", "");
    let mut stream = gateway.connect().await.into_stream();
    let request = post(CHAT, "", &chat("gpt-4o"));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = vec![0; 64 << 10];
    let mut last = Vec::new();
    while let Ok(length @ 1..) = soon("the end", stream.read(&mut read)).await {
        last = read[..length].to_vec();
    }
    assert!(!last.ends_with(b"0\r\n\r\n"), "it looks whole");
    gateway.output().wait_for("timeouts.total has passed");
    upstream.closed().await;
}

#[tokio::test]
async fn a_stream_that_is_gathered_is_given_up_after_total() {
    let upstream = flooding(STREAM, many(&delta("x"))).await;
    let gateway = gateway(&upstream, "total: 200ms", ", upstream_stream: always");
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    response.assert_error(504, "server_error", LATE, None);
    gateway.output().wait_for("timeouts.total has passed");
    upstream.closed().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_while_its_answer_is_gathered() {
    let comments = many(": c\n\n");
    for (begin, flood, target) in [
        (STREAM, comments.as_str(), ", upstream_stream: always"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
            "1;x\r\n \r\n",
            ", upstream_stream: never",
        ),
    ] {
        let upstream = flooding(begin, flood.repeat(4)).await;
        // Only the client ends it.
        let gateway = gateway(&upstream, "total: 10m, idle: 10m, first_token: 10m", target);
        let mut client = gateway.connect().await;
        let body = match target.contains("never") {
            true => streamed_chat("gpt-4o"),
            false => chat("gpt-4o"),
        };
        client.send(post(CHAT, "", &body)).await;
        upstream.request().await;
        client.leave();
        upstream.closed().await;
        gateway.access_line("status=499 error=client_gone");
    }
}

/// A body of one byte a chunk, each with an extension, for as long as it is taken.
fn byte_by_byte() -> (String, String) {
    let header = "content-type: application/json\r\ntransfer-encoding: chunked";
    (
        format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n"),
        format!("1;{}\r\n \r\n", "x".repeat(100)).repeat(100),
    )
}

#[tokio::test]
async fn a_list_of_models_that_floods_is_given_up_and_others_are_served_meanwhile() {
    let (begin, flood) = byte_by_byte();
    let upstream = flooding(begin, flood).await;
    let gateway = Gateway::start_quietly(&config(upstream.address, "", ""));
    let others = async {
        upstream.request().await;
        for _ in 0..10 {
            assert_eq!(gateway.get("/health").await.status, 200);
        }
    };
    let (list, ()) = tokio::join!(gateway.get("/v1/models"), others);
    assert_eq!(list.status, 200);
    upstream.closed().await;
    gateway.output().wait_for("its models are unknown");
}

#[tokio::test]
async fn a_health_check_that_floods_is_given_up_and_fails() {
    // Only the header of its answer is read.
    let upstream = flooding("HTTP/1.1 200 OK\r\nx-a: ", "x\r\nx-a: ".repeat(100)).await;
    let check =
        ", health_check: { path: /health, interval: 100ms, timeout: 300ms, unhealthy_after: 1 }";
    let gateway = Gateway::start_quietly(&config(upstream.address, check, ""));
    upstream.closed().await;
    let server = format!("http://{}/v1", upstream.address);
    let series = format!("tollgate_server_up{{server=\"{server}\",upstream=\"far\"}}");
    gateway.metric_becomes(&series, 0.0).await;
}

#[tokio::test]
async fn hints_without_end_are_no_answer() {
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    for (count, status) in [(16, 200), (17, 502)] {
        let upstream = Upstream::start(move |_, mut reply| async move {
            reply.raw(hint.repeat(count)).await;
            reply.json("200 OK", "{\"choices\":[]}").await;
            reply
        })
        .await;
        let gateway = gateway(&upstream, "total: 10s", "");
        let response = gateway.post(CHAT, &chat("gpt-4o")).await;
        assert_eq!(response.status, status, "{}", response.text());
    }
}

#[tokio::test]
async fn another_protocol_that_was_not_asked_for_is_no_answer() {
    let upstream = flooding(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "x",
    )
    .await;
    let gateway = gateway(&upstream, "total: 10s", "");
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    let code = Some("upstream_invalid_response");
    response.assert_error(502, "server_error", code, None);
    upstream.closed().await;
}

/// Sends a header line after the other until the gateway closes the connection.
async fn drip(mut reply: Reply) -> Reply {
    reply.raw("HTTP/1.1 200 OK\r\nx-a: ").await;
    reply.repeat("x", Duration::from_millis(20)).await;
    reply
}

#[tokio::test]
async fn a_header_that_comes_byte_by_byte_is_given_up_as_a_whole() {
    let upstream = Upstream::start(|_, reply| drip(reply)).await;
    let home = config(
        upstream.address,
        ", timeouts: { first_token: 300ms, idle: 300ms, total: 300ms }",
        "",
    );
    let home = home.replace(
        "server:\n",
        "server:\n  passthrough: far\n  retries: { attempts: 1 }\n",
    );
    let gateway = Gateway::start(&home);
    let answers = [
        gateway.post(CHAT, &chat("gpt-4o")).await,
        gateway.post(CHAT, &streamed_chat("gpt-4o")).await,
        gateway.get("/v1/files").await,
        gateway.post("/v1/unheard-of", "{}").await,
    ];
    for response in answers {
        response.assert_error(504, "server_error", LATE, None);
        upstream.closed().await;
    }
    let mut client: Client = gateway.connect().await;
    client.send(keyed("/v1/realtime?model=gpt-4o", "")).await;
    let response = client.response().await;
    response.assert_error(504, "server_error", LATE, None);
}

#[tokio::test]
async fn an_error_that_never_ends_is_not_read_on() {
    let begin =
        "HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("1;{}\r\n{{\r\n", "x".repeat(200));
    let upstream = flooding(begin, chunk).await;
    let gateway = gateway(&upstream, "total: 300ms", "");
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    // A long one passes as it comes, and breaks off when its time has passed.
    assert_eq!((response.status, response.complete), (500, false));
    upstream.closed().await;
}

#[tokio::test]
async fn an_upstream_that_takes_a_request_slowly_has_no_more_time_for_it() {
    let listener = Listener::bind().await;
    let more = ", timeouts: { first_token: 500ms, total: 1s }";
    let retries = "server:\n  retries: { attempts: 1 }\n";
    let yaml = config(listener.address, more, "").replace("server:\n", retries);
    let gateway = Gateway::start(&yaml);
    // More than the system keeps of it on its way.
    let filler = "a".repeat(20 << 20);
    for (body, passed) in [(chat("gpt-4o"), 1000), (streamed_chat("gpt-4o"), 500)] {
        let body = body.replacen('{', &format!("{{\"filler\":\"{filler}\","), 1);
        let mut client = gateway.connect().await;
        let sending = async {
            client.send(post(CHAT, "", &body)).await;
            let sent = Instant::now();
            (client.response().await, sent.elapsed())
        };
        let taking = async {
            let mut stream = listener.accept_header().await.into_stream();
            let mut taken = [0; 1024];
            // A little at a time, so that no single write takes long.
            while let Ok(1..) = stream.read(&mut taken).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (response, took) = tokio::select! {
            answered = sending => answered,
            () = async { taking.await; std::future::pending().await } => unreachable!(),
        };
        response.assert_error(504, "server_error", LATE, None);
        assert!(took < Duration::from_secs(10), "{took:?}");
        gateway
            .output()
            .wait_for("it did not take the request in time");
        // To wait for it is no work of ours.
        let line = gateway.access_line(&format!("out={} ", response.body.len()));
        let (first, own) = (number(&line, "first_ms="), number(&line, "own_ms="));
        assert!(first >= f64::from(passed), "{line}");
        assert!(first - own >= 0.6 * f64::from(passed), "{line}");
    }
}

fn number(line: &str, name: &str) -> f64 {
    let (_, rest) = line.split_once(&format!(" {name}")).unwrap();
    let end = rest.find(' ').unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}
