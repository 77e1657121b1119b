//! What is not read passes as it is: below `/v1` to the tenant's home, with the key swapped.

use std::net::SocketAddr;
use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::client::post;
use crate::support::gateway::{Gateway, config};
use crate::support::tools::{require, run};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROVIDER_KEY, chat, soon};

/// The usual configuration, with a home for every tenant.
fn at_home(upstream: SocketAddr) -> String {
    config(upstream, "", "").replace("server:\n", "server:\n  passthrough: far\n")
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
         {headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn any_method_any_path_and_any_body_pass_with_the_key_swapped() {
    let upstream = Upstream::answering(r#"{"id":"file-1"}"#).await;
    let gateway = Gateway::start(&at_home(upstream.address));
    let mut client = gateway.connect().await;
    for (method, path, body) in [
        ("GET", "/v1/files?limit=2&after=file-0", ""),
        ("POST", "/v1/files", "--b\r\nany \0 bytes\r\n--b--"),
        ("DELETE", "/v1/files/file-1", ""),
        ("POST", "/v1/batches", r#"{"input_file_id":"file-1"}"#),
        (
            "GET",
            "/v1/responses/resp_1?stream=true&starting_after=4",
            "",
        ),
        ("GET", "/v1/chat/completions?limit=1", ""),
        ("DELETE", "/v1/models/ft:gpt-4o:org", ""),
        ("PUT", "/v1/not/yet/invented", "x"),
    ] {
        client
            .send(request(method, path, "content-type: a/b\r\n", body))
            .await;
        let response = client.response().await;
        assert_eq!(
            (response.status, response.text()),
            (200, r#"{"id":"file-1"}"#),
            "{path}"
        );
        let seen = upstream.request().await;
        assert_eq!((seen.method.as_str(), seen.path.as_str()), (method, path));
        assert_eq!(
            (seen.text(), seen.header("content-type")),
            (body, vec!["a/b"]),
            "{path}"
        );
        assert_eq!(
            seen.header("authorization"),
            [format!("Bearer {PROVIDER_KEY}")]
        );
        assert_eq!(seen.header("host"), [upstream.address.to_string()]);
    }
    assert_eq!(upstream.connections(), 1, "the connection is used again");
    gateway.access_line("path=/v1/not/yet/invented model=- sent=- upstream=far status=200");
}

#[tokio::test]
async fn a_connection_takes_one_way_after_the_other_however_its_bytes_come() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&at_home(upstream.address));
    let mut client = gateway.connect().await;
    let long = format!("x-long: {}\r\n", "h".repeat(20_000));
    let body = "b".repeat(100_000);
    for (headers, body) in [("", "short"), (&long, ""), ("", &body), (&long, &body)] {
        for piece_bytes in [1, 1000, usize::MAX] {
            let chat = chat("gpt-4o");
            client
                .send(post("/v1/chat/completions", headers, &chat))
                .await;
            assert_eq!(client.response().await.status, 200);
            upstream.request().await;
            let file = request("POST", "/v1/files", headers, body);
            let begin = if piece_bytes == 1 { 200 } else { file.len() };
            let (begin, rest) = file.split_at(begin.min(file.len()));
            for piece in begin.as_bytes().chunks(piece_bytes) {
                client.send(piece).await;
            }
            client.send(rest).await;
            assert_eq!(client.response().await.status, 200);
            let seen = upstream.request().await;
            assert_eq!(seen.path, "/v1/files");
            assert!(seen.text() == body, "{piece_bytes}");
        }
    }
    gateway.access_line("method=POST path=/v1/files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_passes_over_http2() {
    let Some(_) = require(&["curl"], "curl") else {
        return;
    };
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&at_home(upstream.address));
    let body = "b".repeat(300_000);
    let file = gateway.folder().write("body", &body);
    let mut command = Command::new("curl");
    command
        .args(["-sS", "-i", "--http2-prior-knowledge", "--max-time", "20"])
        .args(["-H", &format!("Authorization: Bearer {CLIENT_KEY}")])
        .arg("--data-binary")
        .arg(format!("@{}", file.display()))
        .arg(format!("http://{}/v1/files", gateway.address));
    let said = tokio::task::block_in_place(|| run(&mut command));
    assert!(said.starts_with("HTTP/2 200"), "{said}");
    assert!(upstream.request().await.text() == body);
}

#[tokio::test]
async fn only_what_concerns_the_request_reaches_the_home() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&at_home(upstream.address));
    let mut client = gateway.connect().await;
    let headers = "range: bytes=0-9\r\nif-none-match: \"e\"\r\naccept-encoding: gzip\r\n\
                   cookie: c=1\r\nx-forwarded-for: 1.2.3.4\r\nopenai-organization: org-1\r\n\
                   upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AA\r\n\
                   x-odd: 1\r\n";
    client
        .send(request(
            "GET",
            "/v1/files/f/content?key=secret&a=1",
            headers,
            "",
        ))
        .await;
    assert_eq!(client.response().await.status, 200);
    let seen = upstream.request().await;
    assert_eq!(seen.path, "/v1/files/f/content?a=1");
    for (name, values) in [
        ("range", &["bytes=0-9"][..]),
        ("if-none-match", &["\"e\""]),
        ("accept-encoding", &["gzip"]),
        ("cookie", &[]),
        ("x-forwarded-for", &[]),
        ("openai-organization", &[]),
        ("upgrade", &[]),
        ("connection", &[]),
        ("http2-settings", &[]),
        ("x-odd", &[]),
    ] {
        assert_eq!(seen.header(name), values, "{name}");
    }
}

#[tokio::test]
async fn a_tenant_always_reaches_the_same_account() {
    let upstream = Upstream::answering("{}").await;
    let keys: Vec<String> = (0..8).map(|n| format!("'{PROVIDER_KEY}-{n}'")).collect();
    let tenants: String = (0..12)
        .map(|n| format!("  - {{ id: t{n}, keys: ['{CLIENT_KEY}-{n}'] }}\n"))
        .collect();
    let yaml = at_home(upstream.address).replace(&format!("'{PROVIDER_KEY}'"), &keys.join(", "))
        + &tenants;
    let gateway = Gateway::start(&yaml);
    let mut seen = std::collections::HashSet::new();
    for tenant in 0..12 {
        let key = format!("{CLIENT_KEY}-{tenant}");
        let mut accounts = std::collections::HashSet::new();
        for path in ["/v1/files", "/v1/batches", "/v1/responses/r", "/v1/files"] {
            let mut client = gateway.connect().await;
            client
                .send(request("GET", path, "", "").replace(CLIENT_KEY, &key))
                .await;
            assert_eq!(client.response().await.status, 200);
            accounts.insert(upstream.request().await.header("authorization")[0].to_owned());
        }
        // What is stored there by an exchange is found there again.
        for (path, body) in [
            ("/v1/responses", r#"{"model":"gpt-4o","input":"x"}"#),
            (
                "/v1/chat/completions",
                r#"{"model":"gpt-4o","store":true,"messages":[]}"#,
            ),
        ] {
            let mut client = gateway.connect().await;
            client
                .send(request("POST", path, "", body).replace(CLIENT_KEY, &key))
                .await;
            assert_eq!(client.response().await.status, 200);
            accounts.insert(upstream.request().await.header("authorization")[0].to_owned());
        }
        assert_eq!(accounts.len(), 1, "tenant {tenant}: {accounts:?}");
        seen.extend(accounts);
    }
    assert!(seen.len() > 1, "twelve tenants share one of eight keys");
}

#[tokio::test]
async fn without_a_home_nothing_passes() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let not_found = gateway.get("/v1/files").await;
    not_found.assert_error(404, "invalid_request_error", Some("no_home"), None);
    let wrong_method = gateway.get("/v1/chat/completions").await;
    let code = Some("method_not_allowed");
    wrong_method.assert_error(405, "invalid_request_error", code, None);
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_tenants_own_home_goes_before_the_servers() {
    let far = Upstream::answering("\"far\"").await;
    let near = Upstream::answering("\"near\"").await;
    let yaml = at_home(far.address)
        .replace(
            "models:\n",
            &format!(
                "  near: {{ base_url: 'http://{}/x' }}\nmodels:\n",
                near.address
            ),
        )
        .replace("id: tester,", "id: tester, passthrough: near,")
        + &format!("  - {{ id: none, keys: ['{CLIENT_KEY}-2'], passthrough: off }}\n")
        + &format!("  - {{ id: other, keys: ['{CLIENT_KEY}-3'] }}\n");
    let gateway = Gateway::start(&yaml);
    assert_eq!(gateway.get("/v1/files").await.text(), "\"near\"");
    assert_eq!(near.request().await.path, "/x/files");
    let ask = |key: String| {
        let gateway = &gateway;
        async move {
            let mut client = gateway.connect().await;
            let asked = request("GET", "/v1/files", "", "").replace(CLIENT_KEY, &key);
            client.send(asked).await;
            client.response().await
        }
    };
    assert_eq!(ask(format!("{CLIENT_KEY}-2")).await.status, 404);
    assert_eq!(ask(format!("{CLIENT_KEY}-3")).await.text(), "\"far\"");
}

#[tokio::test]
async fn a_stranger_is_not_told_what_passes() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&at_home(upstream.address));
    let mut client = gateway.connect().await;
    client
        .send("GET /v1/files HTTP/1.1\r\nhost: g\r\n\r\n")
        .await;
    client
        .response()
        .await
        .assert_error(401, "invalid_request_error", None, None);
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn the_upstream_sees_the_first_bytes_before_the_client_has_sent_the_last() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(&at_home(listener.local_addr().unwrap()));
    let mut client = gateway.connect().await;
    client
        .send(format!(
            "POST /v1/files HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
             content-length: 10\r\nexpect: 100-continue\r\n\r\n"
        ))
        .await;
    assert_eq!(client.head().await.0, 100, "the client is asked to go on");
    client.send("first").await;
    let (mut upstream, _) = soon("a connection", listener.accept()).await.unwrap();
    let head = read_until(&mut upstream, "first").await;
    assert!(head.contains("Content-Length: 10\r\n"), "{head}");
    client.send("-last").await;
    read_until(&mut upstream, "-last").await;
    upstream
        .write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok")
        .await
        .unwrap();
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (201, "ok"));
}

