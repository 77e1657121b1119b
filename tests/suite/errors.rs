//! Every error that we make ourselves has OpenAI's form, and `docs/reference/errors.md` tells of it.

use std::fmt::Write as _;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::client::{Client, Response, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROVIDER_KEY, chat, streamed_chat};

const INVALID: &str = "invalid_request_error";

async fn started() -> (Upstream, Gateway) {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    (upstream, gateway)
}

async fn raw(gateway: &Gateway, request: &str) -> (Response, Client) {
    let mut client = gateway.connect().await;
    client.send(request).await;
    (client.response().await, client)
}

#[tokio::test]
async fn bodies_that_cannot_be_served() {
    let (upstream, gateway) = started().await;
    let deep = format!(
        r#"{{"model":"gpt-4o","x":{}1{}}}"#,
        "[".repeat(64),
        "]".repeat(64)
    );
    let very_deep = format!(r#"{{"model":"gpt-4o","x":{}"#, "[".repeat(100_000));
    for (body, code, param) in [
        ("not json", None, None),
        (r#"{"model":"gpt-4o""#, None, None),
        (r#"["model"]"#, None, None),
        ("{}", Some("missing_required_parameter"), Some("model")),
        (r#"{"model":4}"#, Some("invalid_type"), Some("model")),
        (
            r#"{"model":["gpt-4o"]}"#,
            Some("invalid_type"),
            Some("model"),
        ),
        (
            r#"{"model":"gpt-4o","stream":"yes"}"#,
            Some("invalid_type"),
            Some("stream"),
        ),
        (
            r#"{"model":"a","model":"b"}"#,
            Some("duplicate_parameter"),
            Some("model"),
        ),
        (
            r#"{"model":"a","Model":"b"}"#,
            Some("unknown_parameter"),
            Some("model"),
        ),
        (deep.as_str(), Some("nesting_too_deep"), None),
        (very_deep.as_str(), Some("nesting_too_deep"), None),
    ] {
        let response = gateway.post("/v1/chat/completions", body).await;
        response.assert_error(400, INVALID, code, param);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn what_is_no_models_name_is_told_and_never_noted() {
    let (upstream, gateway) = started().await;
    let long = "x".repeat(257);
    for (model, why) in [
        ("", "it is empty"),
        (".", "are no names"),
        ("..", "are no names"),
        ("gpt-4o\\u0000", "a control character"),
        (long.as_str(), "longer than 256 bytes"),
    ] {
        let response = gateway.post("/v1/chat/completions", &chat(model)).await;
        response.assert_error(400, INVALID, Some("invalid_value"), Some("model"));
        assert!(response.text().contains(why), "{}", response.text());
    }
    assert!(!gateway.output().text().contains(&long));
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn models_that_are_not_there_and_models_that_are_not_allowed_look_alike() {
    let (upstream, gateway) = started().await;
    for model in ["unheard-of", "forbidden", "missing"] {
        let response = gateway.post("/v1/chat/completions", &chat(model)).await;
        response.assert_error(404, INVALID, Some("model_not_found"), Some("model"));
        let message = response.json()["error"]["message"].clone();
        let expected =
            format!("The model `{model}` does not exist or you do not have access to it.");
        assert_eq!(message, serde_json::Value::from(expected));
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn paths_that_are_not_ours_say_what_was_probably_meant() {
    let (_upstream, gateway) = started().await;
    for path in [
        "/",
        "/v1",
        "/v1/Chat/Completions",
        "/v1/chat/completions/",
        "/metrics",
        "/V1/models",
    ] {
        let response = gateway.post(path, &chat("gpt-4o")).await;
        response.assert_error(404, INVALID, None, None);
    }
    let response = gateway.post("/chat/completions", &chat("gpt-4o")).await;
    response.assert_error(404, INVALID, None, None);
    assert!(
        response
            .text()
            .contains("Did you mean /v1/chat/completions?")
    );
}

#[tokio::test]
async fn wrong_methods_say_which_is_right() {
    let (_upstream, gateway) = started().await;
    let get = gateway.get("/v1/chat/completions").await;
    get.assert_error(405, INVALID, Some("method_not_allowed"), None);
    assert_eq!(get.header("allow"), Some("POST"));
    let post = gateway.post("/v1/models", "{}").await;
    post.assert_error(405, INVALID, Some("method_not_allowed"), None);
    assert_eq!(post.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn without_the_right_key_nobody_comes_in() {
    let (upstream, gateway) = started().await;
    let request = post("/v1/chat/completions", "", &chat("gpt-4o"));
    let without = request.replace(&format!("authorization: Bearer {CLIENT_KEY}\r\n"), "");
    let (response, _) = raw(&gateway, &without).await;
    response.assert_error(401, INVALID, None, None);
    let long = "k".repeat(257);
    for wrong in ["wrong-key-0123456789", "k", &long, "' OR 1=1 --"] {
        let (response, _) = raw(&gateway, &request.replace(CLIENT_KEY, wrong)).await;
        response.assert_error(401, INVALID, Some("invalid_api_key"), None);
        assert!(!response.text().contains("0123456789"), "the key is masked");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_key_without_bearer_is_told_how_it_is_sent() {
    let (upstream, gateway) = started().await;
    let request = post("/v1/chat/completions", "", &chat("gpt-4o"));
    let bearer = format!("Bearer {CLIENT_KEY}");
    for sent in [
        CLIENT_KEY.to_owned(),
        format!("Token {CLIENT_KEY}"),
        format!("Bearer:{CLIENT_KEY}"),
        format!("Basic {CLIENT_KEY}"),
    ] {
        let (response, _) = raw(&gateway, &request.replace(&bearer, &sent)).await;
        response.assert_error(401, INVALID, None, None);
        let text = response.text();
        assert!(text.contains("Authorization: Bearer YOUR_KEY"), "{text}");
        assert!(text.contains("does not begin with `Bearer `"), "{text}");
        assert!(!text.contains(&CLIENT_KEY[..6]), "{text}");
    }
    // A header with nothing in it has no key.
    let (response, _) = raw(&gateway, &request.replace(&bearer, "Bearer")).await;
    response.assert_error(401, INVALID, None, None);
    assert!(response.text().contains("You didn't provide an API key"));
    // Another header may have the key all the same.
    let both = format!("{CLIENT_KEY}\r\nx-api-key: {CLIENT_KEY}");
    let (response, _) = raw(&gateway, &request.replace(&bearer, &both)).await;
    assert_eq!(response.status, 200);
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn what_would_pass_to_a_home_says_that_there_is_none() {
    let (upstream, gateway) = started().await;
    for (method, path) in [
        ("GET", "/v1/files"),
        ("POST", "/v1/batches"),
        ("DELETE", "/v1/x/1"),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
             content-length: 0\r\n\r\n"
        );
        let (response, _) = raw(&gateway, &request).await;
        response.assert_error(404, INVALID, Some("no_home"), None);
        let text = response.text();
        assert!(text.contains(&format!("{method} {path}")) && text.contains("`passthrough`"));
        // Without a key nothing is told of that.
        let (response, _) = raw(&gateway, &request.replace(CLIENT_KEY, "wrong")).await;
        response.assert_error(401, INVALID, Some("invalid_api_key"), None);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn content_that_is_not_plain_json_is_refused() {
    let (upstream, gateway) = started().await;
    let request = post("/v1/chat/completions", "", &chat("gpt-4o"));
    for content_type in [
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/xml",
    ] {
        let request = request.replace("application/json", content_type);
        let (response, _) = raw(&gateway, &request).await;
        response.assert_error(415, INVALID, Some("unsupported_content_type"), None);
    }
    for encoding in ["gzip", "br", "deflate, gzip"] {
        let header = format!("content-encoding: {encoding}\r\n");
        let request = post("/v1/chat/completions", &header, &chat("gpt-4o"));
        let (response, _) = raw(&gateway, &request).await;
        response.assert_error(415, INVALID, Some("unsupported_content_encoding"), None);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn framing_that_could_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let (upstream, gateway) = started().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {CLIENT_KEY}\r\n"
    );
    let smuggled = post("/v1/chat/completions", "", &chat("gpt-4o"));
    let both =
        format!("{head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}");
    let bare_line_feed = format!("{head}x-a: b\ncontent-length: 0\r\n\r\n");
    // Shorter than the preface of HTTP/2, which is looked for on a new connection.
    let no_host = "GET / HTTP/1.1\r\n\r\n".to_owned();
    for request in [both, bare_line_feed, no_host] {
        let (response, mut client) = raw(&gateway, &request).await;
        response.assert_error(400, INVALID, Some("invalid_framing"), None);
        assert!(client.is_closed().await);
    }
    let bad_chunk = format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n");
    let (response, mut client) = raw(&gateway, &bad_chunk).await;
    response.assert_error(400, INVALID, Some("invalid_framing"), None);
    assert!(client.is_closed().await);
    // What cannot be read as HTTP at all is told the same.
    for malformed in [
        format!("{head}x-a: b\r\n folded: c\r\ncontent-length: 0\r\n\r\n"),
        format!("{head}x-a: \0\r\ncontent-length: 0\r\n\r\n"),
        format!("{head}content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        "POST http://other/v1/models HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n".to_owned(),
    ] {
        let (response, mut client) = raw(&gateway, &malformed).await;
        response.assert_error(400, INVALID, Some("invalid_framing"), None);
        assert!(client.is_closed().await);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn who_asks_for_a_tunnel_of_their_own_gets_none() {
    let (upstream, gateway) = started().await;
    let asked = "CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n";
    let (response, _client) = raw(&gateway, asked).await;
    response.assert_error(404, INVALID, None, None);
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn malformed_requests_count_for_the_flood_guard() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "").replace("max_body: 64MiB", "flood_guard: 5");
    let gateway = Gateway::start(&yaml);
    let mut is_slowed = false;
    // The guard counts by the second: within 3 times 20 requests one second sees more than 5.
    for _ in 0..3 {
        for _ in 0..20 {
            let (response, _client) = raw(&gateway, "GET / HTTP/1.1\r\nx: \0\r\n\r\n").await;
            assert_eq!(response.status, 400);
        }
        is_slowed |= gateway
            .post("/v1/chat/completions", &chat("gpt-4o"))
            .await
            .status
            == 429;
    }
    assert!(is_slowed);
}

#[tokio::test]
async fn an_address_that_floods_is_slowed_down() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "").replace("max_body: 64MiB", "flood_guard: 5");
    let gateway = Gateway::start(&yaml);
    let mut refused = None;
    // The guard counts by the second: within 20 requests at least one second sees more than 5.
    for _ in 0..20 {
        let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
        if response.status == 429 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("20 requests at once are more than 5 a second");
    refused.assert_error(429, "requests", Some("rate_limit_exceeded"), None);
    assert_eq!(refused.header("retry-after"), Some("1"));
}

/// How many of 20 requests are refused as too many, each from an address of its own.
async fn refused_of_20(gateway: &Gateway, address: impl Fn(u32) -> String) -> usize {
    let mut refused = 0;
    for n in 0..20 {
        let request = format!(
            "GET /v1/models HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
             x-forwarded-for: {}\r\n\r\n",
            address(n)
        );
        let (response, _) = raw(gateway, &request).await;
        refused += usize::from(response.status == 429);
    }
    refused
}

#[tokio::test]
async fn an_ipv6_network_is_one_address_to_the_flood_guard() {
    let upstream = Upstream::answering("{}").await;
    let with = |more: &str| {
        let more = format!("flood_guard: 5\n  trusted_proxies: [127.0.0.1]\n  {more}");
        config(upstream.address, "", "").replace("max_body: 64MiB", &more)
    };
    let gateway = Gateway::start(&with(""));
    let within = |n: u32| format!("2001:db8:1:2:{n}::{n}");
    // 20 requests fall into few seconds, each of which lets five of an address pass.
    assert!(refused_of_20(&gateway, within).await > 0);
    let networks = |n: u32| format!("2001:db8:2:{n}::1");
    assert_eq!(refused_of_20(&gateway, networks).await, 0);
    let addresses = |n: u32| format!("192.0.2.{n}");
    assert_eq!(refused_of_20(&gateway, addresses).await, 0);
    let gateway = Gateway::start(&with("limits: { ipv6_prefix: 128 }"));
    assert_eq!(refused_of_20(&gateway, within).await, 0);
}

#[tokio::test]
async fn head_gets_a_header_alone() {
    let (_upstream, gateway) = started().await;
    let mut client = gateway.connect().await;
    client
        .send("HEAD /health HTTP/1.1\r\nhost: g\r\n\r\n")
        .await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 200);
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    assert!(length.is_some_and(|(_, length)| length.parse::<usize>().unwrap() > 50));
    assert_eq!(
        client.get("/health").await.status,
        200,
        "the connection goes on"
    );
}

#[tokio::test]
async fn every_error_code_is_documented() {
    let root = crate::support::tools::root();
    let docs = std::fs::read_to_string(root.join("docs/reference/errors.md")).unwrap();
    let sources = std::fs::read_dir(root.join("src/gateway/failure")).unwrap();
    let mut missing = String::new();
    for file in sources {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for literal in source.split('"').skip(1).step_by(2) {
            let plain = literal.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if plain && literal.contains('_') && !docs.contains(literal) {
                let _ = writeln!(missing, "{literal}");
            }
        }
    }
    assert!(
        missing.is_empty(),
        "docs/reference/errors.md does not tell of:\n{missing}"
    );
}

/// An upstream that gives one answer, always.
async fn failing(status: &'static str, headers: &'static str, body: &'static str) -> Upstream {
    Upstream::start(move |_, mut reply| async move {
        reply.json_with(status, headers, body).await;
        reply
    })
    .await
}

#[tokio::test]
async fn an_upstreams_own_error_passes_as_it_is() {
    let upstream = failing(
        "429 Too Many Requests",
        "retry-after: 7\r\n",
        r#"{"error":{"message":"Please slow down.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
    )
    .await;
    for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
        let gateway = Gateway::before(&upstream);
        let response = gateway.post("/v1/chat/completions", &body).await;
        response.assert_error(429, "tokens", Some("rate_limit_exceeded"), None);
        assert_eq!(response.header("retry-after"), Some("7"));
        assert_eq!(response.header("x-should-retry"), None, "it may come again");
    }
    assert_eq!(upstream.requests(), 2, "it is not asked again");
}

#[tokio::test]
async fn a_client_that_is_told_of_a_short_wait_in_any_form_may_come_again() {
    let in_20_s = std::time::SystemTime::now() + std::time::Duration::from_secs(20);
    let date = httpdate::fmt_http_date(in_20_s);
    for (wait, may_come) in [
        ("retry-after: 20".to_owned(), true),
        ("retry-after: 19.5".to_owned(), true),
        (format!("retry-after: {date}"), true),
        ("retry-after-ms: 20000".to_owned(), true),
        ("retry-after: 61".to_owned(), false),
        (
            "retry-after: Fri, 01 Aug 2098 12:00:00 GMT".to_owned(),
            false,
        ),
        ("retry-after: 99999999999999999999".to_owned(), false),
        ("retry-after: -5".to_owned(), false),
        ("retry-after: soon".to_owned(), false),
    ] {
        let headers = format!("{wait}\r\n");
        let upstream = Upstream::start(move |_, mut reply| {
            let headers = headers.clone();
            async move {
                let error =
                    r#"{"error":{"message":"No.","type":"tokens","param":null,"code":null}}"#;
                reply
                    .json_with("429 Too Many Requests", &headers, error)
                    .await;
                reply
            }
        })
        .await;
        let gateway = Gateway::before(&upstream);
        let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
        let expected = (!may_come).then_some("false");
        assert_eq!(response.status, 429, "{wait}");
        assert_eq!(response.header("x-should-retry"), expected, "{wait}");
    }
}

#[tokio::test]
async fn while_the_only_key_is_cooling_down_the_upstream_is_not_asked() {
    let error = r#"{"error":{"message":"Slow down.","type":"tokens","param":null,"code":null}}"#;
    let upstream = failing("429 Too Many Requests", "retry-after: 30\r\n", error).await;
    let gateway = Gateway::before(&upstream);
    let first = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!((first.status, first.text()), (429, error));
    for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
        let response = gateway.post("/v1/chat/completions", &body).await;
        response.assert_error(429, "requests", Some("rate_limit_exceeded"), None);
        let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
    }
    let line = gateway.access_line("error=rate_limit_exceeded");
    assert!(line.contains("trail=far/-:cooling_down:0.0 "), "{line}");
    let told = gateway
        .output()
        .wait_for("all keys are cooling down: far is cooling down for ");
    assert!(told.contains(" WARN "), "{told}");
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn what_an_upstream_says_of_our_account_stays_with_the_operator() {
    for (status, error, asked) in [
        (
            "401 Unauthorized",
            r#"{"error":{"message":"Incorrect key: sk-1.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            1,
        ),
        (
            "403 Forbidden",
            r#"{"error":{"message":"Project proj_1 may not.","type":"invalid_request_error","param":null,"code":null}}"#,
            2,
        ),
        (
            "429 Too Many Requests",
            r#"{"error":{"message":"Your quota is spent.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            1,
        ),
    ] {
        let upstream = failing(status, "", error).await;
        let yaml = config(upstream.address, "", "");
        for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
            let gateway = Gateway::start(&yaml);
            // The last of them is not asked any more.
            for _ in 0..3 {
                let response = gateway.post("/v1/chat/completions", &body).await;
                let (kind, code) = ("service_unavailable_error", "upstream_account");
                response.assert_error(503, kind, Some(code), None);
            }
            gateway.access_line("upstream=far status=503 error=upstream_account");
        }
        assert_eq!(upstream.requests(), 2 * asked);
        // Where the key is the client's, so is the error.
        let own = yaml.replace(&format!("keys: ['{PROVIDER_KEY}']"), "keys: passthrough");
        let gateway = Gateway::start(&own);
        for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
            let response = gateway.post("/v1/chat/completions", &body).await;
            let status: u16 = status[..3].parse().unwrap();
            assert_eq!((response.status, response.text()), (status, error));
        }
        assert_eq!(upstream.requests(), 2 * asked + 2);
    }
}

/// An error of so many bytes that its cause is in the middle of.
fn long_error(bytes: usize) -> String {
    let half = "A".repeat(bytes / 2);
    format!(r#"{{"object":"error","input":"{half}","type":"extra_forbidden","rest":"{half}"}}"#)
}

#[tokio::test]
async fn an_error_that_is_too_long_to_be_understood_passes_as_it_came() {
    // Below the bound, above it, and far beyond what would be held in memory.
    for bytes in [60 << 10, 90 << 10, 8 << 20] {
        let body = long_error(bytes);
        for is_chunked in [false, true] {
            let given = body.clone();
            let upstream = Upstream::start(move |_, mut reply| {
                let body = given.clone();
                async move {
                    if is_chunked {
                        let head = "HTTP/1.1 422 Unprocessable Entity\r\n\
                                    content-type: application/json\r\n\
                                    transfer-encoding: chunked\r\n\r\n";
                        reply.raw(head).await;
                        for piece in body.as_bytes().chunks(50_000) {
                            reply.chunk(std::str::from_utf8(piece).unwrap()).await;
                        }
                        reply.end_stream().await;
                    } else {
                        reply.json("422 Unprocessable Entity", &body).await;
                    }
                    reply
                }
            })
            .await;
            let gateway = Gateway::before(&upstream);
            for request in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
                let response = gateway.post("/v1/chat/completions", &request).await;
                assert_eq!(response.status, 422);
                assert!(response.complete && response.text() == body, "{bytes}");
                assert_eq!(response.header("x-tollgate-attempts"), Some("1"));
                assert_eq!(response.header("x-should-retry"), Some("false"));
            }
            assert_eq!(upstream.requests(), 2, "it is the client's own fault");
        }
    }
}

#[tokio::test]
async fn the_rest_of_a_long_error_passes_while_it_comes_and_breaks_as_it_breaks() {
    let step = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&step);
    let upstream = Upstream::start(move |_, mut reply| {
        let held = Arc::clone(&held);
        async move {
            let head = "HTTP/1.1 422 Unprocessable Entity\r\ncontent-type: application/json\r\n";
            reply
                .raw(format!("{head}content-length: 200000\r\n\r\n"))
                .await;
            reply.raw("x".repeat(100_000)).await;
            held.acquire().await.unwrap().forget();
            reply.reset();
            reply
        }
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &chat("gpt-4o")))
        .await;
    // The client has its status although the upstream has not ended.
    let (status, headers) = client.head().await;
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    assert_eq!(status, 422);
    assert_eq!(length.map(|(_, length)| length.as_str()), Some("200000"));
    step.add_permits(1);
    // What is no chunk is read until the connection ends.
    assert_eq!(client.chunk().await, None);
    gateway.access_line("status=422 error=upstream_cut");
}

#[tokio::test]
async fn an_error_that_is_long_is_tried_elsewhere_where_its_status_says_so() {
    let body = long_error(90 << 10);
    let upstream = Upstream::start(move |request, mut reply| {
        let body = body.clone();
        async move {
            match request.header("authorization")[0].ends_with("-first") {
                true => reply.json("429 Too Many Requests", &body).await,
                false => reply.json("200 OK", r#"{"choices":[]}"#).await,
            }
            reply
        }
    })
    .await;
    let keys = format!("keys: ['{PROVIDER_KEY}-first', '{PROVIDER_KEY}']");
    let yaml = config(upstream.address, "", "");
    let gateway = Gateway::start(&yaml.replace(&format!("keys: ['{PROVIDER_KEY}']"), &keys));
    // One of them begins with the key that is refused.
    for _ in 0..2 {
        let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
        assert_eq!(response.status, 200, "{response:?}");
    }
    assert_eq!(upstream.requests(), 3);
}
