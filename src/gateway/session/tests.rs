//! What we assume of Pingora's sessions. One that fails here on a new Pingora says what has changed.

use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::gateway::headers;

const LIMIT: Duration = Duration::from_secs(1);
const POST: &str = "POST /v1/x HTTP/1.1\r\nhost: h\r\n";

/// A session of which this much has been sent, and the client's end.
async fn session(sent: &str) -> (ClientSession, DuplexStream) {
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(sent.as_bytes()).await.unwrap();
    let mut session = ServerSession::new_http1(Box::new(ours));
    assert!(session.read_request().await.unwrap());
    let mut session = ClientSession::new(session);
    session.keep(Some(60));
    (session, theirs)
}

fn header(length: Option<usize>) -> Part {
    let mut header = headers::ours(StatusCode::OK, "text/plain");
    // Pingora adds no framing of its own: without one the body would end with the connection.
    match length {
        Some(length) => header.headers.insert("content-length", length.into()),
        None => header
            .headers
            .insert("transfer-encoding", HeaderValue::from_static("chunked")),
    };
    Part::header(header)
}

/// What the client reads once nothing more is written.
async fn read(session: impl Sized, mut client: DuplexStream) -> String {
    drop(session);
    let mut read = String::new();
    client.read_to_string(&mut read).await.unwrap();
    read
}

#[tokio::test]
async fn a_body_is_read_to_its_end() {
    for body in [
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ] {
        let (mut session, _client) = session(&[POST, body].concat()).await;
        let mut read = Vec::new();
        while let Some(chunk) = session.read_body(LIMIT).await.unwrap() {
            read.extend_from_slice(&chunk);
        }
        assert_eq!(read, b"hello");
        assert!(session.is_body_done());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_late() {
    let (mut session, _client) = session(&[POST, "content-length: 5\r\n\r\n"].concat()).await;
    assert_eq!(session.read_body(LIMIT).await, Err(BodyError::Late));
}

#[tokio::test]
async fn a_body_that_breaks_off_says_that_its_client_has_gone() {
    for body in [
        "content-length: 5\r\n\r\nhel",
        "transfer-encoding: chunked\r\n\r\n5\r\nhel",
        "transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n",
    ] {
        let (mut session, client) = session(&[POST, body].concat()).await;
        drop(client);
        let end = loop {
            match session.read_body(LIMIT).await {
                Ok(Some(_)) => {}
                end => break end,
            }
        };
        assert_eq!(end, Err(BodyError::Gone), "{body:?}");
    }
}

#[tokio::test]
async fn a_read_that_is_dropped_loses_nothing() {
    let (mut session, mut client) = session(&[POST, "content-length: 5\r\n\r\n"].concat()).await;
    assert_eq!(now_or_never(session.read_body(LIMIT)).await, None);
    client.write_all(b"hello").await.unwrap();
    let read = session.read_body(LIMIT).await.unwrap();
    assert_eq!(read.as_deref(), Some(&b"hello"[..]));
}

#[tokio::test]
async fn an_answer_of_a_known_length_is_written_as_it_is() {
    let (mut session, client) = session("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let parts = vec![header(Some(5)), Part::Body("hello".into()), Part::End];
    session.write(parts).await.unwrap();
    let read = read(session, client).await;
    assert!(read.starts_with("HTTP/1.1 200 OK\r\n"), "{read}");
    assert!(read.ends_with("\r\n\r\nhello"), "{read}");
}

#[tokio::test]
async fn an_answer_without_a_length_comes_in_chunks_and_an_empty_part_does_not_end_it() {
    let (mut session, client) = session("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    session
        .write(vec![
            header(None),
            Part::Body("he".into()),
            Part::Body(Bytes::new()),
        ])
        .await
        .unwrap();
    session.write(vec![Part::Body(Bytes::new())]).await.unwrap();
    session.write(vec![Part::Body("llo".into())]).await.unwrap();
    session.write(vec![Part::End]).await.unwrap();
    let kept = session.finish().await;
    assert!(kept.is_some());
    let read = read(kept, client).await;
    assert!(read.ends_with("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), "{read}");
}

#[tokio::test]
async fn an_answer_that_is_not_ended_does_not_look_whole() {
    let (mut session, client) = session("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let parts = vec![header(None), Part::Body("he".into())];
    session.write(parts).await.unwrap();
    let read = read(session, client).await;
    assert!(read.ends_with("2\r\nhe\r\n"), "{read}");
}

#[tokio::test]
async fn an_answer_to_head_has_a_length_and_no_body() {
    let (mut session, client) = session("HEAD / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    session
        .write(vec![header(Some(5)), Part::End])
        .await
        .unwrap();
    let kept = session.finish().await;
    assert!(kept.is_some());
    let read = read(kept, client).await;
    assert!(read.to_lowercase().contains("content-length: 5"), "{read}");
    assert!(read.ends_with("\r\n\r\n"), "{read}");
}

#[tokio::test]
async fn a_connection_is_given_back_where_both_messages_are_whole() {
    let whole = || vec![header(Some(2)), Part::Body("ok".into()), Part::End];
    let (mut session, _client) = session("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    session.write(whole()).await.unwrap();
    assert!(session.finish().await.is_some());
}

#[tokio::test]
async fn a_connection_is_not_given_back_with_a_body_unread_or_when_it_is_to_close() {
    let whole = || vec![header(Some(2)), Part::Body("ok".into()), Part::End];
    let (mut unread, _one) = session(&[POST, "content-length: 5\r\n\r\nhel"].concat()).await;
    unread.write(whole()).await.unwrap();
    assert!(unread.finish().await.is_none());
    let (mut closing, _two) = session("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    closing.close_after_answer();
    closing.write(whole()).await.unwrap();
    assert!(closing.finish().await.is_none());
}

#[tokio::test]
async fn a_client_that_leaves_is_seen() {
    let (mut session, client) = session("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(now_or_never(session.left()).await.is_none());
    drop(client);
    session.left().await;
}

#[tokio::test]
async fn a_second_request_before_the_answer_is_no_leaving_and_ends_the_connection() {
    let (mut session, mut client) = session("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    client.write_all(b"GET /2 HTTP/1.1\r\n").await.unwrap();
    assert!(now_or_never(session.left()).await.is_none());
    assert!(now_or_never(session.left()).await.is_none());
    let parts = vec![header(Some(2)), Part::Body("ok".into()), Part::End];
    session.write(parts).await.unwrap();
    assert!(session.finish().await.is_none());
}

#[tokio::test]
async fn a_target_that_pingora_writes_anew_is_told_from_one_that_came_so() {
    // Without a connection of ours below there is no header as it came.
    let (session, _client) = session("GET /a HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(session.raw_header().is_none());
    assert!(!session.is_read_as_it_came());
}

#[tokio::test]
async fn a_client_that_waits_for_it_is_told_to_go_on() {
    let expecting = [POST, "expect: 100-continue\r\ncontent-length: 5\r\n\r\n"].concat();
    let (mut session, mut client) = session(&expecting).await;
    session.write_continue().await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let body = session.read_body(LIMIT).await.unwrap();
    assert_eq!(body.as_deref(), Some(&b"hello"[..]));
    let parts = vec![header(Some(2)), Part::Body("ok".into()), Part::End];
    session.write(parts).await.unwrap();
    let read = read(session, client).await;
    assert!(
        read.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"),
        "{read}"
    );
}
