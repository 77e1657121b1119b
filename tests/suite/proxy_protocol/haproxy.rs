//! The real HAProxy in front. Does not handle the recipe (see `documents`).

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::announced;
use crate::support::certificate::certificate;
use crate::support::client::Client;
use crate::support::gateway::{Folder, Gateway};
use crate::support::tools::{require, run};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PATIENCE, chat};

/// A running HAProxy, ended with the test.
pub struct HaProxy {
    child: Child,
    _folder: Folder,
    pub address: SocketAddr,
}

impl HaProxy {
    /// Starts HAProxy with what is written for the address to listen on.
    pub fn start(program: &Path, configuration: impl Fn(SocketAddr) -> String) -> Self {
        // It does not tell which port 0 became, so another process may be faster: then another port is tried.
        for _ in 0..5 {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            if let Some(haproxy) = Self::try_start(program, address, &configuration(address)) {
                return haproxy;
            }
        }
        panic!("HAProxy does not start");
    }

    /// One that passes connections on, with these options of its server.
    fn before(program: &Path, gateway: SocketAddr, options: &str) -> Self {
        Self::start(program, |address| {
            format!(
                "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
                 listen tollgate\n  bind {address}\n  server gateway {gateway} {options}\n"
            )
        })
    }

    fn try_start(program: &Path, address: SocketAddr, configuration: &str) -> Option<Self> {
        let folder = Folder::new();
        let file = folder.write("haproxy.cfg", configuration);
        let child = Command::new(program)
            .args(["-db", "-f"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut haproxy = Self {
            child,
            _folder: folder,
            address,
        };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if haproxy.child.try_wait().unwrap().is_some() {
                return None;
            }
            if std::net::TcpStream::connect(address).is_ok() {
                return Some(haproxy);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn haproxy_announces_clients_with_both_versions() {
    let Some(program) = require(&["haproxy"], "haproxy") else {
        return;
    };
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&announced(&upstream, "", ""));
    for (options, from) in [
        ("send-proxy", "127.0.0.11"),
        ("send-proxy-v2", "127.0.0.12"),
        (
            "send-proxy-v2 proxy-v2-options crc32c,unique-id",
            "127.0.0.13",
        ),
    ] {
        let haproxy = HaProxy::before(&program, gateway.address, options);
        let mut client = Client::connect_from(from, haproxy.address).await;
        for _ in 0..2 {
            let answer = client.post("/v1/chat/completions", &chat("gpt-4o")).await;
            assert_eq!(answer.status, 200, "{options}");
        }
        gateway.access_line(&format!("client={from} "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_passes_tls_on_behind_its_header() {
    let (Some(program), Some(_), Some(_)) = (
        require(&["haproxy"], "haproxy"),
        require(&["openssl"], "openssl"),
        require(&["curl"], "curl"),
    ) else {
        return;
    };
    let folder = Folder::new();
    let certificate = certificate(&folder);
    let upstream = Upstream::answering("{\"ok\":1}").await;
    let tls = format!(", {}", certificate.tls());
    let gateway = Gateway::start(&announced(&upstream, "", &tls));
    for (options, from, version) in [
        ("send-proxy", "127.0.0.14", "--http2"),
        ("send-proxy-v2", "127.0.0.15", "--http1.1"),
    ] {
        let haproxy = HaProxy::before(&program, gateway.address, options);
        let mut command = Command::new("curl");
        command
            .args(["-sS", version, "--max-time", "20", "--interface", from])
            .arg("--cacert")
            .arg(&certificate.authority)
            .args(["-H", &format!("Authorization: Bearer {CLIENT_KEY}")])
            .args([
                "-H",
                "Content-Type: application/json",
                "-d",
                &chat("gpt-4o"),
            ])
            .arg(format!("https://{}/v1/chat/completions", haproxy.address));
        let said = tokio::task::block_in_place(|| run(&mut command));
        assert_eq!(said, "{\"ok\":1}", "{options}");
        gateway.access_line(&format!("client={from} "));
    }
}

#[tokio::test]
async fn without_a_header_haproxy_is_refused() {
    let Some(program) = require(&["haproxy"], "haproxy") else {
        return;
    };
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&announced(&upstream, "", ""));
    let haproxy = HaProxy::before(&program, gateway.address, "");
    let mut client = Client::connect(haproxy.address).await;
    client.send("GET /health HTTP/1.1\r\nhost: g\r\n\r\n").await;
    assert!(client.is_closed().await);
    super::refused(&gateway, "missing", 1.0).await;
}
