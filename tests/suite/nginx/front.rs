//! nginx in front of one gateway and of several, with the files that we ship.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Nginx;
use crate::support::client::{Client, Response, post};
use crate::support::gateway::{Gateway, config};
use crate::support::tools::{require, root};
use crate::support::upstream::{Listener, Upstream};
use crate::support::{CLIENT_KEY, DONE, PROMPT, chat, delta, streamed_chat};

pub const CHAT: &str = "/v1/chat/completions";

/// nginx with a file that we ship, and replacements in it, in front of these gateways.
pub fn front(
    program: &Path,
    file: &str,
    gateways: &[SocketAddr],
    changes: &[(&str, &str)],
) -> Nginx {
    let read = |file: &str| std::fs::read_to_string(root().join("conf/nginx").join(file)).unwrap();
    let include = "include snippets/tollgate.conf;";
    let mut text = read(file);
    assert!(text.contains(include));
    if !changes.is_empty() {
        text = text.replace(include, &read("snippets/tollgate.conf"));
    }
    let places = ["127.0.0.1:8080", "10.0.0.21:8080", "10.0.0.22:8080"];
    let places = places.iter().filter(|place| text.contains(**place));
    let places: Vec<String> = places.map(|place| (*place).to_owned()).collect();
    assert_eq!(places.len(), gateways.len());
    for (place, gateway) in places.iter().zip(gateways) {
        text = text.replace(place, &gateway.to_string());
    }
    for (from, to) in changes {
        assert!(text.contains(from), "`{from}` is not in {file}");
        text = text.replace(from, to);
    }
    Nginx::start(program, |port| {
        text.replace("listen 80;", &format!("listen 127.0.0.1:{port};"))
    })
}

/// The tests' configuration, behind a proxy on this machine.
pub fn behind(upstream: SocketAddr, more: &str) -> String {
    config(upstream, "", more).replace("max_body: 64MiB", "trusted_proxies: [127.0.0.1]")
}

#[track_caller]
fn assert_of_nginx(answer: &Response, status: u16, kind: &str, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let error = body["error"].as_object().unwrap();
    assert_eq!(error.len(), 4, "{body}");
    assert_eq!(
        (&error["type"], &error["code"]),
        (&kind.into(), &code.into())
    );
    assert!(
        error["param"].is_null() && error["message"].is_string(),
        "{body}"
    );
}

#[tokio::test]
async fn events_pass_one_by_one_and_the_clients_address_is_known() {
    let Some(program) = require(&["nginx"], "nginx") else {
        return;
    };
    let step = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&step);
    let upstream = Upstream::start(move |_, mut reply| {
        let held = Arc::clone(&held);
        async move {
            reply.begin_stream().await;
            for event in [&delta("one"), &delta("two"), &delta("three"), DONE] {
                reply.chunk(event).await;
                held.acquire().await.unwrap().forget();
            }
            reply.end_stream().await;
            reply
        }
    })
    .await;
    let gateway = Gateway::start(&behind(upstream.address, ""));
    let front = front(&program, "tollgate.conf", &[gateway.address], &[]);
    let mut client = Client::connect_from("127.0.3.9", front.address).await;
    client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
    assert_eq!(client.head().await.0, 200);
    for event in [&delta("one"), &delta("two"), &delta("three"), DONE] {
        // The upstream holds the next event back until this one has come through both.
        assert_eq!(client.chunk().await.as_deref(), Some(event));
        step.add_permits(1);
    }
    assert_eq!(client.chunk().await.as_deref(), Some(""));
    gateway.access_line("client=127.0.3.9 ");
    // A body that is larger than nginx's own default passes too.
    step.add_permits(4);
    let large = chat("gpt-4o").replace(PROMPT, &format!("{PROMPT}{}", "z".repeat(5 << 20)));
    let mut client = Client::connect(front.address).await;
    assert_eq!(client.post(CHAT, &large).await.status, 200);
}

