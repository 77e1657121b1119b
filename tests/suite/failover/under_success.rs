//! Errors under a status of success, whole and in a stream: each is the error that it is, with its
//! usual status, and is asked for again only where that may help.

use serde_json::{Value, json};

use super::{
    CHAT, GENEROUS, RESPONSES, Told, answer, assert_whole, at, delta, error, gateway, healthy,
    one_then_other, outcomes, role, rule, token,
};
use crate::support::client::Response;
use crate::support::form::{form_of, post_form};
use crate::support::upstream::Upstream;
use crate::support::{chat, streamed_chat};

/// A provider that gives one JSON answer to everything.
async fn giving(body: impl Into<String>) -> Upstream {
    let body: String = body.into();
    Upstream::start(move |_, mut reply| {
        let body = body.clone();
        async move {
            reply.json("200 OK", &body).await;
            reply
        }
    })
    .await
}

/// A provider whose streams are this text.
async fn streaming(text: impl Into<String>) -> Upstream {
    let text: String = text.into();
    Upstream::start(move |_, mut reply| {
        let text = text.clone();
        async move {
            reply.stream(&text).await;
            reply
        }
    })
    .await
}

/// What comes of a request with nobody else to ask, and how the attempts ended.
async fn alone(upstream: &Upstream, path: &str, body: &str) -> (Response, String) {
    let upstreams = [at("first", upstream.address, "")];
    let rules = [rule("gpt-4o", "{ upstream: first }", "")];
    let front = gateway(GENEROUS, &upstreams, &rules);
    let response = front.post(path, body).await;
    let outcomes = outcomes(&front, &response);
    (response, outcomes)
}

/// OpenAI's codes of a response that has failed: code, status, reason, whether others are asked.
#[rustfmt::skip]
const CODES: [(&str, u16, &str, bool); 20] = [
    ("server_error",                   500, "server_error",   true),
    ("rate_limit_exceeded",            429, "rate_limited",   true),
    ("invalid_prompt",                 400, "bad_request",    false),
    ("bio_policy",                     400, "content_filter", false),
    ("data_residency_mismatch",        400, "bad_request",    false),
    ("vector_store_timeout",           504, "server_error",   true),
    ("invalid_image",                  400, "bad_request",    false),
    ("invalid_image_format",           400, "bad_request",    false),
    ("invalid_base64_image",           400, "bad_request",    false),
    ("invalid_image_url",              400, "bad_request",    false),
    ("image_too_large",                400, "bad_request",    false),
    ("image_too_small",                400, "bad_request",    false),
    ("image_parse_error",              400, "bad_request",    false),
    ("image_content_policy_violation", 400, "content_filter", false),
    ("invalid_image_mode",             400, "bad_request",    false),
    ("image_file_too_large",           400, "bad_request",    false),
    ("unsupported_image_media_type",   400, "bad_request",    false),
    ("empty_image_file",               400, "bad_request",    false),
    ("failed_to_download_image",       400, "bad_request",    false),
    ("image_file_not_found",           400, "bad_request",    false),
];

fn failed_response(code: &str) -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": "failed", "model": "served",
        "error": { "code": code, "message": "It cannot be." }, "output": [],
        "usage": { "input_tokens": 11, "output_tokens": 7, "total_tokens": 18 },
    })
}

fn failed_stream(code: &str) -> String {
    let created = json!({ "type": "response.created", "sequence_number": 0,
        "response": { "id": "resp_1", "object": "response", "status": "in_progress" } });
    let failed = json!({ "type": "response.failed", "sequence_number": 1,
        "response": failed_response(code) });
    format!(
        "event: response.created\ndata: {created}\n\nevent: response.failed\ndata: {failed}\n\n"
    )
}

