//! A connection to an upstream is used again only when it stands between two messages.

use super::{PATHS, all_ways, head};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Listener, Upstream};
use crate::support::{CLIENT_KEY, chat, until};

/// A request of this method on each way that takes it.
fn request(method: &str, path: &str) -> String {
    let body = match method {
        "POST" => chat("same-model"),
        _ => String::new(),
    };
    let start = head(path).replace("POST", method);
    format!("{start}content-length: {}\r\n\r\n{body}", body.len())
}

/// Whether a second request goes over the connection that had this answer to the first.
async fn is_reused(method: &'static str, path: &str, answer: &'static str) -> bool {
    let upstream = Upstream::start(move |request, mut reply| async move {
        match request.header("x-client-request-id") == ["first"] {
            true => reply.raw(answer).await,
            false => reply.json("200 OK", "{}").await,
        }
        reply
    })
    .await;
    let gateway = Gateway::start(&all_ways(upstream.address));
    let first = request(method, path).replace("\r\n\r\n", "\r\nx-client-request-id: first\r\n\r\n");
    let mut client = gateway.connect().await;
    client.send(first).await;
    let _ = client.head().await;
    until("the first answer is over", || {
        gateway.output().text().contains(" access id=")
    })
    .await;
    let mut other = gateway.connect().await;
    other.send(request(method, path)).await;
    let (status, _) = other.head().await;
    assert_eq!(status, 200, "{method} {path} {answer:?}");
    upstream.connections() == 1
}

#[tokio::test]
async fn an_answer_with_a_certain_end_keeps_its_connection() {
    for path in PATHS {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\n{}\r\n0\r\n\r\n",
            "HTTP/1.1 404 No\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        ] {
            assert!(is_reused("POST", path, answer).await, "{path} {answer:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_whose_end_is_in_doubt_costs_its_connection() {
    for path in PATHS {
        for answer in [
            // Bytes behind it, and a second answer.
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}x",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nx",
            // Two framings, or one said twice.
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}",
            // No body by rule, and one all the same.
            "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        ] {
            assert!(!is_reused("POST", path, answer).await, "{path} {answer:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_to_head_costs_its_connection() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
    for path in &PATHS[1..] {
        assert!(!is_reused("HEAD", path, answer).await, "{path}");
    }
}

#[tokio::test]
async fn a_body_where_none_belongs_never_reaches_the_next_caller() {
    let upstream = Upstream::start(|request, mut reply| async move {
        match request.method.as_str() {
            "HEAD" => {
                let stray = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"for\":1}";
                reply
                    .raw(format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n{stray}"
                    ))
                    .await;
            }
            _ => reply.json("200 OK", r#"{"for":2}"#).await,
        }
        reply
    })
    .await;
    let gateway = Gateway::start(&all_ways(upstream.address));
    for path in &PATHS[1..] {
        for _ in 0..4 {
            let mut client = gateway.connect().await;
            client.send(request("HEAD", path)).await;
            assert_eq!(client.head().await.0, 200);
            let mut other = gateway.connect().await;
            other.send(request("GET", path)).await;
            assert_eq!(other.response().await.text(), r#"{"for":2}"#, "{path}");
        }
    }
}

#[tokio::test]
async fn a_length_that_is_too_long_breaks_the_answer_and_the_connection() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply
            .raw("HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{}")
            .await;
        reply.close();
        reply
    })
    .await;
    let gateway = Gateway::start(&all_ways(upstream.address));
    for path in &PATHS[1..] {
        let mut client = gateway.connect().await;
        client.send(request("GET", path)).await;
        assert!(!client.response().await.complete, "{path}");
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_reaches_the_client_and_costs_both_connections() {
    let upstream = crate::support::upstream::Listener::bind().await;
    let gateway = Gateway::start(&all_ways(upstream.address));
    for path in &PATHS[1..] {
        let mut client = gateway.connect().await;
        client
            .send([&head(path), "content-length: 1000000\r\n\r\n", "begun"].concat())
            .await;
        let mut early = upstream.accept_header().await;
        early
            .json("413 Too Large", r#"{"error":{"message":"too large"}}"#)
            .await;
        assert_eq!(client.response().await.status, 413, "{path}");
        drop(client);
        early.wait_for_close().await;
        let mut other = gateway.connect().await;
        other
            .send(format!(
                "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {CLIENT_KEY}\r\n\r\n"
            ))
            .await;
        let (_, mut reply) = upstream.accept().await;
        reply.json("200 OK", "{}").await;
        assert_eq!(other.response().await.status, 200);
    }
}

#[tokio::test]
async fn hints_do_not_pass_and_a_protocol_that_was_not_asked_for_is_refused() {
    let upstream = Upstream::start(|request, mut reply| async move {
        match request.method.as_str() {
            "DELETE" => {
                reply.raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await;
            }
            _ => {
                reply.raw("HTTP/1.1 103 Early Hints\r\nlink: </secret>\r\n\r\n").await;
                reply.json("200 OK", "{}").await;
            }
        }
        reply
    })
    .await;
    let gateway = Gateway::start(&all_ways(upstream.address));
    for path in &PATHS[1..] {
        let mut client = gateway.connect().await;
        client.send(request("GET", path)).await;
        let answer = client.response().await;
        assert_eq!(
            (answer.status, answer.header("link")),
            (200, None),
            "{path}"
        );
        client.send(request("DELETE", path)).await;
        assert_eq!(client.response().await.status, 502, "{path}");
    }
}

#[tokio::test]
async fn a_protocol_that_was_not_asked_for_ends_an_exchange_and_its_connection() {
    for upgrade in ["", "connection: Upgrade\r\nupgrade: foo\r\n"] {
        let upstream = Listener::bind().await;
        let gateway = Gateway::start(&all_ways(upstream.address));
        let request = request("POST", PATHS[0]).replacen(
            "content-length",
            &format!("{upgrade}content-length"),
            1,
        );
        let mut client = gateway.connect().await;
        client.send(request).await;
        // What looks like an answer behind it is one of the other protocol's.
        let (_, mut first) = upstream.accept().await;
        first
            .raw(
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: foo\r\nconnection: Upgrade\r\n\r\n\
                 HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}",
            )
            .await;
        client.response().await.assert_error(
            502,
            "server_error",
            Some("upstream_invalid_response"),
            None,
        );
        first.wait_for_close().await;
        client.send(self::request("POST", PATHS[0])).await;
        let (_, mut second) = upstream.accept().await;
        second.json("200 OK", "{\"b\":2}").await;
        assert_eq!(client.response().await.text(), "{\"b\":2}");
    }
}

#[tokio::test]
async fn hints_before_an_answer_of_the_exchange_are_bounded() {
    for (hints, status) in [(16, 200), (17, 502)] {
        let upstream = Upstream::start(move |_, mut reply| async move {
            reply
                .raw("HTTP/1.1 103 Early Hints\r\nlink: </secret>\r\n\r\n".repeat(hints))
                .await;
            reply.json("200 OK", "{}").await;
            reply
        })
        .await;
        let gateway = Gateway::start(&all_ways(upstream.address));
        let mut client = gateway.connect().await;
        client.send(request("POST", PATHS[0])).await;
        let answer = client.response().await;
        assert_eq!((answer.status, answer.header("link")), (status, None));
    }
}
