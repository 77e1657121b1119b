//! A name with two addresses is one provider: its silence at one of them is its silence at both.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::{CHAT, GENEROUS, assert_whole, at, gateway_yaml, healthy, outcomes, rule, serve};
use crate::support::gateway::{BINARY, Folder, Gateway};
use crate::support::streamed_chat;
use crate::support::tools::{require, skip};
use crate::support::upstream::Upstream;

const NAME: &str = "provider.test";
const TIERS: &str = "{ upstream: first }, { upstream: second, priority: 1 }";

/// A gateway for which the name has two addresses of this machine; `None` where the test is to be skipped.
fn where_a_name_has_two(yaml: &str) -> Option<Gateway> {
    require(&["unshare"], "util-linux")?;
    let mut unshare = Command::new("unshare");
    let may = unshare.args(["--mount", "true"]).stderr(Stdio::null());
    if !may.status().unwrap().success() {
        skip("a file of hosts of its own needs root");
        return None;
    }
    let folder = Folder::new();
    let lines = format!("127.0.0.1 localhost\n127.0.0.1 {NAME}\n127.0.0.2 {NAME}\n");
    let hosts = folder.write("hosts", lines);
    let file = folder.write("tollgate.yaml", yaml);
    let mut command = Command::new("unshare");
    let script = r#"mount --bind "$1" /etc/hosts && exec "$0" run -c "$2""#;
    command
        .args(["--mount", "sh", "-c", script, BINARY])
        .arg(hosts)
        .arg(file);
    Some(Gateway::spawn(command, folder))
}

fn yaml(first: u16, second: &Upstream) -> String {
    let timeouts = ", timeouts: { first_token: 300ms }";
    let upstreams = [
        at("first", format!("{NAME}:{first}"), timeouts),
        at("second", second.address, ""),
    ];
    gateway_yaml(GENEROUS, &upstreams, &[rule("gpt-4o", TIERS, "")])
}

#[tokio::test]
async fn another_target_is_asked_when_a_name_is_silent_at_one_of_its_addresses() {
    let all: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let first = Upstream::start_at(all, |_, mut reply| async move {
        reply.wait_for_close().await;
        reply
    })
    .await;
    let second = healthy("second").await;
    let Some(gateway) = where_a_name_has_two(&yaml(first.address.port(), &second)) else {
        return;
    };
    for asked in 1..=2 {
        let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "second");
        assert_eq!(outcomes(&gateway, &response), "first:silent second:ok");
        assert_eq!(first.requests(), asked);
    }
}

#[tokio::test]
async fn another_address_is_asked_when_one_cannot_be_reached() {
    let one: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let first = Upstream::start_at(one, |request, mut reply| async move {
        serve("first", &request, &mut reply).await;
        reply
    })
    .await;
    let second = healthy("second").await;
    let Some(gateway) = where_a_name_has_two(&yaml(first.address.port(), &second)) else {
        return;
    };
    // Whichever of the two has its turn.
    for _ in 0..4 {
        let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "first");
        assert_eq!(outcomes(&gateway, &response), "first:ok");
    }
    assert_eq!(second.requests(), 0);
}
