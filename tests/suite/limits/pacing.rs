//! `stream_tokens_per_minute`: a stream takes the time that it must, and the upstream is held up with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{ANSWER, CHAT, Setup, ask};
use crate::support::client::post;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Listener, Upstream};
use crate::support::{DONE, FINISHED, chat, delta, soon, streamed_chat};

/// Events that say so many tokens, each of four bytes.
fn events(tokens: usize) -> String {
    delta("abcd efg").repeat(tokens / 2)
}

/// An upstream that streams so many tokens as fast as it can.
async fn saying(tokens: usize) -> Upstream {
    Upstream::start(move |_, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&events(tokens)).await;
        reply.chunk(&[FINISHED, DONE].concat()).await;
        reply.end_stream().await;
        reply
    })
    .await
}

fn slow(limit: &str) -> String {
    format!(", limits: {{ stream_tokens_per_minute: {limit} }}")
}

/// A number in a line of the log.
fn field(line: &str, name: &str) -> f64 {
    let (_, rest) = line.split_once(&format!(" {name}=")).unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// 200 tokens a second.
const RATE: &str = "12000";

#[tokio::test]
async fn a_stream_takes_as_long_as_its_tokens_and_none_of_it_is_lost_or_counts_as_ours() {
    let upstream = saying(500).await;
    let limits = slow(RATE);
    let setup = Setup {
        // Shorter than the stream takes.
        upstream: ", timeouts: { idle: 1s, first_token: 1s }",
        tenant: &limits,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let began = Instant::now();
    let response = ask(&gateway, &streamed_chat("gpt-4o")).await;
    // One second's worth comes at once.
    let least = Duration::from_millis(1400);
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    assert!(response.complete);
    let all = [&events(500), FINISHED, DONE].concat();
    assert_eq!(response.text(), all);
    let line = gateway.access_line("status=200");
    assert!(line.contains("error=- "), "{line}");
    let (own, total) = (field(&line, "own_ms"), field(&line, "ms"));
    assert!(total >= 1400.0 && own * 3.0 < total, "{line}");
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_not_slowed_down_and_nor_is_another_tenant_s() {
    let upstream = Upstream::start(|request, mut reply| async move {
        if request.text().contains(r#""stream":true"#) {
            let events = [&events(2000), FINISHED, DONE].concat();
            reply.stream(&events).await;
        } else {
            let long = ANSWER.replace(
                r#""content":"x""#,
                &format!(r#""content":"{}""#, "x".repeat(8000)),
            );
            reply.json("200 OK", &long).await;
        }
        reply
    })
    .await;
    // A token a second: only a test that fails would take so long.
    let limits = slow("60");
    let setup = Setup {
        tenant: &limits,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    assert!(ask(&gateway, &chat("gpt-4o")).await.complete);
    let passed = super::ask_as(&gateway, super::OTHER_KEY, &streamed_chat("gpt-4o")).await;
    assert!(passed.complete && passed.text().ends_with(DONE));
}

#[tokio::test]
async fn the_streams_of_a_tenant_share_its_rate() {
    let upstream = saying(250).await;
    let limits = slow(RATE);
    let setup = Setup {
        tenant: &limits,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let began = Instant::now();
    let (one, two) = (streamed_chat("gpt-4o"), streamed_chat("same-x"));
    let (one, two) = tokio::join!(ask(&gateway, &one), ask(&gateway, &two));
    assert!(began.elapsed() >= Duration::from_millis(1400));
    assert!(one.complete && two.complete);
}

#[tokio::test]
async fn a_rule_and_a_key_slow_streams_down_as_a_tenant_does() {
    let limits = slow(RATE);
    let none = Setup::default();
    for setup in [
        Setup {
            rule: &limits,
            ..none
        },
        Setup {
            key: &limits,
            ..none
        },
    ] {
        let upstream = saying(400).await;
        let gateway = setup.start(upstream.address);
        let began = Instant::now();
        assert!(ask(&gateway, &streamed_chat("gpt-4o")).await.complete);
        assert!(began.elapsed() >= Duration::from_millis(950));
    }
}

#[tokio::test]
async fn the_upstream_is_held_up_with_the_stream() {
    const CHUNKS: usize = 400;
    let upstream = Listener::bind().await;
    let limits = slow(RATE);
    let setup = Setup {
        tenant: &limits,
        ..Setup::default()
    };
    let gateway = Gateway::start_quietly(&setup.yaml(upstream.address));
    let before = gateway.peak_rss_bytes();
    let mut client = gateway.connect().await;
    client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
    let (_, mut far) = upstream.accept().await;
    far.begin_stream().await;
    let written = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn({
        let written = Arc::clone(&written);
        async move {
            // 40 MB: more than all buffers of the system on the way.
            let chunk = delta(&"word ".repeat(20)).repeat(700);
            for _ in 0..CHUNKS {
                far.chunk(&chunk).await;
                written.fetch_add(1, Ordering::SeqCst);
            }
            far
        }
    });
    assert_eq!(client.head().await.0, 200);
    let began = Instant::now();
    let mut read = 0;
    // What passes in a second or two, while nothing else holds the upstream up.
    let reading = async {
        while began.elapsed() < Duration::from_millis(1500) {
            read += client.chunk().await.unwrap().len();
        }
    };
    soon("pieces of a slow stream", reading).await;
    let written = written.load(Ordering::SeqCst);
    assert!(written < CHUNKS, "{written} chunks were taken");
    // 200 tokens a second of the model's, with what stands around them.
    assert!(read < 40_000, "{read} bytes passed");
    writing.abort();
    let more = gateway.peak_rss_bytes().saturating_sub(before);
    assert!(more < 8 << 20, "{more} more bytes");
}

#[tokio::test]
async fn an_upstream_that_pauses_is_still_found_silent() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&events(100)).await;
        reply.wait_for_close().await;
        reply
    })
    .await;
    let limits = slow("600000");
    let setup = Setup {
        upstream: ", timeouts: { idle: 200ms }",
        tenant: &limits,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let response = ask(&gateway, &streamed_chat("gpt-4o")).await;
    assert!(response.text().starts_with(&events(100)));
    assert!(response.text().contains("error"), "{}", response.text());
    upstream.closed().await;
}
