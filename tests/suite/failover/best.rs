//! A rule that chooses the best of its targets: the fastest, the cheapest, the least busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{CHAT, GENEROUS, at, finish, gateway, healthy, role, rule, serve, token};
use crate::support::client::{Client, post};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROMPT, chat, streamed_chat};

const TWO: &str = "{ upstream: first }, { upstream: second }";

fn choosing(first: &Upstream, second: &Upstream, how: &str, of_each: &str) -> Gateway {
    let upstreams = [
        at("first", first.address, of_each),
        at("second", second.address, of_each),
    ];
    let more = format!(", affinity: off, choose: {how}");
    gateway(GENEROUS, &upstreams, &[rule("gpt-4o", TWO, &more)])
}

/// Streams after a while.
async fn slow(speaker: &'static str, wait: Duration) -> Upstream {
    Upstream::start(move |_, mut reply| async move {
        reply.begin_stream().await;
        reply.event(&role()).await;
        tokio::time::sleep(wait).await;
        reply.event(&token(speaker, 0)).await;
        reply.event(&finish()).await;
        reply.event("[DONE]").await;
        reply.end_stream().await;
        reply
    })
    .await
}

/// Streams, and does not end.
async fn endless() -> Upstream {
    Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.event(&token("on", 0)).await;
        reply.wait_for_close().await;
        reply
    })
    .await
}

async fn targets(gateway: &Gateway) -> Value {
    let status = gateway.get_admin("/status").await.json();
    let rules = status["models"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["match"] == "gpt-4o").unwrap();
    rule["targets"].clone()
}

#[tokio::test]
async fn the_fastest_gets_nearly_all_and_the_others_are_looked_at_again() {
    let quick = slow("quick", Duration::ZERO).await;
    let late = slow("late", Duration::from_millis(60)).await;
    let gateway = choosing(&late, &quick, "fastest", "");
    let mut client = gateway.connect().await;
    let mut last = None;
    for _ in 0..200 {
        let response = client.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_eq!(response.status, 200);
        last = Some(response);
    }
    // Each has its share until five answers are known, then one request in forty.
    let late = late.requests();
    assert!((5..60).contains(&late), "{late}");
    let shown = targets(&gateway).await;
    let ms = |n: usize| shown[n]["choice"]["first_output_ms"].as_f64().unwrap();
    assert!(ms(0) > ms(1), "{shown}");
    assert_eq!(shown[1]["choice"]["is_known"], true);
    assert_eq!(shown[1]["choice"]["failing"], 0.0);
    let id = last.unwrap();
    let line = gateway.access_line(&format!("id={} ", id.header("x-request-id").unwrap()));
    assert!(
        line.contains(":fastest ") || line.contains(":share "),
        "{line}"
    );
}

#[tokio::test]
async fn a_target_that_fails_is_not_fast() {
    let failing = super::broken().await;
    let well = slow("well", Duration::from_millis(5)).await;
    let gateway = choosing(&failing, &well, "fastest", ", ejection: off");
    let mut client = gateway.connect().await;
    for _ in 0..100 {
        let response = client.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_eq!(response.status, 200);
    }
    let failures = failing.requests();
    assert!(failures < 40, "{failures}");
    let shown = targets(&gateway).await;
    assert_eq!(shown[0]["choice"]["failing"], 1.0);
}

/// A gateway that chooses the cheapest of these targets.
fn priced(first: &Upstream, second: &Upstream, targets: &str, prices: &str, more: &str) -> Gateway {
    let upstreams = [
        at("first", first.address, more),
        at("second", second.address, more),
    ];
    let rules = [rule("gpt-4o", targets, ", affinity: off, choose: cheapest")];
    Gateway::start(&format!(
        "server:
  listen: ['127.0.0.1:0']
  admin: '127.0.0.1:0'
  log: {{ mask: false }}
  retries: {{ {GENEROUS} }}
upstreams:
{}models:
{}prices: [{prices}]
tenants:
  - {{ id: tester, keys: ['{CLIENT_KEY}'] }}
",
        upstreams.concat(),
        rules.concat(),
    ))
}

#[tokio::test]
async fn the_cheapest_for_what_is_asked_is_asked() {
    let (first, second) = (healthy("first").await, healthy("second").await);
    let targets_of_rule = "{ upstream: first, model: a }, { upstream: second, model: b }, \
                           { upstream: first, model: unpriced }";
    let prices =
        "{ model: a, input: 1.00, output: 20.00 }, { model: b, input: 5.00, output: 5.00 }";
    let gateway = priced(&first, &second, targets_of_rule, prices, "");
    let mut client = gateway.connect().await;
    let long_question = chat("gpt-4o").replace(PROMPT, &"word ".repeat(4000));
    let long_question = long_question.replacen('{', r#"{"max_tokens":10,"#, 1);
    for _ in 0..10 {
        let response = client.post(CHAT, &long_question).await;
        assert_eq!(response.status, 200);
    }
    assert_eq!((first.requests(), second.requests()), (10, 0));
    let long_answer = chat("gpt-4o").replacen('{', r#"{"max_tokens":4000,"#, 1);
    for _ in 0..10 {
        client.post(CHAT, &long_answer).await;
    }
    assert_eq!((first.requests(), second.requests()), (10, 10));
    let shown = targets(&gateway).await;
    assert_eq!(shown[0]["choice"]["usd_per_million_output"], 20.0);
    assert_eq!(shown[2]["choice"]["usd_per_million_output"], Value::Null);
}

#[tokio::test]
async fn the_least_busy_is_asked() {
    let (first, second) = (endless().await, endless().await);
    let gateway = choosing(&first, &second, "least_busy", "");
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..10 {
        let mut client = gateway.connect().await;
        let body = streamed_chat("gpt-4o");
        client.send(post(CHAT, "", &body)).await;
        client.head().await;
        clients.push(client);
    }
    assert_eq!((first.requests(), second.requests()), (5, 5));
    let shown = targets(&gateway).await;
    assert_eq!(shown[0]["choice"]["in_flight"], 5);
}

#[tokio::test]
async fn a_target_that_is_just_back_gets_no_more_than_its_share() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let first = Upstream::start(move |request, mut reply| {
        let is_well = well.load(Ordering::SeqCst);
        async move {
            match is_well {
                true => serve("first", &request, &mut reply).await,
                false => reply.json("500 Internal Server Error", "{}").await,
            }
            reply
        }
    })
    .await;
    let second = healthy("second").await;
    let ejection = ", ejection: { consecutive: 2, base: 100ms, longest: 100ms, trials: 1 }";
    let prices = "{ model: gpt-4o, upstream: first, input: 1, output: 1 }, \
                  { model: gpt-4o, upstream: second, input: 9, output: 9 }";
    let gateway = priced(&first, &second, TWO, prices, ejection);
    let mut client = gateway.connect().await;
    let ejected = r#"tollgate_target_ejected{model="the same",rule="gpt-4o",upstream="first"}"#;
    while gateway.metric(ejected).await < 0.5 {
        assert_eq!(client.post(CHAT, &chat("gpt-4o")).await.status, 200);
    }
    is_well.store(true, Ordering::SeqCst);
    while gateway.metric(ejected).await > 0.5 {
        assert_eq!(client.post(CHAT, &chat("gpt-4o")).await.status, 200);
    }
    // It is the cheapest, and would get everything.
    let before = first.requests();
    for _ in 0..200 {
        assert_eq!(client.post(CHAT, &chat("gpt-4o")).await.status, 200);
    }
    let share = first.requests() - before;
    assert!((60..140).contains(&share), "{share}");
}
