//! TLS by RFC 8998 on a listener: OpenSSL 4 is the client.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::certificate::{Certificate, certificate};
use crate::support::client::Client;
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::http2::Client2;
use crate::support::sm::{Relay, STRICT, SmCertificate, sm_certificate};
use crate::support::tools::require;
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, DONE, PROMPT, chat, delta, soon, streamed_chat};

const CHAT: &str = "/v1/chat/completions";
const FAILED: &str = "tollgate_tls_handshakes_failed_total{cause=\"failed\"}";

/// A folder with both certificates: for RFC 8998, and the usual one.
fn certificates() -> Option<(Folder, SmCertificate, Certificate)> {
    require(&["openssl"], "openssl")?;
    require(&["curl"], "curl")?;
    let folder = Folder::new();
    let (sm, usual) = (sm_certificate(&folder), certificate(&folder));
    Some((folder, sm, usual))
}

/// What is written of a certificate.
fn files(cert: &Path, key: &Path) -> String {
    format!("cert: '{}', key: '{}'", cert.display(), key.display())
}

fn start(upstream: &Upstream, tls: &str) -> Gateway {
    let listen = format!("listen: [{{ address: '127.0.0.1:0', tls: {{ {tls} }} }}]");
    let yaml = config(upstream.address, "", "").replace("listen: ['127.0.0.1:0']", &listen);
    Gateway::start(&yaml)
}

/// A gateway whose listener has both.
fn with_both(upstream: &Upstream, sm: &SmCertificate, usual: &Certificate) -> Gateway {
    let (usual, sm) = (files(&usual.cert, &usual.key), files(&sm.cert, &sm.key));
    start(upstream, &format!("{usual}, sm: {{ {sm} }}"))
}

/// A gateway whose listener refuses clients without the suite.
fn strict(upstream: &Upstream, sm: &SmCertificate) -> Gateway {
    let sm = files(&sm.cert, &sm.key);
    start(upstream, &format!("sm: {{ {sm}, only: true }}"))
}

