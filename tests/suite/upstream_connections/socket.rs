//! An upstream behind a Unix socket.

use super::ends::SocketEnd;
use super::{ANSWER, CHAT, is_answered};
use crate::nginx::Nginx;
use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::tools::{require, run};
use crate::support::upstream::{Listener, Upstream};
use crate::support::websocket::open;
use crate::support::{DONE, chat, delta, streamed_chat};

/// A configuration whose upstream is at this URL.
fn at(url: &str, keys: &str) -> String {
    let yaml = config("127.0.0.1:1".parse().unwrap(), keys, "");
    yaml.replace("http://127.0.0.1:1/v1", url)
}

#[tokio::test]
async fn requests_go_over_a_socket_and_its_connection_is_kept() {
    let folder = Folder::new();
    let upstream = Upstream::answering(ANSWER).await;
    let socket = SocketEnd::before(upstream.address, &folder);
    let path = socket.path.display();
    for (url, wanted) in [
        (format!("unix:{path}"), CHAT),
        (format!("unix:{path}:/api"), "/api/chat/completions"),
    ] {
        let before = socket.connections();
        let gateway = Gateway::start(&at(&url, ""));
        let mut client = gateway.connect().await;
        for _ in 0..3 {
            is_answered(&mut client, "gpt-4o").await;
            let seen = upstream.request().await;
            assert_eq!(seen.path, wanted);
            assert_eq!(seen.header("host"), ["localhost"]);
        }
        assert_eq!(socket.connections() - before, 1);
        let status = gateway.get_admin("/status").await;
        assert!(
            status.text().contains(&format!("unix:{path}")),
            "{}",
            status.text()
        );
    }
}

#[tokio::test]
async fn streams_and_websockets_go_over_a_socket() {
    let folder = Folder::new();
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.stream(&[&delta("hi"), DONE].concat()).await;
        reply
    })
    .await;
    let socket = SocketEnd::before(upstream.address, &folder);
    let url = format!("unix:{}", socket.path.display());
    let gateway = Gateway::start(&at(&url, ""));
    let answer = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert!(
        answer.complete && answer.text().contains("hi"),
        "{answer:?}"
    );
    let (folder, far) = (Folder::new(), Listener::bind().await);
    let socket = SocketEnd::before(far.address, &folder);
    let gateway = Gateway::start(&at(&format!("unix:{}", socket.path.display()), ""));
    drop(Box::pin(open(&gateway, &far)).await);
    assert_eq!(socket.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_a_socket_stands_beside_others_and_is_passed_over_while_it_is_away() {
    let folder = Folder::new();
    let upstream = Upstream::answering(ANSWER).await;
    let missing = folder.0.join("upstream.sock");
    let other = format!("http://{}/v1", upstream.address);
    let check = ", health_check: { interval: 50ms, unhealthy_after: 1, healthy_after: 1 }";
    let yaml = at("URL", check).replace(
        "base_url: 'URL'",
        &format!("servers: ['unix:{}:/v1', '{other}']", missing.display()),
    );
    let gateway = Gateway::start(&yaml);
    for _ in 0..4 {
        assert_eq!(gateway.post(CHAT, &chat("gpt-4o")).await.status, 200);
    }
    gateway
        .output()
        .wait_for("is unhealthy and gets no requests");
    let socket = SocketEnd::before(upstream.address, &folder);
    gateway.output().wait_for("is healthy again");
    let before = socket.connections();
    for _ in 0..4 {
        assert_eq!(gateway.post(CHAT, &chat("gpt-4o")).await.status, 200);
    }
    assert!(socket.connections() > before);
}

#[tokio::test]
async fn a_socket_that_is_missing_is_told_of_as_a_server_that_cannot_be_reached() {
    let folder = Folder::new();
    let path = folder.0.join("none.sock");
    let gateway = Gateway::start(&at(&format!("unix:{}", path.display()), ""));
    let answer = gateway.post(CHAT, &chat("gpt-4o")).await;
    answer.assert_error(502, "server_error", Some("upstream_unreachable"), None);
    assert!(!answer.text().contains("none.sock"), "{}", answer.text());
    gateway.output().wait_for("No such file or directory");
    gateway.access_line(":unreachable:");
}

#[tokio::test]
async fn nginx_is_asked_over_its_socket() {
    let Some(program) = require(&["nginx"], "nginx") else {
        return;
    };
    let folder = Folder::new();
    let path = folder.0.join("nginx.sock");
    let path = path.display();
    let _nginx = Nginx::start(&program, |port| {
        format!(
            "server {{ listen 127.0.0.1:{port}; listen unix:{path}; location /v1/ {{
             default_type application/json; return 200 '{{\"conn\":$connection}}'; }} }}"
        )
    });
    let gateway = Gateway::start(&at(&format!("unix:{path}"), ""));
    let mut connections = std::collections::HashSet::new();
    // Over one connection, so that each request finds what the one before it has left in the pool.
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        let answer = client.post(CHAT, &chat("gpt-4o")).await;
        assert_eq!(answer.status, 200);
        connections.insert(answer.json()["conn"].to_string());
    }
    assert_eq!(connections.len(), 1, "the connection is used again");
}

#[test]
fn check_shows_a_socket_and_refuses_what_has_no_effect_on_it() {
    let folder = Folder::new();
    let file = folder.write("tollgate.yaml", at("unix:/run/vllm.sock", ""));
    let mut command = std::process::Command::new(BINARY);
    let said = run(command.args(["check", "-c"]).arg(file));
    assert!(said.contains("unix:/run/vllm.sock:/v1"), "{said}");
    for (keys, wanted) in [
        (", tls: {}", "`tls` has no effect"),
        (", proxy: 'http://proxy:3128'", "`proxy` has no effect"),
    ] {
        let file = folder.write("tollgate.yaml", at("unix:/run/vllm.sock", keys));
        let mut command = std::process::Command::new(BINARY);
        let output = command.args(["check", "-c"]).arg(file).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(wanted), "{text}");
    }
}
