//! `tollgate health`, as the health check of a container runs it.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::upstream::{Listener, Upstream};

/// Runs the command, and gives its exit code, what it printed and what it complained of.
async fn health(arguments: Vec<String>) -> (i32, String, String) {
    let run = move || {
        let mut command = Command::new(BINARY);
        command.arg("health").args(arguments).env_clear();
        command.output().unwrap()
    };
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

async fn health_at(address: impl ToString) -> (i32, String, String) {
    health(vec!["--address".to_owned(), address.to_string()]).await
}

#[tokio::test]
async fn a_gateway_that_serves_is_healthy() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let ok = (0, "ok\n".to_owned(), String::new());
    assert_eq!(health_at(gateway.admin.unwrap()).await, ok);
    assert_eq!(health_at(gateway.address).await, ok, "clients may ask, too");
    let yaml = config(upstream.address, "", "").replace(
        "127.0.0.1:0'\n  log",
        &format!("{}'\n  log", gateway.admin.unwrap()),
    );
    let folder = Folder::new();
    let file = folder.write("tollgate.yaml", yaml).display().to_string();
    assert_eq!(health(vec!["-c".to_owned(), file]).await, ok);
    assert_eq!(upstream.requests(), 0, "no provider is asked");
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_asked() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let mut command = Command::new(BINARY);
    let proxy = format!("http://{}", upstream.address);
    command
        .args(["health", "--address", &gateway.admin.unwrap().to_string()])
        .env("http_proxy", &proxy)
        .env("ALL_PROXY", &proxy);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    assert!(run.await.unwrap().status.success());
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn one_that_drains_is_not_healthy() {
    let draining = Upstream::start(|request, mut reply| async move {
        assert_eq!(request.path, "/health");
        let body = r#"{"status":"draining"}"#;
        reply.json("503 Service Unavailable", body).await;
        reply
    })
    .await;
    let (code, out, err) = health_at(draining.address).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("draining (status 503)"), "{err}");
}

#[tokio::test]
async fn where_nothing_answers_one_line_says_so() {
    let gone = Listener::bind().await.address;
    let (code, out, err) = health_at(gone).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(&format!("http://{gone}/health: ")), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    let other = Upstream::answering("<html>").await;
    let (code, _, err) = health_at(other.address).await;
    assert_eq!(code, 1);
    assert!(err.contains("not the answer of a gateway"), "{err}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let silent = Listener::bind().await;
    let started = Instant::now();
    let (code, _, err) = health_at(silent.address).await;
    assert_eq!(code, 1);
    assert!(err.contains("no answer within 4 s"), "{err}");
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_file_that_has_mistakes_by_now_still_says_where_to_ask() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let admin = gateway.admin.unwrap();
    let folder = Folder::new();
    let text = format!("upstreams: 5\nserver: {{ admin: '{admin}', threads: many }}\n");
    let file = folder.write("tollgate.yaml", text).display().to_string();
    let ok = (0, "ok\n".to_owned(), String::new());
    assert_eq!(health(vec!["-c".to_owned(), file]).await, ok);
}