async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut seen = String::new();
    while !seen.ends_with(wanted) {
        let mut chunk = [0; 4096];
        let read = soon(wanted, stream.read(&mut chunk)).await.unwrap();
        assert_ne!(read, 0, "closed after {seen}");
        seen.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    seen
}

#[tokio::test]
async fn a_chunked_body_stays_chunked() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&at_home(upstream.address));
    let mut client = gateway.connect().await;
    client
        .send(format!(
            "POST /v1/uploads/u/parts HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        ))
        .await;
    assert_eq!(client.response().await.status, 200);
    let seen = upstream.request().await;
    assert_eq!(seen.text(), "hello world");
    assert!(seen.header("content-length").is_empty());
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let status = match request.method.as_str() {
            "HEAD" => "200 OK\r\ncontent-length: 7",
            _ => "204 No Content",
        };
        reply.raw(format!("HTTP/1.1 {status}\r\n\r\n")).await;
        reply
    })
    .await;
    let gateway = Gateway::start(&at_home(upstream.address));
    let mut client = gateway.connect().await;
    for (method, status) in [("HEAD", 200), ("DELETE", 204), ("HEAD", 200)] {
        client.send(request(method, "/v1/files/f", "", "")).await;
        let (seen, headers) = client.head().await;
        assert_eq!(seen, status);
        let framed = headers
            .iter()
            .any(|(n, _)| n.eq_ignore_ascii_case("transfer-encoding"));
        assert!(!framed, "{headers:?}");
    }
}

