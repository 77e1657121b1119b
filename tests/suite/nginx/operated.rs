//! Reloads and upgrades of the gateway behind nginx, which keeps connections to it: no client notices.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::front::{CHAT, behind, front};
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::tools::require;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon, until};

/// The process that serves now, ended with the test.
struct Serving(String);

impl Serving {
    fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        // It may have ended already.
        let _ = kill.args(["-s", name, &self.0]).output();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

/// How often something stands in the log, with what follows it the last time.
fn told(gateway: &Gateway, wanted: &str) -> (usize, String) {
    let text = gateway.output().text();
    let parts: Vec<&str> = text.split(wanted).skip(1).collect();
    let last = parts.last().copied().unwrap_or_default();
    let word = last.split_whitespace().next().unwrap_or_default();
    (parts.len(), word.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_and_upgrades_behind_nginx_are_noticed_by_no_client() {
    let Some(program) = require(&["nginx"], "nginx") else {
        return;
    };
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start_quietly(&behind(upstream.address, ""));
    let front = front(&program, "tollgate.conf", &[gateway.address], &[]);
    let (ends, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (ends, served) = (Arc::clone(&ends), Arc::clone(&served));
            let address = front.address;
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                while !ends.load(Ordering::SeqCst) {
                    let answer = client.post(CHAT, &chat("gpt-4o")).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    served.fetch_add(1, Ordering::SeqCst);
                    // nginx lets a connection have a thousand requests.
                    if answer.header("connection") == Some("close") {
                        client = Client::connect(address).await;
                    }
                }
            })
        })
        .collect();
    let more = async || {
        let wanted = served.load(Ordering::SeqCst) + 20;
        until("more requests", || {
            served.load(Ordering::SeqCst) >= wanted || clients.iter().any(|c| c.is_finished())
        })
        .await;
    };
    let mut serving = Serving(gateway.pid().to_string());
    for round in 1..=3 {
        more().await;
        serving.signal("HUP");
        until("a reload", || told(&gateway, "reload (SIGHUP)").0 == round).await;
        more().await;
        serving.signal("USR2");
        until("an upgrade", || {
            told(&gateway, "upgrade: process ").0 == round
        })
        .await;
        // The one before ends by itself.
        serving.0 = told(&gateway, "upgrade: process ").1;
    }
    more().await;
    ends.store(true, Ordering::SeqCst);
    for client in clients {
        soon("the end of a client", client).await.unwrap();
    }
}
