//! Reloads under load: no request fails, and no stream is cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{FILE, order};
use crate::support::client::{Client, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{DONE, chat, delta, soon, streamed_chat};

/// A number that `make storm` makes larger.
pub fn of(name: &str, usual: usize) -> usize {
    let wanted = std::env::var(name).ok();
    wanted.map_or(usual, |wanted| wanted.parse().unwrap())
}

/// Streams of a few events, with time between them, and answers at once.
async fn upstream() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        if !request.text().contains(r#""stream":true"#) {
            reply
                .json("200 OK", r#"{"object":"chat.completion"}"#)
                .await;
            return reply;
        }
        reply.begin_stream().await;
        for n in 0..5 {
            reply.chunk(&delta(&n.to_string())).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        reply.chunk(DONE).await;
        reply.end_stream().await;
        reply
    })
    .await
}

async fn read_stream(client: &mut Client) -> String {
    client
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    assert_eq!(client.head().await.0, 200);
    let mut text = String::new();
    while let Some(chunk) = client.chunk().await
        && !chunk.is_empty()
    {
        text.push_str(&chunk);
    }
    text
}

#[tokio::test]
async fn no_request_fails_and_no_stream_is_cut_while_the_configuration_changes() {
    let reloads = of("STORM_RELOADS", 4);
    let upstream = upstream().await;
    let yaml = |n: usize| {
        let yaml = config(upstream.address, "", "");
        let model = format!("  - {{ match: model-{n}, targets: [{{ upstream: far }}] }}\ntenants:");
        yaml.replace("tenants:", &model)
            .replace("server:\n", "server:\n  reload_on_change: false\n")
    };
    let gateway = Gateway::start_quietly(&yaml(0));
    let (is_over, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
            let address = gateway.address;
            tokio::spawn(async move {
                let mut pace = tokio::time::interval(Duration::from_millis(10));
                // Half of them keep their connection.
                let mut kept = Client::connect(address).await;
                while !is_over.load(Ordering::SeqCst) {
                    pace.tick().await;
                    if n % 2 == 0 {
                        kept = Client::connect(address).await;
                    }
                    match n % 4 {
                        0 | 1 => {
                            let text = read_stream(&mut kept).await;
                            assert!(text.ends_with(DONE), "{text}");
                        }
                        _ => {
                            let answer = kept.post("/v1/chat/completions", &chat("gpt-4o")).await;
                            assert_eq!(answer.status, 200, "{}", answer.text());
                        }
                    }
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    // One a second, as `make storm` has it, or as soon as some requests have been answered.
    let second = of("STORM_SECONDS", 0) as u64;
    for n in 1..=reloads {
        let before = answered.load(Ordering::SeqCst);
        gateway.folder().write(FILE, yaml(n));
        let answer = order(&gateway, "/admin/reload").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["changed"].as_array().unwrap().len(), 2);
        tokio::time::sleep(Duration::from_secs(second)).await;
        soon("requests are answered", async {
            while answered.load(Ordering::SeqCst) < before + 20 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    is_over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
}
