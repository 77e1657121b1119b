//! Sockets that are not opened, and what a client is told.

use crate::support::CLIENT_KEY;
use crate::support::client::Response;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::{Listener, Upstream};
use crate::support::websocket::{
    CLOSE, NONCE, REALTIME, Side, TEXT, close, keyed, masked, opening,
};

/// What an opening is answered with. The connection must close behind it.
async fn answer(gateway: &Gateway, request: impl AsRef<[u8]>) -> Response {
    let mut client = gateway.connect().await;
    client.send(request).await;
    let response = client.response().await;
    assert!(client.is_closed().await, "{response:?}");
    response
}

const INVALID: &str = "invalid_request_error";

#[tokio::test]
async fn an_opening_that_is_not_as_the_rfc_has_it() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let good = keyed(REALTIME, "");
    for (written, instead, status, code) in [
        (
            "version: 13",
            "version: 8",
            426,
            "unsupported_websocket_version",
        ),
        (
            "version: 13",
            "version: 14",
            426,
            "unsupported_websocket_version",
        ),
        (
            "sec-websocket-version: 13\r\n",
            "",
            400,
            "invalid_handshake",
        ),
        (NONCE, "c2hvcnQ=", 400, "invalid_handshake"),
        (NONCE, "not base64 at all", 400, "invalid_handshake"),
        (NONCE, "", 400, "invalid_handshake"),
        ("sec-websocket-key: ", "x-odd: ", 400, "invalid_handshake"),
        (
            "connection: Upgrade",
            "connection: keep-alive",
            400,
            "invalid_handshake",
        ),
        ("GET ", "POST ", 400, "invalid_handshake"),
        ("GET ", "HEAD ", 400, "invalid_handshake"),
    ] {
        let bad = good.replace(written, instead);
        assert_ne!(bad, good);
        if instead == "HEAD " {
            let mut client = gateway.connect().await;
            client.send(bad).await;
            assert_eq!(client.head().await.0, 400);
            assert!(client.is_closed().await);
            continue;
        }
        let response = answer(&gateway, bad).await;
        response.assert_error(status, INVALID, Some(code), None);
        let version = response.header("sec-websocket-version");
        assert_eq!(
            version,
            (status == 426 && code.contains("version")).then_some("13")
        );
    }
    assert_eq!(upstream.connections(), 0);
    gateway.access_line("status=426 error=unsupported_websocket_version");
}

