//! A permit comes back on every way out, so that the next request is admitted.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{ANSWER, CHAT, OTHER_KEY, Setup, admitted, ask, assert_refused, gated, request};
use crate::support::client::{Client, post};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Listener, Upstream};
use crate::support::websocket::{CLOSE, REALTIME, Side, TEXT, close, frame, keyed, masked, open};
use crate::support::{CLIENT_KEY, DONE, FINISHED, chat, delta, streamed_chat};

/// A tenant that may have one request in flight, an upstream whose connections the test holds, and one that answers
/// `other` at once.
struct One {
    far: Listener,
    gateway: Gateway,
    _quick: Upstream,
}

impl One {
    async fn start() -> Self {
        Self::with("", "").await
    }

    async fn with(upstream: &str, rule: &str) -> Self {
        let far = Listener::bind().await;
        let quick = Upstream::answering(ANSWER).await;
        let upstreams = format!("  quick: {{ base_url: 'http://{}/v1' }}\n", quick.address);
        let setup = Setup {
            upstream,
            rule,
            tenant: ", limits: { concurrent: 1 }",
            server: ", passthrough: far, retries: { attempts: 1 }",
            upstreams: &upstreams,
            rules: "  - { match: other, targets: [{ upstream: quick }] }\n",
            ..Setup::default()
        };
        let gateway = setup.start(far.address);
        Self {
            far,
            gateway,
            _quick: quick,
        }
    }

    /// Asserts that the permit is taken.
    async fn assert_taken(&self) {
        let refused = ask(&self.gateway, &chat("other")).await;
        assert_refused(&refused, "requests", "tenant `tester`", "concurrent");
    }

    /// Asserts that the permit comes back.
    async fn assert_comes_back(&self) {
        let response = admitted(&self.gateway, &chat("other")).await;
        assert_eq!(response.status, 200);
    }

