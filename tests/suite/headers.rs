//! Which headers pass: an allow-list towards the upstream, a strip-list towards the client.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::client::post;
use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROVIDER_KEY, chat};

#[tokio::test]
async fn only_what_is_allowed_reaches_the_upstream() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let headers = "accept: application/json\r\nopenai-beta: assistants=v2\r\n\
        idempotency-key: once\r\ntraceparent: 00-1\r\nsession-id: s1\r\nsession_id: s2\r\n\
        openai-safety-identifier: user-7\r\nuser-agent: app/1.0\r\n\
        HTTP-Referer: https://app.example\r\nX-Title: App\r\noriginator: cli\r\n\
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
            "http-referer",
            "idempotency-key",
            "openai-beta",
            "openai-safety-identifier",
            "originator",
            "session-id",
            "session_id",
            "traceparent",
            "user-agent",
            "x-title",
            "x-tollgate-hops",
        ]
    );
    assert_eq!(seen.header("x-tollgate-hops"), ["1"]);
    assert_eq!(seen.header("accept-encoding"), ["identity"]);
    assert_eq!(seen.header("host"), [upstream.address.to_string()]);
    assert_eq!(seen.path, "/v1/chat/completions?a=1&b=2");
}

/// What a client may try to get to an upstream whose `forward_headers` are broad.
const ODD_HEADERS: &str = "x-acme-tag: a\r\nx-acme-tag: b\r\nx-acme-trace: t\r\n\
    version: 7\r\nx-stainless-os: L\r\nx-other: o\r\nreferer: http://page\r\n\
    x-api-key: secret\r\nx-goog-api-key: secret\r\ncookie: c=1\r\nx-forwarded-for: 1.2.3.4\r\n\
    x-real-ip: 1.2.3.4\r\nx-tollgate-hops: 2\r\nx-provider: mine\r\nconnection: x-gone\r\n\
    x-gone: g\r\naccept-encoding: gzip\r\n";

#[tokio::test]
async fn what_the_operator_adds_reaches_that_upstream_on_every_way() {
    let upstream = Upstream::answering("{}").await;
    let more = ", forward_headers: [version, 'X-*', Referer, 'ac*'], \
                dialect: { name: openai_compatible, key_header: x-provider }";
    let yaml = config(upstream.address, more, "")
        .replace("server:\n", "server:\n  passthrough: far\n")
        + "routes:\n  - { prefix: /other, upstream: far }\n";
    let gateway = Gateway::start(&yaml);
    for path in ["/v1/chat/completions", "/v1/files", "/other/files"] {
        let mut client = gateway.connect().await;
        client.send(post(path, ODD_HEADERS, &chat("gpt-4o"))).await;
        assert_eq!(client.response().await.status, 200, "{path}");
        let seen = upstream.request().await;
        for (name, values) in [
            ("x-acme-tag", &["a", "b"][..]),
            ("x-acme-trace", &["t"]),
            ("version", &["7"]),
            ("x-stainless-os", &["L"]),
            ("x-other", &["o"]),
            ("referer", &["http://page"]),
            ("x-provider", &[PROVIDER_KEY]),
            ("x-tollgate-hops", &["3"]),
            ("authorization", &[]),
            ("x-api-key", &[]),
            ("x-goog-api-key", &[]),
            ("cookie", &[]),
            ("x-forwarded-for", &[]),
            ("x-real-ip", &[]),
            ("x-gone", &[]),
        ] {
            assert_eq!(seen.header(name), values, "{path}: {name}");
        }
        assert_eq!(seen.header("content-length").len(), 1, "{path}");
        if path == "/v1/chat/completions" {
            assert_eq!(seen.header("accept-encoding"), ["identity"]);
        }
    }
}

#[tokio::test]
async fn the_header_of_a_key_is_no_clients_where_there_is_no_key() {
    let upstream = Upstream::answering("{}").await;
    let more =
        ", forward_headers: ['x-*'], dialect: { name: openai_compatible, key_header: x-provider }";
    let yaml =
        config(upstream.address, more, "").replace(&format!("keys: ['{PROVIDER_KEY}'], "), "");
    let yaml = yaml.replace(&format!(", keys: ['{PROVIDER_KEY}']"), "");
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", ODD_HEADERS, &chat("gpt-4o")))
        .await;
    assert_eq!(client.response().await.status, 200);
    let seen = upstream.request().await;
    assert!(seen.header("x-provider").is_empty());
    assert_eq!(seen.header("x-acme-trace"), ["t"]);
}

#[tokio::test]
async fn an_upstream_that_is_no_gateway_is_not_told_of_hops() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, ", hops: false", "")
        .replace("server:\n", "server:\n  passthrough: far\n");
    let gateway = Gateway::start(&yaml);
    for path in ["/v1/chat/completions", "/v1/files"] {
        for (hops, status) in [
            ("", 200),
            ("x-tollgate-hops: 2\r\n", 200),
            ("x-tollgate-hops: 4\r\n", 508),
        ] {
            let mut client = gateway.connect().await;
            client.send(post(path, hops, &chat("gpt-4o"))).await;
            assert_eq!(client.response().await.status, status, "{path} {hops}");
            if status == 200 {
                let seen = upstream.request().await;
                assert!(seen.header("x-tollgate-hops").is_empty(), "{path}");
            }
        }
    }
}

