//! Clients whose address a proxy announces before the first byte of their connection: which proxies are believed, what
//! is refused, and what counts for the client. `haproxy` has the real one.

mod haproxy;

pub use haproxy::HaProxy;

use std::process::Command;

use crate::support::certificate::certificate;
use crate::support::client::{Client, post};
use crate::support::gateway::{Folder, Gateway, config, with_listener};
use crate::support::tools::{require, run};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, chat};

/// A configuration whose listener wants a header, with more keys of `server`, and more of the listener.
fn announced(upstream: &Upstream, server: &str, listener: &str) -> String {
    let keys = format!("proxy_protocol: true{listener}");
    let yaml = with_listener(&config(upstream.address, "", ""), &keys);
    let more = format!("server:\n  trusted_proxies: [127.0.0.1, 203.0.113.0/24]\n{server}");
    yaml.replace("server:\n", &more)
}

/// A header of version 1.
fn header(client: &str) -> String {
    format!("PROXY TCP4 {client} 10.0.0.1 51324 443\r\n")
}

/// A header of version 2: command, family, and what follows the length.
fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    let start = b"\r\n\r\n\0\r\nQUIT\n";
    [&start[..], &[command, family], &length, addresses].concat()
}

/// 198.51.100.7:51324 to 10.0.0.1:443.
const V4: [u8; 12] = [198, 51, 100, 7, 10, 0, 0, 1, 0xc8, 0x7c, 0x01, 0xbb];

/// A connection on which this has been sent.
async fn connected(gateway: &Gateway, header: impl AsRef<[u8]>) -> Client {
    let mut client = gateway.connect().await;
    client.send(header).await;
    client
}

async fn refused(gateway: &Gateway, reason: &str, count: f64) {
    let series = format!("tollgate_proxy_protocol_refused_total{{reason=\"{reason}\"}}");
    gateway.metric_becomes(&series, count).await;
}

