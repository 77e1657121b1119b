//! What is too much at a time is turned away at once, in words, and let in again when there is room.

use std::process::Command;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::certificate::{Certificate, certificate};
use crate::support::client::{Client, Response, post};
use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::http2::Client2;
use crate::support::tools::require;
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, DONE, chat, delta, streamed_chat};

const CONNECTIONS: &str = "tollgate_connections";

/// The usual configuration with limits, and more of the `server` section.
fn limited(upstream: &Upstream, limits: &str, more: &str) -> String {
    let limits = format!("max_body: 64MiB\n  limits: {{ {limits} }}\n{more}");
    config(upstream.address, "", "").replace("max_body: 64MiB", &limits)
}

fn shed(what: &str) -> String {
    format!("tollgate_shed_total{{limit=\"{what}\"}}")
}

/// A connection that is being served.
async fn admitted(gateway: &Gateway) -> Client {
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/health").await.status, 200);
    client
}

/// Asserts that a connection is told that there is no room, before it has asked for anything.
async fn assert_refused(client: &mut Client) {
    let response = client.response().await;
    assert_overloaded(&response);
    assert_eq!(response.header("connection"), Some("close"));
    assert!(client.is_closed().await);
}

#[track_caller]
fn assert_overloaded(response: &Response) {
    response.assert_error(503, "server_error", Some("overloaded"), None);
    assert_eq!(response.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_until_another_leaves() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&limited(&upstream, "connections: 2", ""));
    let mut first = admitted(&gateway).await;
    let second = admitted(&gateway).await;
    gateway.metric_becomes(CONNECTIONS, 2.0).await;
    // What it has sent already does not cost it the answer.
    let mut third = gateway.connect().await;
    third
        .send(post("/v1/chat/completions", "", &chat("gpt-4o")))
        .await;
    assert_refused(&mut third).await;
    assert_refused(&mut gateway.connect().await).await;
    assert_eq!(first.get("/health").await.status, 200, "the others go on");
    gateway.metric_becomes(&shed("connections"), 2.0).await;
    second.leave();
    gateway.metric_becomes(CONNECTIONS, 1.0).await;
    admitted(&gateway).await;
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_burst_beyond_the_room_is_told_too_and_leaves_nothing_behind() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&limited(&upstream, "connections: 1", ""));
    let mut held = admitted(&gateway).await;
    // More than may take their time to read it.
    let mut burst = Vec::new();
    for _ in 0..300 {
        burst.push(gateway.connect().await);
    }
    for client in &mut burst {
        assert_refused(client).await;
    }
    gateway.metric_becomes(&shed("connections"), 300.0).await;
    gateway.metric_becomes(CONNECTIONS, 1.0).await;
    assert_eq!(held.get("/health").await.status, 200);
}

#[tokio::test]
async fn an_address_with_too_many_connections_keeps_nobody_else_out() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&limited(&upstream, "connections_per_address: 2", ""));
    let first = admitted(&gateway).await;
    let _second = admitted(&gateway).await;
    assert_refused(&mut gateway.connect().await).await;
    let mut other = Client::connect_from("127.0.0.2", gateway.address).await;
    assert_eq!(other.get("/health").await.status, 200);
    gateway
        .metric_becomes(&shed("connections_per_address"), 1.0)
        .await;
    first.leave();
    gateway.metric_becomes(CONNECTIONS, 2.0).await;
    admitted(&gateway).await;
}

#[tokio::test]
async fn a_trusted_proxy_may_have_as_many_as_there_are() {
    let upstream = Upstream::answering("{}").await;
    let limits = "connections: 4, connections_per_address: 1";
    let trusted = "  trusted_proxies: [127.0.0.2]";
    let gateway = Gateway::start(&limited(&upstream, limits, trusted));
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect_from("127.0.0.2", gateway.address).await;
        assert_eq!(client.get("/health").await.status, 200);
        held.push(client);
    }
    // The total holds for it too.
    assert_refused(&mut Client::connect_from("127.0.0.2", gateway.address).await).await;
}