#[tokio::test]
async fn each_code_of_a_failed_response_has_its_status_whole_and_streamed() {
    for (code, status, reason, asks_others) in CODES {
        let envelope = json!({ "error": { "code": code, "message": "It cannot be." } });
        let whole = giving(envelope.to_string()).await;
        let streamed = streaming(failed_stream(code)).await;
        for (first, body) in [
            (&whole, chat("gpt-4o")),
            (&streamed, streamed_chat("gpt-4o")),
        ] {
            let (response, trail) = alone(first, RESPONSES, &body).await;
            assert_eq!(response.status, status, "{code}: {response:?}");
            let error = &response.json()["error"];
            assert_eq!(error["code"], code);
            assert_eq!(error["message"], "It cannot be.");
            let tried: Vec<&str> = trail.split(' ').collect();
            assert!(
                tried.iter().all(|one| *one == format!("first:{reason}")),
                "{trail}"
            );
            assert_eq!(tried.len() > 1, asks_others, "{trail}");
            let second = healthy("second").await;
            let front = one_then_other(&at("first", first.address, ""), &second);
            let response = front.post(RESPONSES, &body).await;
            assert_eq!(second.requests(), usize::from(asks_others), "{code}");
            assert_eq!(response.status, if asks_others { 200 } else { status });
        }
    }
}

#[tokio::test]
async fn a_whole_error_is_asked_for_once_and_keeps_what_it_says() {
    for more in [Value::Null, json!("invalid_value")] {
        let body = json!({ "error": {
            "message": "max_tokens is beyond what this model takes",
            "type": "invalid_request_error", "param": "max_tokens", "code": more,
        }});
        let (first, second) = (giving(body.to_string()).await, healthy("second").await);
        let front = one_then_other(&at("first", first.address, ""), &second);
        for _ in 0..9 {
            let response = front.post(CHAT, &chat("gpt-4o")).await;
            let kind = "invalid_request_error";
            response.assert_error(400, kind, more.as_str(), Some("max_tokens"));
            assert_eq!(outcomes(&front, &response), "first:bad_request");
        }
        // It is no fault of the target's, which is still asked.
        assert_eq!((first.requests(), second.requests()), (9, 0));
    }
}

#[tokio::test]
async fn a_whole_error_that_asks_to_wait_says_so_in_the_header() {
    let body = error("Slow down. Please try again in 30s.", "requests", None);
    let (response, trail) = alone(&giving(body).await, CHAT, &chat("gpt-4o")).await;
    assert_eq!(
        (response.status, trail.as_str()),
        (429, "first:rate_limited")
    );
    assert_eq!(response.header("retry-after"), Some("30"));
    assert_eq!(response.header("x-should-retry"), None);
}

#[tokio::test]
async fn a_response_that_has_failed_passes_as_it_came_once_nothing_else_helps() {
    for (code, attempts) in [("bio_policy", "1"), ("server_error", "2")] {
        let body = failed_response(code).to_string();
        let first = giving(body.clone()).await;
        let upstreams = [at("first", first.address, "")];
        let rules = [rule("gpt-4o", "{ upstream: first }", "")];
        let front = gateway(GENEROUS, &upstreams, &rules);
        let response = front.post(RESPONSES, &chat("gpt-4o")).await;
        assert_eq!((response.status, response.text()), (200, body.as_str()));
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("x-should-retry"), None);
        assert_eq!(first.requests().to_string(), attempts);
        front.access_line("status=200 error=upstream_error");
        // What it has used is counted, once.
        let told = r#"tollgate_usage_total{rule="gpt-4o",source="upstream",upstream="first"}"#;
        front.metric_becomes(told, 1.0).await;
        // Where another helps, nothing is seen of it.
        let second = healthy("second").await;
        let front = one_then_other(&at("first", first.address, ""), &second);
        let response = front.post(RESPONSES, &chat("gpt-4o")).await;
        match code {
            "server_error" => assert_whole(&response, "second"),
            _ => assert_eq!(response.text(), body),
        }
    }
}

#[tokio::test]
async fn a_failed_response_that_speaks_of_our_account_does_not_pass() {
    let first = giving(failed_response("insufficient_quota").to_string()).await;
    let (response, trail) = alone(&first, RESPONSES, &chat("gpt-4o")).await;
    let kind = "service_unavailable_error";
    response.assert_error(503, kind, Some("upstream_account"), None);
    assert_eq!(trail, "first:out_of_credit");
}