#[tokio::test]
async fn the_announced_client_is_the_one_of_the_access_line() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&announced(&upstream, "", ""));
    let v6 = [
        &"2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets()[..],
        &[0; 16],
        &[0xc8, 0x7c, 1, 0xbb],
    ]
    .concat();
    let with_tlvs = [&V4[..], &[3, 0, 4, 1, 2, 3, 4, 5, 0, 1, b'i']].concat();
    for (header, client) in [
        (header("198.51.100.1").into_bytes(), "198.51.100.1"),
        (
            b"PROXY TCP6 2001:db8::8 ::1 1 443\r\n".to_vec(),
            "2001:db8::8",
        ),
        (
            b"PROXY TCP6 ::ffff:198.51.100.2 ::1 1 443\r\n".to_vec(),
            "198.51.100.2",
        ),
        (binary(0x21, 0x11, &V4), "198.51.100.7"),
        (binary(0x21, 0x11, &with_tlvs), "198.51.100.7"),
        (binary(0x21, 0x21, &v6), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (binary(0x20, 0, &[]), "127.0.0.1"),
        (binary(0x21, 0x31, &[0; 216]), "-"),
    ] {
        let request = post("/v1/chat/completions", "", &chat("gpt-4o"));
        // In one packet, and the connection serves on.
        let mut connection = connected(&gateway, [&header[..], request.as_bytes()].concat()).await;
        assert_eq!(connection.response().await.status, 200, "{client}");
        let again = connection
            .post("/v1/chat/completions", &chat("gpt-4o"))
            .await;
        assert_eq!(again.status, 200, "{client}");
        gateway.access_line(&format!("client={client} "));
    }
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte_and_http2_may_follow() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&announced(&upstream, "", ""));
    for header in [header("198.51.100.1").into_bytes(), binary(0x21, 0x11, &V4)] {
        let mut client = gateway.connect().await;
        for byte in &header {
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.get("/health").await.status, 200);
        let client = connected(&gateway, header).await.into_stream();
        let (requests, connection) = h2::client::handshake(client).await.unwrap();
        tokio::spawn(connection);
        let mut requests = requests.ready().await.unwrap();
        let request = http::Request::get("http://gateway/health")
            .body(())
            .unwrap();
        let (answer, _) = requests.send_request(request, true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn only_trusted_proxies_may_announce_and_each_refusal_is_counted() {
    let upstream = Upstream::answering("{}").await;
    let yaml = announced(&upstream, "  limits: { header_timeout: 1s }\n", "");
    let gateway = Gateway::start(&yaml.replace("mask: false", "mask: true"));
    let metrics = gateway.get_admin("/metrics").await;
    for reason in ["untrusted", "missing", "malformed", "closed", "late"] {
        let series = format!("tollgate_proxy_protocol_refused_total{{reason=\"{reason}\"}} 0");
        assert!(metrics.text().contains(&series), "{series}");
    }
    // A stranger is not read, whatever it says.
    for said in [header("198.51.100.1"), "GET / HTTP/1.1\r\n\r\n".to_owned()] {
        let mut stranger = Client::connect_from("127.0.0.2", gateway.address).await;
        stranger.try_send(said).await;
        assert!(stranger.is_closed().await);
    }
    refused(&gateway, "untrusted", 2.0).await;
    for said in ["GET /health HTTP/1.1\r\nhost: g\r\n\r\n", "\x16\x03\x01"] {
        assert!(connected(&gateway, said).await.is_closed().await);
    }
    refused(&gateway, "missing", 2.0).await;
    for said in [
        "PROXY TCP4 198.51.100.1 10.0.0.1 65536 443\r\n".as_bytes(),
        &"PROXY UNKNOWN ".repeat(20).into_bytes(),
        &binary(0x31, 0x11, &V4),
        &binary(0x21, 0x21, &V4),
    ] {
        assert!(connected(&gateway, said).await.is_closed().await);
    }
    refused(&gateway, "malformed", 4.0).await;
    connected(&gateway, "PROXY TCP4 198").await.leave();
    gateway.connect().await.leave();
    refused(&gateway, "closed", 2.0).await;
    // What never ends is closed when the time of a header is over.
    assert!(connected(&gateway, "").await.is_closed().await);
    assert!(
        connected(&gateway, "PROXY TCP4 198")
            .await
            .is_closed()
            .await
    );
    refused(&gateway, "late", 2.0).await;
    gateway.metric_becomes("tollgate_connections", 0.0).await;
    assert_eq!(upstream.requests(), 0);
    let told = gateway.output().text();
    let told = told.lines().filter(|line| line.contains("PROXY header of"));
    let told: Vec<&str> = told.collect();
    assert_eq!(told.len(), 12, "{told:?}");
    for line in told {
        assert!(line.contains("PROXY header of 127.0.0.0: "), "{line}");
        assert!(line.contains(" DEBUG "), "{line}");
    }
}

#[tokio::test]
async fn the_lists_and_bounds_of_addresses_are_for_the_announced_client() {
    let upstream = Upstream::answering("{}").await;
    let server = "  limits: { connections_per_address: 1 }\n";
    let rules = ", addresses: { deny: [192.0.2.0/24] }";
    let gateway = Gateway::start(&announced(&upstream, server, rules));
    let mut denied = connected(&gateway, header("192.0.2.7")).await;
    assert!(denied.is_closed().await);
    let series = "tollgate_addresses_refused_total{listener=\"clients\"}";
    gateway.metric_becomes(series, 1.0).await;
    let mut first = connected(&gateway, header("198.51.100.1")).await;
    assert_eq!(first.get("/health").await.status, 200);
    let mut second = connected(&gateway, header("198.51.100.1")).await;
    let refused = second.get("/health").await;
    assert_eq!(refused.status, 503);
    let mut other = connected(&gateway, header("198.51.100.2")).await;
    assert_eq!(other.get("/health").await.status, 200);
    // A place is free again with its connection.
    first.leave();
    gateway.metric_becomes("tollgate_connections", 1.0).await;
    let mut third = connected(&gateway, header("198.51.100.1")).await;
    assert_eq!(third.get("/health").await.status, 200);
}

#[tokio::test]
async fn the_flood_guard_counts_the_announced_client() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&announced(&upstream, "  flood_guard: 5\n", ""));
    let mut refusals = [0, 0];
    for n in 0..20 {
        for (position, client) in ["198.51.100.1".to_owned(), format!("192.0.2.{n}")]
            .into_iter()
            .enumerate()
        {
            let mut connection = connected(&gateway, header(&client)).await;
            let status = connection.get("/v1/models").await.status;
            refusals[position] += usize::from(status == 429);
        }
    }
    // 20 requests fall into few seconds, each of which lets five of an address pass.
    assert!(refusals[0] > 0 && refusals[1] == 0, "{refusals:?}");
}

