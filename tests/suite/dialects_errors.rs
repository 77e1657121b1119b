//! An error reads the same in whatever dialect the upstream said it.

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{PROVIDER_KEY, chat, streamed_chat};

const CHAT: &str = "/v1/chat/completions";
const INVALID: &str = "invalid_request_error";

/// A gateway in front of an upstream of this dialect that gives one answer. It sends on its clients'
/// keys, so that what the upstream says of them is theirs to read, and tries nothing twice.
async fn failing(dialect: &str, status: &'static str, body: &'static str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(move |_, mut reply| async move {
        let headers = "retry-after-ms: 900\r\napim-request-id: a\r\nx-ms-region: b\r\n";
        reply.json_with(status, headers, body).await;
        reply
    })
    .await;
    let more = format!(", dialect: {dialect}");
    let yaml = config(upstream.address, &more, "")
        .replace("/v1', keys", "', keys")
        .replace(&format!("keys: ['{PROVIDER_KEY}']"), "keys: passthrough")
        .replace("server:\n", "server:\n  retries: { attempts: 1 }\n");
    let gateway = Gateway::start(&yaml);
    (upstream, gateway)
}

async fn azures(status: &'static str, body: &'static str) -> Response {
    let dialect = "{ name: azure, api_version: 2024-10-21 }";
    let (_upstream, gateway) = failing(dialect, status, body).await;
    let whole = gateway.post(CHAT, &chat("gpt-4o")).await;
    let streamed = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_eq!(
        (whole.status, whole.text()),
        (streamed.status, streamed.text())
    );
    assert!(whole.complete && streamed.complete);
    whole
}

#[tokio::test]
async fn azures_errors_have_all_four_keys() {
    for (status, body, kind, code, message) in [
        (
            "401 Unauthorized",
            r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key."}}"#,
            INVALID,
            None,
            "Access denied due to invalid subscription key.",
        ),
        (
            "404 Not Found",
            r#"{"error":{"code":"404","message": "Resource not found"}}"#,
            INVALID,
            None,
            "Resource not found",
        ),
        (
            "429 Too Many Requests",
            r#"{"error":{"code":"429","message":"Please retry after 7 seconds."}}"#,
            "requests",
            Some("rate_limit_exceeded"),
            "Please retry after 7 seconds.",
        ),
        (
            "429 Too Many Requests",
            r#"{"error":{"code":"insufficient_quota","type":"insufficient_quota","message":"Your quota is spent."}}"#,
            "insufficient_quota",
            Some("insufficient_quota"),
            "Your quota is spent.",
        ),
        (
            "500 Internal Server Error",
            r#"{"error":{"code":"InternalServerError","message":"Something went wrong."}}"#,
            "server_error",
            Some("InternalServerError"),
            "Something went wrong.",
        ),
    ] {
        let response = azures(status, body).await;
        response.assert_error(status[..3].parse().unwrap(), kind, code, None);
        assert_eq!(response.json()["error"]["message"], message);
        assert_eq!(response.header("retry-after-ms"), Some("900"));
        assert!(response.header("apim-request-id").is_none());
        assert!(response.header("x-ms-region").is_none());
    }
}

#[tokio::test]
async fn a_deployment_that_is_not_there_is_a_model_that_is_not_there() {
    let body = r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment gpt-4o-2024-11-20 for this resource does not exist.","details":"gpt-4o-2024-11-20"}}"#;
    let dialect = "{ name: azure, api_version: 2024-10-21 }";
    let (_upstream, gateway) = failing(dialect, "404 Not Found", body).await;
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    response.assert_error(404, INVALID, Some("model_not_found"), Some("model"));
    assert!(
        !response.text().contains("2024-11-20"),
        "{}",
        response.text()
    );
    // The operator sees which one it is.
    gateway.access_line("model=gpt-4o sent=gpt-4o-2024-11-20 upstream=far status=404");
}

#[tokio::test]
async fn an_error_without_an_envelope_gets_one() {
    let body = r#"{ "statusCode": 401, "message": "Access denied due to missing key." }"#;
    let response = azures("401 Access Denied", body).await;
    let expected = json!({ "error": {
        "message": "Access denied due to missing key.", "type": INVALID, "param": null,
        "code": null, "statusCode": 401,
    }});
    assert_eq!((response.status, response.json()), (401, expected));
}

#[tokio::test]
async fn what_a_content_filter_says_is_kept() {
    let response = azures(
        "400 Bad Request",
        r#"{"error":{"message":"The response was filtered.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true}}}}}"#,
    )
    .await;
    let expected = json!({ "error": {
        "message": "The response was filtered.", "type": INVALID, "param": "prompt",
        "code": "content_filter", "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": { "hate": { "filtered": true } },
        },
    }});
    assert_eq!((response.status, response.json()), (400, expected));
}

#[tokio::test]
async fn an_error_that_is_none_in_any_known_form_passes_as_it_came() {
    for body in [
        "<html>no</html>",
        "",
        "[1]",
        r#"{"error":"no"}"#,
        r#"{"a" : 1.50}"#,
    ] {
        let response = azures("400 Bad Request", body).await;
        assert_eq!((response.status, response.text()), (400, body));
        if !body.is_empty() {
            let response = azures("502 Bad Gateway", body).await;
            assert_eq!((response.status, response.text()), (502, body));
        }
    }
    // A failure that says nothing gets words of ours.
    for (status, kind, code) in [
        (
            "502 Bad Gateway",
            "server_error",
            "upstream_invalid_response",
        ),
        (
            "503 Busy",
            "service_unavailable_error",
            "upstream_unavailable",
        ),
        (
            "529 Busy",
            "service_unavailable_error",
            "upstream_unavailable",
        ),
    ] {
        let response = azures(status, "").await;
        let expected = if code == "upstream_unavailable" {
            503
        } else {
            502
        };
        response.assert_error(expected, kind, Some(code), None);
    }
}

#[tokio::test]
async fn an_error_that_is_complete_is_complete_behind_us() {
    let body = r#"{"error":{"message":"no","type":"t","param":"p","code":"c"}}"#;
    let response = azures("400 Bad Request", body).await;
    let sent: Value = serde_json::from_str(body).unwrap();
    assert_eq!(response.json(), sent);
}

#[tokio::test]
async fn other_dialects_errors_and_azures_answers_are_not_touched() {
    let body = r#"{"error":{"code":"DeploymentNotFound" ,"message":"deployment x"}}"#;
    for dialect in ["openai", "openai_compatible"] {
        let (_upstream, gateway) = failing(dialect, "404 Not Found", body).await;
        let response = gateway.post(CHAT, &chat("gpt-4o")).await;
        assert_eq!((response.status, response.text()), (404, body), "{dialect}");
    }
    let body = r#"{"choices":[] ,"code":"DeploymentNotFound","message":"deployment x"}"#;
    let answer = azures("200 OK", body).await;
    assert_eq!((answer.status, answer.text()), (200, body));
    assert_eq!(
        answer.header("content-length"),
        Some(body.len().to_string().as_str())
    );
    // An error that came under a status of success is an error.
    for told in [
        r#"{"error":{"code":"DeploymentNotFound" ,"message":"deployment x"}}"#,
        r#"{"code":"DeploymentNotFound" ,"message":"deployment x"}"#,
    ] {
        let refused = azures("200 OK", told).await;
        refused.assert_error(404, INVALID, Some("model_not_found"), Some("model"));
    }
}
