//! Connections that break before anything has been said: what may be asked again without paying
//! twice is, and the rest is left to the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{
    CHAT, GENEROUS, among, assert_whole, at, gateway, healthy, one_then_other, outcomes, rule,
    serve,
};
use crate::support::upstream::{Reply, Upstream};
use crate::support::{PROMPT, chat, streamed_chat};

/// How a connection breaks.
#[derive(Clone, Copy)]
enum Break {
    Reset,
    /// Closed behind these bytes.
    Close(&'static str),
}

impl Break {
    async fn play(self, reply: &mut Reply) {
        match self {
            Self::Reset => reply.reset(),
            Self::Close(bytes) => {
                reply.raw(bytes).await;
                reply.close();
            }
        }
    }
}

/// A provider whose connection breaks at these requests, by their number, and that serves all others.
async fn breaking_at(numbers: &'static [usize], how: Break) -> Upstream {
    let count = Arc::new(AtomicUsize::new(0));
    Upstream::start(move |request, mut reply| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            match numbers.contains(&number) {
                true => how.play(&mut reply).await,
                false => serve("first", &request, &mut reply).await,
            }
            reply
        }
    })
    .await
}

const BEFORE_THE_HEADER: [Break; 3] = [
    Break::Reset,
    Break::Close(""),
    Break::Close("HTTP/1.1 200 OK\r\ncontent-type: text"),
];

#[tokio::test]
async fn a_stream_is_asked_again_of_the_same_target_once() {
    for how in BEFORE_THE_HEADER {
        let (first, second) = (breaking_at(&[0], how).await, healthy("second").await);
        let front = one_then_other(&at("first", first.address, ""), &second);
        let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "first");
        assert_eq!(outcomes(&front, &response), "first:cut first:ok");
        assert_eq!((first.requests(), second.requests()), (2, 0));
        // Where it is alone, the same.
        let first = breaking_at(&[0], how).await;
        let upstreams = [at("first", first.address, "")];
        let rules = [rule("gpt-4o", "{ upstream: first }", "")];
        let front = gateway(GENEROUS, &upstreams, &rules);
        let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "first");
    }
}

#[tokio::test]
async fn a_stream_is_asked_again_of_another_server_where_there_is_one() {
    let (first, second) = (
        breaking_at(&[0, 1, 2], Break::Reset).await,
        healthy("x").await,
    );
    let servers = [(first.address, 1000), (second.address, 1)];
    let upstreams = [among("far", &servers, "")];
    let front = gateway(
        GENEROUS,
        &upstreams,
        &[rule("gpt-4o", "{ upstream: far }", "")],
    );
    // The second may have its turn at once, but not both times.
    for _ in 0..2 {
        let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "x");
    }
    assert!((1..=2).contains(&first.requests()));
    assert_eq!(second.requests(), 2);
}

#[tokio::test]
async fn a_whole_answer_is_left_to_the_client_to_ask_for_again() {
    let breaks = BEFORE_THE_HEADER.map(|how| (how, "upstream_reset"));
    let behind = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    for (how, code) in breaks
        .into_iter()
        .chain([(Break::Close(behind), "upstream_cut")])
    {
        let (first, second) = (breaking_at(&[0], how).await, healthy("second").await);
        let front = one_then_other(&at("first", first.address, ""), &second);
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        response.assert_error(502, "server_error", Some(code), None);
        assert_eq!(response.header("x-should-retry"), None);
        assert_eq!((first.requests(), second.requests()), (1, 0));
        // As OpenAI's clients do at once.
        assert_whole(&front.post(CHAT, &chat("gpt-4o")).await, "first");
    }
}

#[tokio::test]
async fn a_client_is_told_not_to_ask_again_once_that_has_been_tried() {
    let first = breaking_at(&[0, 1, 2], Break::Reset).await;
    let upstreams = [at("first", first.address, "")];
    let rules = [rule("gpt-4o", "{ upstream: first }", "")];
    let front = gateway(GENEROUS, &upstreams, &rules);
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    response.assert_error(502, "server_error", Some("upstream_reset"), None);
    assert_eq!(response.header("x-should-retry"), Some("false"));
    // Where our bounds keep us from it, the client may.
    let front = gateway("attempts: 1", &upstreams, &rules);
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_eq!(response.header("x-tollgate-attempts"), Some("1"));
    assert_eq!(response.header("x-should-retry"), None);
}

