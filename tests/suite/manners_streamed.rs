//! A stream is changed event by event, and each event leaves as soon as it is there.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::client::post;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{DONE, streamed_chat};

const CHAT: &str = "/v1/chat/completions";

/// A chat with two choices as an upstream streams it, and what is to come of it with the prefix
/// `> ` and the client's name of the model.
const EVENTS: [(&str, &str); 7] = [
    (": hello\n\n", ": hello\n\n"),
    (
        "data: {\"choices\":[],\"model\":\"\",\"prompt_filter_results\":[]}\n\n",
        "data: {\"choices\":[],\"model\":\"\",\"prompt_filter_results\":[]}\n\n",
    ),
    (
        "data: {\"model\" : \"up\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"model\" : \"gpt-4o\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
    ),
    (
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],\"model\":\"up\"}\r\n\r\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"> a\"}}],\"model\":\"gpt-4o\"}\r\n\r\n",
    ),
    (
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"}},{\"index\":1,\"delta\":{\"content\":\"c\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"}},{\"index\":1,\"delta\":{\"content\":\"> c\"}}]}\n\n",
    ),
    (
        "data: {\"choices\":[],\"model\":\"up\",\"usage\":{}}\n\n",
        "data: {\"choices\":[],\"model\":\"gpt-4o\",\"usage\":{}}\n\n",
    ),
    (DONE, DONE),
];

/// How many of them come before the stream says anything.
const SILENT: usize = 3;

fn with(upstream: &Upstream, manners: &str) -> Gateway {
    let plain = "model: gpt-4o-2024-11-20";
    let yaml = config(upstream.address, ", include_usage: false", "");
    Gateway::start(&yaml.replace(plain, &format!("{plain}, {manners}")))
}

fn both(upstream: &Upstream) -> Gateway {
    with(upstream, "special_prefix: '> ', response_model: requested")
}

#[tokio::test]
async fn each_changed_event_leaves_at_once_and_alone() {
    let step = Arc::new(Semaphore::new(0));
    let go_on = Arc::clone(&step);
    let upstream = Upstream::start(move |_, mut reply| {
        let step = Arc::clone(&step);
        async move {
            reply.begin_stream().await;
            for (event, _) in EVENTS {
                step.acquire().await.unwrap().forget();
                reply.chunk(event).await;
            }
            reply.end_stream().await;
            reply
        }
    })
    .await;
    let gateway = both(&upstream);
    let mut client = gateway.connect().await;
    client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
    // What says nothing leaves together with the first that says something.
    go_on.add_permits(SILENT + 1);
    assert_eq!(client.head().await.0, 200);
    let begun: String = EVENTS[..=SILENT].iter().map(|(_, event)| *event).collect();
    assert_eq!(client.chunk().await, Some(begun));
    for (_, expected) in &EVENTS[SILENT + 1..] {
        // The upstream waits for this step, so nothing of the next event can be on its way.
        go_on.add_permits(1);
        assert_eq!(client.chunk().await.as_deref(), Some(*expected));
    }
    assert_eq!(client.chunk().await.as_deref(), Some(""), "the proper end");
}

#[tokio::test]
async fn a_stream_is_changed_however_it_is_cut() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let stream: String = EVENTS.iter().map(|(event, _)| *event).collect();
        let size: usize = request.header("session_id")[0].parse().unwrap();
        reply.begin_stream().await;
        for piece in stream.as_bytes().chunks(size) {
            reply.chunk(std::str::from_utf8(piece).unwrap()).await;
        }
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = both(&upstream);
    let expected: String = EVENTS.iter().map(|(_, event)| *event).collect();
    for size in [1, 2, 7, 100, 10_000] {
        let mut client = gateway.connect().await;
        let session = format!("session_id: {size}\r\n");
        client
            .send(post(CHAT, &session, &streamed_chat("gpt-4o")))
            .await;
        let response = client.response().await;
        assert_eq!(
            (response.text(), response.complete),
            (expected.as_str(), true)
        );
    }
}

