//! A request is passed on with the upstream's key and model, and its answer comes back as it is.

use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROMPT, PROVIDER_KEY, chat};

const ENDPOINTS: [&str; 8] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/moderations",
    "/images/generations",
    "/audio/speech",
    "/rerank",
];

#[tokio::test]
async fn each_endpoint_swaps_the_key_and_rewrites_the_model() {
    let upstream = Upstream::answering(r#"{"ok":true}"#).await;
    let gateway = Gateway::before(&upstream);
    for endpoint in ENDPOINTS {
        let body = format!(r#"{{ "a" : 1.50, "model" : "gpt-4o" ,"x":"{PROMPT}"}}"#);
        let response = gateway.post(&format!("/v1{endpoint}"), &body).await;
        assert_eq!((response.status, response.text()), (200, r#"{"ok":true}"#));
        let seen = upstream.request().await;
        assert_eq!(seen.method, "POST");
        assert_eq!(seen.path, format!("/v1{endpoint}"));
        assert_eq!(
            seen.header("authorization"),
            [format!("Bearer {PROVIDER_KEY}")]
        );
        assert_eq!(seen.text(), body.replace("gpt-4o", "gpt-4o-2024-11-20"));
    }
}

#[tokio::test]
async fn a_model_without_another_name_passes_byte_for_byte() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let body = "{\"n\":1.0e400,\"s\":\"\\u00e9\",\n \"model\":\"same-x\"}";
    assert_eq!(gateway.post("/v1/chat/completions", body).await.status, 200);
    assert_eq!(upstream.request().await.text(), body);
}

#[tokio::test]
async fn the_answer_passes_byte_for_byte_whatever_it_is() {
    let upstream = Upstream::start(|request, mut reply| async move {
        match request.path.as_str() {
            "/v1/audio/speech" => {
                let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
                let head =
                    "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 100000\r\n\r\n";
                reply.raw([head.as_bytes(), &binary].concat()).await;
            }
            "/v1/embeddings" => reply.json("418 I'm a teapot", "{ \"odd\" : 1 }").await,
            _ => {
                // No length, no chunks: the answer ends with the connection.
                reply
                    .raw("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nuntil the end")
                    .await;
                reply.close();
            }
        }
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let speech = gateway.post("/v1/audio/speech", &chat("gpt-4o")).await;
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(speech.header("content-type"), Some("audio/mpeg"));
    assert_eq!(speech.body, binary);
    let odd = gateway.post("/v1/embeddings", &chat("gpt-4o")).await;
    assert_eq!((odd.status, odd.text()), (418, "{ \"odd\" : 1 }"));
    let plain = gateway.post("/v1/completions", &chat("gpt-4o")).await;
    assert_eq!((plain.text(), plain.complete), ("until the end", true));
}

#[tokio::test]
async fn each_kind_of_client_key_is_taken() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    for header in [
        format!("authorization: Bearer {CLIENT_KEY}"),
        format!("Authorization: bearer {CLIENT_KEY}"),
        format!("api-key: {CLIENT_KEY}"),
        format!("X-API-Key: {CLIENT_KEY}"),
    ] {
        let body = chat("gpt-4o");
        let mut client = gateway.connect().await;
        let length = body.len();
        client
            .send(format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\n{header}\r\ncontent-length: {length}\r\n\r\n{body}"
            ))
            .await;
        assert_eq!(client.response().await.status, 200, "{header}");
        let seen = upstream.request().await;
        assert_eq!(
            seen.header("authorization"),
            [format!("Bearer {PROVIDER_KEY}")]
        );
        assert!(seen.header("api-key").is_empty() && seen.header("x-api-key").is_empty());
    }
}

#[tokio::test]
async fn passthrough_sends_the_clients_own_key() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "")
        .replace(&format!("keys: ['{PROVIDER_KEY}']"), "keys: passthrough");
    let gateway = Gateway::start(&yaml);
    assert_eq!(
        gateway
            .post("/v1/chat/completions", &chat("gpt-4o"))
            .await
            .status,
        200
    );
    let seen = upstream.request().await;
    assert_eq!(
        seen.header("authorization"),
        [format!("Bearer {CLIENT_KEY}")]
    );
}

#[tokio::test]
async fn an_upstream_without_keys_gets_none() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "").replace(&format!(", keys: ['{PROVIDER_KEY}']"), "");
    let gateway = Gateway::start(&yaml);
    assert_eq!(
        gateway
            .post("/v1/chat/completions", &chat("gpt-4o"))
            .await
            .status,
        200
    );
    assert!(upstream.request().await.header("authorization").is_empty());
}

