//! What one gateway finds of a provider's key, the others know.

use super::{know_each_other, three};
use crate::limits::ask;
use crate::support::redis::Redis;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_rate_limited_for_one_gateway_is_left_alone_by_all() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::start(|_, mut reply| async move {
        let error = r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#;
        let wait = "retry-after: 40\r\n";
        reply.json_with("429 Too Many Requests", wait, error).await;
        reply
    })
    .await;
    let gateways = three(upstream.address, &redis, "");
    know_each_other(&gateways).await;
    assert_eq!(ask(&gateways[0], &chat("gpt-4o")).await.status, 429);
    assert_eq!(upstream.requests(), 1);
    for gateway in &gateways[1..] {
        let said = "is rate-limited and is cooling down";
        let output = gateway.output();
        soon(said, async { output.wait_for(said) }).await;
        let status = gateway.get_admin("/status").await.json();
        let key = &status["upstreams"][0]["keys"][0];
        assert!(key.to_string().contains("cooling_down"), "{key}");
        assert_eq!(ask(gateway, &chat("gpt-4o")).await.status, 429);
    }
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn each_gateway_says_what_it_is_called_and_its_request_ids_say_it_too() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::answering(crate::limits::ANSWER).await;
    let gateways = three(upstream.address, &redis, "");
    know_each_other(&gateways).await;
    let mut marks = Vec::new();
    for (gateway, name) in gateways.iter().zip(["a", "b", "c"]) {
        let status = gateway.get_admin("/status").await.json();
        assert_eq!(status["node"]["name"], name);
        assert_eq!(status["node"]["store"]["nodes"], 3);
        let mark = status["node"]["request_ids_end_with"].as_str().unwrap();
        let answer = ask(gateway, &chat("gpt-4o")).await;
        let id = answer.header("x-request-id").unwrap();
        assert!(id.ends_with(mark), "{id} {mark}");
        let named = format!("tollgate_node_info{{node=\"{name}\"}}");
        assert!((gateway.metric(&named).await - 1.0).abs() < 1e-9);
        marks.push(mark.to_owned());
    }
    marks.dedup();
    assert_eq!(marks.len(), 3);
}
