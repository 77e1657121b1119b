//! What passes through and names a model in JSON or in a form: the tenant's list holds, the rule's name for it is put
//! in, and metrics and the access line know it.

use std::net::SocketAddr;

use crate::support::CLIENT_KEY;
use crate::support::client::Response;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;

/// The usual configuration, with a home, a second tenant that may have every model, and a rule whose target
/// is no home.
fn gateway(far: SocketAddr, more: &str) -> Gateway {
    let elsewhere = "  elsewhere: { base_url: 'http://127.0.0.1:9/v1', keys: [k] }\n";
    let rule = "  - { match: away, targets: [{ upstream: elsewhere, model: other }] }\n";
    let yaml = config(far, "", "")
        .replace("server:\n", "server:\n  passthrough: far\n")
        .replace("models:\n", &format!("{elsewhere}models:\n{rule}"))
        .replace("models: [gpt-4o,", "models: [gpt-4o, away,")
        + &format!("  - {{ id: free, keys: ['{CLIENT_KEY}-free'] }}\n");
    Gateway::start(&yaml.replace("  max_body: 64MiB\n", more))
}

/// A tenant that may have some models, and one that may have all.
const TESTER: &str = CLIENT_KEY;

fn free() -> String {
    format!("{CLIENT_KEY}-free")
}

async fn sent(gateway: &Gateway, key: &str, path: &str, headers: &str, body: &str) -> Response {
    let mut client = gateway.connect().await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\n{headers}\
         content-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head + body).await;
    client.response().await
}

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn the_rules_name_is_put_in_and_nothing_else_changes() {
    let far = Upstream::answering("{}").await;
    let gateway = gateway(far.address, "");
    for path in [
        "/v1/fine_tuning/jobs",
        "/v1/videos",
        "/v1/assistants",
        "/v1/threads/thread_1/runs",
        "/v1/not/yet/invented",
    ] {
        for json in [
            JSON,
            "content-type: application/merge-patch+json; charset=utf-8\r\n",
        ] {
            let body = r#"{ "n": 1.50, "model" : "gpt-4o", "inner": { "model": "forbidden" } }"#;
            let response = sent(&gateway, TESTER, path, json, body).await;
            assert_eq!(response.status, 200, "{path}");
            let seen = far.request().await;
            let expected = body.replace("gpt-4o", "gpt-4o-2024-11-20");
            assert_eq!((seen.path.as_str(), seen.text()), (path, expected.as_str()));
        }
        let names = "model=gpt-4o sent=gpt-4o-2024-11-20 upstream=far status=200";
        gateway.access_line(&format!("path={path} {names}"));
    }
    let metrics = gateway.get_admin("/metrics").await;
    let labels = r#"endpoint="passthrough",rule="gpt-4o",status="2xx",upstream="far""#;
    let series = format!("tollgate_requests_total{{{labels}}} 10");
    assert!(metrics.text().contains(&series), "{}", metrics.text());
}

