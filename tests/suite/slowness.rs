//! Clients that are slow on purpose: nobody holds a connection by dripping, and nobody loses one by
//! being quiet between requests.

use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::certificate::certificate;
use crate::support::client::post;
use crate::support::form::{self, BOUNDARY};
use crate::support::gateway::{Folder, Gateway, config, with_listener};
use crate::support::http2::Client2;
use crate::support::tools::require;
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, chat, soon};

/// How long each test gives a header.
const HEADER: Duration = Duration::from_secs(1);

fn limited(upstream: &Upstream, limits: &str) -> String {
    let limits = format!(
        "max_body: 64MiB\n  passthrough: far\n  limits: {{ header_timeout: 1s, {limits} }}"
    );
    config(upstream.address, "", "").replace("max_body: 64MiB", &limits)
}

async fn started(limits: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::answering("{\"ok\":1}").await;
    let gateway = Gateway::start(&limited(&upstream, limits));
    (upstream, gateway)
}

/// Sends `begun`, then a byte every 20 ms until the gateway has something to say; gives all of it.
async fn drip(stream: TcpStream, begun: &[u8], byte: u8) -> String {
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(begun).await.unwrap();
    let dripping = async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while writer.write_all(&[byte]).await.is_ok() {
            pace.tick().await;
        }
    };
    let mut said = vec![0; 4096];
    let length = tokio::select! {
        read = soon("the end of the gateway's patience", reader.read(&mut said)) => read.unwrap_or(0),
        () = dripping => 0,
    };
    said.truncate(length);
    // The connection ends, whether in order or with a reset, for what was sent after the answer.
    let _ = soon("the end of the connection", reader.read_to_end(&mut said)).await;
    String::from_utf8(said).unwrap()
}

#[track_caller]
fn assert_timed_out(said: &str) {
    assert!(
        said.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{said}"
    );
    assert!(said.contains("\"request_timeout\""), "{said}");
}

async fn assert_shed(gateway: &Gateway, what: &str, count: f64) {
    let series = format!("tollgate_shed_total{{limit=\"{what}\"}}");
    gateway.metric_becomes(&series, count).await;
}

