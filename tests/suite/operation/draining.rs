//! A process that ends says so, takes connections for its notice, and answers what is in flight.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::health;
use crate::support::client::{Client, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{DONE, chat, delta, soon, streamed_chat};

/// An upstream that waits for a permit before it answers, or before it goes on with a stream.
async fn held(step: &Arc<Semaphore>) -> Upstream {
    let step = Arc::clone(step);
    Upstream::start(move |request, mut reply| {
        let step = Arc::clone(&step);
        async move {
            let is_stream = request.text().contains(r#""stream":true"#);
            if is_stream {
                reply.begin_stream().await;
                reply.chunk(&delta("one")).await;
            }
            step.acquire().await.unwrap().forget();
            match is_stream {
                true => {
                    reply.chunk(&[&delta("two"), DONE].concat()).await;
                    reply.end_stream().await;
                }
                false => reply.json("200 OK", "{}").await,
            }
            reply
        }
    })
    .await
}

async fn says_draining(gateway: &Gateway) {
    soon("the gateway says that it is draining", async {
        while health(gateway).await != (503, "draining".to_owned()) {}
    })
    .await;
}

#[tokio::test]
async fn the_operator_is_told_and_an_answer_in_flight_closes_its_connection() {
    let step = Arc::new(Semaphore::new(0));
    let upstream = held(&step).await;
    let mut gateway = Gateway::before(&upstream);
    assert_eq!(health(&gateway).await, (200, "ok".to_owned()));
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &chat("gpt-4o")))
        .await;
    upstream.request().await;
    gateway.signal("TERM");
    says_draining(&gateway).await;
    step.add_permits(1);
    let answer = client.response().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed().await);
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn new_connections_are_served_for_the_notice() {
    let step = Arc::new(Semaphore::new(0));
    let upstream = held(&step).await;
    let yaml =
        config(upstream.address, "", "").replace("server:\n", "server:\n  shutdown_notice: 600s\n");
    let mut gateway = Gateway::start(&yaml);
    gateway.signal("TERM");
    says_draining(&gateway).await;
    let mut client = gateway.connect().await;
    client
        .send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let answer = client.response().await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["status"], "draining");
    assert_eq!(answer.header("connection"), Some("close"));
    step.add_permits(1);
    let answer = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 200);
    // A second signal does not wait for it.
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn fifty_streams_in_flight_all_end() {
    let step = Arc::new(Semaphore::new(0));
    let upstream = held(&step).await;
    let mut gateway = Gateway::start_quietly(&config(upstream.address, "", ""));
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut client: Client = gateway.connect().await;
        client
            .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
            .await;
        assert_eq!(client.head().await.0, 200);
        client.chunk().await.unwrap();
        streams.push(client);
    }
    gateway.signal("TERM");
    says_draining(&gateway).await;
    step.add_permits(50);
    for client in &mut streams {
        assert_eq!(client.chunk().await, Some([&delta("two"), DONE].concat()));
        assert_eq!(client.chunk().await.as_deref(), Some(""));
    }
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn a_connection_that_was_taken_last_may_still_send_its_request() {
    let step = Arc::new(Semaphore::new(0));
    let upstream = held(&step).await;
    let mut gateway = Gateway::before(&upstream);
    let mut stream = gateway.connect().await;
    stream
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    stream.head().await;
    let mut late = gateway.connect().await;
    let request = post("/v1/chat/completions", "", &chat("gpt-4o"));
    let (beginning, rest) = request.split_at(20);
    late.send(beginning).await;
    gateway.metric_becomes("tollgate_connections", 2.0).await;
    gateway.signal("TERM");
    says_draining(&gateway).await;
    late.send(rest).await;
    step.add_permits(2);
    let answer = late.response().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(gateway.wait().success());
}
