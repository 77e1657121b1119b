//! Every answer tells its caller how its own limits stand, and nothing of the provider's.

use super::{ANSWER, CHAT, Setup, ask, number, request, seconds};
use crate::support::client::{Response, post};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Listener, Upstream};
use crate::support::websocket::{OPENED, REALTIME, keyed};
use crate::support::{CLIENT_KEY, DONE, FINISHED, chat, delta, streamed_chat};

const NAMES: [&str; 6] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// What a provider says of its own limits.
const THEIRS: &str = "x-ratelimit-limit-requests: 99999\r\nx-ratelimit-remaining-requests: 99998\r\n\
                      x-ratelimit-reset-requests: 7ms\r\nx-ratelimit-limit-tokens: 99999\r\n\
                      x-ratelimit-remaining-tokens: 99997\r\nx-ratelimit-reset-tokens: 6ms\r\n\
                      x-ratelimit-limit-project-tokens: 99999\r\n\
                      anthropic-ratelimit-requests-remaining: 99999\r\n";

/// A provider that tells of its own limits whatever it answers: what the path or the body names.
async fn telling() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let error = r#"{"error":{"message":"no","type":"x","code":null,"param":null}}"#;
        if body.contains(r#""stream":true"#) {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
            reply
                .raw(format!("{head}{THEIRS}transfer-encoding: chunked\r\n\r\n"))
                .await;
            let events = [&delta("some"), FINISHED, DONE].concat();
            reply.chunk(&events).await;
            reply.end_stream().await;
        } else if body.contains("same-bad") {
            reply.json_with("400 Bad Request", THEIRS, error).await;
        } else if body.contains("same-broken") {
            reply.json_with("500 Broken", THEIRS, error).await;
        } else if body.contains("same-busy") {
            let head = format!("{THEIRS}retry-after: 0\r\n");
            reply.json_with("429 Busy", &head, error).await;
        } else if body.contains("same-dead") {
            reply.reset();
        } else {
            reply.json_with("200 OK", THEIRS, ANSWER).await;
        }
        reply
    })
    .await
}

/// Asserts on what is told, and that nothing of it is the provider's.
#[track_caller]
fn assert_told(response: &Response, requests_left: u64) {
    for name in NAMES {
        let values = response.headers.iter().filter(|(n, _)| n == name);
        assert_eq!(values.count(), 1, "{name} in {response:?}");
    }
    assert_eq!(number(response, NAMES[0]), 1000);
    assert_eq!(number(response, NAMES[1]), requests_left, "{response:?}");
    assert_eq!(number(response, NAMES[3]), 50_000);
    assert!(number(response, NAMES[4]) <= 50_000);
    // A thousandth of a day has been used by each.
    let reset = seconds(response, NAMES[2]);
    let used = (1000 - requests_left) as f64;
    assert!(
        reset <= used * 86.4 && reset > used * 86.4 - 20.0,
        "{reset}"
    );
    assert_not_theirs(response);
}

#[track_caller]
fn assert_not_theirs(response: &Response) {
    for (name, value) in &response.headers {
        let is_theirs = value.starts_with("9999") || name.contains("project");
        assert!(!is_theirs, "{name}: {value}");
    }
}

const LIMITS: &str = ", limits: { requests_per_day: 1000, tokens_per_minute: 50000 }";

async fn limited(upstream: &Upstream) -> Gateway {
    let setup = Setup {
        server: ", passthrough: far",
        tenant: LIMITS,
        more: "routes: [{ prefix: /far, upstream: far }]\n",
        ..Setup::default()
    };
    setup.start(upstream.address)
}

#[tokio::test]
async fn answers_and_streams_and_what_passes_through_and_errors_tell_how_the_limits_stand() {
    let upstream = telling().await;
    let gateway = limited(&upstream).await;
    let mut left = 1000;
    for (body, status) in [
        (chat("gpt-4o"), 200),
        (streamed_chat("gpt-4o"), 200),
        (chat("same-bad"), 400),
        (chat("same-broken"), 500),
        (chat("same-busy"), 429),
        (chat("same-dead"), 502),
    ] {
        left -= 1;
        let response = ask(&gateway, &body).await;
        assert_eq!(response.status, status, "{response:?}");
        assert_told(&response, left);
    }
    for path in ["/v1/files", "/far/anything"] {
        left -= 1;
        let response = gateway.get(path).await;
        assert_eq!(response.status, 200, "{path}");
        assert_told(&response, left);
    }
    left -= 1;
    let body = r#"{"model":"gpt-4o","input":"x"}"#;
    let response = gateway.post("/v1/embeddings", body).await;
    assert_told(&response, left);
}

#[tokio::test]
async fn what_is_refused_tells_them_too() {
    let upstream = telling().await;
    let setup = Setup {
        tenant: ", limits: { requests_per_hour: 1 }, quota: { tokens: 100000, per: total }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    for body in [chat("gpt-4o"), super::chat_up_to("gpt-4o", 1_000_000)] {
        let refused = ask(&gateway, &body).await;
        assert_eq!(refused.status, 429);
        assert_eq!(number(&refused, NAMES[0]), 1);
        assert_eq!(number(&refused, NAMES[1]), 0);
        let reset = seconds(&refused, NAMES[2]);
        assert!(reset > 3_000.0 && reset <= 3_600.0, "{reset}");
    }
}

#[tokio::test]
async fn a_caller_without_limits_of_its_own_is_told_nothing() {
    let upstream = telling().await;
    let setup = Setup {
        more: "limits: { requests_per_day: 1000, tokens_per_day: 100000 }\n",
        rule: ", limits: { requests_per_day: 100 }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    for body in [chat("gpt-4o"), streamed_chat("gpt-4o"), chat("same-bad")] {
        let response = ask(&gateway, &body).await;
        for name in NAMES {
            assert_eq!(response.header(name), None, "{name}");
        }
        assert_not_theirs(&response);
    }
}

#[tokio::test]
async fn of_several_limits_the_tightest_is_told_and_of_none_nothing() {
    let upstream = telling().await;
    let setup = Setup {
        tenant: ", limits: { requests_per_day: 1000, requests_per_hour: 10 }",
        key: ", limits: { requests_per_minute: 40 }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let response = ask(&gateway, &chat("gpt-4o")).await;
    assert_eq!(number(&response, NAMES[0]), 10);
    assert_eq!(number(&response, NAMES[1]), 9);
    for name in &NAMES[3..] {
        assert_eq!(response.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn the_opening_of_a_socket_tells_them() {
    let upstream = Listener::bind().await;
    let setup = Setup {
        tenant: LIMITS,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let mut client = gateway.connect().await;
    client.send(keyed(REALTIME, "")).await;
    let (_, mut far) = upstream.accept().await;
    far.raw(OPENED.replacen("upgrade", &format!("{THEIRS}upgrade"), 1))
        .await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 101);
    let response = Response {
        status,
        headers,
        body: Vec::new(),
        complete: true,
    };
    assert_told(&response, 999);
}

#[tokio::test]
async fn a_client_s_own_headers_about_limits_change_nothing() {
    let upstream = telling().await;
    let gateway = limited(&upstream).await;
    let mut client = gateway.connect().await;
    let headers = "x-ratelimit-limit-requests: 5\r\nx-ratelimit-remaining-requests: 0\r\n";
    client.send(post(CHAT, headers, &chat("gpt-4o"))).await;
    assert_told(&client.response().await, 999);
    let head = request("GET", "/v1/files", CLIENT_KEY, headers, "");
    client.send(head).await;
    assert_told(&client.response().await, 998);
}
