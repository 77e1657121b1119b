//! Equal requests at the same time.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{CHAT, STREAMED, answer, ask, asking, certain, gateway, is, result, told};
use crate::support::client::{Client, post};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Listener, Reply, Upstream};
use crate::support::{DONE, FINISHED, delta};

/// How many requests follow another now.
async fn followers_become(gateway: &Gateway, count: f64) {
    gateway
        .metric_becomes("tollgate_cache_followers", count)
        .await;
}

/// Answers once it is told to.
async fn held(step: &Arc<Semaphore>) -> Upstream {
    let step = Arc::clone(step);
    Upstream::start(move |request, mut reply| {
        let step = Arc::clone(&step);
        async move {
            step.acquire().await.unwrap().forget();
            match request.text().contains("\"stream\":true") {
                true => reply.stream(&super::events("answer 1", true)).await,
                false => reply.json("200 OK", &answer("answer 1")).await,
            }
            reply
        }
    })
    .await
}

#[tokio::test]
async fn many_equal_requests_are_one_for_the_upstream() {
    let step = Arc::new(Semaphore::new(0));
    let upstream = held(&step).await;
    for (keys, again) in [("cache: true", "hit"), ("coalesce: true", "miss")] {
        let before = upstream.requests();
        let gateway = Arc::new(gateway(&upstream, keys));
        let mut asking = JoinSet::new();
        for number in 0..1000_u32 {
            let gateway = Arc::clone(&gateway);
            asking.spawn(async move {
                let mut client = gateway.connect().await;
                let members = if number % 2 == 0 {
                    STREAMED
                } else {
                    r#","temperature":0"#
                };
                ask(&mut client, &super::asking("a", members)).await
            });
        }
        followers_become(&gateway, 999.0).await;
        step.add_permits(1);
        let mut results = std::collections::BTreeMap::<String, usize>::new();
        while let Some(response) = asking.join_next().await {
            let response = response.unwrap();
            let (text, cache) = told(&response);
            assert_eq!(text, "answer 1");
            *results.entry(cache.to_owned()).or_default() += 1;
        }
        assert_eq!((results["miss"], results["hit"]), (1, 999), "{keys}");
        assert_eq!(upstream.requests() - before, 1, "{keys}");
        let series = r#"tollgate_cache_requests_total{result="joined",rule="gpt-4o"}"#;
        gateway.metric_becomes(series, 999.0).await;
        // Only with a cache it is there afterwards. One that has just ended can still be joined.
        gateway.metric_becomes("tollgate_cache_flights", 0.0).await;
        step.add_permits(1);
        let mut client = gateway.connect().await;
        assert_eq!(
            result(&ask(&mut client, &certain("a")).await),
            again,
            "{keys}"
        );
        if again == "hit" {
            step.acquire().await.unwrap().forget();
        }
    }
}

/// What is left of a stream, to its end or to where it breaks off.
async fn rest(client: &mut Client) -> String {
    let mut rest = String::new();
    while let Some(chunk) = client.chunk().await {
        if chunk.is_empty() {
            break;
        }
        rest.push_str(&chunk);
    }
    rest
}

/// Sends a request and leaves its answer to be read.
async fn send(gateway: &Gateway, members: &str) -> Client {
    let mut client = gateway.connect().await;
    client.send(post(CHAT, "", &asking("a", members))).await;
    client
}

/// Two clients share the answer of an upstream, which has begun.
async fn two_of(gateway: &Gateway, upstream: &Listener) -> (Client, Client, Reply) {
    let mut first = send(gateway, STREAMED).await;
    let (_, mut reply) = upstream.accept().await;
    reply.begin_stream().await;
    reply.chunk(&delta("answer 1")).await;
    assert_eq!(first.head().await.0, 200);
    let mut other = send(gateway, STREAMED).await;
    assert_eq!(other.head().await.0, 200);
    (first, other, reply)
}

