//! A strict tenant's requests name their model and nothing else, and pass nowhere unread.

use serde_json::{Value, json};

use crate::support::client::{Response, post};
use crate::support::form::{Form, post_chunked, post_form};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::websocket::keyed;
use crate::support::{CLIENT_KEY, chat};

/// The usual configuration with a home and a route, and this for its tenant.
fn yaml(upstream: &Upstream, of_tenant: &str) -> String {
    let routes = "routes:\n  - { prefix: /other, upstream: far }\n";
    let tenant = "id: tester,";
    config(upstream.address, "", routes)
        .replace("server:\n", "server:\n  passthrough: far\n")
        .replace(tenant, &format!("{tenant}{of_tenant}"))
}

/// A chat with one field more.
fn with(field: &str, value: Value) -> String {
    let mut body: Value = serde_json::from_str(&chat("gpt-4o")).unwrap();
    body[field] = value;
    body.to_string()
}

#[track_caller]
fn assert_names(response: &Response, field: &str) {
    response.assert_error(
        403,
        "invalid_request_error",
        Some("field_not_allowed"),
        Some(field),
    );
    let message = response.json()["error"]["message"].to_string();
    assert!(message.contains(field), "{message}");
}

/// Fields with what they name, and their place in the table.
fn fields() -> [(&'static str, Value, &'static str); 9] {
    [
        ("models", json!(["gpt-4o", "o3-pro"]), "models"),
        ("Models", json!(["o3-pro"]), "models"),
        (
            "tools",
            json!([{ "type": "image_generation", "model": "gpt-image-1" }]),
            "tools[].model",
        ),
        (
            "tools",
            json!([{ "type": "file_search", "vector_store_ids": ["vs_1"] }]),
            "tools[].vector_store_ids",
        ),
        (
            "previous_response_id",
            json!("resp_1"),
            "previous_response_id",
        ),
        ("conversation", json!({ "id": "conv_1" }), "conversation.id"),
        ("prompt", json!({ "id": "pmpt_1" }), "prompt.id"),
        ("assistant_id", json!("asst_1"), "assistant_id"),
        (
            "input",
            json!([{ "content": [{ "type": "input_file", "file_id": "file-1" }] }]),
            "input[].content[].file_id",
        ),
    ]
}

#[tokio::test]
async fn a_field_that_names_a_model_or_something_stored_is_refused_and_named() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, " strict: true,"));
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"] {
        for (field, value, named) in fields() {
            let response = gateway.post(path, &with(field, value)).await;
            assert_names(&response, named);
        }
    }
    for query in ["model=o3-pro", "a=1&%6Dodels[]=o3-pro", "File_Id=f"] {
        let path = format!("/v1/chat/completions?{query}");
        let response = gateway.post(&path, &chat("gpt-4o")).await;
        assert_eq!(
            response.json()["error"]["code"],
            "field_not_allowed",
            "{query}"
        );
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn what_names_nothing_is_served() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, " strict: true,"));
    for (field, value) in [
        ("previous_response_id", Value::Null),
        ("metadata", json!({ "models": ["x"], "file_id": "f" })),
        ("prompt", json!("models and files")),
        (
            "tools",
            json!([{ "type": "code_interpreter", "container": { "type": "auto" } }]),
        ),
        (
            "tools",
            json!([{ "type": "function", "function": { "name": "models", "parameters":
            { "type": "object", "properties": { "model": {}, "file_id": {} } } } }]),
        ),
    ] {
        let body = with(field, value);
        let response = gateway
            .post("/v1/chat/completions?api-version=1", &body)
            .await;
        assert_eq!(response.status, 200, "{body}");
        let sent = upstream.request().await;
        let name = "gpt-4o-2024-11-20";
        assert_eq!(
            sent.text(),
            body.replacen("gpt-4o", name, 1),
            "only the model is changed"
        );
    }
}

#[tokio::test]
async fn a_part_of_a_form_is_refused_by_its_name() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, " strict: true,"));
    let file = vec![b'x'; 300_000];
    for (part, named) in [
        ("models", Some("models")),
        ("image[file_id]", Some("image.file_id")),
        ("tools[0][model]", Some("tools[].model")),
        ("prompt", None),
        ("timestamp_granularities[]", None),
    ] {
        let form = Form::default()
            .file(&file)
            .text("model", "gpt-4o")
            .text(part, "x")
            .end();
        for request in [
            post_form("/v1/images/edits", &form),
            post_chunked("/v1/audio/transcriptions", &form, 1000),
        ] {
            let mut client = gateway.connect().await;
            client.send(request).await;
            let response = client.response().await;
            match named {
                Some(named) => assert_names(&response, named),
                None => assert_eq!(response.status, 200, "{part}"),
            }
        }
    }
    assert_eq!(upstream.requests(), 4);
}

#[tokio::test]
async fn nothing_passes_unread() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, " strict: true,"));
    // It has no home, whatever the server says.
    for path in ["/v1/files", "/v1/batches", "/v1/vector_stores/vs_1/search"] {
        let refused = gateway.post(path, "{}").await;
        let code = Some("unread_not_allowed");
        refused.assert_error(403, "invalid_request_error", code, None);
    }
    let mistyped = gateway.post("/v1/Chat/Completions", "{}").await;
    assert_eq!(mistyped.status, 404);
    let of_route = gateway.post("/other/x", "{}").await;
    of_route.assert_error(
        403,
        "invalid_request_error",
        Some("unread_not_allowed"),
        None,
    );
    for path in [
        "/v1/realtime?model=gpt-4o",
        "/v1/responses",
        "/v1/responses?model=gpt-4o",
    ] {
        let mut client = gateway.connect().await;
        client.send(keyed(path, "")).await;
        let response = client.response().await;
        response.assert_error(
            403,
            "invalid_request_error",
            Some("unread_not_allowed"),
            None,
        );
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn the_servers_word_holds_where_a_tenant_says_nothing() {
    let upstream = Upstream::answering("{}").await;
    let loose = format!("{CLIENT_KEY}-loose");
    let yaml = yaml(&upstream, "").replace("server:\n", "server:\n  strict: true\n");
    let more = format!("tenants:\n  - {{ id: loose, keys: ['{loose}'], strict: false }}\n");
    let gateway = Gateway::start(&yaml.replace("tenants:\n", &more));
    let body = with("models", json!(["o3-pro"]));
    assert_names(&gateway.post("/v1/chat/completions", &body).await, "models");
    for path in ["/v1/chat/completions", "/v1/files"] {
        let mut client = gateway.connect().await;
        client
            .send(post(path, "", &body).replace(CLIENT_KEY, &loose))
            .await;
        assert_eq!(client.response().await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn another_tenants_body_is_not_looked_through() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, ""));
    for (field, value, _) in fields() {
        let response = gateway
            .post("/v1/chat/completions", &with(field, value))
            .await;
        assert_eq!(response.status, 200, "{field}");
    }
}
