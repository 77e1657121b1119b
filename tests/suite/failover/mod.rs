//! What happens when providers fail: who is asked next, what the client sees of it, and what it is
//! told when nobody is left. Here: the parts that these tests share.

mod addresses;
mod best;
mod bounds;
mod choosing;
mod connections;
mod continued;
mod crash;
mod faults;
mod faults_told;
mod health;
mod hedging;
mod holding;
mod key_evidence;
mod keys;
mod recovery;
mod resent;
mod same_model;
mod sixteen;
mod status;
mod streams;
mod under_success;
mod whole;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;

use serde_json::Value;

use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Reply, Upstream};
use crate::support::{CLIENT_KEY, PROVIDER_KEY};

pub const CHAT: &str = "/v1/chat/completions";
pub const RESPONSES: &str = "/v1/responses";
/// How many tokens a whole answer has.
pub const TOKENS: usize = 60;
/// Further attempts come soon, and all requests together may make as many as they like.
pub const GENEROUS: &str = "backoff: 10ms, budget_percent: 100, budget_floor: 10000";

/// An upstream of the configuration: one server, one key that bears the upstream's name.
pub fn at(name: &str, address: impl Display, more: &str) -> String {
    format!(
        "  {name}: {{ base_url: 'http://{address}/v1', keys: ['{PROVIDER_KEY}-{name}']{more} }}\n"
    )
}

/// An upstream of several servers, each with its weight.
pub fn among(name: &str, servers: &[(SocketAddr, u32)], more: &str) -> String {
    let one = |(address, weight): &(SocketAddr, u32)| {
        format!("{{ url: 'http://{address}/v1', weight: {weight} }}")
    };
    let servers: Vec<String> = servers.iter().map(one).collect();
    let servers = servers.join(", ");
    format!("  {name}: {{ servers: [{servers}], keys: ['{PROVIDER_KEY}-{name}']{more} }}\n")
}

/// A rule for one name.
pub fn rule(name: &str, targets: &str, more: &str) -> String {
    format!("  - {{ match: {name}, targets: [{targets}]{more} }}\n")
}

/// A gateway with these retries, upstreams and rules.
pub fn gateway(retries: &str, upstreams: &[String], rules: &[String]) -> Gateway {
    Gateway::start(&gateway_yaml(retries, upstreams, rules))
}

/// Its configuration.
pub fn gateway_yaml(retries: &str, upstreams: &[String], rules: &[String]) -> String {
    format!(
        "server:
  listen: ['127.0.0.1:0']
  admin: '127.0.0.1:0'
  log: {{ mask: false }}
  retries: {{ {retries} }}
upstreams:
{}models:
{}tenants:
  - {{ id: tester, keys: ['{CLIENT_KEY}'] }}
",
        upstreams.concat(),
        rules.concat()
    )
}

/// A gateway that asks `first`, and then `second`.
pub fn one_then_other(first: &str, second: &Upstream) -> Gateway {
    let upstreams = [first.to_owned(), at("second", second.address, "")];
    gateway(GENEROUS, &upstreams, &[rule("gpt-4o", TIERS, "")])
}

/// Two targets, the second of which is asked when the first cannot be.
pub const TIERS: &str = "{ upstream: first }, { upstream: second, priority: 1 }";

/// A chunk of a streamed chat with a delta.
pub fn delta(delta: &str, finish: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
    )
}

