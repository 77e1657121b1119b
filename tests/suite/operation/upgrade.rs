//! The binary on disk takes over: no connection is refused, and what is in flight ends where it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::order;
use super::storm::of;
use crate::support::client::{Client, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{DONE, chat, delta, soon, streamed_chat};

/// A process that a test has not started itself, and that ends with it.
pub struct Successor(pub u32);

impl Drop for Successor {
    fn drop(&mut self) {
        kill("KILL", self.0);
    }
}

fn kill(signal: &str, pid: u32) {
    let mut command = std::process::Command::new("kill");
    // It may have ended already.
    let _ = command.args(["-s", signal, &pid.to_string()]).output();
}

/// Waits until a process serves the operator's listener alone.
pub async fn serves(gateway: &Gateway, pid: u32) {
    soon(&format!("process {pid} serves alone"), async {
        let mut in_a_row = 0;
        while in_a_row < 5 {
            let health = gateway.get_admin("/health").await.json();
            in_a_row = match health["pid"] == pid {
                true => in_a_row + 1,
                false => 0,
            };
        }
    })
    .await;
}

/// Has the gateway upgraded. Whoever still takes the operator's connections is asked.
pub async fn upgrade(gateway: &Gateway) -> Successor {
    soon("an upgrade", async {
        loop {
            let answer = order(gateway, "/admin/upgrade").await;
            if answer.status == 200 {
                let pid = answer.json()["pid"].as_u64().unwrap();
                return Successor(u32::try_from(pid).unwrap());
            }
        }
    })
    .await
}

/// An upstream whose streams wait in the middle for a permit, and that answers all else at once.
pub async fn held_streams(step: &Arc<Semaphore>) -> Upstream {
    let step = Arc::clone(step);
    Upstream::start(move |request, mut reply| {
        let step = Arc::clone(&step);
        async move {
            if !request.text().contains(r#""stream":true"#) {
                reply
                    .json("200 OK", r#"{"object":"chat.completion"}"#)
                    .await;
                return reply;
            }
            reply.begin_stream().await;
            reply.chunk(&delta("one")).await;
            step.acquire().await.unwrap().forget();
            reply.chunk(&[&delta("two"), DONE].concat()).await;
            reply.end_stream().await;
            reply
        }
    })
    .await
}

async fn open_stream(gateway: &Gateway) -> Client {
    let mut client = gateway.connect().await;
    client
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    assert_eq!(client.head().await.0, 200);
    client.chunk().await.unwrap();
    client
}

async fn end_stream(client: &mut Client) {
    assert_eq!(client.chunk().await, Some([&delta("two"), DONE].concat()));
    assert_eq!(client.chunk().await.as_deref(), Some(""));
}

#[tokio::test]
async fn a_stream_ends_in_the_old_process_and_new_requests_go_to_the_new_one() {
    let step = Arc::new(Semaphore::new(0));
    let upstream = held_streams(&step).await;
    let mut gateway = Gateway::before(&upstream);
    let mut stream = open_stream(&gateway).await;
    let successor = upgrade(&gateway).await;
    assert_ne!(successor.0, gateway.pid());
    serves(&gateway, successor.0).await;
    assert!(gateway.is_running());
    let answer = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 200);
    step.add_permits(1);
    end_stream(&mut stream).await;
    assert!(gateway.wait().success());
    let answer = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 200);
    kill("TERM", successor.0);
    soon("the successor ends", async {
        while tokio::net::TcpStream::connect(gateway.address)
            .await
            .is_ok()
        {}
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_kept_open_may_ask_once_more() {
    let upstream = Upstream::answering("{}").await;
    let mut gateway = Gateway::before(&upstream);
    let mut kept = gateway.connect().await;
    let answer = kept.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 200);
    let successor = upgrade(&gateway).await;
    serves(&gateway, successor.0).await;
    gateway.output().wait_for("handed over");
    // A proxy that sends it now could not send it again.
    let answer = kept.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    assert!(kept.is_closed().await);
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn a_signal_does_the_same() {
    let upstream = Upstream::answering("{}").await;
    let mut gateway = Gateway::before(&upstream);
    gateway.signal("USR2");
    let line = gateway.output().wait_for("serves new connections");
    let pid = line.split("process ").nth(1).unwrap();
    let successor = Successor(pid.split(' ').next().unwrap().parse().unwrap());
    assert!(gateway.wait().success());
    serves(&gateway, successor.0).await;
    let answer = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn no_connection_is_refused_and_no_stream_is_cut() {
    // `make storm` has more of each.
    let (upgrades, streams) = (of("STORM_UPGRADES", 3), of("STORM_STREAMS", 20));
    let step = Arc::new(Semaphore::new(0));
    let upstream = held_streams(&step).await;
    let yaml = config(upstream.address, "", "");
    // The streams last as long as all upgrades.
    let yaml = yaml.replace("server:\n", "server:\n  shutdown_grace: 600s\n");
    let mut gateway = Gateway::start_quietly(&yaml);
    let mut open = Vec::new();
    for _ in 0..streams {
        open.push(open_stream(&gateway).await);
    }
    let (is_over, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
            let address = gateway.address;
            tokio::spawn(async move {
                // 50 new connections a second of each.
                let mut pace = tokio::time::interval(Duration::from_millis(20));
                while !is_over.load(Ordering::SeqCst) {
                    pace.tick().await;
                    let mut client = Client::connect(address).await;
                    let answer = client.post("/v1/chat/completions", &chat("gpt-4o")).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut successors: Vec<Successor> = Vec::new();
    for _ in 0..upgrades {
        let before = answered.load(Ordering::SeqCst);
        let successor = upgrade(&gateway).await;
        serves(&gateway, successor.0).await;
        successors.push(successor);
        soon("requests are answered", async {
            while answered.load(Ordering::SeqCst) < before + 20 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    is_over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    step.add_permits(streams);
    for stream in &mut open {
        end_stream(stream).await;
    }
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn every_request_of_an_upgrade_is_in_the_ledger_once() {
    let step = Arc::new(Semaphore::new(0));
    let upstream = held_streams(&step).await;
    let yaml = config(upstream.address, "", "ledger: { path: ledger }");
    let mut gateway = Gateway::start(&yaml);
    let mut stream = open_stream(&gateway).await;
    let before = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(before.status, 200);
    let successor = upgrade(&gateway).await;
    serves(&gateway, successor.0).await;
    let after = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(after.status, 200, "{}", after.text());
    step.add_permits(1);
    end_stream(&mut stream).await;
    assert!(gateway.wait().success());
    soon("three requests are in the ledger", async {
        loop {
            let report = gateway.get_admin("/admin/usage?by=tenant").await.json();
            if report["rows"][0]["requests"] == 3 {
                break;
            }
        }
    })
    .await;
}