#[tokio::test]
async fn without_client_keys_anybody_on_this_machine_may_call() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "");
    let (open, _) = yaml.split_once("tenants:").unwrap();
    let gateway = Gateway::start(open);
    let mut client = gateway.connect().await;
    let body = chat("gpt-4o");
    let length = body.len();
    client
        .send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await;
    assert_eq!(client.response().await.status, 200);
    gateway
        .output()
        .wait_for("every client on this machine is served");
}

#[tokio::test]
async fn the_upstreams_connection_is_used_again() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    for _ in 0..5 {
        assert_eq!(
            client
                .post("/v1/chat/completions", &chat("gpt-4o"))
                .await
                .status,
            200
        );
    }
    assert_eq!((upstream.requests(), upstream.connections()), (5, 1));
}

#[tokio::test]
async fn a_pooled_connection_that_the_upstream_closed_is_not_a_failure() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.json("200 OK", "{}").await;
        // Closed without a word in the header, as servers do after their keep-alive time.
        reply.close();
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    for _ in 0..20 {
        assert_eq!(
            gateway
                .post("/v1/chat/completions", &chat("gpt-4o"))
                .await
                .status,
            200
        );
    }
    assert_eq!(upstream.requests(), 20, "no request may arrive twice");
}

#[tokio::test]
async fn targets_share_the_traffic_by_weight() {
    let (one, two) = (
        Upstream::answering("{}").await,
        Upstream::answering("{}").await,
    );
    let gateway = Gateway::start(&format!(
        "server: {{ listen: ['127.0.0.1:0'], admin: '127.0.0.1:0' }}
upstreams:
  one: {{ base_url: 'http://{}' }}
  two: {{ base_url: 'http://{}' }}
models:
  - match: m
    targets: [{{ upstream: one, weight: 3 }}, {{ upstream: two, weight: 1 }}]
tenants: [{{ id: t, keys: ['{CLIENT_KEY}'] }}]",
        one.address, two.address
    ));
    let mut client = gateway.connect().await;
    for _ in 0..40 {
        assert_eq!(
            client.post("/v1/chat/completions", &chat("m")).await.status,
            200
        );
    }
    assert_eq!((one.requests(), two.requests()), (30, 10));
}

#[tokio::test]
async fn an_address_that_cannot_be_reached_is_passed_over() {
    let upstream = Upstream::answering("{}").await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let gateway = Gateway::start(&format!(
        "server: {{ listen: ['127.0.0.1:0'], admin: '127.0.0.1:0' }}
upstreams:
  pool: {{ servers: ['http://{nobody}/v1', 'http://{}/v1'] }}
models: [{{ match: m, targets: [{{ upstream: pool }}] }}]
tenants: [{{ id: t, keys: ['{CLIENT_KEY}'] }}]",
        upstream.address
    ));
    for _ in 0..6 {
        assert_eq!(
            gateway
                .post("/v1/chat/completions", &chat("m"))
                .await
                .status,
            200
        );
    }
    assert_eq!(upstream.requests(), 6);
}

#[tokio::test]
async fn several_servers_share_the_traffic_by_weight() {
    let (one, two) = (
        Upstream::answering("{}").await,
        Upstream::answering("{}").await,
    );
    let gateway = Gateway::start(&format!(
        "server: {{ listen: ['127.0.0.1:0'], admin: '127.0.0.1:0' }}
upstreams:
  pool:
    servers:
      - {{ url: 'http://{}/v1', weight: 3 }}
      - {{ url: 'http://{}/v1', weight: 1 }}
models: [{{ match: m, targets: [{{ upstream: pool }}] }}]
tenants: [{{ id: t, keys: ['{CLIENT_KEY}'] }}]",
        one.address, two.address
    ));
    let mut client = gateway.connect().await;
    for _ in 0..40 {
        assert_eq!(
            client.post("/v1/chat/completions", &chat("m")).await.status,
            200
        );
    }
    assert_eq!((one.requests(), two.requests()), (30, 10));
}
