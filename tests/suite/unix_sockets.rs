//! Clients that come by a Unix socket: its file, what is known of them, and nginx in front.
//!
//! Does not handle upgrades and systemd (see `operation`).

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::nginx::Nginx;
use crate::support::certificate::certificate;
use crate::support::client::post;
use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::tools::{require, run};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PATIENCE, chat};

/// The path of a socket in a folder.
pub fn socket(folder: &Folder) -> PathBuf {
    folder.0.join("t.sock")
}

/// A configuration that listens on a Unix socket, too, with more keys of that listener and of `server`.
pub fn with_socket(upstream: &Upstream, path: &Path, listener: &str, server: &str) -> String {
    let path = path.display();
    let listen = format!("listen: ['127.0.0.1:0', {{ address: 'unix:{path}'{listener} }}]");
    config(upstream.address, "", "")
        .replace("listen: ['127.0.0.1:0']", &listen)
        .replace("server:\n", &format!("server:\n{server}"))
}

/// Sends a request over a connection of its own, and gives the answer.
pub fn asked(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn assert_served(path: &Path, headers: &str) {
    let path = path.to_owned();
    let request = post("/v1/chat/completions", headers, &chat("gpt-4o"));
    let answer = tokio::task::block_in_place(|| asked(&path, &request));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_served_with_both_versions_and_with_tls() {
    let (Some(_), Some(_)) = (require(&["openssl"], "openssl"), require(&["curl"], "curl")) else {
        return;
    };
    let folder = Folder::new();
    let certificate = certificate(&folder);
    let upstream = Upstream::answering("{\"ok\":1}").await;
    for (tls, scheme, versions) in [
        (
            String::new(),
            "http",
            [
                ("--http1.1", "HTTP/1.1 200"),
                ("--http2-prior-knowledge", "HTTP/2 200"),
            ],
        ),
        (
            format!(", {}", certificate.tls()),
            "https",
            [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")],
        ),
    ] {
        let path = socket(&folder);
        let gateway = Gateway::start(&with_socket(&upstream, &path, &tls, ""));
        let listed = match scheme {
            "https" => format!("listening on unix:{} (TLS)", path.display()),
            _ => format!("listening on unix:{}", path.display()),
        };
        gateway.output().wait_for(&listed);
        for (version, status) in versions {
            let mut command = Command::new("curl");
            command
                .args(["-sS", "-i", version, "--max-time", "20", "--unix-socket"])
                .arg(&path)
                .arg("--cacert")
                .arg(&certificate.authority)
                .args(["-H", &format!("Authorization: Bearer {CLIENT_KEY}")])
                .args([
                    "-H",
                    "Content-Type: application/json",
                    "-d",
                    &chat("gpt-4o"),
                ])
                .arg(format!("{scheme}://localhost/v1/chat/completions"));
            let said = tokio::task::block_in_place(|| run(&mut command));
            assert!(
                said.contains(status) && said.ends_with("{\"ok\":1}"),
                "{said}"
            );
        }
        gateway.access_line("client=- ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_file_has_its_mode_and_goes_with_the_process() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let path = socket(&folder);
    for (keys, wanted) in [
        ("", 0o660),
        (", mode: '0600'", 0o600),
        (", mode: 666", 0o666),
    ] {
        let mut gateway = Gateway::start(&with_socket(&upstream, &path, keys, ""));
        assert_eq!(mode(&path), wanted, "{keys}");
        assert_served(&path, "");
        gateway.signal("TERM");
        assert!(gateway.wait().success());
        assert!(!path.exists(), "{keys}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_left_behind_is_replaced() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let path = socket(&folder);
    let yaml = with_socket(&upstream, &path, "", "");
    let mut killed = Gateway::start(&yaml);
    killed.signal("KILL");
    killed.wait();
    assert!(path.exists());
    let _gateway = Gateway::start(&yaml);
    assert_served(&path, "");
}

/// How a start with this configuration fails.
fn refused(yaml: &str) -> String {
    let folder = Folder::new();
    let file = folder.write("tollgate.yaml", yaml);
    let output = Command::new(BINARY)
        .args(["run", "-c"])
        .arg(file)
        .current_dir(&folder.0)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_or_no_socket_is_left_alone() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let path = socket(&folder);
    let yaml = with_socket(&upstream, &path, "", "");
    {
        let _first = Gateway::start(&yaml);
        let said = refused(&yaml);
        assert!(said.contains("another process serves it"), "{said}");
        assert_served(&path, "");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    let said = refused(&yaml);
    assert!(said.contains("is no socket: remove it"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let elsewhere = folder.0.join("missing/t.sock");
    let said = refused(&with_socket(&upstream, &elsewhere, "", ""));
    assert!(said.contains("its folder must be there"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_clients_have_no_address_unless_a_trusted_proxy_names_one() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let path = socket(&folder);
    let bounds = "  flood_guard: 1\n  limits: { connections_per_address: 1 }\n";
    let trusting = "  trusted_proxies: [unix]\n";
    for (server, client) in [(bounds, "client=- "), (trusting, "client=203.0.113.77 ")] {
        let mut gateway = Gateway::start(&with_socket(&upstream, &path, "", server));
        let _idle = UnixStream::connect(&path).unwrap();
        for _ in 0..5 {
            assert_served(&path, "x-forwarded-for: 9.9.9.9, 203.0.113.77\r\n");
        }
        gateway.access_line(client);
        gateway.signal("TERM");
        gateway.wait();
    }
    // To trust Unix sockets is not to trust addresses.
    let gateway = Gateway::start(&with_socket(&upstream, &path, "", trusting));
    let mut client = gateway.connect().await;
    let headers = "x-forwarded-for: 203.0.113.78\r\n";
    client
        .send(post("/v1/chat/completions", headers, &chat("gpt-4o")))
        .await;
    assert_eq!(client.response().await.status, 200);
    gateway.access_line("client=127.0.0.1 ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_may_announce_clients_over_it() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let path = socket(&folder);
    let server = "  trusted_proxies: [unix]\n";
    let keys = ", proxy_protocol: true";
    let gateway = Gateway::start(&with_socket(&upstream, &path, keys, server));
    let request = post("/v1/chat/completions", "", &chat("gpt-4o"));
    let mut stream = UnixStream::connect(&path).unwrap();
    let header = "PROXY TCP4 198.51.100.1 10.0.0.1 51324 443\r\n";
    stream.write_all(header.as_bytes()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    gateway.access_line("client=198.51.100.1 ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_it_and_another_mode_needs_a_restart() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let path = socket(&folder);
    let gateway = Gateway::start(&with_socket(&upstream, &path, "", ""));
    let mut kept = UnixStream::connect(&path).unwrap();
    let keys = ", addresses: { deny: [192.0.2.0/24] }";
    let yaml = with_socket(&upstream, &path, keys, "");
    gateway.folder().write("tollgate.yaml", yaml);
    gateway.output().wait_for("changed (addresses)");
    assert_served(&path, "");
    kept.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
    let yaml = with_socket(&upstream, &path, ", mode: '0600'", "");
    gateway.folder().write("tollgate.yaml", yaml);
    gateway
        .output()
        .wait_for("changed (mode, addresses), needs a restart");
    assert_eq!(mode(&path), 0o660);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_requests_on_over_it() {
    let (Some(program), Some(_)) = (require(&["nginx"], "nginx"), require(&["curl"], "curl"))
    else {
        return;
    };
    let upstream = Upstream::answering("{\"ok\":1}").await;
    let folder = Folder::new();
    let path = socket(&folder);
    let server = "  trusted_proxies: [unix]\n";
    // nginx's worker is another user where the tests run as root.
    let gateway = Gateway::start(&with_socket(&upstream, &path, ", mode: '0666'", server));
    let front = Nginx::start(&program, |port| {
        format!(
            "upstream tollgate {{ server unix:{}; keepalive 8; }}
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://tollgate;
               proxy_http_version 1.1; proxy_set_header Connection '';
               proxy_set_header X-Forwarded-For $remote_addr; }} }}",
            path.display()
        )
    });
    for from in ["127.0.1.9", "127.0.1.10"] {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "--max-time", "20", "--interface", from])
            .args(["-H", &format!("Authorization: Bearer {CLIENT_KEY}")])
            .args([
                "-H",
                "Content-Type: application/json",
                "-d",
                &chat("gpt-4o"),
            ])
            .arg(format!("http://{}/v1/chat/completions", front.address));
        let said = tokio::task::block_in_place(|| run(&mut command));
        assert_eq!(said, "{\"ok\":1}");
        gateway.access_line(&format!("client={from} "));
    }
}

#[test]
fn a_socket_of_others_is_not_touched_by_a_check() {
    let folder = Folder::new();
    let path = socket(&folder);
    let theirs = UnixListener::bind(&path).unwrap();
    let yaml = format!(
        "server: {{ listen: ['unix:{}'] }}\nupstreams: {{ a: {{ base_url: 'http://a' }} }}\n\
         models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n",
        path.display()
    );
    let file = folder.write("tollgate.yaml", yaml);
    let said = run(Command::new(BINARY).arg("check").arg("-c").arg(file));
    assert!(said.contains(&format!("unix:{}", path.display())), "{said}");
    assert!(path.exists());
    drop(theirs);
}