/// Asks for `/health` with the usual suites.
fn curl(gateway: &Gateway, authority: &Path) -> Output {
    let port = gateway.address.port();
    Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--cacert"])
        .arg(authority)
        .arg(format!("https://localhost:{port}/health"))
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_listener_serves_both_kinds_of_clients() {
    let Some((_folder, sm, usual)) = certificates() else {
        return;
    };
    let upstream = Upstream::answering("{\"ok\":1}").await;
    let gateway = with_both(&upstream, &sm, &usual);
    let Some(relay) = Relay::client(gateway.address, &sm.authority, &["--alpn", "http/1.1"]) else {
        return;
    };
    // This client offers the group last: it has begun with another one, and is told to begin again.
    let mut client = Client::connect(relay.address).await;
    let answer = client.post(CHAT, &chat("gpt-4o")).await;
    assert_eq!((answer.status, answer.text()), (200, "{\"ok\":1}"));
    relay.wait_for(&format!("{STRICT} http/1.1"));
    let said = curl(&gateway, &usual.authority);
    assert!(said.status.success(), "{said:?}");
    // curl is not shown the other certificate.
    assert!(!curl(&gateway, &sm.authority).status.success());
    // A client that offers the suite, but not the group, cannot be served.
    let groups = ["--groups", "X25519"];
    let lacking = Relay::client(gateway.address, &sm.authority, &groups).unwrap();
    assert!(Client::connect(lacking.address).await.is_closed().await);
    lacking.wait_for("failed: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_listener_negotiates_nothing_else() {
    let Some((_folder, sm, usual)) = certificates() else {
        return;
    };
    let upstream = Upstream::answering("{\"ok\":1}").await;
    let gateway = strict(&upstream, &sm);
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        let port = gateway.address.port();
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "-k",
            version,
            &format!("https://127.0.0.1:{port}/health"),
        ]);
        assert!(!command.output().unwrap().status.success());
    }
    assert!(!curl(&gateway, &usual.authority).status.success());
    Box::pin(gateway.metric_becomes(FAILED, 3.0)).await;
    for (groups, works) in [
        ("curveSM2", true),
        ("X25519:curveSM2", true),
        ("X25519MLKEM768:X25519:P-256:curveSM2", true),
        ("X25519", false),
        ("P-256:X25519", false),
    ] {
        let groups = ["--groups", groups];
        let Some(relay) = Relay::client(gateway.address, &sm.authority, &groups) else {
            return;
        };
        let mut client = Client::connect(relay.address).await;
        match works {
            true => {
                let answer = client.post(CHAT, &chat("gpt-4o")).await;
                assert_eq!(answer.status, 200);
                relay.wait_for(STRICT);
            }
            false => {
                assert!(client.is_closed().await);
                relay.wait_for("failed: ");
            }
        }
    }
    Box::pin(gateway.metric_becomes(FAILED, 5.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_another_authority_leaves() {
    let Some((_folder, sm, usual)) = certificates() else {
        return;
    };
    let upstream = Upstream::answering("{}").await;
    let gateway = with_both(&upstream, &sm, &usual);
    let other = Folder::new();
    let stranger = sm_certificate(&other);
    let Some(relay) = Relay::client(gateway.address, &stranger.authority, &[]) else {
        return;
    };
    assert!(Client::connect(relay.address).await.is_closed().await);
    relay.wait_for("failed: ");
    Box::pin(gateway.metric_becomes(FAILED, 1.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_large_bodies_pass() {
    let Some((_folder, sm, _)) = certificates() else {
        return;
    };
    let piece = "z".repeat(1_000);
    let events = delta(&piece).repeat(100);
    let upstream = Upstream::start(move |request, mut reply| {
        let events = events.clone();
        async move {
            if request.text().contains("\"stream\":true") {
                reply.stream(&format!("{events}{DONE}")).await;
            } else {
                let length = request.body.len();
                reply
                    .json("200 OK", &format!("{{\"bytes\":{length}}}"))
                    .await;
            }
            reply
        }
    })
    .await;
    let gateway = strict(&upstream, &sm);
    let Some(relay) = Relay::client(gateway.address, &sm.authority, &[]) else {
        return;
    };
    let mut client = Client::connect(relay.address).await;
    let answer = client.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert!(answer.complete && answer.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(answer.text().matches(&piece).count(), 100);
    // The same connection carries a large body.
    let text = format!("{PROMPT}{}", "y".repeat(8 << 20));
    let body = format!("{{\"model\":\"same-model\",\"text\":\"{text}\"}}");
    let answer = client.post(CHAT, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["bytes"], body.len());
    assert_eq!(relay.text().matches(STRICT).count(), 1, "{}", relay.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_negotiated() {
    let Some((_folder, sm, usual)) = certificates() else {
        return;
    };
    let upstream = Upstream::answering("{\"ok\":1}").await;
    let gateway = with_both(&upstream, &sm, &usual);
    let Some(relay) = Relay::client(gateway.address, &sm.authority, &["--alpn", "h2"]) else {
        return;
    };
    let mut client = Client2::connect_to(relay.address).await;
    let json = [("content-type", "application/json")];
    for _ in 0..3 {
        let answer = client.send("POST", CHAT, &json, &[&chat("gpt-4o")]).await;
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "{\"ok\":1}"));
    }
    relay.wait_for(&format!("{STRICT} h2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_in_use_without_a_restart() {
    let Some((folder, sm, usual)) = certificates() else {
        return;
    };
    let upstream = Upstream::answering("{}").await;
    let gateway = with_both(&upstream, &sm, &usual);
    let renewed = Folder::new();
    let authority = sm_certificate(&renewed).authority;
    let copy = |name: &str| std::fs::copy(renewed.0.join(name), folder.0.join(name)).unwrap();
    let Some(relay) = Relay::client(gateway.address, &authority, &[]) else {
        return;
    };
    let ask = || async {
        let mut client = Client::connect(relay.address).await;
        let request = format!(
            "GET /health HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {CLIENT_KEY}\r\n\r\n"
        );
        client.try_send(&request).await && !client.is_closed().await
    };
    assert!(!ask().await);
    // One file after the other: between them, they do not belong together, and both kinds of clients get what they got.
    copy("sm-cert.pem");
    let output = gateway.output();
    output.wait_for("certificates: those before stay in use");
    assert!(!ask().await);
    assert!(curl(&gateway, &usual.authority).status.success());
    copy("sm-key.pem");
    soon("the renewed certificate is in use", async {
        while !ask().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(curl(&gateway, &usual.authority).status.success());
}
