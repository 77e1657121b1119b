//! Who may get an answer that is kept.

use std::fmt::Write;

use super::{answer, ask, certain, configured, counting, is, result};
use crate::support::CLIENT_KEY;
use crate::support::client::{Client, Response};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// Posts with another key than the tests'.
async fn ask_as(client: &mut Client, key: &str, body: &str) -> Response {
    let request = crate::support::client::post(super::CHAT, "", body).replace(CLIENT_KEY, key);
    client.send(request).await;
    client.response().await
}

const TENANTS: &str =
    "  - { id: a, keys: [key-of-a-1234, { key: second-of-a-1234, name: second }] }
  - { id: b, keys: [key-of-b-1234] }
  - { id: never, keys: [key-of-never-1234], cache: off }
";

fn with_tenants(upstream: &Upstream, keys: &str) -> Gateway {
    Gateway::start(&configured(upstream, keys, TENANTS))
}

#[tokio::test]
async fn by_default_an_answer_is_its_tenant_s() {
    let upstream = counting().await;
    let gateway = with_tenants(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    for (key, text, cache) in [
        ("key-of-a-1234", "answer 1", "miss"),
        ("second-of-a-1234", "answer 1", "hit"),
        ("key-of-b-1234", "answer 2", "miss"),
        ("key-of-never-1234", "answer 3", "bypass"),
        ("key-of-never-1234", "answer 4", "bypass"),
        ("key-of-a-1234", "answer 1", "hit"),
    ] {
        is(&ask_as(&mut client, key, &certain("x")).await, text, cache);
    }
}

#[tokio::test]
async fn it_can_be_its_key_s_or_everyone_s() {
    let upstream = counting().await;
    let gateway = with_tenants(&upstream, "cache: { scope: key }");
    let mut client = gateway.connect().await;
    for (key, text, cache) in [
        ("key-of-a-1234", "answer 1", "miss"),
        ("second-of-a-1234", "answer 2", "miss"),
        ("key-of-a-1234", "answer 1", "hit"),
    ] {
        is(&ask_as(&mut client, key, &certain("x")).await, text, cache);
    }
    let gateway = with_tenants(&upstream, "cache: { scope: global }");
    let said = gateway.output().wait_for("every tenant");
    assert!(said.contains("models[0].cache"), "{said}");
    let mut client = gateway.connect().await;
    for (key, text, cache) in [
        ("key-of-a-1234", "answer 3", "miss"),
        ("key-of-b-1234", "answer 3", "hit"),
        ("key-of-never-1234", "answer 4", "bypass"),
    ] {
        is(&ask_as(&mut client, key, &certain("x")).await, text, cache);
    }
}

#[tokio::test]
async fn rules_have_answers_of_their_own() {
    let upstream = counting().await;
    let yaml = configured(&upstream, "cache: { scope: global }", "").replace(
        "{ match: forbidden, targets",
        "{ match: gpt-4o-mini, cache: { scope: global }, targets",
    );
    let yaml = yaml.replace("models: [gpt-4o,", "models: [gpt-4o, gpt-4o-mini,");
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    is(&ask(&mut client, &certain("x")).await, "answer 1", "miss");
    let other = certain("x").replace("\"gpt-4o\"", "\"gpt-4o-mini\"");
    is(&ask(&mut client, &other).await, "answer 2", "miss");
    is(&ask(&mut client, &other).await, "answer 2", "hit");
}

#[tokio::test]
async fn what_a_header_decides_is_another_answer() {
    let upstream = counting().await;
    let yaml = configured(&upstream, "cache: true", "")
        .replace("/v1', keys:", "/v1', forward_headers: [x-variant], keys:");
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    for (headers, text, cache) in [
        ("", "answer 1", "miss"),
        ("x-variant: b\r\n", "answer 2", "miss"),
        ("x-variant: b\r\n", "answer 2", "hit"),
        ("x-other: b\r\nuser-agent: other\r\n", "answer 1", "hit"),
        ("openai-beta: assistants=v2\r\n", "answer 3", "miss"),
    ] {
        is(
            &super::ask_with(&mut client, headers, &certain("x")).await,
            text,
            cache,
        );
    }
}

#[tokio::test]
async fn clients_with_keys_of_their_own_get_answers_of_their_own() {
    let upstream = counting().await;
    let yaml = format!(
        "server: {{ listen: ['127.0.0.1:0'], admin: '127.0.0.1:0' }}
upstreams: {{ far: {{ base_url: 'http://{}/v1', keys: passthrough }} }}
models: [{{ match: gpt-4o, cache: {{ scope: global }}, targets: [{{ upstream: far }}] }}]
",
        upstream.address
    );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    for (key, text, cache) in [
        ("sk-of-one-client", "answer 1", "miss"),
        ("sk-of-another", "answer 2", "miss"),
        ("sk-of-one-client", "answer 1", "hit"),
    ] {
        is(&ask_as(&mut client, key, &certain("x")).await, text, cache);
    }
}

#[tokio::test]
async fn a_changed_rule_has_new_answers_and_an_unchanged_one_keeps_its() {
    let upstream = counting().await;
    let gateway = Gateway::start(&configured(&upstream, "cache: true", ""));
    let mut client = gateway.connect().await;
    is(&ask(&mut client, &certain("x")).await, "answer 1", "miss");
    for (yaml, text, cache) in [
        (
            configured(&upstream, "cache: { ttl: 5m }", "# changed\n"),
            "answer 1",
            "hit",
        ),
        (
            configured(&upstream, "cache: true", "").replace("gpt-4o-2024-11-20", "gpt-4o-other"),
            "answer 2",
            "miss",
        ),
        (configured(&upstream, "cache: true", ""), "answer 1", "hit"),
    ] {
        gateway.folder().write("tollgate.yaml", &yaml);
        gateway.signal("HUP");
        let renewed = async {
            loop {
                let response = ask(&mut client, &certain("x")).await;
                if super::told(&response) == (text.to_owned(), cache) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        crate::support::soon(text, renewed).await;
    }
}

/// A random number from a seed, which repeats in a failing run.
fn next(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    *state >> 33
}

#[tokio::test]
async fn two_tenants_with_the_same_prompts_never_get_each_other_s_answers() {
    // The upstream says which tenant it serves, by a header that each of them sends.
    let upstream = Upstream::start(|request, mut reply| async move {
        let mut text = String::from("answer ");
        write!(text, "{}", request.header("x-title").concat()).unwrap();
        match request.text().contains("\"stream\":true") {
            true => reply.stream(&super::events(&text, true)).await,
            false => reply.json("200 OK", &answer(&text)).await,
        }
        reply
    })
    .await;
    for keys in [
        "cache: true",
        "cache: { when: always }",
        "cache: { scope: key }, coalesce: true",
    ] {
        let gateway = with_tenants(&upstream, keys);
        let ask_many = async |tenant: &str, seed: u64| {
            let (mut state, mut hits) = (seed, 0);
            let mut client = gateway.connect().await;
            for _ in 0..170 {
                let prompt = next(&mut state) % 40;
                let members = match next(&mut state) % 3 {
                    0 => super::STREAMED,
                    1 => r#","temperature":0,"user":"same""#,
                    _ => r#","temperature":0"#,
                };
                let key = format!("key-of-{tenant}-1234");
                let headers = format!("x-title: {tenant}\r\n");
                let body = super::asking(&prompt.to_string(), members);
                let request = crate::support::client::post(super::CHAT, &headers, &body);
                client.send(request.replace(CLIENT_KEY, &key)).await;
                let response = client.response().await;
                assert_eq!(super::told(&response).0, format!("answer {tenant}"));
                hits += usize::from(result(&response) == "hit");
            }
            hits
        };
        let (of_a, of_b) = tokio::join!(ask_many("a", 1), ask_many("b", 2));
        assert!(
            of_a > 50 && of_b > 50,
            "{of_a} {of_b}: it is the cache that was tried"
        );
    }
}

#[tokio::test]
async fn a_header_that_is_not_sent_on_decides_nothing() {
    let upstream = counting().await;
    let gateway = with_tenants(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    let beta = "openai-beta: assistants=v2\r\n";
    let hidden = format!("{beta}connection: keep-alive, openai-beta\r\n");
    for (headers, text, cache) in [
        (hidden.as_str(), "answer 1", "miss"),
        (beta, "answer 2", "miss"),
        ("", "answer 1", "hit"),
        (beta, "answer 2", "hit"),
    ] {
        is(
            &super::ask_with(&mut client, headers, &certain("a")).await,
            text,
            cache,
        );
    }
}

#[tokio::test]
async fn a_conversation_that_a_header_names_is_one_of_its_own() {
    let upstream = counting().await;
    let gateway = with_tenants(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    for (headers, text, cache) in [
        ("conversation_id: a\r\n", "answer 1", "miss"),
        ("conversation_id: b\r\n", "answer 2", "miss"),
        ("thread-id: a\r\n", "answer 3", "miss"),
        ("conversation_id: a\r\n", "answer 1", "hit"),
        // These name a session of the client's program.
        ("session_id: a\r\n", "answer 4", "miss"),
        ("session_id: b\r\n", "answer 4", "hit"),
    ] {
        is(
            &super::ask_with(&mut client, headers, &certain("a")).await,
            text,
            cache,
        );
    }
}
