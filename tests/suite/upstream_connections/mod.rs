//! How upstreams are connected to: with other authorities, a certificate of ours and another name (`tls`), through a
//! forward proxy (`proxy`), over a Unix socket (`socket`). The far ends are relays in front of a scripted upstream.

pub mod ends;
mod proxy;
mod socket;
mod tls;

use std::net::SocketAddr;

use crate::support::client::Client;
use crate::support::gateway::config;
use crate::support::{PROVIDER_KEY, chat};

/// What a scripted upstream answers here.
const ANSWER: &str = "{\"ok\":1}";
const CHAT: &str = "/v1/chat/completions";

/// A configuration whose one upstream is spoken to over TLS, with these keys.
fn over_tls(address: SocketAddr, keys: &str) -> String {
    config(address, keys, "").replace("base_url: 'http:", "base_url: 'https:")
}

/// A configuration with a second upstream at the same address, which has other keys. It serves the model `missing`.
fn beside(yaml: &str, url: &str, keys: &str) -> String {
    let other =
        format!("upstreams:\n  other: {{ base_url: '{url}', keys: ['{PROVIDER_KEY}']{keys} }}\n");
    let rule = "models:\n  - { match: missing, targets: [{ upstream: other }] }\n";
    let yaml = yaml.replace("upstreams:\n", &other);
    yaml.replace("models:\n", rule)
}

/// Requests of one client's connection follow each other: each is served once what the one before it has used of an
/// upstream is free again.
async fn is_answered(client: &mut Client, model: &str) {
    let answer = client.post(CHAT, &chat(model)).await;
    assert_eq!((answer.status, answer.text()), (200, ANSWER));
}
