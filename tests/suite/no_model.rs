//! Requests that leave their model out, where the API allows that: as the default model of the
//! endpoint, else to the tenant's home, else not at all.

use crate::support::client::{Response, post};
use crate::support::form::{Form, post_form};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::{Received, Upstream};
use crate::support::{CLIENT_KEY, PROMPT};

/// The endpoints that take JSON, and the keys of `server.default_models` that are theirs.
const JSON: [(&str, &str); 5] = [
    ("/v1/responses", "responses"),
    ("/v1/responses/input_tokens", "responses"),
    ("/v1/responses/compact", "responses"),
    ("/v1/moderations", "moderations"),
    ("/v1/images/generations", "images"),
];

/// Those that take forms, and JSON as well.
const FORMS: [&str; 2] = ["/v1/images/edits", "/v1/images/variations"];

/// A provider of JSON that says nothing.
async fn provider() -> Upstream {
    Upstream::answering("{}").await
}

/// The tests' gateway, with these lines in `server`, for a tenant with these models.
fn gateway(upstream: &Upstream, server: &str, models: &str) -> Gateway {
    let yaml = config(upstream.address, "", "")
        .replace("server:\n", &format!("server:\n{server}"))
        .replace(", models: [gpt-4o, 'same-*', missing]", models);
    Gateway::start(&yaml)
}

/// For a tenant that may ask for any model, whose home is the tests' upstream.
fn at_home(upstream: &Upstream) -> Gateway {
    gateway(upstream, "  passthrough: far\n", "")
}

async fn send(gateway: &Gateway, request: impl AsRef<[u8]>) -> Response {
    let mut client = gateway.connect().await;
    client.send(request).await;
    client.response().await
}

/// A form without a model, or with one before all else.
fn form(model: Option<&str>) -> Vec<u8> {
    let form = match model {
        Some(model) => Form::default().text("model", model),
        None => Form::default(),
    };
    let file: Vec<u8> = (0..=255).collect();
    form.text("prompt", PROMPT).file(&file).end()
}

fn assert_missing(answer: &Response) {
    let code = Some("missing_required_parameter");
    answer.assert_error(400, "invalid_request_error", code, Some("model"));
}

fn text(seen: &Received) -> String {
    String::from_utf8_lossy(&seen.body).into_owned()
}

#[tokio::test]
async fn at_home_a_body_without_a_model_arrives_as_it_came() {
    let upstream = provider().await;
    let gateway = at_home(&upstream);
    let all = JSON.iter().map(|(path, _)| *path).chain(FORMS);
    for path in all {
        for body in [
            r#"{"input":"canary-prompt-d41d", "prompt":{"id":"pmpt_1"}}"#,
            " { } ",
            r#"{"model":null,"n":1.50}"#,
        ] {
            assert_eq!(gateway.post(path, body).await.status, 200, "{path} {body}");
            let seen = upstream.request().await;
            assert_eq!((seen.path.as_str(), seen.text()), (path, body));
        }
    }
    for path in FORMS {
        let body = form(None);
        assert_eq!(send(&gateway, post_form(path, &body)).await.status, 200);
        assert!(upstream.request().await.body == body, "{path}");
    }
    gateway.access_line("path=/v1/moderations model=- sent=- upstream=far status=200");
    let counted = "tollgate_requests_total{endpoint=\"moderations\",rule=\"passthrough\",\
                   status=\"2xx\",upstream=\"far\"}";
    gateway.metric_becomes(counted, 3.0).await;
}

