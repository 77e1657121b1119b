//! A form that cannot be served is refused in words, and nothing of it reaches the upstream.

use crate::support::client::{Response, post};
use crate::support::form::{
    BOUNDARY, Form, form_of, form_of_length, head, post_chunked, post_form,
};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROMPT};

const PATH: &str = "/v1/audio/transcriptions";
const INVALID: &str = "invalid_request_error";
const LIMIT: usize = 2 << 20;

async fn send(gateway: &Gateway, request: impl AsRef<[u8]>) -> Response {
    let mut client = gateway.connect().await;
    client.try_send(request).await;
    client.response().await
}

fn with_limit(upstream: &Upstream) -> Gateway {
    let forms = "server:\n  forms: { max: 2MiB, in_memory: 500KB }\n";
    Gateway::start(&config(upstream.address, "", "").replace("server:\n", forms))
}

#[tokio::test]
async fn a_form_over_the_limit_is_refused_with_and_without_its_length_announced() {
    let upstream = Upstream::answering("{}").await;
    let gateway = with_limit(&upstream);
    let (largest, too_large) = (
        form_of_length("same-x", LIMIT),
        form_of_length("same-x", LIMIT + 1),
    );
    for request in [
        post_form(PATH, &too_large),
        post_chunked(PATH, &too_large, 100_000),
        post_chunked(PATH, &too_large, LIMIT + 1),
        // The length alone is enough.
        head(PATH, &format!("content-length: {}\r\n", LIMIT + 1)).into_bytes(),
    ] {
        let refused = send(&gateway, request).await;
        refused.assert_error(413, INVALID, Some("request_too_large"), None);
        assert!(
            refused.text().contains("2097152 bytes"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(upstream.connections(), 0);
    for request in [
        post_form(PATH, &largest),
        post_chunked(PATH, &largest, 99_999),
    ] {
        assert_eq!(send(&gateway, request).await.status, 200);
        assert!(upstream.request().await.body == largest);
    }
}

#[tokio::test]
async fn forms_and_other_bodies_have_limits_of_their_own() {
    let upstream = Upstream::answering("{}").await;
    let forms = "server:\n  forms: { max: 2MiB }\n";
    let yaml = config(upstream.address, "", "")
        .replace("server:\n", forms)
        .replace("max_body: 64MiB", "max_body: 1MiB");
    let gateway = Gateway::start(&yaml);
    let form = form_of_length("same-x", LIMIT);
    assert_eq!(send(&gateway, post_form(PATH, &form)).await.status, 200);
    let json = format!(r#"{{"model":"same-x","x":"{}"}}"#, "x".repeat(1 << 20));
    let refused = gateway.post("/v1/images/edits", &json).await;
    refused.assert_error(413, INVALID, Some("request_too_large"), None);
}

#[tokio::test]
async fn a_form_that_names_no_model_or_no_plain_one_is_refused() {
    let upstream = Upstream::answering("{}").await;
    let gateway = with_limit(&upstream);
    let form = || Form::default().file(&[0; 1000]);
    let named = || form().text("model", "gpt-4o");
    for (form, code, message) in [
        (form(), "missing_required_parameter", "'model'"),
        (
            named().text("model", "gpt-4o"),
            "duplicate_parameter",
            "more than once in the form",
        ),
        (
            named().text("Model", "gpt-4"),
            "unknown_parameter",
            "only by its case",
        ),
        (
            form().text("MODEL", "gpt-4o"),
            "unknown_parameter",
            "only by its case",
        ),
        (form().text("model", ""), "invalid_value", "it is empty"),
        (form().text("model", ".."), "invalid_value", "are no names"),
        (
            form().text("model", "gpt-4o\n"),
            "invalid_value",
            "a control character",
        ),
        (
            form().text("model", b"gpt\xff"),
            "invalid_value",
            "it is not UTF-8",
        ),
        (
            form().text("model", "x".repeat(257)),
            "invalid_value",
            "longer than 256 bytes",
        ),
    ] {
        let refused = send(
            &gateway,
            post_form(PATH, &form.text("language", "en").end()),
        )
        .await;
        refused.assert_error(400, INVALID, Some(code), Some("model"));
        assert!(refused.text().contains(message), "{}", refused.text());
    }
    let stream = send(
        &gateway,
        post_form(PATH, &named().text("stream", "yes").end()),
    )
    .await;
    stream.assert_error(400, INVALID, Some("invalid_type"), Some("stream"));
    for model in ["gpt-5", "forbidden", "x".repeat(256).as_str(), " gpt-4o"] {
        let refused = send(
            &gateway,
            post_form(PATH, &form().text("model", model).end()),
        )
        .await;
        refused.assert_error(404, INVALID, Some("model_not_found"), Some("model"));
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_form_that_is_broken_is_refused() {
    let upstream = Upstream::answering("{}").await;
    let gateway = with_limit(&upstream);
    let good = String::from_utf8(Form::default().text("model", "gpt-4o").end()).unwrap();
    let closing = format!("--{BOUNDARY}--\r\n");
    let in_a_file = format!("x\r\n--{BOUNDARY}x\r\ny");
    let with_file = |name: &str| {
        let disposition = format!("form-data; name=\"{name}\"; filename=\"a\"");
        Form::default().part(&disposition, b"gpt-4o").end()
    };
    for (form, what) in [
        (
            good.replace(&closing, "").into_bytes(),
            "ends before its closing delimiter",
        ),
        (
            good[..good.len() / 2].into(),
            "ends before its closing delimiter",
        ),
        (Vec::new(), "ends before its closing delimiter"),
        (
            good.replace(BOUNDARY, "other").into_bytes(),
            "does not begin with its boundary",
        ),
        (
            Form::default().file(in_a_file.as_bytes()).end(),
            "does not end its line",
        ),
        (
            good.replace("form-data;", "attachment;").into_bytes(),
            "is not form-data",
        ),
        (
            good.replace("Content-Disposition", "X").into_bytes(),
            "has no Content-Disposition",
        ),
        (with_file("model"), "'model' is a file"),
        (with_file("model\"; name=\"file"), "one plain name"),
        ((good.clone() + &good).into_bytes(), "stands after its end"),
    ] {
        for request in [post_form(PATH, &form), post_chunked(PATH, &form, 100)] {
            let refused = send(&gateway, request).await;
            refused.assert_error(400, INVALID, Some("invalid_form"), None);
            assert!(refused.text().contains(what), "{what}: {}", refused.text());
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_content_type_that_fits_no_form_is_refused() {
    let upstream = Upstream::answering("{}").await;
    let gateway = with_limit(&upstream);
    let form = String::from_utf8(Form::default().text("model", "gpt-4o").end()).unwrap();
    let asking = |path: &str, content_type: &str| {
        post(path, "", &form).replace("application/json", content_type)
    };
    for content_type in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=b",
        &format!("multipart/form-data; boundary={}", "x".repeat(71)),
    ] {
        let refused = send(&gateway, asking(PATH, content_type)).await;
        refused.assert_error(400, INVALID, Some("invalid_form"), None);
        assert!(
            refused.text().contains("no usable boundary"),
            "{content_type}"
        );
    }
    for (path, content_type, takes) in [
        (PATH, "audio/mpeg", "send multipart/form-data"),
        (
            "/v1/images/edits",
            "multipart/mixed; boundary=b",
            "send multipart/form-data",
        ),
        (
            "/v1/chat/completions",
            "multipart/form-data; boundary=b",
            "send application/json",
        ),
    ] {
        let refused = send(&gateway, asking(path, content_type)).await;
        refused.assert_error(415, INVALID, Some("unsupported_content_type"), None);
        assert!(refused.text().contains(takes), "{}", refused.text());
    }
    let packed = send(
        &gateway,
        asking(PATH, "multipart/form-data\r\ncontent-encoding: gzip"),
    )
    .await;
    packed.assert_error(415, INVALID, Some("unsupported_content_encoding"), None);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_refused_form_is_read_and_nothing_behind_it_is_taken_for_a_request() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let broken = Form::default()
        .text("Model", PROMPT)
        .file(&vec![7; 8 << 20])
        .end();
    let second = post_form(PATH, &form_of("gpt-4o", 100));
    let mut client = gateway.connect().await;
    client.send(post_form(PATH, &broken)).await;
    client.try_send(second).await;
    let refused = client.response().await;
    refused.assert_error(400, INVALID, Some("unknown_parameter"), Some("model"));
    assert!(client.is_closed().await);
    assert_eq!(upstream.connections(), 0, "nothing may reach the upstream");
}

#[tokio::test]
async fn a_client_that_was_bidden_to_go_on_can_read_why_its_form_is_refused() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let broken = Form::default()
        .text("Model", PROMPT)
        .file(&vec![7; 16 << 20])
        .end();
    let expecting = format!(
        "expect: 100-continue\r\ncontent-length: {}\r\n",
        broken.len()
    );
    let mut client = gateway.connect().await;
    client.send(head(PATH, &expecting)).await;
    assert_eq!(client.head().await.0, 100);
    assert!(client.try_send(&broken).await, "it can send all of it");
    let refused = client.response().await;
    refused.assert_error(400, INVALID, Some("unknown_parameter"), Some("model"));
}

#[tokio::test]
async fn a_form_that_may_not_come_is_not_waited_for() {
    let upstream = Upstream::answering("{}").await;
    let gateway = with_limit(&upstream);
    let expecting = |length: usize| {
        let headers = format!("expect: 100-continue\r\ncontent-length: {length}\r\n");
        head(PATH, &headers)
    };
    for (request, status) in [
        (expecting(1000).replace(CLIENT_KEY, "wrong"), 401),
        (expecting(LIMIT + 1), 413),
        (
            expecting(1000).replace(&format!("; boundary={BOUNDARY}"), ""),
            400,
        ),
        (
            expecting(1000).replace("multipart/form-data", "audio/mpeg"),
            415,
        ),
    ] {
        let mut client = gateway.connect().await;
        client.send(&request).await;
        assert_eq!(client.head().await.0, status, "{request}");
    }
}