#[tokio::test]
async fn a_stream_of_completions_and_one_of_a_response_are_changed_too() {
    const RESPONSE: &str = "event: response.created\n\
        data: {\"type\":\"response.created\",\"response\":{\"model\":\"NAME\"}}\n\n\
        event: response.output_text.delta\ndata: {\"delta\":\"x\"}\n\n\
        event: response.completed\n\
        data: {\"type\":\"response.completed\",\"response\":{\"model\":\"NAME\"}}\n\n";
    let upstream = Upstream::start(|request, mut reply| async move {
        reply.begin_stream().await;
        match request.path.as_str() {
            "/v1/responses" => reply.chunk(&RESPONSE.replace("NAME", "up")).await,
            _ => {
                reply
                    .event(r#"{"choices":[{"text":"x"}],"model":"up"}"#)
                    .await;
                reply.chunk(DONE).await;
            }
        }
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = both(&upstream);
    let response = gateway
        .post("/v1/responses", &streamed_chat("gpt-4o"))
        .await;
    assert_eq!(response.text(), RESPONSE.replace("NAME", "gpt-4o"));
    let completion = gateway
        .post("/v1/completions", &streamed_chat("gpt-4o"))
        .await;
    let expected = "data: {\"choices\":[{\"text\":\"> x\"}],\"model\":\"gpt-4o\"}\n\n";
    assert_eq!(completion.text(), [expected, DONE].concat());
    // The same stream, to a client whose target has no manners.
    let plain = gateway
        .post("/v1/responses", &streamed_chat("same-x"))
        .await;
    assert_eq!(plain.text(), RESPONSE.replace("NAME", "up"));
}

#[tokio::test]
async fn a_stream_that_breaks_within_an_event_ends_with_an_error_event_all_the_same() {
    const CHUNK: &str = r#"{"model":"up","choices":[{"delta":{"content":"x"}}]}"#;
    const DELTA: &str =
        r#"{"type":"response.output_text.delta","delta":"x","response":{"model":"up"}}"#;
    let upstream = Upstream::start(|request, mut reply| async move {
        reply.begin_stream().await;
        if !request.text().contains("at once") {
            match request.path.as_str() {
                CHAT => reply.event(CHUNK).await,
                _ => reply.event(DELTA).await,
            }
        }
        reply.chunk("data: {\"model\":\"up\",\"half").await;
        reply.close();
        reply
    })
    .await;
    let gateway = both(&upstream);
    for (path, before, error) in [
        (
            CHAT,
            CHUNK.replace("up", "gpt-4o").replace("\"x", "\"> x"),
            "data: {\"error\":{",
        ),
        (
            "/v1/responses",
            DELTA.replace("\"up", "\"gpt-4o"),
            "event: error\ndata: {",
        ),
    ] {
        let response = gateway.post(path, &streamed_chat("gpt-4o")).await;
        let before = format!("data: {before}\n\n");
        let rest = response.text().strip_prefix(&before).unwrap();
        assert!(rest.starts_with(error), "{rest}");
        assert!(
            rest.contains("upstream_cut") && rest.ends_with("}\n\n"),
            "{rest}"
        );
        assert!(
            !rest.contains("half"),
            "nothing of the broken event is shown"
        );
        assert!(
            response.complete,
            "the transport ends properly behind the error"
        );
    }
    gateway.access_line("status=200 error=upstream_cut");
    // One that has not begun by then can still be told as an error.
    let at_once = streamed_chat("gpt-4o").replace("messages", "at once");
    let response = gateway.post(CHAT, &at_once).await;
    response.assert_error(502, "server_error", Some("upstream_reset"), None);
    gateway.access_line("status=502 error=upstream_reset");
}

#[tokio::test]
async fn a_stream_that_announces_its_length_is_changed_and_ends_properly() {
    const SAID: &str = "data: {\"model\":\"up\",\"choices\":[{\"text\":\"x\"}]}\n\n";
    let upstream = Upstream::start(|_, mut reply| async move {
        let event = [SAID, DONE].concat();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n";
        let length = event.len();
        reply
            .raw(format!("{head}content-length: {length}\r\n\r\n{event}"))
            .await;
        reply
    })
    .await;
    let gateway = with(&upstream, "response_model: requested");
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    let expected = [&SAID.replace("up", "gpt-4o"), DONE].concat();
    assert_eq!(response.text(), expected);
    assert!(response.complete && response.header("content-length").is_none());
}

#[tokio::test]
async fn a_name_and_a_prefix_with_quotes_stay_text() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply
            .event(r#"{"model":"up","choices":[{"text":"x"}]}"#)
            .await;
        reply.chunk(DONE).await;
        reply.end_stream().await;
        reply
    })
    .await;
    let manners = r#"special_prefix: "\"}\n\né", response_model: requested"#;
    let yaml = config(upstream.address, "", "").replace(
        "{ match: { prefix: same- }, targets: [{ upstream: far }] }",
        &format!("{{ match: {{ prefix: same- }}, targets: [{{ upstream: far, {manners} }}] }}"),
    );
    let gateway = Gateway::start(&yaml);
    let body = r#"{"stream":true,"model":"same-\"\u007d"}"#;
    let response = gateway.post("/v1/completions", body).await;
    let expected =
        "data: {\"model\":\"same-\\\"}\",\"choices\":[{\"text\":\"\\\"}\\n\\néx\"}]}\n\n";
    assert_eq!(response.text(), [expected, DONE].concat());
}
