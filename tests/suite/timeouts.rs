//! Each timeout of an upstream is honoured, told as 504, and named in the log.

use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{chat, delta, streamed_chat};

/// An event of a response that says something.
const SAID: &str = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"one\"}\n\n";

/// An upstream that goes as far as `path` says, and then is silent.
async fn silent() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        match request.path.as_str() {
            "/v1/completions" => reply.begin_stream().await,
            "/v1/responses" => {
                reply.begin_stream().await;
                reply.chunk(SAID).await;
            }
            _ => {}
        }
        reply.wait_for_close().await;
        reply
    })
    .await
}

fn with_timeouts(upstream: &Upstream, timeouts: &str) -> Gateway {
    let more = format!(", timeouts: {{ {timeouts} }}");
    Gateway::start(&config(upstream.address, &more, ""))
}

#[tokio::test]
async fn a_stream_without_a_first_byte_is_given_up_after_first_token() {
    let upstream = silent().await;
    let gateway = with_timeouts(&upstream, "first_token: 200ms");
    // No header at all, and a header with nothing behind it.
    for path in ["/v1/chat/completions", "/v1/completions"] {
        let response = gateway.post(path, &streamed_chat("gpt-4o")).await;
        response.assert_error(504, "server_error", Some("upstream_timeout"), None);
        upstream.closed().await;
    }
    gateway.output().wait_for("timeouts.first_token has passed");
}

#[tokio::test]
async fn a_whole_answer_may_take_as_long_as_total() {
    let upstream = silent().await;
    let gateway = with_timeouts(&upstream, "first_token: 50ms, total: 400ms");
    let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    response.assert_error(504, "server_error", Some("upstream_timeout"), None);
    gateway.output().wait_for("timeouts.total has passed");
    upstream.closed().await;
}

#[tokio::test]
async fn a_stream_that_stalls_is_ended_after_idle_with_an_error_event() {
    let upstream = silent().await;
    let gateway = with_timeouts(&upstream, "idle: 200ms");
    let response = gateway
        .post("/v1/responses", &streamed_chat("gpt-4o"))
        .await;
    assert_eq!(response.status, 200);
    assert!(
        response
            .text()
            .starts_with(&format!("{SAID}event: error\ndata: ")),
        "{response:?}"
    );
    assert!(response.text().contains("upstream_timeout"));
    gateway.output().wait_for("timeouts.idle has passed");
    upstream.closed().await;
}

#[tokio::test]
async fn a_stream_that_goes_on_and_on_is_ended_after_total() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
        for n in 0..500 {
            pace.tick().await;
            reply.chunk(&delta(&n.to_string())).await;
        }
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = with_timeouts(&upstream, "total: 300ms");
    let response = gateway
        .post("/v1/chat/completions", &streamed_chat("gpt-4o"))
        .await;
    assert!(response.text().starts_with(&delta("0")), "{response:?}");
    assert!(response.text().contains("upstream_timeout"), "{response:?}");
    assert!(!response.text().contains(&delta("499")));
}

#[tokio::test]
async fn a_connection_that_is_never_made_is_given_up_after_connect() {
    // A listener whose queue is full drops what knocks: nobody answers.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let connect = tokio::net::TcpStream::connect(address);
        let short = std::time::Duration::from_millis(100);
        if let Ok(Ok(stream)) = tokio::time::timeout(short, connect).await {
            waiting.push(stream);
        }
    }
    let gateway = Gateway::start(&config(address, ", timeouts: { connect: 300ms }", ""));
    let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    response.assert_error(504, "server_error", Some("upstream_timeout"), None);
    gateway.output().wait_for("timeouts.connect has passed");
}