#[tokio::test]
async fn a_header_that_drips_is_given_up_on_a_new_connection_and_on_one_in_use() {
    let (upstream, gateway) = started("").await;
    let begun = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nx: ";
    let new = gateway.connect().await.into_stream();
    assert_timed_out(&drip(new, begun, b'a').await);
    let mut used = gateway.connect().await;
    for _ in 0..2 {
        assert_eq!(used.get("/health").await.status, 200);
    }
    assert_timed_out(&drip(used.into_stream(), begun, b'a').await);
    assert_shed(&gateway, "header_timeout", 2.0).await;
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_next_header_that_is_typed_by_half_does_not_hang() {
    let (_upstream, gateway) = started("").await;
    let mut client = gateway.connect().await;
    let chat = client.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(chat.status, 200);
    client.send("GET /health HT").await;
    let response = client.response().await;
    response.assert_error(408, "invalid_request_error", Some("request_timeout"), None);
    assert_eq!(response.header("connection"), Some("close"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_header_in_pieces_is_served_and_so_is_the_next_after_a_pause() {
    let (_upstream, gateway) = started("").await;
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        for piece in ["GET /hea", "lth HTTP/1.1\r\nhost", ": g\r\n", "\r\n"] {
            client.send(piece).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(client.response().await.status, 200);
        // Longer than a header may take: a connection that is kept has time.
        let closed = tokio::time::timeout(HEADER * 2, client.is_closed()).await;
        assert!(closed.is_err(), "an idle connection stays");
    }
    assert_shed(&gateway, "header_timeout", 0.0).await;
}

#[tokio::test]
async fn a_connection_that_never_speaks_is_closed_without_a_word() {
    let (_upstream, gateway) = started("").await;
    assert!(gateway.connect().await.is_closed().await);
    assert_shed(&gateway, "header_timeout", 0.0).await;
}

#[tokio::test]
async fn a_body_that_drips_gets_408_whichever_way_it_goes() {
    let (_upstream, gateway) = started("body_rate: 1KiB").await;
    let json = post("/v1/chat/completions", "", &" ".repeat(10_000));
    let (json, _) = json.split_at(json.find("\r\n\r\n").unwrap() + 4);
    let form = form::head("/v1/audio/transcriptions", "content-length: 10000\r\n");
    let form = format!("{form}--{BOUNDARY}\r\nx");
    let file = form::head("/v1/files", "content-length: 10000\r\n");
    for begun in [json, &form, &file] {
        let client = gateway.connect().await.into_stream();
        assert_timed_out(&drip(client, begun.as_bytes(), b' ').await);
    }
    assert_shed(&gateway, "body_rate", 3.0).await;
}

#[tokio::test]
async fn a_body_that_keeps_up_the_pace_may_take_its_time() {
    for limits in ["body_rate: 1", "body_rate: 0"] {
        let (_upstream, gateway) = started(limits).await;
        let request = post("/v1/chat/completions", "", &chat("gpt-4o"));
        let mut client = gateway.connect().await;
        let (now, later) = request.split_at(request.len() - 50);
        client.send(now).await;
        let mut pace = tokio::time::interval(HEADER * 2 / 50);
        for byte in later.as_bytes() {
            pace.tick().await;
            client.send([*byte]).await;
        }
        assert_eq!(client.response().await.status, 200, "{limits}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_over_http2_gets_408() {
    let Some(curl) = require(&["curl"], "curl") else {
        return;
    };
    let (_upstream, gateway) = started("body_rate: 1KiB").await;
    let mut command = tokio::process::Command::new(curl);
    command
        .args(["-sS", "-i", "--http2-prior-knowledge", "--max-time", "20"])
        .args(["-X", "POST", "-T", "-"])
        .args(["-H", &format!("Authorization: Bearer {CLIENT_KEY}")])
        .args(["-H", "Content-Type: application/json"])
        .arg(format!("http://{}/v1/chat/completions", gateway.address))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let dripping = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while stdin.write_all(b" ").await.is_ok() {
            pace.tick().await;
        }
    });
    let mut said = String::new();
    let mut stdout = child.stdout.take().unwrap();
    soon("curl's end", stdout.read_to_string(&mut said))
        .await
        .unwrap();
    dripping.abort();
    assert!(said.starts_with("HTTP/2 408"), "{said}");
    assert!(said.contains("\"request_timeout\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_given_up() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        let chunk = "x".repeat(64 << 10);
        // More than the buffers of all connections on the way.
        for _ in 0..1000 {
            reply.chunk(&chunk).await;
        }
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = Gateway::start(&limited(&upstream, "write_timeout: 300ms"));
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &chat("gpt-4o")))
        .await;
    assert_eq!(client.head().await.0, 200);
    gateway.access_line("error=client_gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_header_has_as_long() {
    let Some(openssl) = require(&["openssl"], "openssl") else {
        return;
    };
    let folder = Folder::new();
    let certificate = certificate(&folder);
    let upstream = Upstream::answering("{}").await;
    let yaml = with_listener(&limited(&upstream, ""), &certificate.tls());
    let gateway = Gateway::start(&yaml);
    let talk = |alpn: &str, begun: &str| {
        let mut command = Command::new(&openssl);
        command
            .args([
                "s_client",
                "-quiet",
                "-connect",
                &gateway.address.to_string(),
            ])
            .args(["-alpn", alpn])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, begun.as_bytes()).unwrap();
        // It ends with the connection, as its own input goes on.
        let said = tokio::task::block_in_place(|| child.wait_with_output()).unwrap();
        drop(stdin);
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    assert_timed_out(&talk("http/1.1", "GET /health HT"));
    assert_eq!(talk("http/1.1", ""), "");
    let half = talk("h2", "PRI * HTTP/2");
    assert!(
        !half.contains("HTTP/1"),
        "nobody speaks HTTP/1 here: {half}"
    );
}

#[tokio::test]
async fn a_long_header_is_not_kept_while_nothing_more_is_asked() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&limited(&upstream, "header: 1MiB"));
    let long = "h".repeat(900 << 10);
    let asked = format!("GET /health HTTP/1.1\r\nhost: g\r\nx-long: {long}\r\n\r\n");
    let mut idle = Vec::new();
    let mut ask = async || {
        let mut client = gateway.connect().await;
        client.send(&asked).await;
        assert_eq!(client.response().await.status, 200);
        idle.push(client);
    };
    for _ in 0..10 {
        ask().await;
    }
    let before = gateway.rss_bytes();
    for _ in 0..120 {
        ask().await;
    }
    let grown = gateway.rss_bytes().saturating_sub(before) >> 20;
    // All of them are 105 MiB.
    assert!(grown < 40, "{grown} MiB");
}

#[tokio::test]
async fn a_header_beyond_its_bound_is_told_so() {
    let (_upstream, gateway) = started("header: 8KiB, http2_header: 8KiB, header_fields: 20").await;
    let with = |bytes: usize| {
        format!(
            "GET /health HTTP/1.1\r\nhost: g\r\nx: {}",
            "h".repeat(bytes)
        )
    };
    let mut client = gateway.connect().await;
    client.send(with(8000) + "\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    for end in ["", "\r\n\r\n"] {
        let mut client = gateway.connect().await;
        client.send(with(8 << 10) + end).await;
        let response = client.response().await;
        response.assert_error(431, "invalid_request_error", Some("header_too_large"), None);
        assert!(client.is_closed().await);
    }
    let many = "x: y\r\n".repeat(21);
    let mut client = gateway.connect().await;
    client
        .send(format!("GET /health HTTP/1.1\r\nhost: g\r\n{many}\r\n"))
        .await;
    let response = client.response().await;
    response.assert_error(431, "invalid_request_error", Some("header_too_large"), None);
    let mut http2 = Client2::connect(&gateway).await;
    let long = "h".repeat(8 << 10);
    let answer = http2
        .send("GET", "/health", &[("x", &long)], &[])
        .await
        .unwrap();
    assert_eq!(answer.status, 431);
    let many: Vec<_> = (0..21).map(|_| ("x", "y")).collect();
    let answer = http2.send("GET", "/health", &many, &[]).await.unwrap();
    assert!(
        answer.status == 431 && answer.body.contains("more than 20 headers"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn all_headers_together_have_a_bound() {
    let (_upstream, gateway) = started("header_memory: 1MiB, header: 256KiB").await;
    let begun = format!(
        "GET /health HTTP/1.1\r\nhost: g\r\nx: {}",
        "h".repeat(250 << 10)
    );
    // Four of them are less than 1 MiB, and five are more.
    let mut answers = JoinSet::new();
    for _ in 0..5 {
        let mut client = gateway.connect().await;
        client.send(&begun).await;
        answers.spawn(async move { client.response().await });
    }
    let refused = soon("a refusal", answers.join_next()).await.unwrap();
    let response = refused.unwrap();
    response.assert_error(503, "server_error", Some("overloaded"), None);
    let shed = gateway
        .metric("tollgate_shed_total{limit=\"header_memory\"}")
        .await;
    assert!(shed >= 1.0, "{shed}");
    // A short header is not counted, so others go on.
    assert_eq!(gateway.get("/health").await.status, 200);
    answers.abort_all();
}