#[tokio::test]
async fn one_that_joins_late_gets_what_has_been_sent_and_then_the_rest() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(
        &crate::support::gateway::config(upstream.address, "", "").replace(
            "{ match: gpt-4o, targets",
            "{ match: gpt-4o, coalesce: true, targets",
        ),
    );
    let mut first = send(&gateway, STREAMED).await;
    let (_, mut reply) = upstream.accept().await;
    reply.begin_stream().await;
    reply.chunk(&delta("one ")).await;
    assert_eq!(first.head().await.0, 200);
    let got = first.chunk().await.unwrap();
    assert!(got.contains("one "), "{got}");
    let mut late = send(&gateway, STREAMED).await;
    let (status, headers) = late.head().await;
    let cache = headers.iter().find(|(name, _)| name == "x-tollgate-cache");
    assert_eq!((status, cache.unwrap().1.as_str()), (200, "hit"));
    let got = late.chunk().await.unwrap();
    assert!(got.contains("one "), "{got}");
    reply.chunk(&delta("two")).await;
    for client in [&mut first, &mut late] {
        let got = client.chunk().await.unwrap();
        assert!(got.contains("two"), "{got}");
    }
    reply.chunk(&[FINISHED, DONE].concat()).await;
    reply.end_stream().await;
    for client in [&mut first, &mut late] {
        let rest = rest(client).await;
        assert!(rest.ends_with(DONE), "{rest}");
    }
}

#[tokio::test]
async fn the_others_are_served_on_where_the_first_client_leaves() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(
        &crate::support::gateway::config(upstream.address, "", "").replace(
            "{ match: gpt-4o, targets",
            "{ match: gpt-4o, cache: true, targets",
        ),
    );
    let (first, mut other, mut reply) = two_of(&gateway, &upstream).await;
    first.leave();
    gateway.access_line("error=client_gone");
    reply.chunk(&[FINISHED, DONE].concat()).await;
    reply.end_stream().await;
    let got = rest(&mut other).await;
    assert!(got.contains("answer 1") && got.ends_with(DONE), "{got}");
    // It has come to its end, so it is kept.
    gateway.metric_becomes("tollgate_cache_entries", 1.0).await;
}

/// A gateway whose equal requests share an answer, with these parts of the configuration besides.
fn sharing(upstream: &Listener, server: &str, more: &str) -> Gateway {
    let yaml = crate::support::gateway::config(upstream.address, "", more)
        .replace(
            "{ match: gpt-4o, targets",
            "{ match: gpt-4o, cache: { scope: global }, targets",
        )
        .replace("server:\n", &format!("server:\n{server}"));
    Gateway::start(&yaml)
}

#[tokio::test]
async fn a_first_client_that_does_not_read_holds_up_no_other() {
    let upstream = Listener::bind().await;
    let gateway = sharing(
        &upstream,
        "",
        "cache: { memory: 128MiB, max_answer: 32MiB }\n",
    );
    let (mut first, mut other, mut reply) = two_of(&gateway, &upstream).await;
    // More than the buffers of its connection take.
    let words = delta(&"word ".repeat(10_000)).repeat(20);
    let sending = async {
        for _ in 0..24 {
            reply.chunk(&words).await;
        }
        reply.chunk(&[FINISHED, DONE].concat()).await;
        reply.end_stream().await;
    };
    let ((), got) = tokio::join!(sending, rest(&mut other));
    assert!(got.len() > 24_000_000 && got.ends_with(DONE));
    let got = rest(&mut first).await;
    assert!(got.len() > 24_000_000 && got.ends_with(DONE));
}

#[tokio::test]
async fn a_first_client_that_is_slowed_down_holds_up_no_other() {
    let upstream = Listener::bind().await;
    let slow =
        "  - { id: slow, keys: [key-of-slow-1234], limits: { stream_tokens_per_minute: 60 } }\n";
    let gateway = sharing(&upstream, "", slow);
    let mut first = gateway.connect().await;
    let request = post(CHAT, "", &asking("a", STREAMED));
    first
        .send(request.replace(crate::support::CLIENT_KEY, "key-of-slow-1234"))
        .await;
    let (_, mut reply) = upstream.accept().await;
    reply.begin_stream().await;
    reply.chunk(&delta("answer 1")).await;
    assert_eq!(first.head().await.0, 200);
    let mut other = send(&gateway, STREAMED).await;
    assert_eq!(other.head().await.0, 200);
    for _ in 0..50 {
        reply.chunk(&delta(&"word ".repeat(50))).await;
    }
    reply.chunk(&[FINISHED, DONE].concat()).await;
    reply.end_stream().await;
    let got = rest(&mut other).await;
    assert!(got.ends_with(DONE), "{got}");
    // Its own comes over forty minutes.
    gateway
        .metric_becomes("tollgate_requests_in_flight", 1.0)
        .await;
}

