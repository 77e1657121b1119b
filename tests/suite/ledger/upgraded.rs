//! A process takes over from another one with the same ledger: quotas of each count what the other one uses.

use std::fs::File;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::rows::{assert_sound, rows_become};
use super::{ask_as, assert_exhausted, capped, kill, send_as, used, with_ledger};
use crate::support::client::Client;
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::Upstream;
use crate::support::{DONE, FINISHED, delta, soon, streamed_chat, until};

/// A process that a test has not started itself, and that ends with it.
pub struct Successor(String);

impl Successor {
    /// Has the gateway start one, and waits until it serves.
    pub fn of(gateway: &Gateway) -> Self {
        gateway.signal("USR2");
        let line = gateway.output().wait_for("serves new connections");
        let pid = line.split("process ").nth(1).unwrap();
        Self(pid.split(' ').next().unwrap().to_owned())
    }

    fn signal(&self, signal: &str) {
        let mut command = std::process::Command::new("kill");
        // It may have ended already.
        let _ = command.args(["-s", signal, &self.0]).output();
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

/// An upstream whose answers use 400 tokens each. Streams wait for a permit before they tell of it.
pub async fn using_400(step: &Arc<Semaphore>) -> Upstream {
    let step = Arc::clone(step);
    Upstream::start(move |request, mut reply| {
        let step = Arc::clone(&step);
        async move {
            if !request.text().contains(r#""stream":true"#) {
                reply.json("200 OK", &used(400)).await;
                return reply;
            }
            reply.begin_stream().await;
            reply.chunk(&delta("one")).await;
            step.acquire().await.unwrap().forget();
            let usage = r#""usage":{"prompt_tokens":400,"completion_tokens":0,"total_tokens":400}"#;
            let usage = format!("data: {{\"choices\":[],{usage}}}\n\n");
            reply.chunk(&[FINISHED, &usage, DONE].concat()).await;
            reply.end_stream().await;
            reply
        }
    })
    .await
}

/// Begins a stream as the tenant or the key `one`, which waits behind its first piece.
pub async fn open_stream(gateway: &Gateway) -> Client {
    let body = streamed_chat("gpt-4o").replace(r#"{"model""#, r#"{"max_tokens":1,"model""#);
    let mut client = gateway.connect().await;
    send_as("one", &mut client, &body).await;
    assert_eq!(client.head().await.0, 200);
    client.chunk().await.unwrap();
    client
}

/// Waits until whoever serves the operator counts so many tokens of the quota as used.
async fn count_becomes(gateway: &Gateway, tokens: u64) {
    soon(&format!("{tokens} tokens are counted"), async {
        loop {
            let status = gateway.get_admin("/status").await.json();
            let tenants = status["tenants"].as_array().unwrap();
            let one = tenants.iter().find(|tenant| tenant["id"] == "one").unwrap();
            if one["quota"]["tokens"]["used"] == tokens {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_successor_counts_what_its_predecessor_still_uses() {
    let step = Arc::new(Semaphore::new(0));
    let (upstream, ledger) = (using_400(&step).await, Folder::new());
    let yaml = with_ledger(upstream.address, &ledger, &capped("one", "1200"));
    let mut gateway = Gateway::start(&yaml);
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    let mut stream = open_stream(&gateway).await;
    let _successor = Successor::of(&gateway);
    gateway.output().wait_for("handed over");
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    count_becomes(&gateway, 800).await;
    step.add_permits(1);
    while stream.chunk().await.is_some_and(|chunk| !chunk.is_empty()) {}
    count_becomes(&gateway, 1_200).await;
    assert_exhausted(&ask_as("one", &gateway).await);
    assert!(gateway.wait().success());
    let rows = rows_become(&ledger, 3).await;
    assert!(rows.iter().all(|row| row.tenant == "one"), "{rows:?}");
    assert_sound(&ledger);
}

#[tokio::test]
async fn what_is_used_while_one_process_takes_over_counts_when_all_are_killed() {
    let step = Arc::new(Semaphore::new(0));
    let (upstream, ledger) = (using_400(&step).await, Folder::new());
    let yaml = with_ledger(upstream.address, &ledger, &capped("one", "1600"));
    let mut gateway = Gateway::start(&yaml);
    let mut stream = open_stream(&gateway).await;
    let successor = Successor::of(&gateway);
    gateway.output().wait_for("handed over");
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    step.add_permits(1);
    while stream.chunk().await.is_some_and(|chunk| !chunk.is_empty()) {}
    kill(&mut gateway);
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    count_becomes(&gateway, 1_200).await;
    successor.signal("KILL");
    let lock = File::open(ledger.0.join("journal-2/lock")).unwrap();
    let is_free = || lock.try_lock_shared().is_ok();
    until("the successor has ended", is_free).await;
    drop(lock);
    let gateway = Gateway::start(&yaml);
    assert_eq!(ask_as("one", &gateway).await.status, 200);
    assert_exhausted(&ask_as("one", &gateway).await);
    rows_become(&ledger, 4).await;
    assert_sound(&ledger);
}