#[tokio::test]
async fn a_request_too_many_is_refused_before_its_body_until_another_is_over() {
    let step = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&step);
    let upstream = Upstream::start(move |_, mut reply| {
        let held = Arc::clone(&held);
        async move {
            reply.begin_stream().await;
            reply.chunk(&delta("one")).await;
            held.acquire().await.unwrap().forget();
            reply.chunk(DONE).await;
            reply.end_stream().await;
            reply
        }
    })
    .await;
    let gateway = Gateway::start(&limited(&upstream, "requests: 2", ""));
    let stream = || async {
        let mut client = gateway.connect().await;
        client
            .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
            .await;
        assert_eq!(client.head().await.0, 200);
        assert_eq!(client.chunk().await.as_deref(), Some(delta("one").as_str()));
        client
    };
    let mut first = stream().await;
    let _second = stream().await;
    let mut third = gateway.connect().await;
    third
        .send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
             content-length: 99\r\n\r\n"
        ))
        .await;
    assert_overloaded(&third.response().await);
    // The gateway would read the rest of it.
    third.leave();
    let mut health = gateway.connect().await;
    assert_eq!(health.get("/health").await.status, 200);
    assert_overloaded(&health.get("/v1/models").await);
    assert_eq!(health.get("/health").await.status, 200, "it goes on");
    gateway.metric_becomes(&shed("requests"), 2.0).await;
    assert_eq!(upstream.requests(), 2);
    gateway.access_line("error=overloaded");

    step.add_permits(1);
    assert_eq!(first.chunk().await.as_deref(), Some(DONE));
    assert_eq!(first.chunk().await.as_deref(), Some(""));
    gateway
        .metric_becomes("tollgate_requests_in_flight", 1.0)
        .await;
    stream().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_same_is_said_once_the_handshake_is_over() {
    let (Some(_), Some(curl)) = (require(&["openssl"], "openssl"), require(&["curl"], "curl"))
    else {
        return;
    };
    let folder = Folder::new();
    let Certificate { cert, key, .. } = certificate(&folder);
    let upstream = Upstream::answering("{}").await;
    let tls = format!(
        "listen: ['127.0.0.1:0', {{ address: '127.0.0.1:0', tls: {{ cert: '{}', key: '{}' }} }}]",
        cert.display(),
        key.display()
    );
    let yaml = limited(&upstream, "connections: 1", "").replace("listen: ['127.0.0.1:0']", &tls);
    let gateway = Gateway::start(&yaml);
    let line = gateway.output().wait_for("listening on https");
    let address = line.split("https://").nth(1).unwrap().to_owned();
    let ask = |version: &str| {
        let mut command = Command::new(&curl);
        command.args(["-skS", "-i", version, "--max-time", "20"]);
        command.arg(format!("https://{address}/health"));
        let said = tokio::task::block_in_place(|| command.output()).unwrap();
        String::from_utf8([said.stdout, said.stderr].concat()).unwrap()
    };
    let held = admitted(&gateway).await;
    let said = ask("--http1.1");
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    assert!(said.contains("retry-after: 1") && said.contains("\"overloaded\""));
    let said = ask("--http2");
    assert!(
        !said.contains("HTTP/2 200") && said.contains("curl: "),
        "{said}"
    );
    held.leave();
    // Those that were refused are not counted, and neither is one whose handshake is over.
    gateway.metric_becomes(CONNECTIONS, 0.0).await;
    let said = ask("--http2");
    assert!(said.starts_with("HTTP/2 200"), "{said}");
    gateway.metric_becomes(CONNECTIONS, 0.0).await;
}

/// The gateway under a shell that limits its open files.
fn under(ulimit: &str, yaml: &str) -> Gateway {
    let folder = Folder::new();
    let file = folder.write("tollgate.yaml", yaml);
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{ulimit}; exec \"$0\" \"$@\"")])
        .args([BINARY, "run", "-c"])
        .arg(file);
    Gateway::spawn(command, folder)
}

#[tokio::test]
async fn where_few_files_may_be_open_few_connections_are_taken() {
    let upstream = Upstream::answering("{}").await;
    let gateway = under(
        "ulimit -n 300",
        &limited(&upstream, "connections: 1000", ""),
    );
    let line = gateway.output().wait_for("raise the limit to 2256");
    assert!(line.contains("enough for 22 client connections"), "{line}");
    let mut held = Vec::new();
    for _ in 0..22 {
        held.push(admitted(&gateway).await);
    }
    assert_refused(&mut gateway.connect().await).await;
    let chat = held[0].post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(chat.status, 200, "there is room for connections upstream");
}

#[tokio::test]
async fn the_limit_on_open_files_is_raised_as_far_as_it_goes() {
    let upstream = Upstream::answering("{}").await;
    let yaml = limited(&upstream, "connections: 500", "");
    let gateway = under("ulimit -S -n 200; ulimit -H -n 1500", &yaml);
    gateway.metric_becomes("process_max_fds", 1500.0).await;
    assert!(!gateway.output().text().contains("raise the limit"));
}

#[tokio::test]
async fn requests_without_a_key_take_no_place_from_those_with_one() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&limited(&upstream, "requests: 1", ""));
    let mut refused = Vec::new();
    for _ in 0..4 {
        // Its body does not end: it is read and thrown away for a while.
        let mut client = gateway.connect().await;
        client
            .send("POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 9999\r\n\r\n{")
            .await;
        assert_eq!(client.head().await.0, 401);
        refused.push(client);
    }
    let mut http2 = Client2::connect(&gateway).await;
    for _ in 0..4 {
        let answer = http2.refused("/v1/chat/completions", &[]).await;
        assert_eq!(answer.status, 401);
    }
    let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(response.status, 200);
    assert_eq!(gateway.metric(&shed("requests")).await, 0.0);
    refused.into_iter().for_each(Client::leave);
}

#[tokio::test]
async fn a_refused_stream_of_http2_is_reset_and_not_read_on() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let mut client = Client2::connect(&gateway).await;
    let answer = client.refused("/v1/chat/completions", &[]).await;
    assert_eq!(
        (answer.status, answer.reset),
        (401, Some(h2::Reason::NO_ERROR))
    );
}
