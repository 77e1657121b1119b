//! Several gateways that count their limits together, in a real Redis.

mod admission;
mod attacked;
mod key_quotas;
mod keys;
mod ledger;
mod lines;
mod namespaces;
mod outbox;
mod servers;
mod store_away;

use std::net::SocketAddr;

use tokio::task::JoinSet;

use crate::limits::{CHAT, Setup};
use crate::support::client::{Client, Response};
use crate::support::gateway::Gateway;
use crate::support::redis::Redis;

/// A dime for each request.
const DIME: &str = "prices: [{ model: '*', request: 0.10 }]\n";

/// A gateway with this name, whose tenant has these limits. `store` has more keys of the section.
fn node(name: &str, far: SocketAddr, redis: &str, (tenant, store): (&str, &str)) -> Gateway {
    Gateway::start_quietly(&node_yaml(name, far, redis, (tenant, store)))
}

fn node_yaml(name: &str, far: SocketAddr, redis: &str, (tenant, store): (&str, &str)) -> String {
    let setup = Setup {
        server: &format!(", node: {name}"),
        tenant,
        more: &format!("{DIME}store: {{ redis: '{redis}'{store} }}\n"),
        ..Setup::default()
    };
    setup.yaml(far)
}

/// Three of them.
fn three(far: SocketAddr, redis: &Redis, tenant: &str) -> [Gateway; 3] {
    ["a", "b", "c"].map(|name| node(name, far, &redis.url(), (tenant, "")))
}

/// Waits until each of them knows how many they are.
async fn know_each_other(gateways: &[Gateway]) {
    let many = f64::from(u32::try_from(gateways.len()).unwrap());
    for gateway in gateways {
        gateway.metric_becomes("tollgate_store_nodes", many).await;
    }
}

/// Asks so many times at once, each gateway in its turn.
fn ask_at_once(gateways: &[Gateway], times: usize, body: &str) -> JoinSet<Response> {
    let mut asking = JoinSet::new();
    for gateway in gateways.iter().cycle().take(times) {
        let (address, body) = (gateway.address, body.to_owned());
        asking.spawn(async move { Client::connect(address).await.post(CHAT, &body).await });
    }
    asking
}

/// How many answers have a status.
fn with_status(answers: &[Response], status: u16) -> usize {
    answers.iter().filter(|a| a.status == status).count()
}
