//! An upstream is asked in its own dialect, and its clients notice nothing of it.

use crate::support::client::post;
use crate::support::form::{form_of, post_form};
use crate::support::gateway::{BINARY, Gateway, assert_no_secret, config};
use crate::support::tools::run;
use crate::support::upstream::{Received, Upstream};
use crate::support::{CLIENT_KEY, PROVIDER_KEY, chat, streamed_chat};

const CHAT: &str = "/v1/chat/completions";

/// The usual configuration in a dialect, with the API at a path of the server's.
fn yaml(upstream: &Upstream, path: &str, dialect: &str) -> String {
    let more = format!(", dialect: {dialect}");
    config(upstream.address, &more, "").replace("/v1', keys", &format!("{path}', keys"))
}

fn versioned(upstream: &Upstream) -> String {
    yaml(upstream, "", "{ name: azure, api_version: 2024-10-21 }")
}

/// What the upstream sees of a chat request to a path.
async fn seen(gateway: &Gateway, upstream: &Upstream, path: &str, model: &str) -> Received {
    let answer = gateway.post(path, &chat(model)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    upstream.request().await
}

#[tokio::test]
async fn the_path_names_the_deployment_where_there_is_a_version() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&versioned(&upstream));
    for operation in [
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/audio/speech",
        "/images/generations",
        "/images/edits",
    ] {
        for (asked, deployment) in [
            ("gpt-4o", "gpt-4o-2024-11-20"),
            ("same-x.y_z", "same-x.y_z"),
        ] {
            let seen = seen(&gateway, &upstream, &format!("/v1{operation}"), asked).await;
            let expected =
                format!("/openai/deployments/{deployment}{operation}?api-version=2024-10-21");
            assert_eq!(seen.path, expected);
            assert_eq!(seen.header("api-key"), [PROVIDER_KEY]);
            assert!(seen.header("authorization").is_empty());
            assert_eq!(seen.text(), chat(deployment));
        }
    }
    for operation in ["/audio/transcriptions", "/audio/translations"] {
        let mut client = gateway.connect().await;
        let form = form_of("gpt-4o", 100);
        client
            .send(post_form(&format!("/v1{operation}"), &form))
            .await;
        assert_eq!(client.response().await.status, 200);
        let seen = upstream.request().await;
        let expected =
            format!("/openai/deployments/gpt-4o-2024-11-20{operation}?api-version=2024-10-21");
        assert_eq!(seen.path, expected);
        assert!(seen.body == form_of("gpt-4o-2024-11-20", 100));
    }
}

#[tokio::test]
async fn other_operations_stand_beside_the_deployments() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&versioned(&upstream));
    for (path, expected) in [
        ("/v1/responses", "/openai/responses?api-version=2024-10-21"),
        (
            "/v1/moderations",
            "/openai/moderations?api-version=2024-10-21",
        ),
        (
            "/v1/responses/compact?a=1&key=k&api-version=1&b",
            "/openai/responses/compact?a=1&b&api-version=2024-10-21",
        ),
    ] {
        assert_eq!(
            seen(&gateway, &upstream, path, "gpt-4o").await.path,
            expected
        );
    }
    let odd = seen(&gateway, &upstream, CHAT, "same-a/../b ?#%é").await;
    let encoded = "/openai/deployments/same-a%2F..%2Fb%20%3F%23%25%C3%A9/chat/completions";
    assert_eq!(odd.path, format!("{encoded}?api-version=2024-10-21"));
}

#[tokio::test]
async fn without_a_version_the_path_is_the_operations_own() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, "", "azure"));
    for (path, expected) in [
        (CHAT, "/openai/v1/chat/completions"),
        ("/v1/responses", "/openai/v1/responses"),
        (
            "/v1/embeddings?api-version=preview",
            "/openai/v1/embeddings?api-version=preview",
        ),
    ] {
        let seen = seen(&gateway, &upstream, path, "gpt-4o").await;
        assert_eq!(seen.path, expected);
        assert_eq!(seen.text(), chat("gpt-4o-2024-11-20"));
        assert_eq!(seen.header("api-key"), [PROVIDER_KEY]);
        assert!(seen.header("authorization").is_empty());
    }
}

