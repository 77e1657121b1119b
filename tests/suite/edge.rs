//! The gateway as the edge: clients in cleartext are sent to HTTPS, and browsers told to stay there.

use std::process::Command;

use crate::support::CLIENT_KEY;
use crate::support::certificate::certificate;
use crate::support::client::{Client, Response};
use crate::support::gateway::{Folder, Gateway, config, with_listener};
use crate::support::tools::{require, run};
use crate::support::upstream::Upstream;

fn redirecting(upstream: &Upstream, to: &str) -> Gateway {
    let yaml = config(upstream.address, "", "");
    Gateway::start(&with_listener(&yaml, &format!("redirect: '{to}'")))
}

async fn ask(gateway: &Gateway, request: &str) -> Response {
    let mut client = Client::connect(gateway.address).await;
    client.send(request).await;
    client.response().await
}

#[tokio::test]
async fn a_client_in_cleartext_is_sent_to_the_same_place_over_https() {
    let upstream = Upstream::answering("{}").await;
    let gateway = redirecting(&upstream, "https");
    for (request, wanted) in [
        (
            "GET /v1/models?a=b&c HTTP/1.1\r\nhost: api.example\r\n\r\n",
            "https://api.example/v1/models?a=b&c",
        ),
        (
            "GET / HTTP/1.1\r\nhost: api.example:8080\r\n\r\n",
            "https://api.example/",
        ),
        (
            "GET /x HTTP/1.1\r\nhost: [2001:db8::1]:80\r\n\r\n",
            "https://[2001:db8::1]/x",
        ),
        (
            "GET http://api.example/x HTTP/1.1\r\nhost: api.example\r\n\r\n",
            "https://api.example/x",
        ),
        (
            "GET //evil.example/x HTTP/1.1\r\nhost: api.example\r\n\r\n",
            "https://api.example//evil.example/x",
        ),
        (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: api.example\r\ncontent-length: 2\r\n\r\n{}",
            "https://api.example/v1/chat/completions",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nhost: api.example\r\n\r\n",
            "https://api.example/",
        ),
    ] {
        let answer = ask(&gateway, request).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (308, Some(wanted)),
            "{request}"
        );
        assert_eq!(answer.text(), "");
    }
    for request in [
        "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: user@api.example\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: api.example/evil\r\n\r\n",
        "GET / HTTP/1.1\r\nhost:\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        assert_eq!(ask(&gateway, request).await.status, 400, "{request}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_fixed_place_is_named_whatever_the_client_calls_the_host() {
    let upstream = Upstream::answering("{}").await;
    let gateway = redirecting(&upstream, "https://api.example:8443");
    let request = format!(
        "GET /v1/models HTTP/1.1\r\nhost: evil.example\r\nauthorization: Bearer {CLIENT_KEY}\r\n\r\n"
    );
    for _ in 0..2 {
        let answer = ask(&gateway, &request).await;
        let wanted = "https://api.example:8443/v1/models";
        assert_eq!(
            (answer.status, answer.header("location")),
            (308, Some(wanted))
        );
    }
    // The key has been seen on its way. It is said once in a while.
    let said = "a client has sent a key in cleartext to a listener that redirects";
    gateway.output().wait_for(said);
    assert_eq!(gateway.output().text().matches(said).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_to_stay_with_tls_in_every_answer_over_it() {
    let (Some(_), Some(curl)) = (require(&["openssl"], "openssl"), require(&["curl"], "curl"))
    else {
        return;
    };
    let folder = Folder::new();
    let certificate = certificate(&folder);
    let upstream = Upstream::start(async |_, mut reply| {
        let theirs = "Strict-Transport-Security: max-age=1\r\n";
        reply.json_with("200 OK", theirs, "{}").await;
        reply
    })
    .await;
    let hsts = "hsts: { max_age: 365d, include_subdomains: true }";
    let listener = format!("{}, {hsts}", certificate.tls());
    let gateway = Gateway::start(&with_listener(&config(upstream.address, "", ""), &listener));
    for (version, key) in [
        ("--http1.1", CLIENT_KEY),
        ("--http2", CLIENT_KEY),
        ("--http2", "wrong-key-over-tls"),
    ] {
        let port = gateway.address.port();
        let mut command = Command::new(&curl);
        command
            .args(["-sS", "-i", version, "--max-time", "20", "--cacert"])
            .arg(&certificate.authority)
            .args(["-H", &format!("Authorization: Bearer {key}")])
            .args([
                "-H",
                "Content-Type: application/json",
                "-d",
                &crate::support::chat("gpt-4o"),
            ])
            .arg(format!("https://localhost:{port}/v1/chat/completions"));
        let said = tokio::task::block_in_place(|| run(&mut command)).to_lowercase();
        let wanted = "strict-transport-security: max-age=31536000; includesubdomains\r\n";
        assert!(said.contains(wanted), "{said}");
        assert_eq!(said.matches("strict-transport-security").count(), 1);
    }
}
