//! What every test needs: a provider's far end, scripted over a socket; the real binary; a client
//! that sees bytes. Nothing here stands in for a part of ours.

pub mod authority;
pub mod certificate;
pub mod client;
pub mod embeddings;
pub mod form;
pub mod gateway;
pub mod http2;
pub mod line;
pub mod postgres;
pub mod recorded;
pub mod redis;
pub mod redis_servers;
pub mod sm;
pub mod tools;
pub mod upstream;
pub mod websocket;

use std::future::Future;
use std::time::Duration;

/// How long anything may take before a test gives up. Only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a client presents to the gateway in the tests.
pub const CLIENT_KEY: &str = "client-key-canary-7f3a";
/// What the gateway presents to an upstream in the tests.
pub const PROVIDER_KEY: &str = "provider-key-canary-91bc";
/// A prompt that must never be seen in any output.
pub const PROMPT: &str = "canary-prompt-d41d";

/// Waits for something that must happen.
pub fn soon<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    within(PATIENCE, what, future)
}

/// The same, within a time of the caller's.
pub fn within<T>(
    patience: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> impl Future<Output = T> {
    // On the heap: what waits in what waits would be as large as all of it together, on a test's small stack.
    let future = Box::pin(future);
    async move {
        match tokio::time::timeout(patience, future).await {
            Ok(value) => value,
            Err(_) => panic!("{what} did not happen within {patience:?}"),
        }
    }
}

/// Waits for what no event tells of.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let asking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, asking).await;
}

/// A chat request for a model.
pub fn chat(model: &str) -> String {
    format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{PROMPT}"}}]}}"#)
}

/// An event of a streamed chat, or of a streamed completion, that says something.
pub fn delta(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

/// The event that finishes what is said.
pub const FINISHED: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

/// What ends such a stream.
pub const DONE: &str = "data: [DONE]\n\n";

/// A streamed chat request for a model.
pub fn streamed_chat(model: &str) -> String {
    format!(
        r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"{PROMPT}"}}]}}"#
    )
}
