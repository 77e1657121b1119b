//! A client that closes as soon as it has read the last event of its stream has had its answer: it
//! has not left.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::client::post;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{DONE, FINISHED, delta, streamed_chat};

const RESPONSES: &str = r#"{"model":"gpt-4o","input":"x","stream":true}"#;
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n";
const COMPLETED: &str = "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":1,\"response\":{\"id\":\"r\",\"object\":\"response\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":5,\"output_tokens\":7,\"total_tokens\":12}}}\n\n";
const TOLD: &str = r#"tollgate_usage_total{rule="gpt-4o",source="upstream",upstream="far"}"#;
const SAID: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":0,\"delta\":\"said\"}\n\n";

/// How a provider that has said all goes on.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// It keeps the stream open.
    Waits,
    /// It ends the stream, once the test lets it.
    Ends,
}

/// A provider that says the last event of its stream in a write of its own.
async fn provider(then: Then, step: &Arc<Semaphore>) -> Upstream {
    let step = Arc::clone(step);
    Upstream::start(move |request, mut reply| {
        let step = Arc::clone(&step);
        async move {
            reply.begin_stream().await;
            if request.path == "/v1/responses" {
                reply.chunk(SAID).await;
                reply.chunk(COMPLETED).await;
            } else {
                reply.chunk(&delta("said")).await;
                reply.chunk(&format!("{FINISHED}{USAGE}{DONE}")).await;
            }
            match then {
                Then::Waits => reply.wait_for_close().await,
                Then::Ends => {
                    step.acquire().await.unwrap().forget();
                    reply.end_stream().await;
                }
            }
            reply
        }
    })
    .await
}

/// Reads a stream until a text has come, and closes the connection.
async fn read_until(gateway: &Gateway, path: &str, body: &str, last: &str) {
    let mut client = gateway.connect().await;
    client.send(post(path, "", body)).await;
    client.head().await;
    while !client.chunk().await.unwrap().contains(last) {}
    client.leave();
}

fn counted(endpoint: &str) -> String {
    format!(
        "tollgate_answers_broken_total{{cause=\"client_gone\",endpoint=\"{endpoint}\",\
         rule=\"gpt-4o\",upstream=\"far\"}}"
    )
}

#[tokio::test]
async fn a_client_that_closes_behind_the_last_event_has_not_left() {
    let step = Arc::new(Semaphore::new(0));
    for then in [Then::Waits, Then::Ends] {
        for way in ["estimate", "drain", "absorb"] {
            let upstream = provider(then, &step).await;
            let rule = "model: gpt-4o-2024-11-20 }]";
            let yaml = config(upstream.address, "", "")
                .replace(rule, &format!("{rule}, on_client_gone: {way}"));
            let gateway = Gateway::start(&yaml);
            let mut told = 0.0;
            for (path, endpoint, body, last) in [
                (
                    "/v1/chat/completions",
                    "chat_completions",
                    streamed_chat("gpt-4o"),
                    "[DONE]",
                ),
                (
                    "/v1/responses",
                    "responses",
                    RESPONSES.to_owned(),
                    "response.completed",
                ),
            ] {
                read_until(&gateway, path, &body, last).await;
                let line = gateway.access_line(&format!("path={path} "));
                for field in [" status=200 ", " error=- ", " tokens_in=5 tokens_out=7"] {
                    assert!(line.contains(field), "{then:?} {way}: {line}");
                }
                assert!(gateway.metric(&counted(endpoint)).await < 0.5);
                told += 1.0;
                gateway.metric_becomes(TOLD, told).await;
                if let Then::Ends = then {
                    step.add_permits(1);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_closes_before_the_last_event_has_left() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&delta("said")).await;
        reply.chunk(FINISHED).await;
        reply.wait_for_close().await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let body = streamed_chat("gpt-4o");
    read_until(&gateway, "/v1/chat/completions", &body, "stop").await;
    gateway.access_line("status=200 error=client_gone");
    gateway
        .metric_becomes(&counted("chat_completions"), 1.0)
        .await;
}

#[tokio::test]
async fn a_client_that_closes_behind_an_error_event_is_told_of_the_error() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&delta("said")).await;
        let error = r#"{"error":{"message":"it broke","type":"server_error","param":null,"code":"broken"}}"#;
        reply.event(error).await;
        reply.wait_for_close().await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let body = streamed_chat("gpt-4o");
    read_until(&gateway, "/v1/chat/completions", &body, "it broke").await;
    let line = gateway.access_line("path=/v1/chat/completions ");
    assert!(!line.contains("error=client_gone"), "{line}");
    assert!(!line.contains("error=- "), "{line}");
}
