//! What a target wants changed in requests and answers is changed, and nothing else.

use serde_json::{Value, json};

use crate::support::client::{Response, post};
use crate::support::form::{form_of, post_form};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROMPT, chat};

const CHAT: &str = "/v1/chat/completions";

/// The usual configuration, where the target of `gpt-4o` has manners and the one of `same-` none.
fn with(upstream: &Upstream, manners: &str) -> Gateway {
    let plain = "model: gpt-4o-2024-11-20";
    let yaml = config(upstream.address, "", "");
    Gateway::start(&yaml.replace(plain, &format!("{plain}, {manners}")))
}

/// What the upstream is sent for a body.
async fn sent(gateway: &Gateway, upstream: &Upstream, path: &str, body: &str) -> String {
    let answer = gateway.post(path, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = upstream.request().await;
    assert_eq!(seen.header("content-length"), [seen.body.len().to_string()]);
    seen.text().to_owned()
}

#[tokio::test]
async fn stop_words_are_added_where_there_is_such_a_field() {
    let upstream = Upstream::answering("{}").await;
    let gateway = with(&upstream, r#"stop: ["<|end|>", "a\"b"]"#);
    for (stop, expected) in [
        ("", r#","stop":["<|end|>","a\"b"]"#),
        (r#","stop": null"#, r#","stop":["<|end|>","a\"b"]"#),
        (r#", "stop" : "x""#, r#", "stop" : ["x","<|end|>","a\"b"]"#),
        (r#","stop": []"#, r#","stop": ["<|end|>","a\"b"]"#),
        (
            r#","stop": [ "\u0078" ]"#,
            r#","stop": [ "\u0078" ,"<|end|>","a\"b"]"#,
        ),
        (r#","stop":["a\"b"]"#, r#","stop":["a\"b","<|end|>"]"#),
        (
            r#","stop":["<|end|>","a\u0022b"]"#,
            r#","stop":["<|end|>","a\u0022b"]"#,
        ),
        (r#","stop":7"#, r#","stop":7"#),
    ] {
        let body = |model: &str, stop: &str| {
            format!(r#"{{"model":"{model}","n":1.0e400,"prompt":"{PROMPT}"{stop}}}"#)
        };
        for path in [CHAT, "/v1/completions"] {
            let seen = sent(&gateway, &upstream, path, &body("gpt-4o", stop)).await;
            let expected = body("gpt-4o-2024-11-20", expected);
            assert_eq!(seen, expected);
        }
    }
    for path in ["/v1/embeddings", "/v1/responses", "/v1/moderations"] {
        let body = r#"{ "model":"gpt-4o","input" : "x"}"#;
        let expected = body.replace("gpt-4o", "gpt-4o-2024-11-20");
        assert_eq!(
            sent(&gateway, &upstream, path, body).await,
            expected,
            "{path}"
        );
    }
}

#[tokio::test]
async fn fields_are_set_and_added() {
    let upstream = Upstream::answering("{}").await;
    let manners = "body: { set: { temperature: 0.6, user: '${USER_TAG:-team a}', \
        thinking: { type: enabled, budget: [1, null, true] } }, \
        default: { max_tokens: 4096, seed: 7, top_p: 1.0 } }";
    let gateway = with(&upstream, manners);
    let body = r#"{"seed":null, "temperature":2,"model" : "gpt-4o","max_tokens":1,"é":"\u00e9"}"#;
    for path in [CHAT, "/v1/embeddings", "/v1/responses", "/v1/images/edits"] {
        let seen = sent(&gateway, &upstream, path, body).await;
        let kept = r#"{"model" : "gpt-4o-2024-11-20","max_tokens":1,"é":"\u00e9","#;
        assert!(seen.starts_with(kept), "{seen}");
        let expected = json!({
            "model": "gpt-4o-2024-11-20", "max_tokens": 1, "é": "é", "seed": 7, "top_p": 1.0,
            "temperature": 0.6, "user": "team a",
            "thinking": { "type": "enabled", "budget": [1, null, true] },
        });
        assert_eq!(serde_json::from_str::<Value>(&seen).unwrap(), expected);
    }
}

#[tokio::test]
async fn what_has_no_manners_passes_byte_for_byte() {
    let answer = "{ \"model\" : \"same-x\", \"choices\" : [{ \"text\" : \"x\" }] }";
    let upstream = Upstream::answering(answer).await;
    let manners =
        "stop: [x], special_prefix: P, body: { set: { a: 1 } }, response_model: requested";
    let gateway = with(&upstream, manners);
    let body = "{\"n\":1.0e400,\"s\":\"\\u00e9\",\n \"model\":\"same-x\"}";
    let whole = gateway.post(CHAT, body).await;
    assert_eq!(whole.text(), answer);
    assert_eq!(
        whole.header("content-length"),
        Some(answer.len().to_string().as_str())
    );
    assert_eq!(upstream.request().await.text(), body);
    // A form has no fields of JSON, whatever the target says.
    let mut client = gateway.connect().await;
    client
        .send(post_form("/v1/images/edits", &form_of("gpt-4o", 100)))
        .await;
    assert_eq!(client.response().await.status, 200);
    let seen = upstream.request().await;
    assert!(seen.body == form_of("gpt-4o-2024-11-20", 100));
}

#[tokio::test]
async fn each_target_has_its_own_manners() {
    let upstream = Upstream::answering(r#"{"model":"up","choices":[{"text":"x"}]}"#).await;
    let gateway = Gateway::start(&format!(
        "server: {{ listen: ['127.0.0.1:0'], admin: '127.0.0.1:0' }}
upstreams: {{ far: {{ base_url: 'http://{}' }} }}
models:
  - match: {{ prefix: m }}
    targets:
      - {{ upstream: far, special_prefix: A, body: {{ set: {{ a: 1 }} }} }}
      - {{ upstream: far, response_model: requested }}
tenants: [{{ id: t, keys: ['{CLIENT_KEY}'] }}]",
        upstream.address
    ));
    for (sent, got) in [
        (
            r#"{"model":"m1","a":1}"#,
            r#"{"model":"up","choices":[{"text":"Ax"}]}"#,
        ),
        (
            r#"{"model":"m1"}"#,
            r#"{"model":"m1","choices":[{"text":"x"}]}"#,
        ),
    ] {
        let answer = gateway.post("/v1/completions", r#"{"model":"m1"}"#).await;
        assert_eq!(answer.text(), got);
        assert_eq!(upstream.request().await.text(), sent);
    }
}

/// An upstream whose answers are the `input` of what it is asked.
async fn echo() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        reply.json("200 OK", asked["input"].as_str().unwrap()).await;
        reply
    })
    .await
}

async fn answered(gateway: &Gateway, path: &str, answer: &str) -> Response {
    let body = json!({ "model": "gpt-4o", "input": answer });
    gateway.post(path, &body.to_string()).await
}

#[tokio::test]
async fn the_prefix_stands_before_the_first_output_of_a_whole_answer() {
    let upstream = echo().await;
    let gateway = with(&upstream, r#"special_prefix: "> \"hi\"\n""#);
    for (path, answer, expected) in [
        (
            CHAT,
            r#"{ "model":"up", "choices":[{"index":0,"message":{"content" : "x"}},{"index":1,"message":{"content":"y"}}],"usage":{} }"#,
            r#"{ "model":"up", "choices":[{"index":0,"message":{"content" : "> \"hi\"\nx"}},{"index":1,"message":{"content":"> \"hi\"\ny"}}],"usage":{} }"#,
        ),
        (
            "/v1/completions",
            r#"{"choices":[{"text":"x","index":0}]}"#,
            r#"{"choices":[{"text":"> \"hi\"\nx","index":0}]}"#,
        ),
        (
            CHAT,
            r#"{"choices":[{"message":{"content":null,"tool_calls":[{}]}}]}"#,
            r#"{"choices":[{"message":{"content":null,"tool_calls":[{}]}}]}"#,
        ),
        (
            "/v1/embeddings",
            r#"{ "data":[{"embedding":[0.10]}]}"#,
            r#"{ "data":[{"embedding":[0.10]}]}"#,
        ),
        (
            "/v1/responses",
            r#"{"output":[{"text":"x"}]}"#,
            r#"{"output":[{"text":"x"}]}"#,
        ),
    ] {
        let response = answered(&gateway, path, answer).await;
        assert_eq!((response.text(), response.complete), (expected, true));
        // Its length is not known when its header leaves.
        assert_eq!(response.header("content-length"), None);
        assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    }
}

#[tokio::test]
async fn a_whole_answer_names_the_model_as_the_target_says() {
    let upstream = echo().await;
    let requested = with(&upstream, "response_model: requested");
    let default = with(&upstream, "response_model: upstream");
    for (path, answer) in [
        (
            CHAT,
            r#"{"id":"1", "model" : "MODEL","choices":[{"model":"up"}]}"#,
        ),
        ("/v1/completions", r#"{"choices":[],"model":"MODEL"}"#),
        (
            "/v1/embeddings",
            r#"{"data":[{"embedding":"AAAA"}],"model":"MODEL"}"#,
        ),
        (
            "/v1/responses",
            r#"{"object":"response","model":"MODEL","output":[]}"#,
        ),
        ("/v1/moderations", r#"{"results":[{"model":"up"}]}"#),
    ] {
        let answer = answer.replace("MODEL", "gpt-4o-2024-11-20");
        let response = answered(&requested, path, &answer).await;
        assert_eq!(
            response.text(),
            answer.replace("gpt-4o-2024-11-20", "gpt-4o")
        );
        let response = answered(&default, path, &answer).await;
        assert_eq!(response.text(), answer);
        assert!(response.header("content-length").is_some());
    }
}

/// The beginning of an answer, too long to be held back until it is seen that it has no end.
fn cut() -> String {
    format!(r#"{{"model":"up","model":"{}"#, "x".repeat(17 << 10))
}

#[tokio::test]
async fn what_is_no_plain_json_answer_passes_as_it_came() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let error = r#"{"error":{"message":"no"},"model":"up","choices":[{"text":"x"}]}"#;
        match request.path.as_str() {
            "/v1/completions" => reply.json("422 Unprocessable Entity", error).await,
            "/v1/embeddings" => {
                reply.json_with("200 OK", "content-encoding: gzip\r\n", "\x1f.{").await;
            }
            "/v1/moderations" => reply.json("200 OK", &cut()).await,
            _ => {
                reply
                    .raw("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 14\r\n\r\n{\"model\":\"up\"}")
                    .await;
            }
        }
        reply
    })
    .await;
    let gateway = with(&upstream, "special_prefix: P, response_model: requested");
    let error = r#"{"error":{"message":"no"},"model":"up","choices":[{"text":"x"}]}"#;
    for (path, status, body, keeps_length) in [
        ("/v1/completions", 422, error, true),
        ("/v1/embeddings", 200, "\x1f.{", true),
        ("/v1/moderations", 200, &cut(), false),
        ("/v1/audio/speech", 200, "{\"model\":\"up\"}", true),
    ] {
        let response = gateway.post(path, &chat("gpt-4o")).await;
        assert_eq!((response.status, response.text()), (status, body), "{path}");
        assert!(response.complete, "{path}");
        assert_eq!(
            response.header("content-length").is_some(),
            keeps_length,
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_answer_beyond_what_is_held_passes_as_it_came() {
    let upstream = Upstream::start(|_, mut reply| async move {
        let body = format!(r#"{{"model":"up","x":"{}"}}"#, "x".repeat(33 << 20));
        reply.json("200 OK", &body).await;
        reply
    })
    .await;
    let gateway = with(&upstream, "response_model: requested");
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    assert!(response.complete);
    assert_eq!(
        response.body.len(),
        (33 << 20) + r#"{"model":"up","x":""}"#.len()
    );
    assert!(response.body.starts_with(br#"{"model":"up","x":"xx"#));
}

#[tokio::test]
async fn a_whole_answer_that_is_cut_never_looks_complete() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let length: usize = request.header("session_id")[0].parse().unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
        reply
            .raw(format!(
                "{head}\r\ncontent-length: {length}\r\n\r\n{{\"model\":\"up\"}}"
            ))
            .await;
        reply.close();
        reply
    })
    .await;
    let gateway = with(&upstream, "response_model: requested");
    let answer = async |length: usize| {
        let mut client = gateway.connect().await;
        let session = format!("session_id: {length}\r\n");
        client.send(post(CHAT, &session, &chat("gpt-4o"))).await;
        client.response().await
    };
    let short = answer(99).await;
    short.assert_error(502, "server_error", Some("upstream_cut"), None);
    gateway.access_line("status=502 error=upstream_cut");
    // A longer one is not held back until its end.
    let long = answer(99_999).await;
    assert!(long.status == 200 && !long.complete, "{long:?}");
    gateway.access_line("status=200 error=upstream_cut");
}

#[tokio::test]
async fn an_old_client_gets_a_changed_answer_to_its_end() {
    let upstream = Upstream::answering(r#"{"model":"up"}"#).await;
    let gateway = with(&upstream, "response_model: requested");
    let request = post(CHAT, "connection: keep-alive\r\n", &chat("gpt-4o"));
    let mut client = gateway.connect().await;
    client.send(request.replace("HTTP/1.1", "HTTP/1.0")).await;
    let response = client.response().await;
    assert_eq!(response.text(), r#"{"model":"gpt-4o"}"#);
    assert_eq!(response.header("transfer-encoding"), None);
}

#[tokio::test]
async fn a_body_of_too_many_fields_is_refused_where_it_would_be_changed() {
    let upstream = Upstream::answering("{}").await;
    let gateway = with(&upstream, "body: { set: { a: 1 } }");
    let fields: String = (0..4096).map(|n| format!(",\"f{n}\":{n}")).collect();
    let body = |model: &str| format!(r#"{{"model":"{model}"{fields}}}"#);
    let refused = gateway.post(CHAT, &body("gpt-4o")).await;
    refused.assert_error(400, "invalid_request_error", None, None);
    assert!(
        refused.text().contains("more than 4096 fields"),
        "{}",
        refused.text()
    );
    assert_eq!(upstream.connections(), 0);
    assert_eq!(gateway.post(CHAT, &body("same-x")).await.status, 200);
}