#[tokio::test]
async fn a_model_that_the_home_has_by_the_clients_name_passes_as_it_came() {
    let far = Upstream::answering("{}").await;
    let gateway = gateway(far.address, "");
    for (key, body) in [
        (TESTER, r#"{"model":"same-x"}"#),
        (TESTER, r#"{"model":"away"}"#),
        (TESTER, r#"{"input_file_id":"file-1"}"#),
        (TESTER, r#"{"model":null}"#),
        (TESTER, r#"[{"model":"forbidden"}]"#),
        (TESTER, ""),
        (free().as_str(), r#"{"model":"no rule has it"}"#),
        (free().as_str(), r#"{"model":17}"#),
        (free().as_str(), r#"{"model":"gpt-4o","model":"gpt-4o"}"#),
        (free().as_str(), "{ no JSON"),
    ] {
        let response = sent(&gateway, key, "/v1/videos", JSON, body).await;
        assert_eq!(response.status, 200, "{body}");
        assert_eq!(far.request().await.text(), body);
    }
}

#[tokio::test]
async fn the_tenants_list_holds_for_what_passes_through() {
    let far = Upstream::answering("{}").await;
    let gateway = gateway(far.address, "");
    for model in ["forbidden", "missing", "gpt-4o-mini"] {
        let body = format!(r#"{{"model":"{model}"}}"#);
        for headers in [
            JSON,
            "",
            "content-type: TEXT/json ;x\r\n",
            "content-type: text/plain\r\n",
            "content-type: application/x-www-form-urlencoded\r\n",
        ] {
            let response = sent(&gateway, TESTER, "/v1/videos", headers, &body).await;
            let (kind, code) = ("invalid_request_error", Some("model_not_found"));
            response.assert_error(404, kind, code, Some("model"));
        }
    }
    for (body, status) in [
        (r#"{"model":"gpt-4o","model":"forbidden"}"#, 400),
        (r#"{"Model":"forbidden"}"#, 400),
        (r#"{"model":["forbidden"]}"#, 400),
        ("{ no JSON", 400),
        ("\u{feff}{\"model\":\"forbidden\"}", 400),
        ("\0{\0\"\0m", 400),
    ] {
        let response = sent(&gateway, TESTER, "/v1/videos", JSON, body).await;
        assert_eq!(response.status, status, "{body}");
    }
    assert_eq!(far.requests(), 0);
    // What no server takes for JSON passes.
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for (headers, body) in [(form, "purpose=x"), (JSON, "[1]"), (JSON, "\"text\"")] {
        let response = sent(&gateway, TESTER, "/v1/videos", headers, body).await;
        assert_eq!(response.status, 200, "{body}");
    }
}

#[tokio::test]
async fn what_cannot_be_looked_at_passes_for_a_tenant_that_may_have_every_model() {
    let far = Upstream::answering("{}").await;
    let gateway = gateway(far.address, "  max_body: 1KiB\n");
    let large = format!(r#"{{"x":"{}","model":"gpt-4o"}}"#, "x".repeat(100_000));
    let packed = format!("{JSON}content-encoding: gzip\r\n");
    for (headers, body) in [(JSON, large.as_str()), (&packed, "\u{1f}not really packed")] {
        let response = sent(&gateway, &free(), "/v1/videos", headers, body).await;
        assert_eq!(response.status, 200);
        assert_eq!(far.request().await.text(), body);
    }
    // One whose length is not known is looked at as far as it may be.
    let mut client = gateway.connect().await;
    let head = format!(
        "POST /v1/videos HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {}\r\n{JSON}\
         transfer-encoding: chunked\r\n\r\n",
        free()
    );
    client.send(head).await;
    for piece in large.as_bytes().chunks(999) {
        client.send(format!("{:x}\r\n", piece.len())).await;
        client.send(piece).await;
        client.send("\r\n").await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(far.request().await.text(), large);

    let refused = sent(&gateway, TESTER, "/v1/videos", JSON, &large).await;
    assert_eq!(refused.status, 413);
    let refused = sent(&gateway, TESTER, "/v1/videos", &packed, "x").await;
    assert_eq!(refused.status, 415);
    assert_eq!(far.requests(), 3);
}

#[tokio::test]
async fn a_body_that_is_no_json_is_not_held() {
    let far = Upstream::answering("{}").await;
    let gateway = gateway(far.address, "  max_body: 1KiB\n");
    let large = "b".repeat(100_000);
    for headers in ["", "content-type: application/octet-stream\r\n", JSON] {
        let response = sent(&gateway, TESTER, "/v1/files", headers, &large).await;
        assert_eq!(response.status, 200, "{headers}");
        assert!(far.request().await.text() == large);
    }
    // Forms that are files: nothing in them is a model's name.
    let form = format!("--b\r\n{{\"model\":\"forbidden\"}}{large}\r\n--b--");
    for path in [
        "/v1/files",
        "/v1/uploads/upload_1/parts",
        "/v1/containers/c_1/files",
    ] {
        let response = sent(&gateway, TESTER, path, FORM, &form).await;
        assert_eq!(response.status, 200, "{path}");
    }
}

const FORM: &str = "content-type: multipart/form-data; boundary=b\r\n";

/// A form with these fields, and a file behind them.
fn form(fields: &[(&str, &str)]) -> String {
    let file = "--b\r\nContent-Disposition: form-data; name=\"input_reference\"; filename=\"a\"\r\n\
                Content-Type: image/png\r\n\r\nPNG\r\n--b--\r\n";
    let fields = fields.iter().map(|(name, value)| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    });
    fields.collect::<String>() + file
}

#[tokio::test]
async fn a_form_gets_the_rules_name_and_is_else_as_it_came() {
    let far = Upstream::answering("{}").await;
    let gateway = gateway(far.address, "");
    let fields = [("prompt", "model=forbidden"), ("model", "gpt-4o")];
    for (key, model, sent_model) in [
        (TESTER, "gpt-4o", "gpt-4o-2024-11-20"),
        (TESTER, "same-x", "same-x"),
        (free().as_str(), "gpt-4o", "gpt-4o-2024-11-20"),
        (free().as_str(), "no rule has it", "no rule has it"),
    ] {
        let [prompt, _] = fields;
        let body = form(&[prompt, ("model", model)]);
        let response = sent(&gateway, key, "/v1/videos", FORM, &body).await;
        assert_eq!(response.status, 200, "{model}: {}", response.text());
        let seen = far.request().await;
        assert_eq!(seen.text(), form(&[prompt, ("model", sent_model)]));
        assert_eq!(seen.header("content-length").len(), 1);
    }
    let names = "model=gpt-4o sent=gpt-4o-2024-11-20 upstream=far status=200";
    gateway.access_line(&format!("path=/v1/videos {names}"));
    // One that names none passes, and so does one whose length is not known.
    let unnamed = form(&[("prompt", "p")]);
    let response = sent(&gateway, TESTER, "/v1/videos", FORM, &unnamed).await;
    assert_eq!(response.status, 200);
    assert_eq!(far.request().await.text(), unnamed);
    let mut client = gateway.connect().await;
    let head = format!(
        "POST /v1/videos HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {TESTER}\r\n{FORM}\
         transfer-encoding: chunked\r\n\r\n"
    );
    client.send(head).await;
    for piece in form(&fields).as_bytes().chunks(7) {
        client.send(format!("{:x}\r\n", piece.len())).await;
        client.send(piece).await;
        client.send("\r\n").await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    let renamed = form(&[fields[0], ("model", "gpt-4o-2024-11-20")]);
    assert_eq!(far.request().await.text(), renamed);
}

#[tokio::test]
async fn the_tenants_list_holds_for_a_form() {
    let far = Upstream::answering("{}").await;
    let gateway = gateway(far.address, "  max_body: 1KiB\n");
    for model in ["forbidden", "missing", "gpt-4o-mini"] {
        let body = form(&[("model", model)]);
        for path in ["/v1/videos", "/v1/not/yet/invented", "/v1/files/file-1"] {
            let response = sent(&gateway, TESTER, path, FORM, &body).await;
            let (kind, code) = ("invalid_request_error", Some("model_not_found"));
            response.assert_error(404, kind, code, Some("model"));
        }
    }
    let large = form(&[("model", "gpt-4o"), ("prompt", &"p".repeat(2_000))]);
    let packed = format!("{FORM}content-encoding: gzip\r\n");
    let no_boundary = "content-type: multipart/form-data\r\n";
    let fine = form(&[("model", "gpt-4o")]);
    let cut = &fine[..fine.len() - 6];
    for (headers, body, status) in [
        (
            FORM,
            form(&[("model", "gpt-4o"), ("model", "forbidden")]),
            400,
        ),
        (FORM, form(&[("Model", "forbidden")]), 400),
        (FORM, form(&[("model", "")]), 400),
        (FORM, cut.to_owned(), 400),
        (FORM, "no form".to_owned(), 400),
        (no_boundary, fine.clone(), 400),
        (packed.as_str(), fine.clone(), 415),
        (FORM, large.clone(), 413),
    ] {
        let response = sent(&gateway, TESTER, "/v1/videos", headers, &body).await;
        assert_eq!(response.status, status, "{headers}{body}");
    }
    assert_eq!(far.requests(), 0);
    // For a tenant that may have every model all of it passes as it came.
    for (headers, body) in [
        (FORM, cut),
        (FORM, "no form"),
        (FORM, &large),
        (no_boundary, &fine),
    ] {
        let response = sent(&gateway, &free(), "/v1/videos", headers, body).await;
        assert_eq!(response.status, 200, "{headers}{body}");
        assert_eq!(far.request().await.text(), body);
    }
}
