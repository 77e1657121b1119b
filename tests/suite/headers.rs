//! Which headers pass: an allow-list towards the upstream, a strip-list towards the client.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::client::post;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{PROVIDER_KEY, chat};

#[tokio::test]
async fn only_what_is_allowed_reaches_the_upstream() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let headers = "accept: application/json\r\nopenai-beta: assistants=v2\r\n\
        idempotency-key: once\r\ntraceparent: 00-1\r\n\
        cookie: a=b\r\nx-forwarded-for: 1.2.3.4\r\nx-real-ip: 1.2.3.4\r\nforwarded: for=1\r\n\
        openai-organization: org-1\r\nx-api-key: other\r\nte: trailers\r\nkeep-alive: 5\r\n\
        accept-encoding: gzip, br\r\norigin: http://x\r\nx-anything: y\r\n";
    let mut client = gateway.connect().await;
    client
        .send(post(
            "/v1/chat/completions?a=1&key=k&b=2",
            headers,
            &chat("gpt-4o"),
        ))
        .await;
    assert_eq!(client.response().await.status, 200);
    let seen = upstream.request().await;
    let mut names: Vec<String> = seen
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "accept",
            "accept-encoding",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "idempotency-key",
            "openai-beta",
            "traceparent",
            "x-tollgate-hops",
        ]
    );
    assert_eq!(seen.header("x-tollgate-hops"), ["1"]);
    assert_eq!(seen.header("accept-encoding"), ["identity"]);
    assert_eq!(seen.header("host"), [upstream.address.to_string()]);
    assert_eq!(seen.path, "/v1/chat/completions?a=1&b=2");
}

#[tokio::test]
async fn a_client_cannot_nominate_the_providers_key_away() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let headers = "connection: authorization, openai-beta, content-length\r\nopenai-beta: x\r\n";
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", headers, &chat("gpt-4o")))
        .await;
    assert_eq!(client.response().await.status, 200);
    let seen = upstream.request().await;
    assert_eq!(
        seen.header("authorization"),
        [format!("Bearer {PROVIDER_KEY}")]
    );
    assert!(seen.header("openai-beta").is_empty());
    assert!(!seen.body.is_empty());
}

#[tokio::test]
async fn what_tells_of_the_account_does_not_reach_the_client() {
    let upstream = Upstream::start(|_, mut reply| async move {
        let headers = "openai-organization: org-secret\r\nx-request-id: req_theirs\r\n\
            x-ratelimit-limit-tokens: 100\r\nset-cookie: __cf_bm=1\r\ncf-ray: 1\r\n\
            server: cloudflare\r\nalt-svc: h3\r\nstrict-transport-security: x\r\n\
            x-ms-region: eu\r\nopenai-processing-ms: 12\r\nopenai-version: 2020-10-01\r\n\
            keep-alive: timeout=5\r\nx-should-retry: true\r\nx-tollgate-attempts: 9\r\n\
            x-tollgate-hops: 3\r\n";
        reply.json_with("200 OK", headers, "{}").await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    let mut names: Vec<String> = response
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "connection",
            "content-length",
            "content-type",
            "date",
            "openai-processing-ms",
            "openai-version",
            "x-request-id",
            "x-tollgate-attempts",
        ]
    );
    assert_eq!(response.header("x-tollgate-attempts"), Some("1"));
    let id = response.header("x-request-id").unwrap();
    assert!(id.starts_with("req_") && id != "req_theirs");
    let line = gateway.access_line(id);
    assert!(line.contains("tenant=tester"), "{line}");
}

