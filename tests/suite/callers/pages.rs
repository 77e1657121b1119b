//! Web pages of other origins, as a browser has them call.

use std::process::Command;

use super::ask;
use crate::support::client::Response;
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::tools::{require, run};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, DONE, chat, delta};

const PAGE: &str = "https://app.example";

fn gateway(upstream: &Upstream, cors: &str) -> Gateway {
    let section = format!("server:\n  cors: {cors}\n");
    Gateway::start(&config(upstream.address, "", "").replace("server:\n", &section))
}

async fn preflight(gateway: &Gateway, origin: &str) -> Response {
    let mut client = gateway.connect().await;
    client
        .send(format!(
            "OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: a\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\n\
             access-control-request-headers: authorization,content-type,x-stainless-lang\r\n\r\n"
        ))
        .await;
    client.response().await
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_key_and_says_what_a_page_may() {
    let upstream = Upstream::answering("{}").await;
    let gateway = gateway(
        &upstream,
        "{ origins: ['https://app.example'], max_age: 1h }",
    );
    let answer = preflight(&gateway, PAGE).await;
    assert_eq!((answer.status, answer.text()), (204, ""));
    for (name, value) in [
        ("access-control-allow-origin", PAGE),
        (
            "access-control-allow-methods",
            "GET, HEAD, POST, PUT, PATCH, DELETE",
        ),
        (
            "access-control-allow-headers",
            "authorization,content-type,x-stainless-lang",
        ),
        ("access-control-max-age", "3600"),
        ("vary", "origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert!(answer.header("access-control-allow-credentials").is_none());
    let answer = preflight(&gateway, "https://evil.example").await;
    assert_eq!(answer.status, 204);
    for name in [
        "access-control-allow-origin",
        "access-control-allow-methods",
    ] {
        assert!(answer.header(name).is_none(), "{name}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn every_answer_can_be_read_by_a_page_that_may_and_by_no_other() {
    let upstream = Upstream::start(async |_, mut reply| {
        let headers = "Vary: accept\r\nAccess-Control-Allow-Origin: https://theirs.example\r\n";
        reply.json_with("200 OK", headers, "{}").await;
        reply
    })
    .await;
    let gateway = gateway(
        &upstream,
        "{ origins: ['https://app.example'], credentials: true }",
    );
    let key = format!("authorization: Bearer {CLIENT_KEY}\r\n");
    for (key, status) in [
        (key.as_str(), 200),
        ("authorization: Bearer wrong-key-of-a-page\r\n", 401),
        ("", 401),
    ] {
        let answer = ask(&gateway, &format!("{key}origin: {PAGE}\r\n")).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            Some("true")
        );
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("x-request-id") && exposed.contains("retry-after"));
        let answer = ask(&gateway, &format!("{key}origin: https://evil.example\r\n")).await;
        assert_eq!(answer.status, status);
        assert!(answer.header("access-control-allow-origin").is_none());
        assert_eq!(
            answer.header("vary").map(|v| v.contains("origin")),
            Some(true)
        );
    }
    // Two origins are none.
    let twice = format!("{key}origin: {PAGE}\r\norigin: https://evil.example\r\n");
    let answer = ask(&gateway, &twice).await;
    assert!(answer.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn without_the_section_nothing_is_said_to_pages() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    let headers = format!("authorization: Bearer {CLIENT_KEY}\r\norigin: {PAGE}\r\n");
    let answer = ask(&gateway, &headers).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("access-control-allow-origin").is_none());
    assert_ne!(preflight(&gateway, PAGE).await.status, 204);
}

/// A page that asks the gateway for an answer and a stream, and shows what it has read.
fn page(gateway: &Gateway) -> String {
    let body = chat("gpt-4o");
    format!(
        "<!doctype html><title>page</title><pre id=out>nothing</pre><script>
const ask = async (body) => {{
  const answer = await fetch('http://{}/v1/chat/completions', {{
    method: 'POST',
    headers: {{ authorization: 'Bearer {CLIENT_KEY}', 'content-type': 'application/json' }},
    body,
  }});
  return [answer.status, answer.headers.get('x-request-id')?.length > 10, await answer.text()].join(' ');
}};
(async () => {{
  const out = document.getElementById('out');
  try {{
    const body = {body:?};
    const one = await ask(body);
    const two = await ask(JSON.stringify({{ ...JSON.parse(body), stream: true }}));
    out.textContent = one + ' | ' + two;
  }} catch (e) {{ out.textContent = 'failed: ' + e; }}
}})();
</script>",
        gateway.address
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_reads_an_answer_and_a_stream_of_another_origin() {
    let Some(browser) = require(&["chromium"], "chromium") else {
        return;
    };
    let upstream = Upstream::start(async |request, mut reply| {
        match request.text().contains("\"stream\":true") {
            true => reply.stream(&[&delta("streamed"), DONE].concat()).await,
            false => reply.json("200 OK", "{\"answer\":\"whole\"}").await,
        }
        reply
    })
    .await;
    let gateway = gateway(
        &upstream,
        "{ origins: ['http://127.0.0.1:*'] }"
            .replace(":*", "")
            .as_str(),
    );
    let text = page(&gateway);
    let site = Upstream::start(move |_, mut reply| {
        let text = text.clone();
        async move {
            let length = text.len();
            reply
                .raw(format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{text}"
                ))
                .await;
            reply
        }
    })
    .await;
    // The page's origin has a port, which is known now.
    let file = gateway.folder().0.join("tollgate.yaml");
    let yaml = std::fs::read_to_string(&file).unwrap();
    let origin = format!("http://{}", site.address);
    std::fs::write(
        &file,
        yaml.replace("http://127.0.0.1'", &format!("{origin}'")),
    )
    .unwrap();
    gateway.output().wait_for("server.cors");
    let folder = Folder::new();
    let mut command = Command::new(browser);
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .arg(format!("--user-data-dir={}", folder.0.display()))
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("{origin}/"));
    let shown = tokio::task::block_in_place(|| run(&mut command));
    assert!(
        shown.contains("200 true {\"answer\":\"whole\"} | 200 true"),
        "{shown}"
    );
    assert!(
        shown.contains("streamed") && shown.contains("[DONE]"),
        "{shown}"
    );
}
