//! A request is read in one way, and what an upstream sees of it is framed anew. Each variant goes
//! through the exchange, the tunnel and a route.

mod bodies;
mod headers;
mod http2;
mod paths;
mod reuse;

use std::net::SocketAddr;

use crate::support::client::{Client, Response};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, chat, until};

/// A path of each way: the exchange, the tunnel, a route.
const PATHS: [&str; 3] = ["/v1/chat/completions", "/v1/files", "/other/x"];

/// The usual configuration, with a home and a route.
fn all_ways(upstream: SocketAddr) -> String {
    let routes = "routes:\n  - { prefix: /other, upstream: far }\n";
    config(upstream, "", routes).replace("server:\n", "server:\n  passthrough: far\n")
}

/// An upstream that answers anything, and a gateway before it.
async fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::answering(r#"{"id":"file-1"}"#).await;
    let gateway = Gateway::start(&all_ways(upstream.address));
    (upstream, gateway)
}

/// The start of a request, without the end of its header.
fn head(path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
         content-type: application/json\r\n"
    )
}

/// A chunked body, whole.
fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// Sends a request and asserts that it is refused as malformed, that its connection ends, and that the
/// next request of another client is served by itself.
async fn assert_refused(gateway: &Gateway, upstream: &Upstream, what: &str, request: &[u8]) {
    let before = upstream.requests();
    let mut client = gateway.connect().await;
    client.send(request).await;
    let response = client.response().await;
    assert_eq!(response.status, 400, "{what}: {response:?}");
    assert_malformed(what, &response);
    assert!(client.is_closed().await, "{what}");
    assert_served(gateway.connect().await).await;
    assert_eq!(
        upstream.requests(),
        before + 1,
        "{what}: it reached the upstream"
    );
    upstream.request().await;
}

#[track_caller]
fn assert_malformed(what: &str, response: &Response) {
    let body = response.json();
    assert_eq!(body["error"]["code"], "invalid_framing", "{what}: {body}");
}

/// Waits until so many requests are over: their upstream connections have been given back by then.
async fn over(gateway: &Gateway, requests: usize) {
    until("the requests are over", || {
        gateway.output().text().matches(" access id=").count() >= requests
    })
    .await;
}

async fn assert_served(mut client: Client) {
    let response = client.post(PATHS[0], &chat("gpt-4o")).await;
    assert_eq!(response.status, 200, "{response:?}");
}