#[tokio::test]
async fn a_failed_response_keeps_the_form_that_the_client_asked_for() {
    // One that was asked for as a stream on behalf of a client that was not.
    let first = streaming(failed_stream("bio_policy")).await;
    let upstreams = [at("first", first.address, "")];
    let target = "{ upstream: first, upstream_stream: always }";
    let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", target, "")]);
    let response = front.post(RESPONSES, &chat("gpt-4o")).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.json(), failed_response("bio_policy"));
    // And the other way round, where it is an error as in any stream.
    let first = giving(failed_response("bio_policy").to_string()).await;
    let upstreams = [at("first", first.address, "")];
    let target = "{ upstream: first, upstream_stream: never }";
    let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", target, "")]);
    let response = front.post(RESPONSES, &streamed_chat("gpt-4o")).await;
    response.assert_error(400, "invalid_request_error", Some("bio_policy"), None);
}

#[tokio::test]
async fn the_usage_of_a_stream_that_fails_before_it_says_anything_is_counted() {
    let first = streaming(failed_stream("bio_policy")).await;
    let upstreams = [at("first", first.address, "")];
    let rules = [rule("gpt-4o", "{ upstream: first }", "")];
    let front = gateway(GENEROUS, &upstreams, &rules);
    let response = front.post(RESPONSES, &streamed_chat("gpt-4o")).await;
    assert_eq!(response.status, 400);
    let told = r#"tollgate_usage_total{rule="gpt-4o",source="upstream",upstream="first"}"#;
    front.metric_becomes(told, 1.0).await;
}

/// Errors in the forms that providers use: the event's lines, and whether clients know the form.
const FORMS: [(&str, bool); 13] = [
    (
        r#"data: {"error":{"message":"It failed.","code":"x"}}"#,
        true,
    ),
    (r#"data: {"error":"It failed."}"#, true),
    (
        r#"data: {"choices":[],"error":{"code":502,"message":"It failed."}}"#,
        true,
    ),
    (
        r#"data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error","error":{"code":502,"message":"It failed."}}]}"#,
        false,
    ),
    (
        r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"error":"It failed."}}"#,
        false,
    ),
    (
        r#"data: {"object":"error","message":"It failed.","code":500}"#,
        false,
    ),
    (r#"data: {"type":"error","message":"It failed."}"#, false),
    (r#"data: {"event":"error","message":"It failed."}"#, false),
    (
        "event: error\ndata: {\"message\":\"It failed.\",\"code\":500}",
        false,
    ),
    (r#"data: {"detail":"It failed."}"#, false),
    (r#"data: {"message":"It failed.","code":500}"#, false),
    (
        r#"data: [{"error":{"message":"It failed.","code":500}}]"#,
        false,
    ),
    (r#"error: {"message":"It failed.","code":500}"#, false),
];

#[tokio::test]
async fn an_error_in_any_form_moves_on_before_output_and_is_told_behind_it() {
    for (form, is_known) in FORMS {
        let early = format!("data: {}\n\n{form}\n\ndata: [DONE]\n\n", role());
        let (first, second) = (streaming(early).await, healthy("second").await);
        let front = one_then_other(&at("first", first.address, ""), &second);
        let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "second");
        let expected = "first:server_error second:ok";
        assert_eq!(outcomes(&front, &response), expected, "{form}");

        let said = format!("data: {}\n\ndata: {}\n\n", role(), token("first", 0));
        let first = streaming(format!("{said}{form}\n\ndata: [DONE]\n\n")).await;
        let front = one_then_other(&at("first", first.address, ""), &second);
        let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
        let told = Told::of(&response);
        assert_eq!(told.text, "first0 ", "{form}");
        assert!(!told.is_done && response.complete, "{form}: {told:?}");
        let last = response.text().trim_end().rsplit("\n\n").next().unwrap();
        let event: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        let error = &event["error"];
        let message = error["message"].as_str().or(error.as_str());
        assert_eq!(message, Some("It failed."), "{form}: {last}");
        assert_eq!(last == form, is_known, "{form}: {last}");
        front.access_line("status=200 error=upstream_error");
        assert_eq!(second.requests(), 1, "nobody is asked behind output");

        // Where a whole answer is wanted, it has the status of an error.
        let upstreams = [at("first", first.address, "")];
        let target = "{ upstream: first, upstream_stream: always }";
        let front = gateway("attempts: 1", &upstreams, &[rule("gpt-4o", target, "")]);
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        assert!(response.status >= 500, "{form}: {response:?}");
        assert_eq!(response.json()["error"]["message"], "It failed.");
    }
}

#[tokio::test]
async fn an_error_in_a_choice_is_no_success() {
    for body in [
        r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"so f"},"finish_reason":"error","error":{"code":502,"message":"It failed."}}]}"#,
        r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"error"}]}"#,
        r#"{"id":"c","choices":null,"base_resp":{"status_code":1000,"status_msg":"It failed."}}"#,
        r#"{"detail":"It failed."}"#,
    ] {
        let (first, second) = (giving(body).await, healthy("second").await);
        let front = one_then_other(&at("first", first.address, ""), &second);
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        assert_whole(&response, "second");
        let expected = "first:server_error second:ok";
        assert_eq!(outcomes(&front, &response), expected, "{body}");
    }
    // One of several is an answer.
    let several = r#"{"id":"c","choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":"error"}]}"#;
    let (response, _) = alone(&giving(several).await, CHAT, &chat("gpt-4o")).await;
    assert_eq!((response.status, response.text()), (200, several));
}