#[tokio::test]
async fn a_default_model_is_named_to_the_upstream() {
    let upstream = provider().await;
    let defaults = "  default_models: { responses: gpt-4o, moderations: same-mod, \
                    images: same-img, images_variations: same-var }\n";
    // What it may ask for binds the tenant, and its home is not needed.
    let gateway = gateway(&upstream, defaults, ", models: [gpt-4o, 'same-*', missing]");
    for (path, key) in JSON {
        let model = match key {
            "responses" => "gpt-4o-2024-11-20",
            "moderations" => "same-mod",
            _ => "same-img",
        };
        for (body, rest) in [
            (
                r#"{"input":"canary-prompt-d41d"}"#,
                ",\"input\":\"canary-prompt-d41d\"}",
            ),
            ("{}", "}"),
            (" {\n} ", "\n} "),
        ] {
            assert_eq!(gateway.post(path, body).await.status, 200, "{path} {body}");
            let seen = text(&upstream.request().await);
            let start = body.find('{').unwrap();
            let expected = format!("{}{{\"model\":\"{model}\"{rest}", &body[..start]);
            assert_eq!(seen, expected, "{path}");
        }
        let null = gateway.post(path, r#"{"a":1,"model": null}"#).await;
        assert_eq!(null.status, 200);
        let seen = text(&upstream.request().await);
        assert_eq!(seen, format!(r#"{{"a":1,"model": "{model}"}}"#));
        // One that is named goes before.
        let named = gateway.post(path, r#"{"model":"same-other"}"#).await;
        assert_eq!(named.status, 200);
        assert_eq!(text(&upstream.request().await), r#"{"model":"same-other"}"#);
    }
    for (path, model) in [
        ("/v1/images/edits", "same-img"),
        ("/v1/images/variations", "same-var"),
    ] {
        let answer = send(&gateway, post_form(path, &form(None))).await;
        assert_eq!(answer.status, 200, "{path}");
        let seen = upstream.request().await;
        assert!(seen.body == form(Some(model)), "{path}: {}", text(&seen));
        let length = seen.body.len().to_string();
        assert_eq!(seen.header("content-length"), [length]);
    }
    gateway.access_line(
        "path=/v1/responses/input_tokens model=gpt-4o sent=gpt-4o-2024-11-20 upstream=far",
    );
}

#[tokio::test]
async fn a_large_form_without_a_model_is_sent_from_its_file() {
    let upstream = provider().await;
    let server = "  forms: { in_memory: 4KiB }\n  default_models: { images_edits: gpt-4o }\n";
    let gateway = gateway(&upstream, server, "");
    let file: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let form = |start: Form| start.text("prompt", PROMPT).file(&file).end();
    let sent = post_form("/v1/images/edits", &form(Form::default()));
    assert_eq!(send(&gateway, sent).await.status, 200);
    let expected = form(Form::default().text("model", "gpt-4o-2024-11-20"));
    assert!(upstream.request().await.body == expected);
}

#[tokio::test]
async fn a_tenant_that_is_held_to_models_reaches_no_other_by_naming_none() {
    let upstream = provider().await;
    // Neither the home, nor a default that it may not ask for.
    let server = "  passthrough: far\n  default_models: { moderations: forbidden }\n";
    let gateway = gateway(&upstream, server, ", models: ['same-*']");
    for (path, _) in JSON {
        for body in ["{}", r#"{"model":null}"#] {
            assert_missing(&gateway.post(path, body).await);
        }
    }
    for path in FORMS {
        assert_missing(&send(&gateway, post_form(path, &form(None))).await);
    }
    // One whose list has every name is held to none.
    let free = gateway_for_all(&upstream);
    assert_eq!(free.post("/v1/moderations", "{}").await.status, 200);
    upstream.request().await;
    assert_eq!(upstream.requests(), 1);
}

fn gateway_for_all(upstream: &Upstream) -> Gateway {
    gateway(upstream, "  passthrough: far\n", ", models: ['*']")
}

#[tokio::test]
async fn without_a_default_or_a_home_a_model_is_needed() {
    let upstream = provider().await;
    let homeless = gateway(&upstream, "", "");
    for (path, _) in JSON {
        assert_missing(&homeless.post(path, "{}").await);
    }
    // Where the API wants a model in each request, a home changes nothing.
    let at_home = at_home(&upstream);
    for path in [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/audio/speech",
        "/v1/rerank",
    ] {
        assert_missing(&at_home.post(path, "{}").await);
    }
    let transcription = post_form("/v1/audio/transcriptions", &form(None));
    assert_missing(&send(&at_home, transcription).await);
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_home_whose_path_names_the_model_needs_one() {
    let upstream = provider().await;
    let dialect = ", dialect: { name: azure, api_version: 2024-10-21 }";
    let yaml = config(upstream.address, dialect, "")
        .replace("/v1'", "'")
        .replace("server:\n", "server:\n  passthrough: far\n")
        .replace(", models: [gpt-4o, 'same-*', missing]", "");
    let gateway = Gateway::start(&yaml);
    assert_missing(&gateway.post("/v1/images/generations", "{}").await);
    assert_missing(&send(&gateway, post_form("/v1/images/edits", &form(None))).await);
    assert_eq!(gateway.post("/v1/responses", "{}").await.status, 200);
    let seen = upstream.request().await;
    assert_eq!(seen.path, "/openai/responses?api-version=2024-10-21");
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_stored_prompt_answers_in_a_stream_whose_usage_is_counted() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        for event in [
            r#"{"type":"response.output_text.delta","sequence_number":0,"delta":"said"}"#,
            r#"{"type":"response.completed","sequence_number":1,"response":{"id":"r","object":"response","status":"completed","output":[],"usage":{"input_tokens":5,"output_tokens":7,"total_tokens":12}}}"#,
        ] {
            reply.event(event).await;
        }
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = at_home(&upstream);
    let body = r#"{"prompt":{"id":"pmpt_1"},"stream":true}"#;
    let answer = gateway.post("/v1/responses", body).await;
    assert!(answer.complete && answer.text().contains("response.completed"));
    assert_eq!(upstream.request().await.text(), body);
    gateway.access_line("tokens_in=5 tokens_out=7");
}

#[tokio::test]
async fn the_account_that_keeps_a_tenants_prompts_is_asked() {
    let upstream = provider().await;
    let keys = crate::support::PROVIDER_KEY;
    let several: Vec<String> = (0..8).map(|n| format!("'{keys}-{n}'")).collect();
    let yaml = config(upstream.address, "", "")
        .replace(&format!("'{keys}'"), &several.join(", "))
        .replace("server:\n", "server:\n  passthrough: far\n")
        .replace(", models: [gpt-4o, 'same-*', missing]", "");
    let gateway = Gateway::start(&yaml);
    let mut accounts = std::collections::HashSet::new();
    for path in ["/v1/responses", "/v1/responses/input_tokens"] {
        for _ in 0..4 {
            let body = r#"{"prompt":{"id":"pmpt_1"}}"#;
            assert_eq!(gateway.post(path, body).await.status, 200);
            accounts.insert(upstream.request().await.header("authorization")[0].to_owned());
        }
    }
    assert_eq!(gateway.get("/v1/files").await.status, 200);
    accounts.insert(upstream.request().await.header("authorization")[0].to_owned());
    assert_eq!(accounts.len(), 1, "{accounts:?}");
}

#[tokio::test]
async fn without_client_keys_the_home_is_everyones() {
    let upstream = provider().await;
    let yaml = format!(
        "server:\n  listen: ['127.0.0.1:0']\n  admin: off\n  passthrough: far\n\
         upstreams:\n  far: {{ base_url: 'http://{}' }}\n\
         models:\n  - {{ match: '*', targets: [{{ upstream: far }}] }}\n",
        upstream.address
    );
    let gateway = Gateway::start(&yaml);
    let request = post("/v1/moderations", "", "{}");
    let request = request.replace(&format!("authorization: Bearer {CLIENT_KEY}\r\n"), "");
    assert_eq!(send(&gateway, request).await.status, 200);
    assert_eq!(upstream.request().await.text(), "{}");
}

#[test]
fn a_default_model_that_no_rule_serves_is_told() {
    let folder = crate::support::gateway::Folder::new();
    let yaml = "server:\n  default_models: { images: nothing, moderation: a }\n\
                upstreams:\n  far: { base_url: 'http://127.0.0.1:9' }\n\
                models:\n  - { match: a, targets: [{ upstream: far }] }\n";
    let file = folder.write("tollgate.yaml", yaml);
    let mut command = std::process::Command::new(crate::support::gateway::BINARY);
    let output = command.args(["check", "-c"]).arg(file).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    for line in [
        ":2: server.default_models.images: no rule serves the default model `nothing` (add a rule for it: match: nothing, or match: \"*\" for any name)",
        ":2: server.default_models.moderation: unknown key (did you mean `moderations`?)",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
}