    async fn asking(&self, body: &str) -> Client {
        let mut client = self.gateway.connect().await;
        client.send(post(CHAT, "", body)).await;
        client
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer() {
    let one = One::start().await;
    let client = one.asking(&chat("gpt-4o")).await;
    let (_, mut far) = one.far.accept().await;
    one.assert_taken().await;
    client.leave();
    far.wait_for_close().await;
    one.assert_comes_back().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_stream() {
    for on_client_gone in ["estimate", "absorb"] {
        let rule = format!(", on_client_gone: {on_client_gone}");
        let one = One::with("", &rule).await;
        let mut client = one.asking(&streamed_chat("gpt-4o")).await;
        let (_, mut far) = one.far.accept().await;
        far.begin_stream().await;
        far.chunk(&delta("some")).await;
        assert_eq!(client.head().await.0, 200);
        client.chunk().await.unwrap();
        one.assert_taken().await;
        client.leave();
        far.wait_for_close().await;
        one.assert_comes_back().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_read_to_its_end_for_a_client_that_has_left() {
    let one = One::with("", ", on_client_gone: drain").await;
    let mut client = one.asking(&streamed_chat("gpt-4o")).await;
    let (_, mut far) = one.far.accept().await;
    far.begin_stream().await;
    far.chunk(&delta("some")).await;
    assert_eq!(client.head().await.0, 200);
    client.chunk().await.unwrap();
    client.leave();
    one.gateway.access_line("error=client_gone");
    one.assert_taken().await;
    far.chunk(&[FINISHED, DONE].concat()).await;
    far.end_stream().await;
    one.assert_comes_back().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_queue_of_an_upstream() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let quick = Upstream::answering(ANSWER).await;
    let upstreams = format!("  quick: {{ base_url: 'http://{}/v1' }}\n", quick.address);
    let setup = Setup {
        upstream: ", max_concurrent: 1, queue: { wait: 20s }",
        tenant: ", limits: { concurrent: 1 }",
        upstreams: &upstreams,
        rules: "  - { match: other, targets: [{ upstream: quick }] }\n",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let mut holder = gateway.connect().await;
    let body = chat("gpt-4o");
    holder
        .send(request("POST", CHAT, OTHER_KEY, "", &body))
        .await;
    upstream.request().await;
    let mut waiting = gateway.connect().await;
    waiting.send(post(CHAT, "", &body)).await;
    let queued = r#"tollgate_upstream_concurrency{state="queued",upstream="far"}"#;
    gateway.metric_becomes(queued, 1.0).await;
    assert_eq!(ask(&gateway, &chat("other")).await.status, 429);
    waiting.leave();
    assert_eq!(admitted(&gateway, &chat("other")).await.status, 200);
    gateway.access_line("status=499");
    gate.add_permits(1);
    assert_eq!(holder.response().await.status, 200);
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn an_upstream_that_dies_before_its_answer_or_in_the_middle_of_it() {
    let one = One::start().await;
    for begins in [false, true] {
        for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
            let mut client = one.asking(&body).await;
            let (_, mut far) = one.far.accept().await;
            one.assert_taken().await;
            if begins && body == chat("gpt-4o") {
                far.raw("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{\"id\":")
                    .await;
            } else if begins {
                far.begin_stream().await;
                far.chunk(&delta("some")).await;
            }
            far.reset();
            drop(far);
            let response = client.response().await;
            assert_eq!(response.status == 502, !begins, "{response:?}");
            one.assert_comes_back().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_upload() {
    let one = One::start().await;
    let mut client = one.gateway.connect().await;
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
         content-type: application/octet-stream\r\ncontent-length: 100000\r\n\r\nbeginning"
    );
    client.send(head).await;
    let mut far = one.far.accept_header().await;
    one.assert_taken().await;
    client.leave();
    far.wait_for_close().await;
    one.assert_comes_back().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_download() {
    let one = One::start().await;
    let mut client = one.gateway.connect().await;
    client
        .send(request("GET", "/v1/files/f/content", CLIENT_KEY, "", ""))
        .await;
    let (_, mut far) = one.far.accept().await;
    // More than is gathered into one write.
    let half = "x".repeat(500_000);
    far.raw(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{half}"
    ))
    .await;
    assert_eq!(client.head().await.0, 200);
    one.assert_taken().await;
    client.leave();
    far.wait_for_close().await;
    one.assert_comes_back().await;
}

#[tokio::test]
async fn a_socket_that_either_side_closes_or_leaves() {
    let one = One::start().await;
    for end in [
        "client closes",
        "upstream closes",
        "client leaves",
        "upstream breaks",
    ] {
        let (mut client, mut far) = open(&one.gateway, &one.far).await;
        far.raw(frame(TEXT, b"hello")).await;
        assert_eq!(client.frame().await.unwrap().payload, b"hello", "{end}");
        one.assert_taken().await;
        match end {
            "client closes" => {
                client.send(masked(CLOSE, &close(1000, ""))).await;
                assert_eq!(far.frame().await.unwrap().close_code(), 1000);
                drop(far);
                assert!(client.is_closed().await);
            }
            "upstream closes" => {
                far.raw(frame(CLOSE, &close(1000, ""))).await;
                drop(far);
                assert_eq!(client.frame().await.unwrap().close_code(), 1000);
            }
            "client leaves" => client.leave(),
            _ => {
                far.reset();
                drop(far);
                assert_eq!(client.frame().await.unwrap().close_code(), 1011);
            }
        }
        one.assert_comes_back().await;
    }
}

#[tokio::test]
async fn a_socket_that_the_upstream_does_not_open() {
    let one = One::start().await;
    let mut client = one.gateway.connect().await;
    let opening = keyed(REALTIME, "");
    client.send(opening).await;
    let (_, mut far) = one.far.accept().await;
    one.assert_taken().await;
    far.json("403 Forbidden", "{}").await;
    assert!(client.response().await.status >= 400);
    one.assert_comes_back().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_its_stream_is_slowed_down() {
    let one = One::with("", ", limits: { stream_tokens_per_minute: 60 }").await;
    let client = one.asking(&streamed_chat("gpt-4o")).await;
    let (_, mut far) = one.far.accept().await;
    far.begin_stream().await;
    // A minute's worth.
    far.chunk(&delta(&"word ".repeat(60))).await;
    one.assert_taken().await;
    client.leave();
    far.wait_for_close().await;
    one.assert_comes_back().await;
}