pub fn role() -> String {
    delta(r#"{"role":"assistant","content":""}"#, "null")
}

pub fn token(speaker: &str, n: usize) -> String {
    delta(&format!(r#"{{"content":"{speaker}{n} "}}"#), "null")
}

pub fn finish() -> String {
    delta("{}", "\"stop\"")
}

/// What an upstream says in a whole answer.
pub fn whole(speaker: &str) -> String {
    (0..TOKENS).map(|n| format!("{speaker}{n} ")).collect()
}

/// Answers a request as a provider does that is well.
pub async fn serve(speaker: &str, request: &Received, reply: &mut Reply) {
    let is_stream = request.text().contains(r#""stream":true"#);
    match (is_stream, request.path.as_str()) {
        (true, RESPONSES) => {
            reply.begin_stream().await;
            typed(
                reply,
                "response.created",
                r#""response":{"id":"resp_1","usage":null}"#,
            )
            .await;
            for n in 0..TOKENS {
                let text = format!(r#""delta":"{speaker}{n} ""#);
                typed(reply, "response.output_text.delta", &text).await;
            }
            let end = r#""response":{"id":"resp_1","status":"completed"}"#;
            typed(reply, "response.completed", end).await;
            reply.end_stream().await;
        }
        (true, _) => {
            reply.begin_stream().await;
            tokens(speaker, 0..TOKENS, reply).await;
            reply.event(&finish()).await;
            reply.event("[DONE]").await;
            reply.end_stream().await;
        }
        (false, _) => reply.json("200 OK", &answer(speaker)).await,
    }
}

/// A role, and some of the tokens behind it, in one write: so that all of it has come before a
/// reset, which throws away what has not been sent yet.
pub async fn tokens(speaker: &str, which: std::ops::Range<usize>, reply: &mut Reply) {
    let tokens = which.map(|n| token(speaker, n));
    let events = std::iter::once(role()).chain(tokens);
    let text: String = events.map(|event| format!("data: {event}\n\n")).collect();
    reply.chunk(&text).await;
}

/// An event of the responses API.
pub async fn typed(reply: &mut Reply, kind: &str, more: &str) {
    reply.chunk(&typed_event(kind, more)).await;
}

/// The same, as it is written.
pub fn typed_event(kind: &str, more: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{more}}}\n\n")
}

/// A whole chat in JSON.
pub fn answer(speaker: &str) -> String {
    let text = whole(speaker);
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":60,"total_tokens":61}}}}"#
    )
}

/// An error in OpenAI's form, with all four keys.
pub fn error(message: &str, kind: &str, code: Option<&str>) -> String {
    let body = serde_json::json!({ "error": {
        "message": message, "type": kind, "param": null, "code": code,
    }});
    body.to_string()
}

/// A provider that is well.
pub async fn healthy(speaker: &'static str) -> Upstream {
    Upstream::start(move |request, mut reply| async move {
        serve(speaker, &request, &mut reply).await;
        reply
    })
    .await
}

/// A provider that answers everything with an error.
pub async fn failing(status: &'static str, headers: &'static str, body: String) -> Upstream {
    Upstream::start(move |_, mut reply| {
        let body = body.clone();
        async move {
            reply.json_with(status, headers, &body).await;
            reply
        }
    })
    .await
}

/// A provider whose server fails.
pub async fn broken() -> Upstream {
    let body = error("The server had an error.", "server_error", None);
    failing("500 Internal Server Error", "", body).await
}

/// An address at which nobody listens.
pub fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// What a client makes of an answer.
#[derive(Debug, Default)]
pub struct Told {
    /// The text that the model said.
    pub text: String,
    /// Whether the API's own sign of a good end came.
    pub is_finished: bool,
    /// Whether `[DONE]` came.
    pub is_done: bool,
    /// The error that came in a stream.
    pub error: Option<Value>,
    /// How many comments came.
    pub comments: usize,
    /// Events that are no JSON.
    pub malformed: usize,
}

impl Told {
    /// Reads an answer of a chat or of the responses API.
    pub fn of(response: &Response) -> Self {
        let mut told = Self::default();
        let is_stream = response
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        if !is_stream {
            let choice = &response.json()["choices"][0];
            told.text = choice["message"]["content"].as_str().unwrap().to_owned();
            told.is_finished = choice["finish_reason"] == "stop";
            return told;
        }
        for event in response.text().split("\n\n").filter(|e| !e.is_empty()) {
            told.comments += event.lines().filter(|line| line.starts_with(':')).count();
            for line in event.lines() {
                match line.strip_prefix("data: ") {
                    Some("[DONE]") => told.is_done = true,
                    Some(data) => told.read(data),
                    None => {}
                }
            }
        }
        told
    }

    fn read(&mut self, data: &str) {
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            self.malformed += 1;
            return;
        };
        let choice = &event["choices"][0];
        self.text += choice["delta"]["content"].as_str().unwrap_or_default();
        self.is_finished |= choice["finish_reason"].is_string();
        match event["type"].as_str() {
            Some("response.output_text.delta") => self.text += event["delta"].as_str().unwrap(),
            Some("response.completed") => self.is_finished = true,
            Some("error") => self.error = Some(event.clone()),
            Some("response.failed") => self.error = Some(event["response"]["error"].clone()),
            _ => {}
        }
        if event["error"].is_object() {
            self.error = Some(event["error"].clone());
        }
    }
}

/// Asserts that this is all of what `speaker` says, and nothing else.
#[track_caller]
pub fn assert_whole(response: &Response, speaker: &str) {
    assert_eq!(response.status, 200, "{response:?}");
    assert!(response.complete, "{response:?}");
    let told = Told::of(response);
    assert_eq!(told.text, whole(speaker));
    assert!(told.is_finished && told.error.is_none(), "{told:?}");
}

/// Asserts that a stream tells of an error, and does not look complete.
#[track_caller]
pub fn assert_broken(response: &Response, code: &str) -> Told {
    assert_eq!(response.status, 200, "{response:?}");
    let told = Told::of(response);
    let error = told.error.as_ref().expect("an error in the stream");
    assert_eq!(error["code"], code, "{told:?}");
    assert!(!told.is_done && !told.is_finished, "{told:?}");
    told
}

/// One attempt, as the access line tells of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Tried {
    pub upstream: String,
    pub key: String,
    pub outcome: String,
}

/// What the access line of an answer says was tried.
pub fn trail(gateway: &Gateway, response: &Response) -> Vec<Tried> {
    let id = response.header("x-request-id").unwrap();
    let line = gateway.access_line(&format!("id={id} "));
    let (_, rest) = line.split_once(" trail=").expect("a trail");
    let trail = rest.split_whitespace().next().unwrap();
    let attempts = trail.split(',').filter(|one| *one != "-");
    let one = |attempt: &str| {
        let (upstream, rest) = attempt.split_once('/').unwrap();
        let parts: Vec<&str> = rest.split(':').collect();
        // Behind them why its target was chosen, where the rule says how.
        let [key, outcome, time_ms, ..] = parts[..] else {
            panic!("`{attempt}` is no attempt");
        };
        assert!(time_ms.parse::<f64>().is_ok_and(|ms| ms >= 0.0));
        Tried {
            upstream: upstream.to_owned(),
            key: key.to_owned(),
            outcome: outcome.to_owned(),
        }
    };
    attempts.map(one).collect()
}

/// The same without the keys, as in `first:silent second:ok`.
pub fn outcomes(gateway: &Gateway, response: &Response) -> String {
    let trail = trail(gateway, response);
    let one = |tried: &Tried| format!("{}:{}", tried.upstream, tried.outcome);
    let all: Vec<String> = trail.iter().map(one).collect();
    all.join(" ")
}

/// A metric of the gateway's.
pub async fn metric(gateway: &Gateway, series: &str) -> u64 {
    let metrics = gateway.get_admin("/metrics").await;
    let mut lines = metrics.text().lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// How often each of several occurs.
pub fn counted<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}
