//! Embeddings of several texts: each has an answer of its own.

use serde_json::{Value, json};

use super::result;
use crate::support::client::{Client, Response};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;

const EMBEDDINGS: &str = "/v1/embeddings";

/// Gives each text its length and its first letter as an embedding, in the reverse order of the list.
async fn embedding() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let inputs = match &body["input"] {
            Value::Array(inputs) => inputs.clone(),
            one => vec![one.clone()],
        };
        let each = inputs.iter().enumerate().rev().map(|(index, text)| {
            let text = text.as_str().unwrap();
            json!({ "object": "embedding", "index": index, "embedding": [text.len(), text.as_bytes()[0]] })
        });
        let data: Vec<Value> = each.collect();
        let tokens: usize = inputs.iter().map(|text| text.as_str().unwrap().len()).sum();
        let answer = json!({
            "object": "list", "data": data, "model": body["model"],
            "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
        });
        reply.json("200 OK", &answer.to_string()).await;
        reply
    })
    .await
}

fn gateway(upstream: &Upstream) -> Gateway {
    let yaml = config(upstream.address, "", "").replace(
        "{ match: { prefix: same- }, targets",
        "{ match: { prefix: same- }, cache: true, targets",
    );
    Gateway::start(&yaml)
}

async fn ask(client: &mut Client, input: &Value) -> Response {
    let body = json!({ "input": input, "model": "same-x", "user": "u" });
    client.post(EMBEDDINGS, &body.to_string()).await
}

/// The embeddings of an answer in order, its tokens, and what it says of the cache.
fn told(response: &Response) -> (Vec<Value>, u64, &str) {
    assert_eq!(response.status, 200, "{response:?}");
    let body = response.json();
    let mut data = body["data"].as_array().unwrap().clone();
    data.sort_by_key(|one| one["index"].as_u64());
    let indices: Vec<u64> = data
        .iter()
        .map(|one| one["index"].as_u64().unwrap())
        .collect();
    assert!(
        indices.iter().copied().eq(0..data.len() as u64),
        "{indices:?}"
    );
    let embeddings = data.iter().map(|one| one["embedding"].clone()).collect();
    let tokens = body["usage"]["total_tokens"].as_u64().unwrap();
    (embeddings, tokens, result(response))
}

/// What the upstream was asked for last.
async fn asked(upstream: &Upstream) -> Value {
    let seen = upstream.request().await;
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    body["input"].clone()
}

#[tokio::test]
async fn only_what_is_missing_is_asked_for() {
    let upstream = embedding().await;
    let gateway = gateway(&upstream);
    let mut client = gateway.connect().await;
    let (a, bb, ccc) = (json!([1, 97]), json!([2, 98]), json!([3, 99]));
    let first = ask(&mut client, &json!(["a", "bb"])).await;
    assert_eq!(told(&first), (vec![a.clone(), bb.clone()], 3, "miss"));
    assert_eq!(asked(&upstream).await, json!(["a", "bb"]));
    let some = ask(&mut client, &json!(["ccc", "a", "bb"])).await;
    assert_eq!(
        told(&some),
        (vec![ccc.clone(), a.clone(), bb.clone()], 6, "miss")
    );
    assert_eq!(asked(&upstream).await, json!(["ccc"]));
    let all = ask(&mut client, &json!(["bb", "ccc"])).await;
    assert_eq!(told(&all), (vec![bb, ccc.clone()], 5, "hit"));
    assert_eq!(all.header("age"), Some("0"));
    // One alone is the same as one of a list, and the other way round.
    assert_eq!(
        told(&ask(&mut client, &json!("ccc")).await),
        (vec![ccc], 3, "hit")
    );
    assert_eq!(told(&ask(&mut client, &json!("dddd")).await).2, "miss");
    let list = ask(&mut client, &json!(["dddd", "a", "dddd"])).await;
    let d = json!([4, 100]);
    assert_eq!(told(&list), (vec![d.clone(), a, d], 9, "hit"));
    assert_eq!(upstream.requests(), 3);
    gateway.access_line("tokens_in=3 tokens_out=0");
}

