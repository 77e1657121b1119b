//! Who may call: the methods by which a caller is found, each with what it refuses.

mod addresses;
mod certificates;
mod keys;
mod pages;
mod signatures;
mod tokens;

use crate::support::chat;
use crate::support::client::{Client, Response};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;

/// The usual configuration with these sections in place of its tenants.
fn yaml(upstream: &Upstream, sections: &str) -> String {
    let yaml = config(upstream.address, "", "");
    let (before, _) = yaml.split_once("tenants:\n").unwrap();
    format!("{before}{sections}")
}

/// Asks with these headers, each with its line end.
async fn ask(gateway: &Gateway, headers: &str) -> Response {
    let body = chat("gpt-4o");
    let mut client = Client::connect(gateway.address).await;
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let length = body.len();
    client
        .send(format!(
            "{head}{headers}content-length: {length}\r\n\r\n{body}"
        ))
        .await;
    client.response().await
}

/// Asks with a key or a token.
async fn bearer(gateway: &Gateway, key: &str) -> Response {
    ask(gateway, &format!("authorization: Bearer {key}\r\n")).await
}

/// How often callers have been refused by a method for a reason.
fn refused(method: &str, reason: &str) -> String {
    format!("tollgate_callers_refused_total{{method=\"{method}\",reason=\"{reason}\"}}")
}
