//! Every answer is one row with its figures, while the gateway runs and after a clean stop.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::rows::{Row, assert_sound, rows, rows_become};
use super::{CHAT, stop, with_ledger};
use crate::support::client::{Response, post};
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::{Reply, Upstream};
use crate::support::{CLIENT_KEY, DONE, FINISHED, chat, delta, streamed_chat};

/// Twenty tokens of input, ten more from a cache, and seven of output.
const USAGE: &str = r#""usage":{"prompt_tokens":30,"completion_tokens":7,"total_tokens":37,"prompt_tokens_details":{"cached_tokens":10}}"#;
/// What that costs at `PRICES`: 20 × 1,000, 10 × 500 and 7 × 4,000 nano-dollars.
const COST_NANOS: i64 = 53_000;
const PRICES: &str = "prices: [{ model: '*', input: 1, cached: 0.50, output: 4 }]\n";

fn answer() -> String {
    format!(r#"{{"choices":[{{"message":{{"content":"x"}}}}],{USAGE}}}"#)
}

fn events() -> String {
    let usage = format!("data: {{\"choices\":[],{USAGE}}}\n\n");
    [&delta("x"), FINISHED, &usage, DONE].concat()
}

/// Answers as it is asked: with a stream, with JSON, or with an error where the model is bad.
async fn answer_as_asked(body: &str, mut reply: Reply) -> Reply {
    if body.contains("same-bad") {
        let error = r#"{"error":{"message":"no","type":"invalid_request_error","code":"bad"}}"#;
        reply.json("400 Bad Request", error).await;
    } else if body.contains(r#""stream":true"#) {
        reply.stream(&events()).await;
    } else {
        reply.json("200 OK", &answer()).await;
    }
    reply
}

/// A gateway with prices, a home for what passes through, and a rule whose upstream is asked for streams alone.
fn gateway(upstream: &Upstream, ledger: &Folder) -> Gateway {
    let converting =
        "  - { match: gathered, targets: [{ upstream: far, upstream_stream: always }] }\n";
    let yaml = with_ledger(upstream.address, ledger, PRICES)
        .replace("server:\n", "server:\n  passthrough: far\n")
        .replace("models:\n", &format!("models:\n{converting}"))
        .replace("[gpt-4o,", "[gpt-4o, gathered,");
    Gateway::start(&yaml)
}

/// The row of an answer, if all goes well.
fn row(response: &Response, rule: &str, model: &str, endpoint: &str) -> Row {
    Row {
        id: response.header("x-request-id").unwrap().to_owned(),
        tenant: "tester".to_owned(),
        endpoint: endpoint.to_owned(),
        rule: rule.to_owned(),
        model: model.to_owned(),
        served_model: model.to_owned(),
        upstream: "far".to_owned(),
        status: 200,
        outcome: "ok".to_owned(),
        attempts: 1,
        source: 1,
        input: 20,
        cache_read: 10,
        output: 7,
        cost_nanos: COST_NANOS,
        ..Row::default()
    }
}

fn without_usage(row: Row) -> Row {
    Row {
        source: 0,
        input: 0,
        cache_read: 0,
        output: 0,
        cost_nanos: 0,
        ..row
    }
}

#[tokio::test]
async fn every_way_through_the_gateway_makes_one_row() {
    let upstream =
        Upstream::start(
            |request, reply| async move { answer_as_asked(request.text(), reply).await },
        )
        .await;
    let ledger = Folder::new();
    let mut gateway = gateway(&upstream, &ledger);
    let mut expected = Vec::new();

    let json = gateway.post(CHAT, &chat("gpt-4o")).await;
    expected.push(Row {
        served_model: "gpt-4o-2024-11-20".to_owned(),
        ..row(&json, "gpt-4o", "gpt-4o", "chat_completions")
    });
    let stream = gateway.post(CHAT, &streamed_chat("same-a")).await;
    assert!(stream.text().ends_with(DONE), "{stream:?}");
    expected.push(Row {
        streamed: true,
        ..row(&stream, "same-*", "same-a", "chat_completions")
    });
    let gathered = gateway.post(CHAT, &chat("gathered")).await;
    assert_eq!(gathered.json()["usage"]["total_tokens"], 37);
    expected.push(row(&gathered, "gathered", "gathered", "chat_completions"));
    let passed = gateway.post("/v1/videos", &chat("same-b")).await;
    assert_eq!(passed.status, 200, "{passed:?}");
    // Its answer is not read.
    expected.push(Row {
        attempts: 0,
        ..without_usage(row(&passed, "same-*", "same-b", "passthrough"))
    });
    let refused = gateway.post(CHAT, &chat("same-bad")).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    expected.push(Row {
        status: 400,
        outcome: "upstream_error".to_owned(),
        ..without_usage(row(&refused, "same-*", "same-bad", "chat_completions"))
    });
    // What is refused before it is asked of anybody uses nothing.
    let forbidden = gateway.post(CHAT, &chat("forbidden")).await;
    assert_eq!(forbidden.status, 404, "{forbidden:?}");

    let found = rows_become(&ledger, expected.len()).await;
    assert_eq!(found, expected);
    stop(&mut gateway);
    assert_eq!(rows(&ledger), found);
    assert_sound(&ledger);
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_makes_one_row_with_what_the_upstream_tells_later() {
    let step = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&step);
    let upstream = Upstream::start(move |_, mut reply| {
        let step = Arc::clone(&waiting);
        async move {
            reply.begin_stream().await;
            reply.chunk(&delta("one")).await;
            step.acquire().await.unwrap().forget();
            reply.chunk(&events()).await;
            reply.end_stream().await;
            reply
        }
    })
    .await;
    let ledger = Folder::new();
    let yaml = with_ledger(upstream.address, &ledger, PRICES);
    let rule = "match: { prefix: same- }";
    let mut gateway =
        Gateway::start(&yaml.replace(rule, &format!("{rule}, on_client_gone: drain")));
    let mut client = gateway.connect().await;
    client.send(post(CHAT, "", &streamed_chat("same-a"))).await;
    client.head().await;
    client.chunk().await.unwrap();
    client.leave();
    gateway.access_line("error=client_gone");
    assert!(rows(&ledger).is_empty());
    step.add_permits(1);
    let found = rows_become(&ledger, 1).await;
    let row = &found[0];
    assert!(row.client_gone && row.streamed, "{row:?}");
    assert_eq!((row.source, row.input, row.output), (1, 20, 7), "{row:?}");
    stop(&mut gateway);
    assert_eq!(rows(&ledger), found);
}

#[tokio::test]
async fn a_request_without_a_valid_key_is_in_no_row() {
    let (upstream, ledger) = (Upstream::answering("{}").await, Folder::new());
    let mut gateway = gateway(&upstream, &ledger);
    let mut client = gateway.connect().await;
    client
        .send(post(CHAT, "", &chat("gpt-4o")).replace(CLIENT_KEY, "another"))
        .await;
    assert_eq!(client.response().await.status, 401);
    assert_eq!(gateway.post(CHAT, &chat("gpt-4o")).await.status, 200);
    stop(&mut gateway);
    assert_eq!(rows(&ledger).len(), 1);
}