#[tokio::test]
async fn x_forwarded_for_is_believed_where_a_trusted_proxy_is_announced() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&announced(&upstream, "", ""));
    for (announced, client) in [
        ("203.0.113.5", "192.0.2.9"),
        ("198.51.100.1", "198.51.100.1"),
    ] {
        let mut connection = connected(&gateway, header(announced)).await;
        let headers = "x-forwarded-for: 192.0.2.9\r\n";
        connection
            .send(post("/v1/chat/completions", headers, &chat("gpt-4o")))
            .await;
        assert_eq!(connection.response().await.status, 200);
        gateway.access_line(&format!("client={client} "));
    }
}

#[tokio::test]
async fn a_reload_changes_whether_the_next_connection_needs_a_header() {
    let upstream = Upstream::answering("{}").await;
    let yaml = announced(&upstream, "", "");
    let gateway = Gateway::start(&yaml);
    let mut open = connected(&gateway, header("198.51.100.1")).await;
    assert_eq!(open.get("/health").await.status, 200);
    let without = yaml.replace("proxy_protocol: true", "proxy_protocol: false");
    gateway.folder().write("tollgate.yaml", without);
    gateway.output().wait_for("changed (proxy_protocol)");
    assert_eq!(gateway.get("/health").await.status, 200);
    assert_eq!(open.get("/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_comes_behind_the_header() {
    let (Some(_), Some(_)) = (require(&["openssl"], "openssl"), require(&["curl"], "curl")) else {
        return;
    };
    let folder = Folder::new();
    let certificate = certificate(&folder);
    let upstream = Upstream::answering("{\"ok\":1}").await;
    let tls = format!(", {}", certificate.tls());
    let gateway = Gateway::start(&announced(&upstream, "", &tls));
    let url = format!(
        "https://127.0.0.1:{}/v1/chat/completions",
        gateway.address.port()
    );
    for (version, status) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        let mut command = Command::new("curl");
        command
            .args([
                "-sS",
                "-i",
                "--haproxy-protocol",
                version,
                "--max-time",
                "20",
            ])
            .arg("--cacert")
            .arg(&certificate.authority)
            .args(["-H", &format!("Authorization: Bearer {CLIENT_KEY}")])
            .args([
                "-H",
                "Content-Type: application/json",
                "-d",
                &chat("gpt-4o"),
            ])
            .arg(&url);
        let said = tokio::task::block_in_place(|| run(&mut command));
        assert!(
            said.contains(status) && said.ends_with("{\"ok\":1}"),
            "{said}"
        );
    }
    // Cleartext behind the header is told what is wrong, as everywhere.
    let mut plain = connected(&gateway, header("198.51.100.1")).await;
    plain.send("GET /health HTTP/1.1\r\nhost: g\r\n\r\n").await;
    let told = plain.response().await;
    told.assert_error(400, "invalid_request_error", Some("tls_required"), None);
}