#[tokio::test]
async fn a_url_with_a_path_of_its_own_says_where_the_api_is() {
    let upstream = Upstream::answering("{}").await;
    let version = "{ name: azure, api_version: v }";
    for (path, dialect, expected) in [
        (
            "/openai",
            version,
            "/openai/deployments/same-x/chat/completions?api-version=v",
        ),
        (
            "/gw/openai/",
            version,
            "/gw/openai/deployments/same-x/chat/completions?api-version=v",
        ),
        ("/openai/v1", "azure", "/openai/v1/chat/completions"),
        (
            "/v1",
            "{ name: openai_compatible, path_prefix: /api/v3 }",
            "/v1/chat/completions",
        ),
        (
            "",
            "{ name: openai_compatible, path_prefix: /api/v3 }",
            "/api/v3/chat/completions",
        ),
        (
            "/",
            "{ name: openai_compatible, path_prefix: /api/v3/ }",
            "/api/v3/chat/completions",
        ),
        (
            "",
            "{ name: openai_compatible, path_prefix: '' }",
            "/chat/completions",
        ),
        ("", "openai_compatible", "/v1/chat/completions"),
        (
            "",
            "{ name: azure, path_prefix: /api }",
            "/api/chat/completions",
        ),
    ] {
        let gateway = Gateway::start(&yaml(&upstream, path, dialect));
        let seen = seen(&gateway, &upstream, CHAT, "same-x").await;
        assert_eq!(seen.path, expected, "{path} {dialect}");
    }
}

#[tokio::test]
async fn the_key_goes_into_the_header_that_is_named() {
    let upstream = Upstream::answering("{}").await;
    for (dialect, header, value) in [
        (
            "{ name: azure, key_header: Authorization }",
            "authorization",
            "Bearer KEY",
        ),
        (
            "{ name: openai_compatible, key_header: X-Api-Key }",
            "x-api-key",
            "KEY",
        ),
        (
            "{ name: openai_compatible, key_header: x-token, key_prefix: 'Key ' }",
            "x-token",
            "Key KEY",
        ),
        (
            "{ name: openai_compatible, key_prefix: '' }",
            "authorization",
            "KEY",
        ),
        (
            "{ name: openai, key_prefix: 'Token ' }",
            "authorization",
            "Token KEY",
        ),
    ] {
        let gateway = Gateway::start(&yaml(&upstream, "", dialect));
        // A client can neither see to it that the key goes missing nor send one in its place.
        let headers = format!("connection: close, {header}\r\nx-token: mine\r\napi-key: mine\r\n");
        let mut client = gateway.connect().await;
        client.send(post(CHAT, &headers, &chat("gpt-4o"))).await;
        assert_eq!(client.response().await.status, 200);
        let seen = upstream.request().await;
        assert_eq!(seen.header(header), [value.replace("KEY", PROVIDER_KEY)]);
        for other in ["authorization", "api-key", "x-api-key", "x-token"] {
            assert_eq!(
                seen.header(other).is_empty(),
                other != header,
                "{dialect} {other}"
            );
        }
    }
}

#[tokio::test]
async fn a_clients_own_key_goes_there_too() {
    let upstream = Upstream::answering("{}").await;
    let own = format!("keys: ['{PROVIDER_KEY}']");
    let gateway = Gateway::start(&versioned(&upstream).replace(&own, "keys: passthrough"));
    let seen = seen(&gateway, &upstream, CHAT, "gpt-4o").await;
    assert_eq!(seen.header("api-key"), [CLIENT_KEY]);
    assert!(seen.header("authorization").is_empty());
}

#[tokio::test]
async fn headers_of_the_operators_are_sent_and_never_shown() {
    let upstream = Upstream::answering("{}").await;
    let dialect = "{ name: openai_compatible, headers: { X-Extra: '${EXTRA}', \
        OpenAI-Beta: 'assistants=v2', accept: a/b, x-empty: '' } }";
    let yaml = yaml(&upstream, "", dialect).replace("server:\n", "server:\n  passthrough: far\n");
    let gateway = Gateway::start_with(&yaml, |command| {
        command.env("EXTRA", format!("extra-{PROVIDER_KEY}"));
    });
    let theirs = "x-extra: theirs\r\nopenai-beta: theirs\r\naccept: x/y\r\n";
    let mut client = gateway.connect().await;
    for path in [CHAT, "/v1/not/yet/invented"] {
        client.send(post(path, theirs, &chat("gpt-4o"))).await;
        assert_eq!(client.response().await.status, 200);
        let seen = upstream.request().await;
        assert_eq!(seen.header("x-extra"), [format!("extra-{PROVIDER_KEY}")]);
        assert_eq!(seen.header("openai-beta"), ["assistants=v2"]);
        assert_eq!(
            (seen.header("accept"), seen.header("x-empty")),
            (vec!["a/b"], vec![""])
        );
        assert_eq!(
            seen.header("authorization"),
            [format!("Bearer {PROVIDER_KEY}")]
        );
    }
    // The gateway's own output is searched when it ends.
    let mut check = std::process::Command::new(BINARY);
    check
        .args(["check", "-c"])
        .arg(gateway.folder().0.join("tollgate.yaml"));
    let said = run(check.env("EXTRA", PROVIDER_KEY));
    assert_no_secret(&said);
    assert!(said.contains("openai_compatible"), "{said}");
}