#[tokio::test]
async fn other_paths_open_none_and_nothing_that_follows_is_read() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(
        upstream.address,
        "",
        "routes: [{ prefix: /far, upstream: far }]\n",
    );
    let gateway = Gateway::start(&yaml.replace("server:\n", "server:\n  passthrough: far\n"));
    for path in [
        "/v1/chat/completions",
        "/v1/files",
        "/v1/files/file-1/content",
        "/v1/models",
        "/v1/realtime/",
        "/v1/realtime/client_secrets",
        "/v1/%72ealtime?model=gpt-4o",
        "/realtime?model=gpt-4o",
        "/unknown",
        "/far",
        "/far/realtime?model=gpt-4o",
        "/health",
    ] {
        let smuggled = format!(
            "GET /v1/files HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {CLIENT_KEY}\r\n\r\n"
        );
        let response = answer(&gateway, keyed(path, "") + &smuggled).await;
        response.assert_error(400, INVALID, Some("websocket_not_supported"), None);
    }
    let post = keyed("/v1/chat/completions", "content-length: 2\r\n").replace("GET", "POST");
    let response = answer(&gateway, post + "{}").await;
    response.assert_error(400, INVALID, Some("websocket_not_supported"), None);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn what_follows_a_socket_that_the_upstream_does_not_open_is_not_read() {
    let upstream = Upstream::answering(r#"{"opened":false}"#).await;
    let gateway = Gateway::before(&upstream);
    let smuggled = crate::support::client::post("/v1/embeddings", "", r#"{"model":"same-x"}"#);
    let response = answer(&gateway, keyed(REALTIME, "") + &smuggled).await;
    assert_eq!(
        (response.status, response.text()),
        (200, r#"{"opened":false}"#)
    );
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn realtime_is_opened_and_not_asked() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "");
    let at_home = yaml.replace("server:\n", "server:\n  passthrough: far\n");
    for yaml in [yaml, at_home] {
        let gateway = Gateway::start(&yaml);
        let response = gateway.get(REALTIME).await;
        response.assert_error(426, INVALID, Some("websocket_required"), None);
        assert_eq!(response.header("upgrade"), Some("websocket"));
        let mut client = gateway.connect().await;
        client
            .send("GET /v1/realtime HTTP/1.1\r\nhost: g\r\n\r\n")
            .await;
        let stranger = client.response().await;
        stranger.assert_error(401, INVALID, None, None);
        // HTTP/1.0 has no upgrades.
        let old = keyed(REALTIME, "").replace("HTTP/1.1", "HTTP/1.0");
        let response = answer(&gateway, old).await;
        response.assert_error(426, INVALID, Some("websocket_required"), None);
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_model_that_may_not_be_asked_for_or_is_not_named() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let (model, missing) = (Some("model"), Some("missing_required_parameter"));
    for path in [
        "/v1/realtime?model=unheard-of",
        "/v1/realtime?model=forbidden",
        "/v1/realtime?model=missing",
    ] {
        let response = answer(&gateway, keyed(path, "")).await;
        response.assert_error(404, INVALID, Some("model_not_found"), model);
    }
    let long = format!("/v1/realtime?model={}", "x".repeat(257));
    for path in [
        "/v1/realtime?model=",
        "/v1/realtime?model=%2e.",
        "/v1/realtime?model=gpt-4o%00",
        &long,
    ] {
        let response = answer(&gateway, keyed(path, "")).await;
        response.assert_error(400, INVALID, Some("invalid_value"), model);
    }
    for path in [
        "/v1/realtime",
        "/v1/realtime?x=1",
        "/v1/responses",
        "/v1/responses?",
    ] {
        let response = answer(&gateway, keyed(path, "")).await;
        response.assert_error(400, INVALID, missing, model);
    }
    let yaml = config(upstream.address, "", "");
    let at_home = Gateway::start(&yaml.replace("server:\n", "server:\n  passthrough: far\n"));
    let response = answer(&at_home, keyed("/v1/realtime", "")).await;
    response.assert_error(400, INVALID, missing, model);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_name_that_decides_stands_once_in_the_query_and_in_one_spelling() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "");
    let more = "server:\n  passthrough: far\n  allow_ephemeral_keys: false\n";
    let gateway = Gateway::start(&yaml.replace("server:\n", more));
    for query in [
        "model=gpt-4o&model=forbidden",
        "model=gpt-4o&mod%65l=forbidden",
        "Model=forbidden&model=gpt-4o",
        "mod%65l=gpt-4o",
        "model[]=gpt-4o",
        "model=gpt-4o&call_id&call_id=other",
        "model=gpt-4o&Call_Id=other",
        "model=gpt-4o&call-id=other",
        "model=gpt-4o&call_id%20=other",
        "intent=transcription&intent=x",
        "model=gpt-4o&Deployment=forbidden",
    ] {
        let request = keyed(&format!("/v1/realtime?{query}"), "");
        let response = answer(&gateway, request).await;
        response.assert_error(400, INVALID, Some("invalid_handshake"), None);
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_call_is_controlled_only_where_keys_may_be_handed_out_and_at_home() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "");
    for more in ["", "  passthrough: far\n", "  allow_ephemeral_keys: true\n"] {
        let gateway = Gateway::start(&yaml.replace("server:\n", &format!("server:\n{more}")));
        for query in [
            "call_id=rtc_1",
            "model=gpt-4o&call_id=rtc_1",
            "call%5Fid=rtc_1&model=gpt-4o",
        ] {
            let request = keyed(&format!("/v1/realtime?{query}"), "");
            let response = answer(&gateway, request).await;
            response.assert_error(400, INVALID, Some("invalid_handshake"), None);
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_missing_or_wrong_key_is_told_over_the_socket() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    for (headers, protocol, code) in [
        ("", None, serde_json::Value::Null),
        (
            "authorization: Bearer wrong\r\n",
            None,
            "invalid_api_key".into(),
        ),
        (
            "sec-websocket-protocol: realtime, openai-insecure-api-key.wrong\r\n",
            Some("realtime"),
            "invalid_api_key".into(),
        ),
    ] {
        let mut client = gateway.connect().await;
        client.send(opening(REALTIME, headers)).await;
        let (status, answered) = client.head().await;
        assert_eq!(status, 101);
        let mut chosen = answered.iter();
        let chosen = chosen.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"));
        assert_eq!(chosen.map(|(_, value)| value.as_str()), protocol);
        let message = client.frame().await.unwrap();
        assert_eq!(message.opcode, TEXT);
        let message: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(
            (&message["type"], &message["status"]),
            (&"error".into(), &401.into())
        );
        let id = message["event_id"].as_str();
        assert!(id.is_some_and(|id| id.starts_with("req_")), "{message}");
        let error = message["error"].as_object().unwrap();
        let mut keys: Vec<&str> = error.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["code", "message", "param", "type"]);
        assert_eq!((&error["type"], &error["code"]), (&INVALID.into(), &code));
        assert_eq!(client.frame().await.unwrap().close_code(), 3000);
        client.send(masked(CLOSE, &close(3000, ""))).await;
        assert!(client.is_closed().await);
    }
    assert_eq!(upstream.connections(), 0);
    gateway.access_line("tenant=- method=GET path=/v1/realtime model=- sent=- upstream=- status=101 error=no_api_key");
    gateway.access_line("status=101 error=invalid_api_key");
}

#[tokio::test]
async fn an_upstream_s_own_refusal_passes_on_as_it_is() {
    let upstream = Upstream::start(|request, mut reply| async move {
        match request.path.as_str() {
            "/v1/realtime?model=same-500" => {
                reply
                    .json("500 Internal Server Error", r#"{"error":1}"#)
                    .await;
            }
            "/v1/realtime?model=same-chunked" => {
                reply
                    .raw("HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n")
                    .await;
                reply.chunk("no ").await;
                reply.chunk("way").await;
                reply.end_stream().await;
            }
            "/v1/realtime?model=same-bare" => {
                reply
                    .raw("HTTP/1.1 429 Slow Down\r\ncontent-length: 0\r\n\r\n")
                    .await;
            }
            "/v1/realtime?model=same-401" => {
                let error = r#"{"error":{"message":"Incorrect API key provided: sk-pr***"}}"#;
                reply.json("401 Unauthorized", error).await;
            }
            _ => {
                let headers = "set-cookie: c=1\r\nretry-after: 7\r\n";
                reply
                    .json_with("409 Conflict", headers, r#"{"error":{"code":"x"}}"#)
                    .await;
            }
        }
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    for (model, status, body) in [
        ("same-409", 409, r#"{"error":{"code":"x"}}"#),
        ("same-500", 500, r#"{"error":1}"#),
        ("same-chunked", 404, "no way"),
        ("same-bare", 429, ""),
    ] {
        let path = format!("/v1/realtime?model={model}");
        let response = answer(&gateway, keyed(&path, "")).await;
        assert_eq!((response.status, response.text()), (status, body));
        assert!(response.complete);
        assert!(response.header("set-cookie").is_none());
        assert!(response.header("x-request-id").unwrap().starts_with("req_"));
        if status == 409 {
            assert_eq!(response.header("retry-after"), Some("7"));
        }
        gateway.access_line(&format!(
            "model={model} sent={model} upstream=far status={status}"
        ));
    }
    // What it says of our key is not the client's to read.
    let path = "/v1/realtime?model=same-401";
    let response = answer(&gateway, keyed(path, "")).await;
    let kind = "service_unavailable_error";
    response.assert_error(503, kind, Some("upstream_account"), None);
}

#[tokio::test]
async fn an_upstream_that_gives_no_proper_answer() {
    let nobody = Listener::bind().await.address;
    let gateway = Gateway::start(&config(nobody, "", ""));
    let response = answer(&gateway, keyed(REALTIME, "")).await;
    response.assert_error(502, "server_error", Some("upstream_unreachable"), None);

    let upstream = Listener::bind().await;
    let more = ", timeouts: { first_token: 300ms }";
    let gateway = Gateway::start(&config(upstream.address, more, ""));
    for (said, status, code) in [
        ("", 502, "upstream_reset"),
        ("no HTTP at all\r\n\r\n", 502, "upstream_invalid_response"),
        // Whoever agrees to something else does not speak this protocol.
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: c29tZXRoaW5nIGVsc2Ugc2FpZA==\r\n\r\n",
            502,
            "upstream_invalid_response",
        ),
        (
            "HTTP/1.0 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
            "upstream_invalid_response",
        ),
    ] {
        let (response, ()) = tokio::join!(answer(&gateway, keyed(REALTIME, "")), async {
            let (_, mut far) = upstream.accept().await;
            far.raw(said).await;
        });
        response.assert_error(status, "server_error", Some(code), None);
    }
    let (response, _silent) =
        tokio::join!(answer(&gateway, keyed(REALTIME, "")), upstream.accept());
    response.assert_error(504, "server_error", Some("upstream_timeout"), None);
    gateway.output().wait_for("timeouts.first_token has passed");
}
