//! The store is a Redis Cluster, what Sentinels watch, or a Valkey.

use super::{ask_at_once, know_each_other, node, with_status};
use crate::limits::ANSWER;
use crate::support::chat;
use crate::support::gateway::Gateway;
use crate::support::redis::Redis;
use crate::support::redis_servers::Servers;
use crate::support::upstream::Upstream;

/// Limits of every kind of scope, which stand in different slots.
const LIMITS: &str = ", limits: { requests_per_minute: 12, window: sliding }, quota: { usd: 5 }";

async fn twelve_pass(gateways: &[Gateway], upstream: &Upstream) {
    know_each_other(gateways).await;
    let answers = ask_at_once(gateways, 30, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 12);
    assert_eq!(with_status(&answers, 429), 18);
    assert_eq!(upstream.requests(), 12);
}

/// A list of URLs, as it stands behind `redis:`, within quotes.
fn urls(servers: &[std::net::SocketAddr]) -> String {
    let urls = servers.iter().map(|server| format!("redis://{server}"));
    urls.collect::<Vec<_>>().join("', '")
}

fn nodes(upstream: &Upstream, urls: &str, more: &str) -> [Gateway; 2] {
    ["a", "b"].map(|name| {
        let yaml = super::node_yaml(name, upstream.address, "URLS", (LIMITS, more));
        let limits = "limits: { requests_per_minute: 100, requests_per_day: 1000 }\n";
        let yaml = yaml.replace("'URLS'", &format!("['{urls}']"));
        Gateway::start_quietly(&format!("{yaml}{limits}"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shared_in_a_cluster_whose_slots_are_at_three_servers() {
    let Some(servers) = Servers::cluster() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let urls = urls(&servers.addresses[..2]);
    let gateways = nodes(&upstream, &urls, ", cluster: true");
    twelve_pass(&gateways, &upstream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shared_by_the_master_that_sentinels_know_and_by_the_next_one() {
    let Some(mut servers) = Servers::watched() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let urls = urls(&servers.addresses[2..]);
    let gateways = nodes(&upstream, &urls, ", sentinel: mymaster");
    twelve_pass(&gateways, &upstream).await;
    servers.kill(0);
    for gateway in &gateways {
        gateway.metric_becomes("tollgate_store_up", 0.0).await;
    }
    for gateway in &gateways {
        gateway.metric_becomes("tollgate_store_up", 1.0).await;
    }
    let answers = ask_at_once(&gateways, 10, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 429), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shared_in_a_valkey() {
    let Some(valkey) = Redis::start_valkey() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let gateways = ["a", "b"].map(|n| node(n, upstream.address, &valkey.url(), (LIMITS, "")));
    twelve_pass(&gateways, &upstream).await;
}
