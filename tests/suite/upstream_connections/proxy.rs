//! A forward proxy between the gateway and an upstream.

use super::ends::{ProxyEnd, TlsEnd};
use super::{ANSWER, CHAT, beside, is_answered, over_tls};
use crate::support::certificate::certificate;
use crate::support::client::Response;
use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::tools::require;
use crate::support::upstream::{Listener, Upstream};
use crate::support::websocket::open;
use crate::support::{PROVIDER_KEY, chat, streamed_chat};

/// The `proxy` of an upstream.
fn through(proxy: &ProxyEnd) -> String {
    format!(", proxy: 'http://{}'", proxy.address)
}

/// The same with the tests' key as its password, which must be seen nowhere.
fn through_as(user: &str, proxy: &ProxyEnd) -> String {
    format!(", proxy: 'http://{user}:{PROVIDER_KEY}@{}'", proxy.address)
}

async fn ask(gateway: &Gateway, model: &str) -> Response {
    gateway.post(CHAT, &chat(model)).await
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_server_by_its_name_and_the_connection_is_kept() {
    let upstream = Upstream::answering(ANSWER).await;
    let proxy = ProxyEnd::connecting().await;
    // Nobody but the proxy knows the name.
    let port = upstream.address.port();
    let yaml = config(upstream.address, &through_as("us%40er", &proxy), "").replace(
        &upstream.address.to_string(),
        &format!("known-to-the-proxy.invalid:{port}"),
    );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        is_answered(&mut client, "gpt-4o").await;
    }
    let target = format!("known-to-the-proxy.invalid:{port}");
    // `us@er` and the password.
    let basic = "dXNAZXI6cHJvdmlkZXIta2V5LWNhbmFyeS05MWJj";
    let expected = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {basic}\r\n\r\n"
    );
    assert_eq!(proxy.asked(), [expected]);
    assert_eq!((upstream.requests(), upstream.connections()), (3, 1));
    assert!(!gateway.output().text().contains(basic));
    let seen = upstream.request().await;
    assert_eq!(seen.header("host"), [target]);
    assert!(seen.header("proxy-authorization").is_empty());
}

#[tokio::test]
async fn tls_goes_through_a_proxy_from_end_to_end() {
    let Some(_) = require(&["openssl"], "openssl") else {
        return;
    };
    let folder = Folder::new();
    let known = certificate(&folder);
    let upstream = Upstream::answering(ANSWER).await;
    let end = TlsEnd::before(upstream.address, &known, None).await;
    let proxy = ProxyEnd::connecting().await;
    let ca = known.authority.display();
    let keys = format!("{}, tls: {{ ca: '{ca}' }}", through(&proxy));
    let gateway = Gateway::start(&over_tls(end.address, &keys));
    let mut client = gateway.connect().await;
    is_answered(&mut client, "gpt-4o").await;
    let target = end.address;
    assert_eq!(
        proxy.asked(),
        [format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
        )]
    );
    assert_eq!(end.counts(), (1, 0));
}

#[tokio::test]
async fn connections_through_proxies_are_kept_apart_by_proxy_and_credentials() {
    let upstream = Upstream::answering(ANSWER).await;
    let proxy = ProxyEnd::connecting().await;
    let url = format!("http://{}/v1", upstream.address);
    for other in ["", &through(&proxy), &through_as("b", &proxy)] {
        let yaml = config(upstream.address, &through_as("a", &proxy), "");
        let gateway = Gateway::start(&beside(&yaml, &url, other));
        let mut client = gateway.connect().await;
        let before = upstream.connections();
        for model in ["gpt-4o", "missing", "gpt-4o", "missing"] {
            is_answered(&mut client, model).await;
        }
        assert_eq!(upstream.connections() - before, 2, "{other}");
    }
    assert_eq!(proxy.asked().len(), 5);
}

#[tokio::test]
async fn a_websocket_and_what_passes_through_go_through_a_proxy() {
    let upstream = Listener::bind().await;
    let proxy = ProxyEnd::connecting().await;
    let yaml = config(upstream.address, &through(&proxy), "");
    let yaml = yaml.replace("server:\n", "server:\n  passthrough: far\n");
    let gateway = Gateway::start(&yaml);
    drop(Box::pin(open(&gateway, &upstream)).await);
    assert_eq!(proxy.asked().len(), 1);
    let mut client = gateway.connect().await;
    let (answer, ()) = tokio::join!(client.get("/v1/files"), async {
        let (seen, mut reply) = upstream.accept().await;
        assert_eq!(seen.path, "/v1/files");
        reply.json("200 OK", ANSWER).await;
    });
    assert_eq!((answer.status, proxy.asked().len()), (200, 2));
}