#[tokio::test]
async fn a_pooled_connection_that_breaks_is_no_worse_than_a_new_one() {
    for how in [Break::Reset, Break::Close("")] {
        let (first, second) = (breaking_at(&[1, 3], how).await, healthy("second").await);
        let front = one_then_other(&at("first", first.address, ""), &second);
        // Over one connection, so that each finds what the one before it has left in the pool.
        let mut client = front.connect().await;
        assert_whole(&client.post(CHAT, &chat("gpt-4o")).await, "first");
        assert_eq!(first.connections(), 1);
        let response = client.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "first");
        assert_eq!(outcomes(&front, &response), "first:cut first:ok");
        assert_eq!(first.connections(), 2, "the second came over the first");
        let response = client.post(CHAT, &chat("gpt-4o")).await;
        response.assert_error(502, "server_error", Some("upstream_reset"), None);
        assert_eq!(response.header("x-should-retry"), None);
        assert_eq!(second.requests(), 0);
    }
}

#[tokio::test]
async fn a_request_that_could_not_be_sent_whole_goes_to_the_next() {
    // It reads the header and some of the body, and resets.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 16 << 10]).await;
            stream.set_zero_linger().unwrap();
        }
    });
    let second = healthy("second").await;
    let front = one_then_other(&at("first", address, ""), &second);
    let large = chat("gpt-4o").replace(PROMPT, &"x".repeat(16 << 20));
    let response = front.post(CHAT, &large).await;
    assert_whole(&response, "second");
    assert_eq!(outcomes(&front, &response), "first:not_sent second:ok");
}

/// A frame of HTTP/2 on the stream of the first request.
fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let head = [0, 0, length, kind, 0, 0, 0, 0, stream];
    [&head[..], payload].concat()
}

/// Takes a request over HTTP/2, and resets its stream with this error.
async fn reset_stream(mut stream: TcpStream, error: u8) {
    const PREFACE: usize = 24;
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const END_STREAM: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    let _ = stream.read_exact(&mut [0; PREFACE]).await;
    let _ = stream.write_all(&frame(SETTINGS, 0, &[])).await;
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        // Not before all of the request has come: a reset in its middle is another case.
        if [DATA, HEADERS].contains(&head[3]) && head[4] & END_STREAM != 0 {
            let reset = frame(RST_STREAM, head[8], &[0, 0, 0, error]);
            let _ = stream.write_all(&reset).await;
        }
    }
}

#[tokio::test]
async fn a_stream_of_http2_that_is_reset_may_have_been_charged_for_unless_it_was_refused() {
    const INTERNAL_ERROR: u8 = 2;
    const REFUSED_STREAM: u8 = 7;
    for (error, whole, streamed) in [
        (
            REFUSED_STREAM,
            "first:not_sent second:ok",
            "first:not_sent second:ok",
        ),
        (
            INTERNAL_ERROR,
            "first:lost",
            "first:cut first:cut second:ok",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(reset_stream(stream, error));
            }
        });
        let second = healthy("second").await;
        let front = one_then_other(&at("first", address, ", http2: true"), &second);
        for (body, expected) in [(chat("gpt-4o"), whole), (streamed_chat("gpt-4o"), streamed)] {
            let response = front.post(CHAT, &body).await;
            assert_eq!(outcomes(&front, &response), expected, "{response:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_tls_is_agreed_on_is_tried_again() {
    for is_reset in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                if is_reset {
                    stream.set_zero_linger().unwrap();
                }
            }
        });
        let first = at("first", address, "").replace("http://", "https://");
        let rules = [rule("gpt-4o", "{ upstream: first }", "")];
        let retries = format!("{GENEROUS}, attempts: 2");
        let front = gateway(&retries, &[first], &rules);
        for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
            let response = front.post(CHAT, &body).await;
            response.assert_error(502, "server_error", Some("upstream_unreachable"), None);
            let expected = "first:unreachable first:unreachable";
            assert_eq!(outcomes(&front, &response), expected);
        }
    }
}