#[tokio::test]
async fn a_home_that_is_down_or_breaks_off_is_told_apart() {
    let upstream = Upstream::start(|request, mut reply| async move {
        if request.path == "/v1/files/cut" {
            let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
            reply.raw(half).await;
        }
        reply.close();
        reply
    })
    .await;
    let gateway = Gateway::start(&at_home(upstream.address));
    let response = gateway.get("/v1/files").await;
    response.assert_error(502, "server_error", Some("upstream_reset"), None);
    let cut = gateway.get("/v1/files/cut").await;
    assert!(!cut.complete, "a broken answer does not look complete");
    gateway.access_line("status=200 error=upstream_cut");
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let gateway = Gateway::start(&at_home(nobody));
    let mut client = gateway.connect().await;
    client
        .send(request("POST", "/v1/files", "", &"x".repeat(100_000)))
        .await;
    let response = client.response().await;
    response.assert_error(502, "server_error", Some("upstream_unreachable"), None);
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(&at_home(listener.local_addr().unwrap()));
    let mut client = gateway.connect().await;
    client
        .send(format!(
            "POST /v1/files HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
             content-length: 1000000\r\n\r\nstart"
        ))
        .await;
    let (mut upstream, _) = soon("a connection", listener.accept()).await.unwrap();
    read_until(&mut upstream, "start").await;
    upstream
        .write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
        .await
        .unwrap();
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (413, "no"));
}

