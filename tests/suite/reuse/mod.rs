//! Answers that are given again: which are kept (`kept`), in which form they come back (`forms`), each text of a list
//! (`inputs`), who may get them (`scope`), what a request says (`says`), what they cost (`accounts`), equal requests at
//! the same time (`flights`), what happens meanwhile (`order`), what the operator sees and removes (`operation`), what
//! the SDKs make of them (`sdk`), the level that several nodes share (`second`), questions that mean the same
//! (`meaning`, with a real model in `calibrated` and a database in `vector_store` and `vector_rest`), and the
//! providers' own caches (`prompt_caches`).

mod accounts;
mod calibrated;
mod flights;
mod forms;
mod inputs;
mod kept;
mod meaning;
mod operation;
mod order;
mod prompt_caches;
mod says;
mod scope;
mod sdk;
mod second;
mod vector_rest;
mod vector_store;

use crate::support::client::{Client, Response, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::{Received, Reply, Upstream};
use crate::support::{DONE, FINISHED, delta};

const CHAT: &str = "/v1/chat/completions";
const USAGE: &str = r#"{"prompt_tokens":11,"completion_tokens":4,"total_tokens":15}"#;

/// A request whose answer is the same each time, as far as it can say so.
fn certain(text: &str) -> String {
    asking(text, r#","temperature":0"#)
}

/// A request with these members besides.
fn asking(text: &str, members: &str) -> String {
    format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"{text}"}}]{members}}}"#)
}

/// The members of a request for a stream.
const STREAMED: &str = r#","temperature":0,"stream":true"#;
const STREAMED_WITH_USAGE: &str =
    r#","temperature":0,"stream":true,"stream_options":{"include_usage":true}"#;

/// A whole answer with this text.
fn answer(text: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-2024-11-20","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{USAGE}}}"#
    )
}

/// The events of a stream with this text.
fn events(text: &str, with_usage: bool) -> String {
    let usage = match with_usage {
        true => format!("data: {{\"choices\":[],\"usage\":{USAGE}}}\n\n"),
        false => String::new(),
    };
    [&delta(text), FINISHED, &usage, DONE].concat()
}

/// Answers in the form that is asked for. The text says which request it was, from 1 on.
async fn counting() -> Upstream {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    Upstream::start(move |request, reply| {
        let number = 1 + count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        serve(number, request, reply)
    })
    .await
}

async fn serve(number: usize, request: Received, mut reply: Reply) -> Reply {
    let text = format!("answer {number}");
    let body = request.text();
    match body.contains("\"stream\":true") {
        true => {
            let with_usage = body.contains("\"include_usage\":true");
            reply.stream(&events(&text, with_usage)).await;
        }
        false => reply.json("200 OK", &answer(&text)).await,
    }
    reply
}

/// A gateway whose first rule has these keys.
fn gateway(upstream: &Upstream, keys: &str) -> Gateway {
    Gateway::start(&configured(upstream, keys, ""))
}

fn configured(upstream: &Upstream, keys: &str, more: &str) -> String {
    config(upstream.address, "", more).replace(
        "{ match: gpt-4o, targets",
        &format!("{{ match: gpt-4o, {keys}, targets"),
    )
}

async fn ask(client: &mut Client, body: &str) -> Response {
    client.post(CHAT, body).await
}

async fn ask_with(client: &mut Client, headers: &str, body: &str) -> Response {
    client.send(post(CHAT, headers, body)).await;
    client.response().await
}

/// What it says of the cache.
fn result(response: &Response) -> &str {
    response.header("x-tollgate-cache").unwrap_or("-")
}

/// The text of an answer, in either form, and what it says of the cache.
fn told(response: &Response) -> (String, &str) {
    assert_eq!(response.status, 200, "{response:?}");
    assert!(response.complete, "{response:?}");
    let text = response.text();
    let begin = text.find("answer ").unwrap_or_else(|| panic!("{text}"));
    let number = &text[begin..];
    let end = number.find('"').unwrap();
    (number[..end].to_owned(), result(response))
}

fn is(response: &Response, text: &str, cache: &str) {
    assert_eq!(told(response), (text.to_owned(), cache), "{response:?}");
}
