//! Chunked bodies are followed by their grammar, and framed anew towards upstreams.

use super::{
    PATHS, all_ways, assert_malformed, assert_refused, assert_served, chunked, head, over, start,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon};

const CHUNKED: &str = "transfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_chunked_body_that_breaks_its_grammar_is_refused() {
    let (upstream, gateway) = start().await;
    let body = chat("gpt-4o");
    let size = format!("{:x}", body.len());
    for (what, chunks) in [
        ("empty size", format!("\r\n{body}\r\n0\r\n\r\n")),
        (
            "empty size at the end",
            format!("{size}\r\n{body}\r\n\r\n\r\n"),
        ),
        (
            "hexadecimal prefix",
            format!("0x{size}\r\n{body}\r\n0\r\n\r\n"),
        ),
        ("sign", format!("+{size}\r\n{body}\r\n0\r\n\r\n")),
        ("bare LF", format!("{size}\n{body}\r\n0\r\n\r\n")),
        (
            "bare LF in an extension",
            format!("{size};a\nb\r\n{body}\r\n0\r\n\r\n"),
        ),
        ("too short", format!("1\r\n{body}\r\n0\r\n\r\n")),
        (
            "junk in trailers",
            format!("{size}\r\n{body}\r\n0\r\njunk\r\n\r\n"),
        ),
        (
            "a folded trailer",
            format!("{size}\r\n{body}\r\n0\r\n x: y\r\n\r\n"),
        ),
        (
            "overflow",
            format!("fffffffffffffffff\r\n{body}\r\n0\r\n\r\n"),
        ),
    ] {
        for path in PATHS {
            let request = [&head(path), CHUNKED, &chunks].concat();
            assert_refused(&gateway, &upstream, what, request.as_bytes()).await;
        }
    }
}

#[tokio::test]
async fn a_malformed_chunk_that_comes_later_breaks_the_request_for_both_sides() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&all_ways(upstream.address));
    for path in PATHS {
        let mut client = gateway.connect().await;
        client
            .send([&head(path), CHUNKED, "5\r\n{\"a\":\r\n"].concat())
            .await;
        client.send("\r\nGET /x HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let response = client.response().await;
        assert_malformed(path, &response);
        assert!(client.is_closed().await);
    }
    assert_eq!(
        upstream.requests(),
        0,
        "no part of a request was taken for a whole one"
    );
    assert_served(gateway.connect().await).await;
}

#[tokio::test]
async fn a_body_in_chunks_reaches_the_upstream_whole_and_framed_once() {
    let (upstream, gateway) = start().await;
    let body = chat("gpt-4o");
    let mut sent = 0;
    for path in PATHS {
        for coding in ["chunked", "Chunked", " chunked "] {
            let framing = format!("transfer-encoding: {coding}\r\n\r\n");
            let mut client = gateway.connect().await;
            client
                .send([&*head(path), &framing, &chunked(&body)].concat())
                .await;
            assert_eq!(client.response().await.status, 200, "{path} {coding}");
            sent += 1;
            over(&gateway, sent).await;
            let seen = upstream.request().await;
            let wanted = match path {
                // Its model is renamed, and it is sent with a length.
                "/v1/chat/completions" | "/v1/files" => vec![],
                _ => vec!["chunked"],
            };
            assert_eq!(seen.header("transfer-encoding"), wanted, "{path} {coding}");
            if !wanted.is_empty() {
                assert_eq!(seen.text(), body);
                assert!(seen.header("content-length").is_empty());
            }
        }
    }
    assert_eq!(upstream.connections(), 1, "each body ended where it ends");
}

#[tokio::test]
async fn a_body_with_a_length_reaches_the_upstream_with_that_length() {
    let (upstream, gateway) = start().await;
    for path in &PATHS[1..] {
        for (written, sent) in [("0", "0"), ("7", "7"), ("0007", "7")] {
            let body = &"{\"a\":1}"[..sent.parse().unwrap()];
            let mut client = gateway.connect().await;
            let length = format!("content-length: {written}\r\n\r\n");
            client.send([&head(path), &length, body].concat()).await;
            assert_eq!(client.response().await.status, 200, "{path} {written}");
            let seen = upstream.request().await;
            assert_eq!(
                (seen.header("content-length"), seen.text()),
                (vec![sent], body)
            );
            assert!(seen.header("transfer-encoding").is_empty());
        }
        // Some servers refuse a POST that announces no body.
        let mut client = gateway.connect().await;
        client.send(head(path) + "\r\n").await;
        assert_eq!(client.response().await.status, 200);
        assert_eq!(upstream.request().await.header("content-length"), ["0"]);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_ended_for_the_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(&all_ways(listener.local_addr().unwrap()));
    for path in &PATHS[1..] {
        let mut client = gateway.connect().await;
        client
            .send([&head(path), CHUNKED, "5\r\nhello\r\n"].concat())
            .await;
        let (mut upstream, _) = soon("a connection", listener.accept()).await.unwrap();
        client.leave();
        let mut seen = Vec::new();
        let _ = soon("its end", upstream.read_to_end(&mut seen)).await;
        let seen = String::from_utf8(seen).unwrap().to_lowercase();
        assert!(seen.contains("transfer-encoding: chunked"), "{seen}");
        assert!(!seen.ends_with("0\r\n\r\n"), "{seen}");
    }
}