const GIB: u64 = 1 << 30;

/// Takes an upload of any size and answers a download of 1 GiB, counting bytes.
async fn sink_and_source() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(transfer(stream));
        }
    });
    address
}

async fn transfer(mut stream: TcpStream) -> Option<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut read = stream.read(&mut buffer).await.ok()?;
    if buffer.starts_with(b"GET") {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {GIB}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.ok()?;
        let chunk = vec![7; 1 << 20];
        for _ in 0..GIB >> 20 {
            stream.write_all(&chunk).await.ok()?;
        }
        return Some(());
    }
    while !buffer[..read].windows(4).any(|w| w == b"\r\n\r\n") {
        read += stream.read(&mut buffer[read..]).await.ok()?;
    }
    let head = buffer[..read].windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let mut seen = (read - head) as u64;
    while seen < GIB {
        seen += stream.read(&mut buffer).await.ok().filter(|n| *n > 0)? as u64;
    }
    let answer = format!("{seen}");
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    );
    stream.write_all(head.as_bytes()).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_each_way_leaves_memory_flat() {
    let Some(curl) = require(&["curl"], "curl") else {
        return;
    };
    let gateway = Gateway::start(&at_home(sink_and_source().await));
    let url = format!("http://{}/v1/files", gateway.address);
    let key = format!("Authorization: Bearer {CLIENT_KEY}");
    let large = gateway.folder().write("large", "");
    let file = std::fs::File::options().write(true).open(&large).unwrap();
    file.set_len(GIB).unwrap();
    // A first small exchange, so that what stays for good is there already.
    assert_eq!(gateway.get("/health").await.status, 200);
    let before = gateway.rss_bytes();
    let curl = |arguments: &[&str]| {
        let mut command = Command::new(&curl);
        command
            .args(["-sS", "--fail", "-H", &key])
            .args(arguments)
            .arg(&url);
        tokio::task::block_in_place(|| run(&mut command))
    };
    let uploaded = curl(&["-T", large.to_str().unwrap(), "-X", "POST"]);
    assert_eq!(uploaded.parse(), Ok(GIB));
    let after_upload = gateway.rss_bytes();
    let downloaded = curl(&["-o", "/dev/null", "-w", "%{size_download}"]);
    assert_eq!(downloaded.parse(), Ok(GIB));
    let after_download = gateway.rss_bytes();
    for (what, after) in [("upload", after_upload), ("download", after_download)] {
        let grown = after.saturating_sub(before) >> 20;
        assert!(grown < 16, "{what}: RSS grew by {grown} MiB");
    }
}