#[tokio::test]
async fn errors_of_nginx_have_the_form_of_the_api_and_those_of_the_gateway_pass() {
    let Some(program) = require(&["nginx"], "nginx") else {
        return;
    };
    let upstream = Listener::bind().await;
    // One attempt, so that the gateway's error comes before nginx's.
    let once = "  retries: { attempts: 1 }\nupstreams:\n";
    let yaml = behind(upstream.address, "").replace("upstreams:\n", once);
    let gateway = Gateway::start(&yaml);
    let changes = [
        ("client_max_body_size 128m;", "client_max_body_size 1k;"),
        ("proxy_read_timeout 11m;", "proxy_read_timeout 300ms;"),
    ];
    let front = front(&program, "tollgate.conf", &[gateway.address], &changes);
    let ask = async |body: &str| Client::connect(front.address).await.post(CHAT, body).await;

    let large = chat("gpt-4o").replace(PROMPT, &"z".repeat(2 << 10));
    let answer = ask(&large).await;
    assert_of_nginx(&answer, 413, "invalid_request_error", "request_too_large");

    // A timeout of nginx's, while the provider is silent.
    let body = chat("gpt-4o");
    let (answer, far) = tokio::join!(ask(&body), upstream.accept());
    assert_of_nginx(&answer, 504, "server_error", "gateway_timeout");
    drop(far);

    // A 502 of the gateway's, because the provider is away.
    drop(upstream);
    let answer = ask(&body).await;
    assert!([502, 503].contains(&answer.status), "{answer:?}");
    assert!(
        answer
            .header("x-request-id")
            .is_some_and(|id| id.starts_with("req_"))
    );
    assert_ne!(answer.json()["error"]["code"], "gateway_unavailable");

    drop(gateway);
    let answer = ask(&body).await;
    assert_of_nginx(&answer, 503, "server_error", "gateway_unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// Asks with a key in a header, and tells which gateway has answered.
async fn ask_with(front: &Nginx, key: &str) -> String {
    let body = chat("gpt-4o");
    let mut client = Client::connect(front.address).await;
    client
        .send(format!(
            "POST {CHAT} HTTP/1.1\r\nhost: g\r\n{key}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let answer = client.response().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["from"].to_string()
}

#[tokio::test]
async fn a_key_stays_with_its_gateway_until_that_is_away() {
    let Some(program) = require(&["nginx"], "nginx") else {
        return;
    };
    let keys: Vec<String> = (0..16).map(|n| format!("{CLIENT_KEY}-{n}")).collect();
    let tenant = format!("  - {{ id: many, keys: ['{}'] }}\n", keys.join("', '"));
    let far = [
        Upstream::answering(r#"{"from":"a"}"#).await,
        Upstream::answering(r#"{"from":"b"}"#).await,
    ];
    let [first, second] = far
        .each_ref()
        .map(|far| Gateway::start(&behind(far.address, &tenant)));
    let addresses = [first.address, second.address];
    let front = front(&program, "tollgate-several.conf", &addresses, &[]);
    let mut homes = Vec::new();
    for header in ["authorization: Bearer ", "api-key: "] {
        let mut used = HashSet::new();
        for key in &keys {
            let key = format!("{header}{key}");
            let home = ask_with(&front, &key).await;
            for _ in 0..2 {
                assert_eq!(ask_with(&front, &key).await, home, "{key}");
            }
            used.insert(home.clone());
            homes.push((key, home));
        }
        assert_eq!(used.len(), 2, "both are used");
    }
    drop(first);
    for (key, _) in homes {
        assert_eq!(ask_with(&front, &key).await, "\"b\"");
    }
    drop(second);
    let body = chat("gpt-4o");
    let answer = Client::connect(front.address).await.post(CHAT, &body).await;
    assert_of_nginx(&answer, 503, "server_error", "gateway_unavailable");
}