#[tokio::test]
async fn the_access_line_tells_the_whole_way() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let body = chat("gpt-4o");
    gateway.post("/v1/chat/completions", &body).await;
    let line = gateway.access_line("model=gpt-4o");
    for field in [
        "client=127.0.0.1",
        "tenant=tester",
        "method=POST",
        "path=/v1/chat/completions",
        "sent=gpt-4o-2024-11-20",
        "upstream=far",
        "status=200",
        "error=-",
        "out=2",
        &format!("in={}", body.len()),
    ] {
        assert!(
            line.contains(&format!(" {field} ")),
            "{field} is not in {line}"
        );
    }
    for field in [" ms=", " first_ms=", " own_ms="] {
        let (_, rest) = line.split_once(field).unwrap();
        let number = rest.split(' ').next().unwrap();
        assert!(number.parse::<f64>().is_ok(), "{field}{number}");
    }
    // Who was asked, with which key, what came of it, and how many seconds it took.
    let (_, trail) = line.rsplit_once(" trail=").unwrap();
    let (trail, tokens) = trail.split_once(' ').unwrap();
    assert_eq!(tokens, "tokens_in=- tokens_out=-");
    let [asked, came, time] = trail.split(':').collect::<Vec<_>>()[..] else {
        panic!("{trail}");
    };
    assert!(asked.starts_with("far/"), "{trail}");
    assert_eq!(came, "ok");
    assert!(time.parse::<f64>().is_ok(), "{trail}");
}

#[tokio::test]
async fn a_clients_address_comes_from_a_trusted_proxy_alone_and_is_masked() {
    let upstream = Upstream::answering("{}").await;
    let yaml = crate::support::gateway::config(upstream.address, "", "");
    let trusting = yaml.replace(
        "log: { mask: false }",
        "log: { mask: true }\n  trusted_proxies: [127.0.0.1]",
    );
    for (yaml, client) in [
        (&yaml, "client=127.0.0.1 "),
        (&trusting, "client=203.0.113.0 "),
    ] {
        let gateway = Gateway::start(yaml);
        let mut connection = gateway.connect().await;
        let headers = "x-forwarded-for: 9.9.9.9, 203.0.113.77\r\n";
        connection
            .send(post("/v1/chat/completions", headers, &chat("gpt-4o")))
            .await;
        assert_eq!(connection.response().await.status, 200);
        gateway.access_line(client);
    }
}

#[tokio::test]
async fn a_key_that_is_cooling_down_by_the_time_of_a_retry_is_not_replaced_by_the_clients() {
    let count = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_, mut reply| {
        let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let error = r#"{"error":{"message":"no","type":"t","param":null,"code":null}}"#;
            match is_first {
                true => reply.json("500 Internal Server Error", error).await,
                false => {
                    let wait = "retry-after: 30\r\n";
                    reply.json_with("429 Too Many Requests", wait, error).await;
                }
            }
            reply
        }
    })
    .await;
    let retries = "server:\n  retries: { attempts: 2, backoff: 1s }\n";
    let yaml = crate::support::gateway::config(upstream.address, "", "");
    let gateway = Gateway::start(&yaml.replace("server:\n", retries));
    let mut slow = gateway.connect().await;
    slow.send(post("/v1/chat/completions", "", &chat("same-slow")))
        .await;
    upstream.request().await;
    // Before it is asked again, its key begins to cool down.
    let limited = gateway
        .post("/v1/chat/completions", &chat("same-slow"))
        .await;
    assert_eq!(limited.status, 429);
    upstream.request().await;
    assert_eq!(slow.response().await.status, 500);
    gateway.access_line("model=same-slow");
    assert_eq!(upstream.requests(), 2, "there is no key to ask with");
}

#[tokio::test]
async fn a_retry_after_a_conflict_has_the_providers_key_too() {
    let count = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_, mut reply| {
        let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let error = r#"{"error":{"message":"no","type":"t","param":null,"code":null}}"#;
            match is_first {
                true => reply.json("409 Conflict", error).await,
                false => reply.json("200 OK", "{}").await,
            }
            reply
        }
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!((response.status, response.text()), (200, "{}"));
    assert_eq!(response.header("x-tollgate-attempts"), Some("2"));
    for _ in 0..2 {
        let seen = upstream.request().await;
        let provider = [format!("Bearer {PROVIDER_KEY}")];
        assert_eq!(seen.header("authorization"), provider);
    }
}
