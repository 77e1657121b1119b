//! A signal ends the process: at once when idle, after the requests in flight otherwise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::support::client::post;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{DONE, chat, delta, streamed_chat};

#[tokio::test]
async fn an_idle_process_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let upstream = Upstream::answering("{}").await;
        let mut gateway = Gateway::before(&upstream);
        // A connection that is kept alive, with nothing on its way, holds nobody up.
        let mut client = gateway.connect().await;
        assert_eq!(
            client
                .post("/v1/chat/completions", &chat("gpt-4o"))
                .await
                .status,
            200
        );
        let started = Instant::now();
        gateway.signal(signal);
        assert!(gateway.wait().success());
        // Far from the 30 s that requests in flight would have.
        assert!(started.elapsed() < Duration::from_secs(10));
        assert!(client.is_closed().await);
    }
}

fn held_stream(step: &Arc<Semaphore>) -> impl Future<Output = Upstream> + use<> {
    let step = Arc::clone(step);
    Upstream::start(move |_, mut reply| {
        let step = Arc::clone(&step);
        async move {
            reply.begin_stream().await;
            reply.chunk(&delta("one")).await;
            step.acquire().await.unwrap().forget();
            reply.chunk(&[&delta("two"), DONE].concat()).await;
            reply.end_stream().await;
            reply
        }
    })
}

#[tokio::test]
async fn a_stream_in_flight_is_finished_first() {
    let step = Arc::new(Semaphore::new(0));
    let upstream = held_stream(&step).await;
    let mut gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    client.head().await;
    client.chunk().await.unwrap();
    gateway.signal("TERM");
    gateway
        .output()
        .wait_for("1 requests in flight have up to 30s");
    assert!(gateway.is_running());
    let refused = tokio::net::TcpStream::connect(gateway.address).await;
    // The listener closes with the signal. A connection that was taken just before is answered; one that was
    // being made in that moment learns that it is closed only when it sends.
    if let Ok(mut late) = refused {
        let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let _ = tokio::io::AsyncWriteExt::write_all(&mut late, request).await;
        let mut start = [0; 12];
        let read = tokio::io::AsyncReadExt::read(&mut late, &mut start).await;
        // A server of another test may have the port by now: what it answers is in no line of ours.
        let is_ours = || gateway.output().text().contains("path=/health");
        assert!(
            matches!(read, Ok(0) | Err(_)) || start == *b"HTTP/1.1 503" || !is_ours(),
            "{}",
            start.escape_ascii()
        );
    }
    step.add_permits(1);
    assert_eq!(client.chunk().await, Some([&delta("two"), DONE].concat()));
    assert_eq!(client.chunk().await.as_deref(), Some(""));
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_cut_after_the_grace() {
    let upstream = held_stream(&Arc::new(Semaphore::new(0))).await;
    let yaml = config(upstream.address, "", "").replace("max_body: 64MiB", "shutdown_grace: 300ms");
    let mut gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    client.head().await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    gateway
        .output()
        .wait_for("1 requests were cut off after 300ms");
    // It has its line, as any other.
    let line = gateway.access_line("error=restart ");
    assert!(line.contains("path=/v1/chat/completions ") && line.contains("status=200 "));
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let upstream = held_stream(&Arc::new(Semaphore::new(0))).await;
    let mut gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    client.head().await;
    gateway.signal("TERM");
    gateway.output().wait_for("SIGTERM: stopping");
    gateway.signal("INT");
    assert!(gateway.wait().success());
    gateway.output().wait_for("SIGINT again");
    gateway.access_line("error=restart ");
}
