//! Limits, quotas and metering: what is admitted, what is refused and how, and what is counted in the end.
//!
//! A rate over a minute or longer is asked about at once, so that time hardly pays for anything within a test.
//! Where every token matters the window slides: it pays for nothing before its end.

mod gone;
mod headers;
mod key_quotas;
mod pacing;
mod permits;
mod prices;
mod prices_upstreams;
mod quotas;
mod scopes;
mod sdk;
mod settlement;
mod sockets;
mod unread;
mod windows;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::client::{Client, Response};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROMPT, PROVIDER_KEY, chat, soon};

pub const CHAT: &str = "/v1/chat/completions";
/// The key of a second tenant.
pub const OTHER_KEY: &str = "other-key-of-the-tests";
/// An answer that has used 10 tokens.
pub const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":6,"completion_tokens":4,"total_tokens":10}}"#;

/// What a test changes of the usual configuration: more members of a mapping, each with a comma before it.
#[derive(Clone, Copy, Default)]
pub struct Setup<'s> {
    /// Of the upstream `far`.
    pub upstream: &'s str,
    /// Of the rule for `gpt-4o`.
    pub rule: &'s str,
    /// Of the tenant `tester`.
    pub tenant: &'s str,
    /// Of its key `ci`.
    pub key: &'s str,
    /// Of the server.
    pub server: &'s str,
    /// More upstreams, whole lines.
    pub upstreams: &'s str,
    /// More rules, whole lines.
    pub rules: &'s str,
    /// More sections.
    pub more: &'s str,
}

impl Setup<'_> {
    /// The configuration.
    pub fn yaml(&self, far: SocketAddr) -> String {
        let Self {
            upstream,
            rule,
            tenant,
            key,
            server,
            upstreams,
            rules,
            more,
        } = self;
        format!(
            "server: {{ listen: ['127.0.0.1:0'], admin: '127.0.0.1:0', log: {{ mask: false }}{server} }}
upstreams:
  far: {{ base_url: 'http://{far}/v1', keys: ['{PROVIDER_KEY}']{upstream} }}
{upstreams}models:
  - {{ match: gpt-4o, targets: [{{ upstream: far, model: gpt-4o-2024-11-20 }}]{rule} }}
  - {{ match: {{ prefix: same- }}, targets: [{{ upstream: far }}] }}
{rules}tenants:
  - {{ id: tester, keys: [{{ key: '{CLIENT_KEY}', name: ci{key} }}]{tenant} }}
  - {{ id: other, keys: ['{OTHER_KEY}'] }}
{more}"
        )
    }

    /// Starts a gateway with it.
    pub fn start(&self, far: SocketAddr) -> Gateway {
        Gateway::start(&self.yaml(far))
    }
}

/// An upstream that answers as often as there are permits.
pub async fn gated(gate: &Arc<Semaphore>) -> Upstream {
    let gate = Arc::clone(gate);
    Upstream::start(move |_, mut reply| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            reply.json("200 OK", ANSWER).await;
            reply
        }
    })
    .await
}

/// A chat request that wants at most so many tokens of output.
pub fn chat_up_to(model: &str, tokens: u64) -> String {
    let chat = chat(model);
    let open = chat.strip_suffix('}').unwrap();
    format!(r#"{open},"max_tokens":{tokens}}}"#)
}

/// A streamed one.
pub fn streamed_up_to(model: &str, tokens: u64) -> String {
    chat_up_to(model, tokens).replacen('{', r#"{"stream":true,"#, 1)
}

/// A request with any key; `headers` are whole lines, each ended by CRLF.
pub fn request(method: &str, path: &str, key: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Posts a chat with a key.
pub async fn ask_as(gateway: &Gateway, key: &str, body: &str) -> Response {
    let mut client = Client::connect(gateway.address).await;
    client.send(request("POST", CHAT, key, "", body)).await;
    client.response().await
}

/// Posts a chat with the tests' key.
pub async fn ask(gateway: &Gateway, body: &str) -> Response {
    gateway.post(CHAT, body).await
}

/// A number in a header.
#[track_caller]
pub fn number(response: &Response, name: &str) -> u64 {
    let value = response.header(name);
    let value = value.unwrap_or_else(|| panic!("no {name} in {response:?}"));
    value.parse().unwrap()
}

/// How many seconds a header says, as OpenAI writes a time: `6m0s`, `1.5s`, `20ms`.
#[track_caller]
pub fn seconds(response: &Response, name: &str) -> f64 {
    let value = response.header(name).unwrap();
    let mut rest = value.replace("ms", "µ");
    let mut sum = 0.0;
    for (unit, worth) in [('h', 3600.0), ('m', 60.0), ('s', 1.0), ('µ', 0.001)] {
        if let Some((number, behind)) = rest.clone().split_once(unit) {
            sum += worth * number.parse::<f64>().unwrap();
            behind.clone_into(&mut rest);
        }
    }
    assert!(rest.is_empty(), "{value}");
    sum
}

/// What is left of the tokens of the tenant, which must have a limit of them: a request for more than can ever pass is
/// told, and counts nothing.
pub async fn tokens_left(gateway: &Gateway) -> u64 {
    let refused = ask(gateway, &chat_up_to("gpt-4o", 1 << 40)).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    number(&refused, "x-ratelimit-remaining-tokens")
}

/// Waits until so many tokens are left.
pub async fn tokens_left_become(gateway: &Gateway, wanted: u64) {
    let asking = async { while tokens_left(gateway).await != wanted {} };
    soon(&format!("{wanted} tokens left"), asking).await;
}

/// Asks until a request is admitted, and gives its answer. It must be one of those that wait for others in flight.
pub async fn admitted(gateway: &Gateway, body: &str) -> Response {
    let asking = async {
        loop {
            let response = ask(gateway, body).await;
            if response.status != 429 {
                break response;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("the admission of a request", asking).await
}

/// Asserts that a limit refuses, and that the answer names it and what it is a limit of.
#[track_caller]
pub fn assert_refused(response: &Response, kind: &str, whose: &str, limit: &str) {
    response.assert_error(429, kind, Some("rate_limit_exceeded"), None);
    let body = response.json();
    let message = body["error"]["message"].as_str().unwrap();
    let expected = format!("for {whose} on {limit}: Limit ");
    assert!(message.contains(&expected), "{message}");
    assert!(!message.contains(PROMPT));
}

/// Asserts that a quota has nothing left.
#[track_caller]
pub fn assert_exhausted(response: &Response) {
    let kind = "insufficient_quota";
    response.assert_error(429, kind, Some(kind), None);
}