#[tokio::test]
async fn a_short_answer_that_is_not_json_is_no_answer() {
    let whole = answer("first");
    for body in [
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 1],
        "<html><body>It is under maintenance.</body></html>",
        "upstream connect error",
        "\"overloaded\"",
        "null",
        " ",
        "",
    ] {
        let (first, second) = (giving(body).await, healthy("second").await);
        for request in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
            let front = one_then_other(&at("first", first.address, ""), &second);
            let response = front.post(CHAT, &request).await;
            assert_whole(&response, "second");
            let expected = "first:invalid_response second:ok";
            assert_eq!(outcomes(&front, &response), expected, "{body}");
        }
        let (response, _) = alone(&first, CHAT, &chat("gpt-4o")).await;
        response.assert_error(502, "server_error", Some("upstream_invalid_response"), None);
        assert_eq!(response.header("x-should-retry"), Some("false"));
    }
}

#[tokio::test]
async fn what_is_long_or_compressed_or_need_not_be_json_passes_as_it_is() {
    // Longer than what is held back.
    let long = format!("{{\"text\":\"{}", "x".repeat(17 << 10));
    let (response, _) = alone(&giving(long.clone()).await, CHAT, &chat("gpt-4o")).await;
    assert!(response.status == 200 && response.text() == long);
    let first = Upstream::start(|_, mut reply| async move {
        reply
            .json_with("200 OK", "content-encoding: gzip\r\n", "\x1f")
            .await;
        reply
    })
    .await;
    let (response, _) = alone(&first, CHAT, &chat("gpt-4o")).await;
    assert_eq!((response.status, response.text()), (200, "\x1f"));
    // Some say that a transcript is JSON although it was asked for as text.
    let first = giving("hello there").await;
    let upstreams = [at("first", first.address, "")];
    let rules = [rule("whisper-1", "{ upstream: first }", "")];
    let front = gateway(GENEROUS, &upstreams, &rules);
    let mut client = front.connect().await;
    let form = form_of("whisper-1", 1_000);
    client
        .send(post_form("/v1/audio/transcriptions", &form))
        .await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (200, "hello there"));
}

#[tokio::test]
async fn one_answer_in_pieces_is_held_until_it_is_whole() {
    // A chunk at a time, the last of them in time.
    let first = Upstream::start(|_, mut reply| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        reply.raw(head).await;
        for piece in answer("first").as_bytes().chunks(100) {
            reply.chunk(str::from_utf8(piece).unwrap()).await;
        }
        reply.end_stream().await;
        reply
    })
    .await;
    let second = healthy("second").await;
    let front = one_then_other(&at("first", first.address, ""), &second);
    assert_whole(&front.post(CHAT, &chat("gpt-4o")).await, "first");
    assert_eq!(second.requests(), 0);
}

#[tokio::test]
async fn a_stream_in_which_one_of_two_choices_fails_goes_on_for_the_other() {
    let both = r#"{"choices":[{"index":0,"delta":{"content":"x"}},{"index":1,"delta":{},"finish_reason":"error"}]}"#;
    let last = delta("{}", "\"stop\"");
    let text = format!("data: {both}\n\ndata: {last}\n\ndata: [DONE]\n\n");
    let first = streaming(text.clone()).await;
    let upstreams = [at("first", first.address, "")];
    let front = gateway(
        GENEROUS,
        &upstreams,
        &[rule("gpt-4o", "{ upstream: first }", "")],
    );
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_eq!((response.status, response.text()), (200, text.as_str()));
}
