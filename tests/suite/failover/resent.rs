//! What is asked of the next is the whole request again, with the model's name and the key of the
//! next.

use super::{
    CHAT, GENEROUS, assert_whole, at, broken, error, gateway, healthy, outcomes, rule, serve,
};
use crate::support::form::{form_of, post_form};
use crate::support::upstream::Upstream;
use crate::support::{PROMPT, PROVIDER_KEY, chat};

const NAMED: &str = "{ upstream: first, model: one }, \
                     { upstream: second, model: two, priority: 1 }";

#[tokio::test]
async fn a_large_request_is_sent_whole_to_the_next() {
    let (first, second) = (broken().await, healthy("second").await);
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, ""),
    ];
    let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", NAMED, "")]);
    let body = chat("gpt-4o").replace(PROMPT, &"long prompt ".repeat(400_000));
    let response = front.post(CHAT, &body).await;
    assert_whole(&response, "second");
    for (upstream, name, model) in [(&first, "first", "one"), (&second, "second", "two")] {
        let request = upstream.request().await;
        let expected = body.replacen(r#""model":"gpt-4o""#, &format!(r#""model":"{model}""#), 1);
        assert!(request.text() == expected, "{name} got another body");
        let key = format!("Bearer {PROVIDER_KEY}-{name}");
        assert_eq!(request.header("authorization"), [key.as_str()]);
    }
}

#[tokio::test]
async fn a_form_is_sent_whole_to_the_next() {
    const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
    let first = broken().await;
    let second = Upstream::answering(r#"{"text":"hello"}"#).await;
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, ""),
    ];
    let front = gateway(GENEROUS, &upstreams, &[rule("whisper-1", NAMED, "")]);
    // One that waits in memory, and one that waits in a file.
    for file_bytes in [1_000, 3 << 20] {
        let mut client = front.connect().await;
        let form = form_of("whisper-1", file_bytes);
        client.send(post_form(TRANSCRIPTIONS, &form)).await;
        let response = client.response().await;
        let said = (response.status, response.text());
        assert_eq!(said, (200, r#"{"text":"hello"}"#));
        let expected = "first:server_error second:ok";
        assert_eq!(outcomes(&front, &response), expected);
        for (upstream, model) in [(&first, "one"), (&second, "two")] {
            let request = upstream.request().await;
            assert!(request.body == form_of(model, file_bytes), "{model}");
        }
    }
}

#[tokio::test]
async fn a_conflict_is_tried_once_more_here() {
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let first = Upstream::start(move |request, mut reply| {
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            match turn {
                0 => {
                    let body = error("It is being changed.", "conflict", None);
                    reply.json("409 Conflict", &body).await;
                }
                _ => serve("first", &request, &mut reply).await,
            }
            reply
        }
    })
    .await;
    let second = healthy("second").await;
    let front = super::one_then_other(&at("first", first.address, ""), &second);
    let response = front.post(CHAT, &chat("gpt-4o")).await;
    assert_whole(&response, "first");
    assert_eq!(outcomes(&front, &response), "first:conflict first:ok");
    assert_eq!(second.requests(), 0);
}