#[test]
fn what_must_not_be_forwarded_is_refused_with_the_reason() {
    let folder = Folder::new();
    let yaml = format!(
        "upstreams:\n  far:\n    base_url: 'http://127.0.0.1:9'\n    dialect: {{ name: openai, key_header: x-own }}\n\
         \x20   forward_headers: [x-fine, Authorization, 'x-forwarded-*', content-length, x-tollgate-hops, X-Own, '*']\n\
         models:\n  - {{ match: a, targets: [{{ upstream: far }}] }}\n\
         tenants:\n  - {{ id: t, keys: ['{CLIENT_KEY}'] }}\n"
    );
    let file = folder.write("tollgate.yaml", yaml);
    let mut command = std::process::Command::new(BINARY);
    let output = command.args(["check", "-c"]).arg(file).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    for (entry, why) in [
        (
            "Authorization",
            "cannot be forwarded: it carries a credential",
        ),
        (
            "x-forwarded-*",
            "cannot be forwarded: it describes the client's network",
        ),
        (
            "content-length",
            "cannot be forwarded: it is about the connection or the body's framing",
        ),
        (
            "x-tollgate-hops",
            "cannot be forwarded: it is set by the gateway itself",
        ),
        ("X-Own", "cannot be forwarded: it carries a credential"),
        ("*", "is neither a header's name nor the beginning of one"),
    ] {
        let line = format!("upstreams.far.forward_headers: `{entry}` {why}");
        assert!(said.contains(&line), "{line} is not in {said}");
    }
    assert!(!said.contains("x-fine"), "{said}");
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
    assert_eq!(tokens, "tokens_in=- tokens_out=- cost=-");
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
    let yaml = config(upstream.address, "", "");
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
    let yaml = config(upstream.address, "", "");
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

/// What an upstream, or whoever answers in its place, may say that is not for the client.
const ORDERS: [&str; 18] = [
    "x-accel-redirect: /internal/x",
    "X-Accel-Expires: 60",
    "x-sendfile: /etc/passwd",
    "x-send-file: /etc/passwd",
    "X-LIGHTTPD-send-file: /etc/passwd",
    "x-litespeed-location: /internal/x",
    "x-reproxy-url: http://inside/",
    "x-archive-files: zip",
    "authorization: Bearer other",
    "authentication-info: nextnonce=1",
    "proxy-authorization: Basic eA==",
    "proxy-authenticate: Basic",
    "set-cookie2: a=b",
    "clear-site-data: \"*\"",
    "public-key-pins: x",
    "refresh: 0; url=http://elsewhere",
    "x-internal: secret",
    "x-other-hop: secret",
];

#[tokio::test]
async fn orders_to_a_proxy_and_what_is_of_one_connection_do_not_reach_the_client() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let mut headers = ORDERS.join("\r\n");
        headers += "\r\nx-kept: 1\r\nconnection: keep-alive, X-Internal\r\n";
        headers += "connection: x-other-hop, content-type, Content-Length\r\n";
        let status = request.header("x-client-request-id").concat();
        match status.as_str() {
            "stream" => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                            x-accel-buffering: yes\r\ntransfer-encoding: chunked\r\n";
                reply.raw([head, &headers, "\r\n"].concat()).await;
                reply
                    .chunk("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n")
                    .await;
                reply.chunk("data: [DONE]\n\n").await;
                reply.end_stream().await;
            }
            status => reply.json_with(status, &headers, "{}").await,
        }
        reply
    })
    .await;
    let yaml = config(upstream.address, "", "")
        .replace("server:\n", "server:\n  passthrough: far\n")
        + "routes:\n  - { prefix: /other, upstream: far }\n";
    let gateway = Gateway::start(&yaml);
    for path in ["/v1/chat/completions", "/v1/files", "/other/x"] {
        for status in ["200 OK", "404 Not Found", "stream"] {
            let mut client = gateway.connect().await;
            let body = match status {
                "stream" => crate::support::streamed_chat("gpt-4o"),
                _ => chat("gpt-4o"),
            };
            let header = format!("x-client-request-id: {status}\r\n");
            client.send(post(path, &header, &body)).await;
            let response = client.response().await;
            for order in ORDERS {
                let (name, _) = order.split_once(':').unwrap();
                assert_eq!(response.header(name), None, "{path} {status}");
            }
            assert_eq!(response.header("x-kept"), Some("1"), "{path} {status}");
            assert!(response.header("content-type").is_some(), "{path} {status}");
            assert!(response.complete, "{path} {status}");
            let buffering = (status == "stream").then_some("no");
            assert_eq!(
                response.header("x-accel-buffering"),
                buffering,
                "{path} {status}"
            );
        }
    }
}
