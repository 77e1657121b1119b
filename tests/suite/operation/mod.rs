//! What an operator does with a gateway that runs: reload, upgrade, drain, and what systemd is told.

mod certificates;
mod draining;
mod reload;
mod reload_refused;
mod storm;
mod systemd;
mod unix_sockets;
mod upgrade;
mod upgrade_connections;
mod upgrade_refused;

use crate::support::client::{Client, Response};
use crate::support::gateway::Gateway;

/// The name of the configuration of a gateway in its folder.
const FILE: &str = "tollgate.yaml";

/// Posts to the operator's listener.
async fn order(gateway: &Gateway, path: &str) -> Response {
    let mut client = Client::connect(gateway.admin.unwrap()).await;
    client
        .send(format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
        ))
        .await;
    client.response().await
}

/// The status that the operator's listener answers with.
async fn health(gateway: &Gateway) -> (u16, String) {
    let answer = gateway.get_admin("/health").await;
    let status = answer.json()["status"].as_str().unwrap().to_owned();
    (answer.status, status)
}