#[tokio::test]
async fn however_long_the_rest_is_that_is_read_for_the_others() {
    let upstream = Listener::bind().await;
    let drain = "  drain: { bytes: 1KiB, time: 1s, at_once: 1 }\n";
    let gateway = sharing(&upstream, drain, "");
    let (first, mut other, mut reply) = two_of(&gateway, &upstream).await;
    first.leave();
    gateway.access_line("error=client_gone");
    for _ in 0..20 {
        reply.chunk(&delta(&"word ".repeat(100))).await;
    }
    reply.chunk(&[FINISHED, DONE].concat()).await;
    reply.end_stream().await;
    let got = rest(&mut other).await;
    assert!(got.len() > 10_000 && got.ends_with(DONE), "{got}");
}

#[tokio::test]
async fn a_first_that_fails_lets_the_next_one_try() {
    let upstream = Listener::bind().await;
    let yaml = crate::support::gateway::config(upstream.address, "", "")
        .replace(
            "{ match: gpt-4o, targets",
            "{ match: gpt-4o, cache: true, targets",
        )
        .replace("server:\n", "server:\n  retries: { attempts: 1 }\n");
    let gateway = Gateway::start(&yaml);
    let mut first = send(&gateway, r#","temperature":0"#).await;
    let (_, mut reply) = upstream.accept().await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(send(&gateway, r#","temperature":0"#).await);
    }
    followers_become(&gateway, 3.0).await;
    let refused = r#"{"error":{"message":"no","type":"invalid_request_error"}}"#;
    reply
        .json_with("400 Bad", "connection: close\r\n", refused)
        .await;
    assert_eq!(first.response().await.status, 400);
    let (_, mut reply) = upstream.accept().await;
    reply.json("200 OK", &answer("answer 2")).await;
    let mut results = Vec::new();
    for other in &mut others {
        let response = other.response().await;
        let (text, cache) = told(&response);
        assert_eq!(text, "answer 2");
        results.push(cache.to_owned());
    }
    results.sort_unstable();
    assert_eq!(results, ["hit", "hit", "miss"]);
}

#[tokio::test]
async fn one_that_leaves_before_the_answer_leaves_it_to_the_next() {
    let upstream = Listener::bind().await;
    let yaml = crate::support::gateway::config(upstream.address, "", "").replace(
        "{ match: gpt-4o, targets",
        "{ match: gpt-4o, coalesce: true, targets",
    );
    let gateway = Gateway::start(&yaml);
    let first = send(&gateway, STREAMED).await;
    let (_, _reply) = upstream.accept().await;
    let mut other = send(&gateway, STREAMED).await;
    followers_become(&gateway, 1.0).await;
    first.leave();
    let (_, mut reply) = upstream.accept().await;
    reply.stream(&super::events("answer 2", true)).await;
    is(&other.response().await, "answer 2", "miss");
}

#[tokio::test]
async fn a_stream_that_breaks_breaks_for_all_of_them() {
    let upstream = Listener::bind().await;
    let yaml = crate::support::gateway::config(upstream.address, "", "").replace(
        "{ match: gpt-4o, targets",
        "{ match: gpt-4o, coalesce: true, targets",
    );
    let gateway = Gateway::start(&yaml);
    let (mut first, mut other, mut reply) = two_of(&gateway, &upstream).await;
    reply.close();
    drop(reply);
    for client in [&mut first, &mut other] {
        let got = rest(client).await;
        assert!(got.contains("upstream_cut") && !got.contains(DONE), "{got}");
    }
}

#[tokio::test]
async fn requests_whose_answers_may_differ_are_not_put_together_unless_the_rule_says_so() {
    let upstream = super::counting().await;
    let gateway = gateway(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    is(
        &ask(&mut client, &asking("a", "")).await,
        "answer 1",
        "bypass",
    );
    let gateway = super::gateway(&upstream, "cache: true, coalesce: false");
    let mut client = gateway.connect().await;
    is(&ask(&mut client, &certain("a")).await, "answer 2", "miss");
    is(&ask(&mut client, &certain("a")).await, "answer 2", "hit");
    let gateway = super::gateway(&upstream, "coalesce: true");
    let mut client = gateway.connect().await;
    is(
        &ask(&mut client, &asking("a", "")).await,
        "answer 3",
        "miss",
    );
    is(
        &ask(&mut client, &asking("a", "")).await,
        "answer 4",
        "miss",
    );
}
