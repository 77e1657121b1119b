//! The providers' own prompt caches: what Tollgate leaves as it is, and where it sends a conversation.

use std::collections::BTreeSet;

use super::{CHAT, ask};
use crate::support::client::post;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;

const ANSWER: &str = r#"{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":100,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":80}}}"#;

/// Where two texts begin to differ.
fn same(one: &str, other: &str) -> usize {
    let pairs = one.bytes().zip(other.bytes());
    pairs.take_while(|(a, b)| a == b).count()
}

#[tokio::test]
async fn no_byte_before_the_first_change_is_altered_by_any_transform() {
    // In an odd form, so that writing it anew would show.
    let prompt = "{ \"messages\" : [ {\"role\":\"system\", \"content\" : \"\\u4f60 \" } ] ,\n \"logit_bias\":{ } , \"max_tokens\": 7.0 ,";
    let rest = " \"model\" : \"gpt-4o\" , \"stop\":[ \"a\" ]}";
    let body = [prompt, rest].concat();
    for (target, dialect, streamed, first) in [
        ("", "", false, "\"gpt-4o\""),
        (", model: gpt-4o-other", "", true, "\"gpt-4o\""),
        (", body: { set: { seed: 5 } }", "", false, "\"gpt-4o\""),
        (
            ", body: { default: { seed: 5, max_tokens: 9 } }",
            "",
            true,
            "\"gpt-4o\"",
        ),
        (", stop: [b]", "", false, "\"gpt-4o\""),
        (", upstream_stream: always", "", false, "\"gpt-4o\""),
        (
            ", special_prefix: x, response_model: requested",
            "",
            true,
            "\"gpt-4o\"",
        ),
        (
            "",
            ", dialect: { name: openai_compatible, rename: { max_tokens: max_completion_tokens } }",
            false,
            "\"max_tokens\"",
        ),
        (
            "",
            ", dialect: { name: openai_compatible, drop: [logit_bias] }",
            false,
            " ,\n \"logit_bias\"",
        ),
    ] {
        let upstream = Upstream::start(move |request, mut reply| async move {
            match request.text().contains("\"stream\":true") {
                true => reply.stream(&super::events("answer 1", true)).await,
                false => reply.json("200 OK", ANSWER).await,
            }
            reply
        })
        .await;
        let target_model = if target.contains("model: ") && !target.contains("response_model") {
            "targets: [{ upstream: far".to_owned() + target + " }]"
        } else {
            format!("targets: [{{ upstream: far, model: gpt-4o-2024-11-20{target} }}]")
        };
        let yaml = config(upstream.address, dialect, "").replace(
            "targets: [{ upstream: far, model: gpt-4o-2024-11-20 }]",
            &target_model,
        );
        let gateway = Gateway::start(&yaml);
        let mut client = gateway.connect().await;
        let body = match streamed {
            true => body.replace("]}", "],\"stream\":true}"),
            false => body.clone(),
        };
        assert_eq!(
            ask(&mut client, &body).await.status,
            200,
            "{target}{dialect}"
        );
        let seen = upstream.request().await;
        let least = body.find(first).unwrap();
        let text = seen.text();
        assert!(same(&body, text) >= least, "{target}{dialect}: {text}");
        assert_ne!(seen.text(), body);
    }
}

/// Says in its answer which of two it is, and the end of the key that it was asked with.
async fn telling(name: &'static str) -> Upstream {
    Upstream::start(move |request, mut reply| async move {
        let key = request.header("authorization").concat();
        let end = &key[key.len() - 4..];
        let body = format!(r#"{{"choices":[{{"message":{{"content":"{name} {end}"}}}}]}}"#);
        reply.json("200 OK", &body).await;
        reply
    })
    .await
}

/// Which target and which key of ours each of these conversations gets.
async fn places(gateway: &Gateway, names: &[String], is_header: bool) -> Vec<String> {
    let mut client = gateway.connect().await;
    let mut places = Vec::new();
    for name in names {
        let (headers, members) = match is_header {
            true => (format!("session_id: {name}\r\n"), String::new()),
            false => (String::new(), format!(",\"prompt_cache_key\":\"{name}\"")),
        };
        client
            .send(post(CHAT, &headers, &super::asking("x", &members)))
            .await;
        let answer = client.response().await.json();
        let place = &answer["choices"][0]["message"]["content"];
        places.push(place.as_str().unwrap().to_owned());
    }
    places
}

#[tokio::test]
async fn a_conversation_stays_with_its_target_and_key() {
    let (one, two) = (telling("one").await, telling("two").await);
    let other = format!(
        "upstreams:\n  other: {{ base_url: 'http://{}/v1', keys: [key-c-12345-cccc, key-d-12345-dddd] }}\n",
        two.address
    );
    let yaml = config(one.address, "", "")
        .replace("upstreams:\n", &other)
        .replace(
            "targets: [{ upstream: far, model: gpt-4o-2024-11-20 }]",
            "targets: [{ upstream: far }, { upstream: other }]",
        );
    // No multiple of the number of turns, so that a second round would go elsewhere.
    let names: Vec<String> = (0..23).map(|n| format!("conversation-{n}")).collect();
    for (keys, stays) in [("", true), ("affinity: off, ", false)] {
        let rule = format!("{{ match: gpt-4o, {keys}targets");
        let gateway = Gateway::start(&yaml.replace("{ match: gpt-4o, targets", &rule));
        for is_header in [false, true] {
            let first = places(&gateway, &names, is_header).await;
            let shares: BTreeSet<&String> = first.iter().collect();
            assert_eq!(shares.len(), 3, "each key has a share: {shares:?}");
            let again = places(&gateway, &names, is_header).await;
            assert_eq!(again == first, stays, "{keys} {is_header}");
        }
    }
}

#[tokio::test]
async fn how_much_came_from_a_provider_s_cache_is_shown() {
    let upstream = Upstream::answering(ANSWER).await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        assert_eq!(ask(&mut client, &super::asking("x", "")).await.status, 200);
    }
    let ratio = gateway
        .metric(r#"tollgate_prompt_cache_ratio{rule="gpt-4o"}"#)
        .await;
    assert!((ratio - 0.8).abs() < 1e-9, "{ratio}");
}
