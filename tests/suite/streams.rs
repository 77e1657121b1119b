//! Streams pass at once, as they come, and a broken one never looks complete.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::client::{Response, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{DONE, FINISHED, chat, delta, soon, streamed_chat};

/// An upstream that sends each event only when the test says so.
async fn stepping(events: &[String], step: Arc<Semaphore>) -> Upstream {
    let events: Arc<[String]> = events.into();
    Upstream::start(move |_, mut reply| {
        let (events, step) = (Arc::clone(&events), Arc::clone(&step));
        async move {
            reply.begin_stream().await;
            for event in events.iter() {
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
    let comment = ": comment\n\n".to_owned();
    let events = [delta("one"), delta("two"), comment, DONE.to_owned()];
    let step = Arc::new(Semaphore::new(0));
    let upstream = stepping(&events, Arc::clone(&step)).await;
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
    assert_eq!(client.chunk().await.as_ref(), Some(&events[0]));
    for event in &events[1..] {
        // The upstream waits for this step, so nothing of the next event can be on its way.
        step.add_permits(1);
        let written = client.one_read().await;
        assert_eq!(written, format!("{:X}\r\n{event}\r\n", event.len()));
    }
    step.add_permits(1);
    assert_eq!(client.chunk().await.as_deref(), Some(""), "the proper end");
    let line = gateway.access_line("status=200");
    let bytes: usize = events.iter().map(String::len).sum();
    assert!(line.contains(&format!("out={bytes} ")), "{line}");
}

#[tokio::test]
async fn events_that_are_there_already_leave_in_one_write() {
    let thirty = || (0..30).map(|n| delta(&n.to_string()));
    let upstream = Upstream::start(move |_, mut reply| async move {
        // Thirty chunks and the end in one segment, behind their header.
        let chunks: String = thirty()
            .chain([DONE.to_owned()])
            .map(|event| format!("{:x}\r\n{event}\r\n", event.len()))
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
    let all: String = thirty().chain([DONE.to_owned()]).collect();
    assert_eq!(client.chunk().await, Some(all), "all events in one chunk");
    assert_eq!(client.chunk().await.as_deref(), Some(""));
}

#[tokio::test]
async fn an_event_of_several_kilobytes_leaves_in_one_write() {
    let step = Arc::new(Semaphore::new(0));
    let event = delta(&"x".repeat(9_000));
    let events = [delta("1"), event.clone(), DONE.to_owned()];
    let upstream = stepping(&events, Arc::clone(&step)).await;
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
    step.add_permits(2);
    assert_eq!(client.chunk().await.as_deref(), Some(DONE));
    assert_eq!(client.chunk().await.as_deref(), Some(""));
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_upstream() {
    let upstream = Upstream::start(|request, mut reply| async move {
        if request.text().contains("stream") {
            reply.begin_stream().await;
            reply.chunk(&delta("one")).await;
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
        .send(post("/v1/chat/completions", "", &chat("gpt-4o")))
        .await;
    upstream.request().await;
    upstream.request().await;
    client.leave();
    upstream.closed().await;
    gateway.access_line("status=499 error=client_gone");
    assert_eq!(upstream.requests(), 2);
}

/// An event that says something.
fn said(path: &str) -> String {
    match path {
        "/v1/responses" => {
            "data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n".to_owned()
        }
        _ => delta("x"),
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_between_events_ends_with_an_error_event() {
    let upstream = Upstream::start(|request, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&said(&request.path)).await;
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
        assert_ends_with_an_error(&response, &said(path));
    }
    let response = gateway
        .post("/v1/responses", &streamed_chat("gpt-4o"))
        .await;
    let before = said("/v1/responses") + "event: error\ndata: {";
    assert!(response.text().starts_with(&before), "{response:?}");
    gateway.access_line("status=200 error=upstream_cut");
}

/// Asserts that behind `before` there is one event of ours, and the proper end of the transport.
fn assert_ends_with_an_error(response: &Response, before: &str) {
    let rest = response.text().strip_prefix(before).unwrap();
    let event = rest.strip_prefix("data: ").unwrap();
    let error: serde_json::Value = serde_json::from_str(event).unwrap();
    assert_eq!(error["error"]["code"], "upstream_cut");
    assert!(event.ends_with("}\n\n"), "{event:?}");
    assert!(response.complete, "{response:?}");
}

#[tokio::test]
async fn a_stream_that_is_cut_within_an_event_ends_before_it_and_with_an_error_event() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&delta("whole")).await;
        reply.chunk("data: {\"half").await;
        reply.close();
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let response = gateway
        .post("/v1/chat/completions", &streamed_chat("gpt-4o"))
        .await;
    assert_ends_with_an_error(&response, &delta("whole"));
    gateway.access_line("status=200 error=upstream_cut");
}

#[tokio::test]
async fn a_stream_that_ends_properly_but_too_soon_ends_with_an_error_event() {
    let upstream = Upstream::start(|request, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&said(&request.path)).await;
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    for path in ["/v1/chat/completions", "/v1/completions"] {
        let response = gateway.post(path, &streamed_chat("gpt-4o")).await;
        assert_ends_with_an_error(&response, &said(path));
    }
    let path = "/v1/responses";
    let response = gateway.post(path, &streamed_chat("gpt-4o")).await;
    let before = said(path) + "event: error\ndata: {";
    assert!(response.text().starts_with(&before), "{response:?}");
    // The end of other streams is not known.
    let response = gateway
        .post("/v1/audio/speech", &streamed_chat("gpt-4o"))
        .await;
    assert_eq!((response.text(), response.complete), (&*delta("x"), true));
}

#[tokio::test]
async fn a_stream_that_is_finished_and_has_no_end_marker_gets_one() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&delta("x")).await;
        reply.chunk(FINISHED).await;
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    for path in ["/v1/chat/completions", "/v1/completions"] {
        let response = gateway.post(path, &streamed_chat("gpt-4o")).await;
        assert_eq!(response.text(), [&delta("x"), FINISHED, DONE].concat());
        assert!(response.complete);
    }
    gateway.access_line("status=200 error=-");
}

#[tokio::test]
async fn a_short_answer_that_is_cut_is_told_as_an_error() {
    let upstream = Upstream::start(|_, mut reply| async move {
        let head = "content-type: application/json\r\ncontent-length: 100";
        let start = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{{\"half");
        reply.raw(start).await;
        reply.close();
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    response.assert_error(502, "server_error", Some("upstream_cut"), None);
    assert!(!response.text().contains("half"), "{response:?}");
    gateway.access_line("status=502 error=upstream_cut");
    assert_eq!(upstream.requests(), 1, "it may have been charged for");
}

#[tokio::test]
async fn a_longer_answer_that_is_cut_breaks_off_as_the_upstreams_did() {
    const LENGTH: usize = 20_000;
    let upstream = Upstream::start(|request, mut reply| async move {
        let start = format!("{{\"half\":\"{}", "x".repeat(LENGTH));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
        match request.path.as_str() {
            "/v1/embeddings" => {
                let head = format!("{head}\r\ntransfer-encoding: chunked\r\n\r\n");
                reply.raw(head).await;
                reply.chunk(&start).await;
            }
            _ => {
                let length = 2 * LENGTH;
                let head = format!("{head}\r\ncontent-length: {length}\r\n\r\n");
                reply.raw(head + &start).await;
            }
        }
        reply.close();
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    for path in ["/v1/chat/completions", "/v1/embeddings"] {
        let response = gateway.post(path, &chat("gpt-4o")).await;
        assert_eq!(response.status, 200);
        assert!(!response.complete, "{path}");
        assert!(response.text().starts_with("{\"half\":\"xx"), "{path}");
        assert!(!response.text().contains("error"), "{path}");
        gateway.access_line(&format!("path={path} model=gpt-4o"));
    }
    gateway.access_line("status=200 error=upstream_cut");
}

#[tokio::test]
async fn a_second_request_in_the_same_segment_is_left_to_be_asked_anew() {
    let step = Arc::new(Semaphore::new(6));
    let upstream = stepping(&[delta("1"), DONE.to_owned()], Arc::clone(&step)).await;
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
            reply.chunk(&delta(&n.to_string())).await;
        }
        reply.chunk(DONE).await;
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
    let thousand: String = (0..1000).map(|n| delta(&n.to_string())).collect();
    assert!(response.text() == thousand + DONE && response.complete);
}

#[tokio::test]
async fn a_stream_that_ends_behind_its_first_output_does_not_look_whole() {
    let output = r#"data: {"choices":[{"index":0,"delta":{"content":"ho"}}]}"#;
    for cut in [output.to_owned(), format!("{output}\n")] {
        let upstream = Upstream::start(move |_, mut reply| {
            let cut = cut.clone();
            async move {
                reply.begin_stream().await;
                reply.chunk(&cut).await;
                reply.end_stream().await;
                reply
            }
        })
        .await;
        let gateway = Gateway::before(&upstream);
        let body = streamed_chat("gpt-4o");
        let response = gateway.post("/v1/chat/completions", &body).await;
        let text = response.text();
        assert!(
            text.starts_with(output) && text.contains("\"error\""),
            "{text}"
        );
        assert!(!text.contains("[DONE]"), "{text}");
    }
}

#[tokio::test]
async fn an_event_that_is_cut_within_its_data_does_not_pass() {
    let created = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\
                   \"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"output\":[]}}\n\n\
                   event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\
                   \"sequence_number\":1,\"item_id\":\"m\",\"output_index\":0,\"content_index\":0,\
                   \"delta\":\"ho\"}\n\n";
    for half in [
        "event: error\ndata: {\"t",
        "event: error\ndata: ",
        "event: err",
    ] {
        let sent = format!("{created}{half}");
        let upstream = Upstream::start(move |_, mut reply| {
            let sent = sent.clone();
            async move {
                reply.begin_stream().await;
                reply.chunk(&sent).await;
                reply.end_stream().await;
                reply
            }
        })
        .await;
        let gateway = Gateway::before(&upstream);
        let body = r#"{"model":"gpt-4o","stream":true,"input":"hi"}"#;
        let response = gateway.post("/v1/responses", body).await;
        let text = response.text();
        assert!(!text.contains("event: error"), "{text}");
        assert!(text.contains("event: response.failed"), "{text}");
    }
}
