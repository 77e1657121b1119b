//! What was used is in the ledger once, whatever ends the process, and quotas go on from there.
//!
//! The ledger is read as an operator would read it, with SQLite, while the gateway runs and after it.

mod abandoned;
mod answered;
mod clocks;
mod damage;
mod full_disk;
mod key_quotas;
mod killed;
mod large;
mod postgres;
mod quotas;
mod refused_starts;
pub mod rows;
mod stopped;
mod upgraded;

use std::net::SocketAddr;

use crate::support::client::{Client, Response};
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::{CLIENT_KEY, chat};

const CHAT: &str = "/v1/chat/completions";

/// The tests' configuration with a ledger in this folder, and more lines: first items of `tenants`, then sections.
fn with_ledger(upstream: SocketAddr, folder: &Folder, more: &str) -> String {
    let ledger = format!("ledger: {{ path: '{}' }}\n", folder.0.display());
    config(upstream, "", &format!("{more}{ledger}"))
}

/// A tenant with a quota, as an item of `tenants`. Its key is its name behind the tests' key.
fn capped(name: &str, quota: &str) -> String {
    format!("  - {{ id: {name}, keys: ['{CLIENT_KEY}-{name}'], quota: {quota} }}\n")
}

/// Asks for a short answer as a tenant of [`capped`]: little is set aside for it.
async fn ask_as(name: &str, gateway: &Gateway) -> Response {
    let body = chat("gpt-4o").replace(r#"{"model""#, r#"{"max_tokens":1,"model""#);
    let mut client = gateway.connect().await;
    send_as(name, &mut client, &body).await;
    client.response().await
}

async fn send_as(name: &str, client: &mut Client, body: &str) {
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {CLIENT_KEY}-{name}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(request).await;
}

/// A chat's answer that has used so many tokens, all of them input.
fn used(tokens: u64) -> String {
    format!(
        r#"{{"choices":[{{"message":{{"content":"x"}}}}],"usage":{{"prompt_tokens":{tokens},"completion_tokens":0,"total_tokens":{tokens}}}}}"#
    )
}

/// Asserts that a request was refused because a quota has nothing left.
#[track_caller]
fn assert_exhausted(response: &Response) {
    let code = Some("insufficient_quota");
    response.assert_error(429, "insufficient_quota", code, None);
}

/// Ends a gateway as nothing can be prepared for.
fn kill(gateway: &mut Gateway) {
    gateway.signal("KILL");
    gateway.wait();
}

/// Ends a gateway as an operator does.
fn stop(gateway: &mut Gateway) {
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}