#[tokio::test]
async fn an_answer_that_lacks_one_is_an_error_where_some_were_asked_for_and_passes_otherwise() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let body = match request.text().contains("\"one\"") {
            true => {
                r#"{"data":[{"index":0,"embedding":[1]}],"model":"m","usage":{"prompt_tokens":1}}"#
            }
            false => r#"{"data":[],"odd":true}"#,
        };
        reply.json("200 OK", body).await;
        reply
    })
    .await;
    let gateway = gateway(&upstream);
    let mut client = gateway.connect().await;
    let odd = ask(&mut client, &json!(["x", "y"])).await;
    assert_eq!(
        (odd.status, odd.text(), result(&odd)),
        (200, r#"{"data":[],"odd":true}"#, "miss")
    );
    assert_eq!(ask(&mut client, &json!("one")).await.status, 200);
    let mixed = ask(&mut client, &json!(["one", "x"])).await;
    mixed.assert_error(502, "server_error", Some("upstream_invalid_response"), None);
}

#[tokio::test]
async fn a_request_can_have_all_of_them_asked_for() {
    let upstream = embedding().await;
    let gateway = gateway(&upstream);
    let mut client = gateway.connect().await;
    assert_eq!(told(&ask(&mut client, &json!(["a", "bb"])).await).2, "miss");
    let body = json!({ "input": ["a", "bb"], "model": "same-x" }).to_string();
    for (directive, cache) in [
        ("no-cache", "miss"),
        ("no-store", "bypass"),
        ("only-if-cached", "hit"),
    ] {
        let header = format!("cache-control: {directive}\r\n");
        client
            .send(crate::support::client::post(EMBEDDINGS, &header, &body))
            .await;
        assert_eq!(told(&client.response().await).2, cache);
    }
    let body = body.replace("bb", "new");
    client
        .send(crate::support::client::post(
            EMBEDDINGS,
            "cache-control: only-if-cached\r\n",
            &body,
        ))
        .await;
    assert_eq!(client.response().await.status, 504);
    assert_eq!(upstream.requests(), 3);
}

#[tokio::test]
async fn answers_of_another_shape_are_kept_whole_and_not_put_together() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let count = body["input"].as_array().map_or(1, Vec::len);
        let data = vec![json!({ "embeddings": [[1, 2], [3, 4]] }); count];
        let answer = json!({ "data": data, "usage": { "prompt_tokens": 1, "total_tokens": 1 } });
        reply.json("200 OK", &answer.to_string()).await;
        reply
    })
    .await;
    let gateway = gateway(&upstream);
    let mut client = gateway.connect().await;
    for (input, cache, count) in [
        (json!("a"), "miss", 1),
        (json!(["a", "b"]), "miss", 2),
        (json!("b"), "miss", 1),
        (json!(["a", "b"]), "miss", 2),
        (json!("a"), "hit", 1),
    ] {
        let response = ask(&mut client, &input).await;
        assert_eq!(
            (response.status, result(&response)),
            (200, cache),
            "{input}"
        );
        assert_eq!(response.json()["data"].as_array().unwrap().len(), count);
    }
}

#[tokio::test]
async fn embeddings_whose_places_are_not_told_are_not_taken_apart() {
    for (index, more) in [(json!("1"), json!(null)), (json!(0), json!(true))] {
        let upstream = Upstream::start(move |request, mut reply| {
            let index = index.clone();
            async move {
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                let mut data = vec![json!({ "index": index, "embedding": [1] })];
                if body["input"].is_array() {
                    data.push(json!({ "index": 1, "embedding": [2] }));
                }
                let answer = json!({ "data": data });
                reply.json("200 OK", &answer.to_string()).await;
                reply
            }
        })
        .await;
        let gateway = gateway(&upstream);
        let mut client = gateway.connect().await;
        for _ in 0..2 {
            let body = json!({ "input": ["a", "b"], "model": "same-x", "late_chunking": more });
            let response = client.post(EMBEDDINGS, &body.to_string()).await;
            assert_eq!(response.status, 200);
        }
        let body = json!({ "input": "a", "model": "same-x", "late_chunking": more });
        let response = client.post(EMBEDDINGS, &body.to_string()).await;
        assert_eq!(result(&response), "miss");
    }
}