/// A gateway whose upstream is behind this proxy.
async fn behind(proxy: &ProxyEnd) -> (Gateway, Upstream) {
    let upstream = Upstream::answering(ANSWER).await;
    let gateway = Gateway::start(&config(upstream.address, &through_as("a", proxy), ""));
    (gateway, upstream)
}

#[tokio::test]
async fn a_proxy_that_makes_no_connection_is_told_apart() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "a".repeat(9 << 10));
    for (answer, said) in [
        (
            "HTTP/1.1 407 no\r\nProxy-Authenticate: Basic\r\n\r\n",
            "status 407",
        ),
        ("HTTP/1.1 403 no\r\n\r\nweb page", "status 403"),
        (
            "HTTP/1.0 503 no\r\ncontent-length: 3\r\n\r\nno.",
            "status 503",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"),
        (
            "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "nothing was asked for",
        ),
        (long.as_str(), "more than 8192 bytes"),
    ] {
        let proxy = ProxyEnd::answering(answer).await;
        let (gateway, upstream) = behind(&proxy).await;
        for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
            let told = gateway.post(CHAT, &body).await;
            told.assert_error(502, "server_error", Some("upstream_unreachable"), None);
            assert!(!told.text().contains("proxy"), "{}", told.text());
        }
        let line = gateway.access_line("error=upstream_unreachable");
        assert!(line.contains(":proxy_refused:"), "{line}");
        gateway.output().wait_for(said);
        assert_eq!(upstream.connections(), 0);
        let series = "tollgate_attempts_total{upstream=\"far\",verdict=\"proxy_refused\"}";
        assert!(gateway.metric(series).await > 0.5, "{series}");
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_told_apart_and_passed_over() {
    let closing = ProxyEnd::answering("").await;
    let (gateway, _upstream) = behind(&closing).await;
    assert_eq!(ask(&gateway, "gpt-4o").await.status, 502);
    gateway.output().wait_for("its proxy closed the connection");
    gateway.access_line(":proxy_unreachable:");
    // Nobody listens here.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let upstream = Upstream::answering(ANSWER).await;
    let yaml = config(upstream.address, &format!(", proxy: 'http://{nobody}'"), "");
    let gateway = Gateway::start(&yaml);
    assert_eq!(ask(&gateway, "gpt-4o").await.status, 502);
    gateway.output().wait_for("its proxy cannot be reached");
    let yaml = beside(&yaml, &format!("http://{}/v1", upstream.address), "").replace(
        "targets: [{ upstream: far, model: gpt-4o-2024-11-20 }]",
        "targets: [{ upstream: far }, { upstream: other, priority: 2 }]",
    );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    is_answered(&mut client, "gpt-4o").await;
    let line = gateway.access_line("upstream=other status=200");
    assert!(line.contains(":proxy_unreachable:"), "{line}");
}

#[tokio::test]
async fn a_proxy_that_does_not_answer_has_the_time_to_connect() {
    let listener = Listener::bind().await;
    let upstream = Upstream::answering(ANSWER).await;
    let keys = format!(
        ", timeouts: {{ connect: 200ms }}, proxy: 'http://{}'",
        listener.address
    );
    let gateway = Gateway::start(&config(upstream.address, &keys, ""));
    let (answer, _held) = tokio::join!(ask(&gateway, "gpt-4o"), listener.accept_header());
    answer.assert_error(504, "server_error", Some("upstream_timeout"), None);
    gateway.output().wait_for("timeouts.connect has passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_without_a_path_asks_the_proxy_for_the_server() {
    let upstream = Upstream::answering(ANSWER).await;
    let refusing = ProxyEnd::answering("HTTP/1.1 502 no\r\n\r\n").await;
    let check = ", health_check: { interval: 50ms, unhealthy_after: 1 }";
    let keys = format!("{}{check}", through(&refusing));
    let gateway = Gateway::start(&config(upstream.address, &keys, ""));
    let told = gateway
        .output()
        .wait_for("is unhealthy and gets no requests");
    assert!(told.contains("status 502"), "{told}");
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_proxy_s_url_that_cannot_be_used_is_reported_without_its_password() {
    for (url, said) in [
        (
            "https://u:provider-key-canary-91bc@proxy:3128",
            "must begin with http://",
        ),
        ("http://u:provider-key-canary-91bc@proxy", "has no port"),
        (
            "http://u:provider-key-canary-91bc@proxy:3128/x",
            "has no host and port",
        ),
    ] {
        let folder = Folder::new();
        let yaml = config(
            "127.0.0.1:1".parse().unwrap(),
            &format!(", proxy: '{url}'"),
            "",
        );
        let file = folder.write("tollgate.yaml", yaml);
        let mut command = std::process::Command::new(BINARY);
        let output = command.args(["check", "-c"]).arg(file).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains("upstreams.far.proxy") && text.contains(said),
            "{text}"
        );
        assert!(!text.contains(PROVIDER_KEY), "{text}");
    }
}