#[tokio::test]
async fn fields_that_a_provider_does_not_know_are_left_out_or_renamed() {
    let upstream = Upstream::answering("{}").await;
    let dialect = "{ name: openai_compatible, drop: [logit_bias, 'a b'], \
        rename: { max_completion_tokens: max_tokens, user: x } }";
    let plain = "model: gpt-4o-2024-11-20";
    let more = format!("{plain}, stop: [END], body: {{ default: {{ user: me }} }}");
    let yaml = yaml(&upstream, "", dialect).replace(plain, &more);
    let gateway = Gateway::start(&yaml);
    let body =
        r#"{"logit_bias":{"1":1}, "model" : "gpt-4o","max_completion_tokens":5,"n":1.0e400}"#;
    let expected =
        r#"{"model" : "gpt-4o-2024-11-20","max_tokens":5,"n":1.0e400,"x":"me","stop":["END"]}"#;
    assert_eq!(gateway.post(CHAT, body).await.status, 200);
    assert_eq!(upstream.request().await.text(), expected);
    // A target without manners of its own speaks the dialect as well.
    let body = r#"{"model":"same-x","a b":1,"max_completion_tokens":5,"max_tokens":4}"#;
    assert_eq!(gateway.post(CHAT, body).await.status, 200);
    assert_eq!(
        upstream.request().await.text(),
        r#"{"model":"same-x","max_tokens":4}"#
    );
}

#[tokio::test]
async fn what_is_not_read_passes_in_the_dialect_too() {
    let upstream = Upstream::answering("{}").await;
    for (dialect, path, expected) in [
        (
            "{ name: azure, api_version: 2024-10-21 }",
            "/v1/files?limit=2&api-version=1",
            "/openai/files?limit=2&api-version=2024-10-21",
        ),
        (
            "azure",
            "/v1/files/file-1/content",
            "/openai/v1/files/file-1/content",
        ),
        (
            "{ name: openai_compatible, path_prefix: /api/v3, key_header: api-key }",
            "/v1/batches?after=b",
            "/api/v3/batches?after=b",
        ),
    ] {
        let yaml =
            yaml(&upstream, "", dialect).replace("server:\n", "server:\n  passthrough: far\n");
        let gateway = Gateway::start(&yaml);
        assert_eq!(gateway.get(path).await.status, 200, "{dialect}");
        let seen = upstream.request().await;
        assert_eq!(seen.path, expected, "{dialect}");
        assert_eq!(seen.header("api-key"), [PROVIDER_KEY]);
        assert!(seen.header("authorization").is_empty());
    }
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_in_any_dialect() {
    // Azure's first event has no choices, and its filter has events of its own.
    const STREAM: &str = "data: {\"choices\":[],\"id\":\"\",\"model\":\"\",\"prompt_filter_results\":[]}\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"content_filter_results\":{}}]}\n\n\
        data: {\"choices\":[{\"content_filter_offsets\":{}}],\"object\":\"\"}\n\n\
        data: [DONE]\n\n";
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(STREAM).await;
        reply.end_stream().await;
        reply
    })
    .await;
    for dialect in [
        "azure",
        "{ name: azure, api_version: v }",
        "openai_compatible",
    ] {
        let gateway = Gateway::start(&yaml(&upstream, "", dialect));
        let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_eq!((response.text(), response.complete), (STREAM, true));
    }
}

#[tokio::test]
async fn nothing_that_names_a_model_passes_unread() {
    let upstream = Upstream::answering("{}").await;
    let yaml = versioned(&upstream).replace("server:\n", "server:\n  passthrough: far\n");
    let gateway = Gateway::start(&yaml);
    for path in [
        "/v1/deployments/forbidden/chat/completions",
        "/v1/Deployments/forbidden/embeddings",
        "/v1/%64eployments/forbidden/embeddings",
        "/v1/chat/completion%73",
        "/v1/chat%2fcompletions",
        "/v1/chat/completions/",
        "/v1/Chat/Completions",
    ] {
        let refused = gateway.post(path, &chat("forbidden")).await;
        refused.assert_error(404, "invalid_request_error", None, None);
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_base_url_may_be_written_as_providers_show_it() {
    let upstream = Upstream::answering("{}").await;
    for (path, asked) in [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/v1//", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/completions/", "/v1/chat/completions"),
        ("/chat/completions", "/chat/completions"),
        ("/completions", "/chat/completions"),
        ("/api/v3/chat/completions", "/api/v3/chat/completions"),
    ] {
        let gateway = Gateway::start(&yaml(&upstream, path, "openai"));
        assert_eq!(
            seen(&gateway, &upstream, CHAT, "gpt-4o").await.path,
            asked,
            "{path}"
        );
    }
    // A path of the dialect's holds where the URL has none.
    let dialect = "{ name: openai_compatible, path_prefix: /api/v3 }";
    for (path, asked) in [
        ("", "/api/v3/chat/completions"),
        ("/chat/completions", "/chat/completions"),
    ] {
        let gateway = Gateway::start(&yaml(&upstream, path, dialect));
        assert_eq!(
            seen(&gateway, &upstream, CHAT, "gpt-4o").await.path,
            asked,
            "{path}"
        );
    }
}
