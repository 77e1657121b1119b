//! One way to an upstream: exchanges, WebSockets and what passes through take permit, key and server alike,
//! and what they show of a key counts for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::support::client::{Response, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::{Listener, Received, Upstream};
use crate::support::websocket::{
    OPENED, REALTIME, Side, TEXT, frame, keyed, masked, open, open_at,
};
use crate::support::{PROVIDER_KEY, chat};

const CHAT: &str = "/v1/chat/completions";
/// A socket of the tenant's account: its messages name the model.
const RESPONSES: &str = "/v1/responses";
const INVALID_KEY: &str = r#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
const RATE_LIMITED: &str = r#"{"error":{"message":"Rate limit reached.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;

/// A gateway with a home for the tenant, and this many keys for it.
fn gateway(address: std::net::SocketAddr, keys: usize, more: &str) -> Gateway {
    let keys: Vec<String> = (0..keys).map(|n| format!("'{PROVIDER_KEY}-{n}'")).collect();
    let yaml = config(address, more, "")
        .replace("server:\n", "server:\n  passthrough: far\n")
        .replace(&format!("'{PROVIDER_KEY}'"), &keys.join(", "));
    Gateway::start(&yaml)
}

/// A provider that opens sockets and answers requests, but refuses those for which `refuses` gives an answer.
async fn provider<R>(refuses: R) -> Upstream
where
    R: Fn(&Received) -> Option<(&'static str, &'static str, &'static str)> + Send + Sync + 'static,
{
    Upstream::start(move |request, mut reply| {
        let refusal = refuses(&request);
        async move {
            match refusal {
                Some((status, headers, body)) => reply.json_with(status, headers, body).await,
                None if !request.header("upgrade").is_empty() => {
                    reply.raw(OPENED).await;
                    reply.wait_for_close().await;
                }
                None => reply.json("200 OK", ANSWER).await,
            }
            reply
        }
    })
    .await
}

/// Refuses the key of this number.
fn refuses_key(
    number: usize,
) -> impl Fn(&Received) -> Option<(&'static str, &'static str, &'static str)> {
    move |request| {
        let is_it = key(request) == number;
        is_it.then_some(("401 Unauthorized", "", INVALID_KEY))
    }
}

/// The number of the key that a request came with.
fn key(request: &Received) -> usize {
    let credential = request.header("authorization")[0];
    credential.rsplit('-').next().unwrap().parse().unwrap()
}

/// The status that an opening is answered with.
async fn opened(gateway: &Gateway, path: &str) -> u16 {
    let mut client = gateway.connect().await;
    client.send(keyed(path, "")).await;
    client.head().await.0
}

/// The key that serves the tenant of the tests.
async fn pinned(keys: usize) -> usize {
    let far = provider(|_| None).await;
    let gateway = gateway(far.address, keys, "");
    assert_eq!(gateway.get("/v1/files").await.status, 200);
    key(&far.request().await)
}

#[track_caller]
fn assert_busy(response: &Response) {
    let code = Some("upstream_busy");
    response.assert_error(503, "service_unavailable_error", code, None);
    assert_eq!(response.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_refused_handshake_makes_its_key_cool_down() {
    let far = provider(refuses_key(0)).await;
    let gateway = gateway(far.address, 2, "");
    let mut statuses = BTreeMap::new();
    for _ in 0..6 {
        *statuses
            .entry(opened(&gateway, REALTIME).await)
            .or_insert(0) += 1;
    }
    // What speaks of our account is not passed on.
    assert_eq!(statuses, BTreeMap::from([(101, 5), (503, 1)]));
    // What a socket has shown holds for an exchange with the same model, too.
    for _ in 0..4 {
        assert_eq!(gateway.post(CHAT, &chat("gpt-4o")).await.status, 200);
    }
    let mut uses = 0;
    for _ in 0..far.requests() {
        uses += usize::from(key(&far.request().await) == 0);
    }
    assert_eq!(uses, 1);
}

#[tokio::test]
async fn a_socket_uses_another_key_while_the_tenants_own_is_cooling_down() {
    let own = pinned(2).await;
    let far = provider(refuses_key(own)).await;
    let gateway = gateway(far.address, 2, "");
    assert_eq!(opened(&gateway, RESPONSES).await, 503);
    assert_eq!(opened(&gateway, RESPONSES).await, 101);
    let keys = [key(&far.request().await), key(&far.request().await)];
    assert_eq!(keys, [own, 1 - own]);
}

#[tokio::test]
async fn what_passes_through_uses_another_key_while_the_tenants_own_cannot_be_used() {
    let own = pinned(3).await;
    let far = provider(refuses_key(own)).await;
    let gateway = gateway(far.address, 3, "");
    let refused = gateway.get("/v1/files").await;
    assert_eq!((refused.status, refused.text()), (401, INVALID_KEY));
    let mut others = Vec::new();
    for path in ["/v1/files", "/v1/batches", "/v1/files/file-1"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    assert_eq!(key(&far.request().await), own);
    for _ in 0..3 {
        others.push(key(&far.request().await));
    }
    assert_ne!(others[0], own);
    assert!(others.iter().all(|key| *key == others[0]), "{others:?}");
}

#[tokio::test]
async fn where_no_key_can_be_used_what_passes_through_goes_with_the_tenants_own() {
    let far = provider(|_| Some(("401 Unauthorized", "", INVALID_KEY))).await;
    let gateway = gateway(far.address, 2, "");
    let mut keys = Vec::new();
    for _ in 0..4 {
        assert_eq!(gateway.get("/v1/files").await.status, 401);
        keys.push(key(&far.request().await));
    }
    assert_ne!(keys[0], keys[1]);
    assert_eq!([keys[0]; 2], keys[2..]);
}

#[tokio::test]
async fn a_rate_limit_of_one_operation_leaves_the_key_of_others() {
    let own = pinned(2).await;
    let far = provider(move |request| {
        let is_limited = request.path == "/v1/videos" && key(request) == own;
        is_limited.then_some((
            "429 Too Many Requests",
            "retry-after: 600\r\n",
            RATE_LIMITED,
        ))
    })
    .await;
    let gateway = gateway(far.address, 2, "");
    let mut seen = Vec::new();
    for (path, status) in [
        ("/v1/videos", 429),
        ("/v1/videos", 200),
        ("/v1/videos/video-1", 200),
        ("/v1/files", 200),
    ] {
        assert_eq!(gateway.get(path).await.status, status, "{path}");
        seen.push(key(&far.request().await));
    }
    let other = 1 - own;
    assert_eq!(seen, [own, other, other, own]);
}

#[tokio::test]
async fn an_open_socket_holds_its_permit_until_it_is_closed() {
    let far = Listener::bind().await;
    let more = ", max_concurrent: 1, queue: { length: 0, wait: 1h }";
    let gateway = gateway(far.address, 1, more);
    let (mut client, mut reply) = open(&gateway, &far).await;
    reply.raw(frame(TEXT, b"hello")).await;
    assert_eq!(client.frame().await.unwrap().payload, b"hello");
    let mut second = gateway.connect().await;
    second.send(keyed(REALTIME, "")).await;
    assert_busy(&second.response().await);
    assert_busy(&gateway.get("/v1/files").await);
    assert_busy(&gateway.post(CHAT, &chat("gpt-4o")).await);
    client.leave();
    reply.wait_for_close().await;
    gateway.access_line(
        "path=/v1/realtime model=gpt-4o sent=gpt-4o-2024-11-20 upstream=far status=101",
    );
    open_at(RESPONSES, &gateway, &far).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_its_socket_is_opened_gives_its_permit_back() {
    let far = Listener::bind().await;
    let more = ", max_concurrent: 1, queue: { length: 1, wait: 1h }, timeouts: { first_token: 1h }";
    let gateway = gateway(far.address, 1, more);
    let active = r#"tollgate_upstream_concurrency{state="active",upstream="far"}"#;
    let queued = r#"tollgate_upstream_concurrency{state="queued",upstream="far"}"#;
    for early in [Vec::new(), masked(TEXT, b"early"), vec![0; 4_000]] {
        let mut opening = gateway.connect().await;
        opening.send(keyed(REALTIME, "")).await;
        let (_, mut reply) = far.accept().await;
        opening.send(&early).await;
        let mut waiting = gateway.connect().await;
        waiting.send(keyed(REALTIME, "")).await;
        gateway.metric_becomes(queued, 1.0).await;
        waiting.leave();
        gateway.metric_becomes(queued, 0.0).await;
        gateway.metric_becomes(active, 1.0).await;
        opening.leave();
        // The upstream is let go, too.
        reply.wait_for_close().await;
        gateway.metric_becomes(active, 0.0).await;
    }
    open(&gateway, &far).await;
}

#[tokio::test]
async fn what_passes_through_holds_its_permit_until_its_answer_has_passed() {
    let step = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&step);
    let far = Upstream::start(move |request, mut reply| {
        let step = Arc::clone(&held);
        async move {
            if request.path == "/v1/files/file-1/content" {
                reply.begin_stream().await;
                reply.chunk("first").await;
                step.acquire().await.unwrap().forget();
                reply.end_stream().await;
            } else {
                reply.json("200 OK", ANSWER).await;
            }
            reply
        }
    })
    .await;
    let more = ", max_concurrent: 1, queue: { length: 1, wait: 1h }";
    let gateway = gateway(far.address, 1, more);
    let mut first = gateway.connect().await;
    let asked = post("/v1/files/file-1/content", "", "").replace("POST", "GET");
    first.send(&asked).await;
    assert_eq!(first.head().await.0, 200);
    // One waits, and the next is told.
    let mut waiting = gateway.connect().await;
    waiting.send(post(CHAT, "", &chat("gpt-4o"))).await;
    let queued = r#"tollgate_upstream_concurrency{state="queued",upstream="far"}"#;
    gateway.metric_becomes(queued, 1.0).await;
    assert_busy(&gateway.get("/v1/files").await);
    assert_eq!(far.requests(), 1);
    step.add_permits(1);
    assert_eq!(waiting.response().await.status, 200);
    assert_eq!(gateway.get("/v1/files").await.status, 200);
}

#[tokio::test]
async fn a_socket_reaches_another_server_where_one_cannot_be_reached() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = nobody.local_addr().unwrap();
    drop(nobody);
    let far = provider(|_| None).await;
    let base = format!("base_url: 'http://{}/v1'", far.address);
    let servers = format!("servers: ['http://{gone}/v1', 'http://{}/v1']", far.address);
    let yaml = config(far.address, "", "")
        .replace("server:\n", "server:\n  passthrough: far\n")
        .replace(&base, &servers);
    let gateway = Gateway::start(&yaml);
    for _ in 0..4 {
        assert_eq!(opened(&gateway, REALTIME).await, 101);
        assert_eq!(gateway.get("/v1/files").await.status, 200);
    }
}
