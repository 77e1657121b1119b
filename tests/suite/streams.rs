//! Streams pass at once, as they come, and a broken one never looks complete.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::client::post;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{soon, streamed_chat};

/// An upstream that sends each event only when the test says so.
async fn stepping(events: &'static [&'static str], step: Arc<Semaphore>) -> Upstream {
    Upstream::start(move |_, mut reply| {
        let step = Arc::clone(&step);
        async move {
            reply.begin_stream().await;
            for event in events {
                step.acquire().await.unwrap().forget();
                reply.chunk(event).await;
            }
            step.acquire().await.unwrap().forget();
            reply.end_stream().await;
            reply
        }
    })
    .await
}

#[tokio::test]
async fn each_event_leaves_at_once_and_alone() {
    let events = &[
        "data: one\n\n",
        "data: two\n\n",
        ": comment\n\n",
        "data: [DONE]\n\n",
    ];
    let step = Arc::new(Semaphore::new(0));
    let upstream = stepping(events, Arc::clone(&step)).await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    step.add_permits(1);
    let (status, headers) = client.head().await;
    assert_eq!(status, 200);
    let header = |name| {
        headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .unwrap()
    };
    assert_eq!(header("content-type").1, "text/event-stream");
    assert_eq!(header("x-accel-buffering").1, "no");
    assert_eq!(client.chunk().await.as_deref(), Some(events[0]));
    for event in &events[1..] {
        // The upstream waits for this step, so nothing of the next event can be on its way.
        step.add_permits(1);
        let written = client.one_read().await;
        assert_eq!(written, format!("{:X}\r\n{event}\r\n", event.len()));
    }
    step.add_permits(1);
    assert_eq!(client.chunk().await.as_deref(), Some(""), "the proper end");
    let line = gateway.access_line("status=200");
    let bytes: usize = events.iter().map(|e| e.len()).sum();
    assert!(line.contains(&format!("out={bytes} ")), "{line}");
}

#[tokio::test]
async fn events_that_are_there_already_leave_in_one_write() {
    let upstream = Upstream::start(|_, mut reply| async move {
        // Thirty chunks in one segment, behind their header.
        let chunks: String = (0..30)
            .map(|n| format!("b\r\ndata: {n:03}\n\n\r\n"))
            .collect();
        reply.begin_stream().await;
        reply.raw(chunks + "0\r\n\r\n").await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    client.head().await;
    let first = client.chunk().await.unwrap();
    assert_eq!(first.len(), 30 * 11, "all events in one chunk: {first}");
    assert_eq!(client.chunk().await.as_deref(), Some(""));
}

#[tokio::test]
async fn an_event_of_several_kilobytes_leaves_in_one_write() {
    let step = Arc::new(Semaphore::new(0));
    let event: &'static str =
        Box::leak(format!("data: {}\n\n", "x".repeat(9_000)).into_boxed_str());
    let events: &'static [&'static str] = Box::leak(Box::new(["data: 1\n\n", event]));
    let upstream = stepping(events, Arc::clone(&step)).await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    step.add_permits(1);
    client.head().await;
    client.chunk().await.unwrap();
    step.add_permits(1);
    assert_eq!(
        client.one_read().await,
        format!("{:X}\r\n{event}\r\n", event.len())
    );
    step.add_permits(1);
    assert_eq!(client.chunk().await.as_deref(), Some(""));
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_upstream() {
    let upstream = Upstream::start(|request, mut reply| async move {
        if request.text().contains("stream") {
            reply.begin_stream().await;
            reply.event("one").await;
        }
        reply.wait_for_close().await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    // In the middle of a stream.
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    client.head().await;
    client.chunk().await.unwrap();
    client.leave();
    upstream.closed().await;
    gateway.access_line("status=200 error=client_gone");
    // While it waits for the answer.
    let mut client = gateway.connect().await;
    client
        .send(post(
            "/v1/chat/completions",
            "",
            &crate::support::chat("gpt-4o"),
        ))
        .await;
    upstream.request().await;
    upstream.request().await;
    client.leave();
    upstream.closed().await;
    gateway.access_line("status=499 error=client_gone");
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn a_stream_that_is_cut_between_events_ends_with_an_error_event() {
    let upstream = Upstream::start(|request, mut reply| async move {
        reply.begin_stream().await;
        reply.event("{\"n\":1}").await;
        if request.path.ends_with("embeddings") {
            reply.reset();
        } else {
            reply.close();
        }
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    for path in ["/v1/chat/completions", "/v1/embeddings"] {
        let response = gateway.post(path, &streamed_chat("gpt-4o")).await;
        let events: Vec<&str> = response.text().split("\n\n").collect();
        assert_eq!(events.len(), 3, "{events:?}");
        assert_eq!(events[0], "data: {\"n\":1}");
        let error: serde_json::Value =
            serde_json::from_str(events[1].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "upstream_cut");
        assert!(!response.text().contains("[DONE]"));
        assert!(
            response.complete,
            "the transport ends properly behind the error"
        );
    }
    let response = gateway
        .post("/v1/responses", &streamed_chat("gpt-4o"))
        .await;
    assert!(
        response.text().contains("event: error\ndata: {"),
        "{}",
        response.text()
    );
    gateway.access_line("status=200 error=upstream_cut");
}

#[tokio::test]
async fn an_answer_that_is_cut_elsewhere_breaks_off_as_the_upstreams_did() {
    let upstream = Upstream::start(|request, mut reply| async move {
        if request.text().contains("stream") {
            reply.begin_stream().await;
            reply.chunk("data: {\"half").await;
        } else {
            reply
                .raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"half")
                .await;
        }
        reply.close();
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    for body in [streamed_chat("gpt-4o"), crate::support::chat("gpt-4o")] {
        let response = gateway.post("/v1/chat/completions", &body).await;
        assert!(!response.complete, "{response:?}");
        assert!(!response.text().contains("error"), "{response:?}");
    }
    gateway.access_line("error=upstream_cut");
}

#[tokio::test]
async fn a_second_request_in_the_same_segment_is_left_to_be_asked_anew() {
    let step = Arc::new(Semaphore::new(4));
    let upstream = stepping(&["data: 1\n\n"], Arc::clone(&step)).await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    let request = post("/v1/chat/completions", "", &streamed_chat("gpt-4o"));
    client.send(request.repeat(2)).await;
    let first = client.response().await;
    assert!(first.complete && first.status == 200);
    // Both came in one segment: the second is not looked at, and the client asks anew.
    assert!(client.is_closed().await);
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_thousand_events_pass_in_order() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        for n in 0..1000 {
            reply.event(&n.to_string()).await;
        }
        reply.end_stream().await;
        reply
    })
    .await;
    let yaml = config(upstream.address, "", "");
    let gateway = Gateway::start(&yaml);
    let response = soon(
        "the stream",
        gateway.post("/v1/completions", &streamed_chat("same-x")),
    )
    .await;
    let expected: String = (0..1000).map(|n| format!("data: {n}\n\n")).collect();
    assert!(response.text() == expected && response.complete);
}
