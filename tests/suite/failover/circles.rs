//! Gateways that lead to one another.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use super::{CHAT, GENEROUS, at, gateway, healthy, rule};
use crate::support::chat;
use crate::support::client::{Client, post};
use crate::support::upstream::Upstream;

const FIRST: &str = "{ upstream: first }";

#[tokio::test]
async fn a_loop_is_not_tried_again() {
    let address: Arc<OnceLock<SocketAddr>> = Arc::default();
    let front_of = Arc::clone(&address);
    let circle = Upstream::start(move |request, mut reply| {
        let address = *front_of.get().unwrap();
        async move {
            let hops = request.header("x-tollgate-hops")[0];
            let header = format!("x-tollgate-hops: {hops}\r\n");
            let mut client = Client::connect(address).await;
            client.send(post(CHAT, &header, &chat("gpt-4o"))).await;
            let answer = client.response().await;
            let retry = answer.header("x-should-retry");
            let retry = retry.map_or(String::new(), |v| format!("x-should-retry: {v}\r\n"));
            let status = format!("{} Answer", answer.status);
            reply.json_with(&status, &retry, answer.text()).await;
            reply
        }
    })
    .await;
    let upstreams = [at("first", circle.address, "")];
    let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", FIRST, "")]);
    address.set(front.address).unwrap();
    let response = front.post(CHAT, &chat("gpt-4o")).await;
    response.assert_error(508, "invalid_request_error", Some("loop_detected"), None);
    assert_eq!(
        circle.requests(),
        4,
        "no more than the hops that are allowed"
    );
}

#[tokio::test]
async fn a_client_is_told_that_a_loop_need_not_be_tried_again() {
    let first = healthy("first").await;
    let upstreams = [at("first", first.address, "")];
    let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", FIRST, "")]);
    let mut client = front.connect().await;
    let header = "x-tollgate-hops: 4\r\n";
    client.send(post(CHAT, header, &chat("gpt-4o"))).await;
    let response = client.response().await;
    assert_eq!(response.status, 508);
    assert_eq!(response.header("x-should-retry"), Some("false"));
}
