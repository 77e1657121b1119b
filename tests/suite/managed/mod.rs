//! Tenants and keys that are made while the gateway runs.

mod command;
mod described;
mod imported;
mod postgres;
mod quotas;
mod refused;
mod used;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::chat;
use crate::support::client::Response;
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";
const TOKEN: &str = "token-of-the-operator";

/// A configuration with a ledger in a folder, and a token of the operator's.
fn with_ledger(upstream: SocketAddr, folder: &Folder) -> String {
    let ledger = format!("ledger: {{ path: '{}' }}\n", folder.0.display());
    let yaml = config(upstream, "", &ledger);
    yaml.replace("server:\n", &format!("server:\n  admin_token: {TOKEN}\n"))
}

async fn upstream() -> Upstream {
    Upstream::answering(r#"{"choices":[{"message":{"content":"x"}}]}"#).await
}

/// Asks the operator's listener. `body`: null for none.
async fn ask(gateway: &Gateway, method: &str, path: &str, body: Value) -> Response {
    let body = match body {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    let asking = async {
        let mut client = gateway.connect_admin().await;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\
             x-tollgate-actor: op@test\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        client.send(request).await;
        client.response().await
    };
    Box::pin(asking).await
}

/// Asks, and takes the answer, which has to have this status.
#[track_caller]
fn taken(response: &Response, status: u16) -> Value {
    assert_eq!(response.status, status, "{}", response.text());
    response.json()
}

/// Asserts on an error of the operator's listener.
#[track_caller]
fn assert_refused(
    response: &Response,
    status: u16,
    code: &str,
    param: Option<&str>,
    message: &str,
) {
    assert_eq!(response.status, status, "{}", response.text());
    let error = &response.json()["error"];
    let kind = match status {
        503 => "server_error",
        _ => "invalid_request_error",
    };
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!(kind), &json!(code)),
        "{error}"
    );
    assert_eq!(error["param"], json!(param), "{error}");
    let told = error["message"].as_str().unwrap();
    assert!(told.contains(message), "{told}");
}

/// Makes a key: its id and its text.
async fn make_key(gateway: &Gateway, tenant: &str, name: &str) -> (String, String) {
    let body = json!({ "tenant": tenant, "name": name });
    let made = taken(&ask(gateway, "POST", "/admin/keys", body).await, 201);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// Asks for a model with a key.
async fn chat_with(gateway: &Gateway, key: &str, model: &str) -> Response {
    let body = chat(model);
    let asking = async {
        let mut client = gateway.connect().await;
        let request = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        client.send(request).await;
        client.response().await
    };
    Box::pin(asking).await
}

async fn status_with(gateway: &Gateway, key: &str) -> u16 {
    chat_with(gateway, key, "gpt-4o").await.status
}

#[track_caller]
fn assert_unknown(response: &Response) {
    response.assert_error(401, "invalid_request_error", Some("invalid_api_key"), None);
}
