//! slowhttptest in its three modes, with honest clients beside it that notice nothing.

use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::support::gateway::{Gateway, config};
use crate::support::tools::require;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon};

/// How many slow clients there are.
const SLOW: u32 = 40;

/// The gateway, with little patience and without keys: slowhttptest can send none.
async fn started(limits: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(|request, mut reply| async move {
        if request.method == "GET" {
            reply.begin_stream().await;
            let chunk = "x".repeat(64 << 10);
            // More than the buffers of all connections on the way.
            for _ in 0..256 {
                reply.chunk(&chunk).await;
            }
            reply.end_stream().await;
        } else {
            reply.json("200 OK", "{\"ok\":1}").await;
        }
        reply
    })
    .await;
    let limits = format!("max_body: 64MiB\n  passthrough: far\n  limits: {{ {limits} }}");
    let yaml = config(upstream.address, "", "").replace("max_body: 64MiB", &limits);
    let gateway = Gateway::start(yaml.split("tenants:").next().unwrap());
    (upstream, gateway)
}

/// Sends slow clients, as many as there are, for up to 8 s.
fn attack(program: &std::path::Path, gateway: &Gateway, mode: &[&str], path: &str) -> Child {
    Command::new(program)
        .args(mode)
        .args(["-c", &SLOW.to_string(), "-r", &SLOW.to_string()])
        .args(["-i", "1", "-l", "8", "-p", "5"])
        .args(["-u", &format!("http://{}{path}", gateway.address)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Asks as an honest client does until the gateway has got rid of the slow ones, which `series`
/// counts; then they must still be at it.
async fn outlast(gateway: &Gateway, mut slow: Child, series: &str) {
    let mut honest = gateway.connect().await;
    let asking = async {
        loop {
            let kept = honest.post("/v1/chat/completions", &chat("gpt-4o")).await;
            assert_eq!(kept.status, 200);
            let new = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
            assert_eq!(new.status, 200);
            // Looked at first: they end when the last of them has been closed, which is counted by then.
            let ended = slow.try_wait().unwrap();
            if gateway.metric(series).await >= f64::from(SLOW) {
                return;
            }
            assert!(ended.is_none(), "they have ended by themselves: {series}");
        }
    };
    soon("the end of the slow clients", asking).await;
    let left = gateway.metric("tollgate_connections").await;
    assert!(left < 5.0, "{left} connections are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_hold_nobody_up() {
    let Some(program) = require(&["slowhttptest"], "slowhttptest") else {
        return;
    };
    let (_upstream, gateway) = started("header_timeout: 2s").await;
    let slow = attack(&program, &gateway, &["-H", "-x", "8"], "/v1/models");
    let series = "tollgate_shed_total{limit=\"header_timeout\"}";
    outlast(&gateway, slow, series).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_hold_nobody_up() {
    let Some(program) = require(&["slowhttptest"], "slowhttptest") else {
        return;
    };
    let (_upstream, gateway) = started("header_timeout: 2s, body_rate: 1KiB").await;
    let mode = ["-B", "-x", "8", "-s", "8192", "-f", "application/json"];
    let slow = attack(&program, &gateway, &mode, "/v1/chat/completions");
    outlast(&gateway, slow, "tollgate_shed_total{limit=\"body_rate\"}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_hold_nobody_up() {
    let Some(program) = require(&["slowhttptest"], "slowhttptest") else {
        return;
    };
    let (_upstream, gateway) = started("write_timeout: 1s").await;
    let mode = ["-X", "-w", "256", "-y", "512", "-n", "1", "-z", "8"];
    let slow = attack(&program, &gateway, &mode, "/v1/files/f/content");
    let series = "tollgate_answers_broken_total{cause=\"client_gone\",endpoint=\"passthrough\",\
                  rule=\"other\",upstream=\"far\"}";
    outlast(&gateway, slow, series).await;
}
