//! Errors in the forms of each server, and answers that only look like errors.

use super::*;

#[test]
fn an_empty_error_beside_an_answer_and_a_byte_order_mark_change_nothing() {
    for answer in [
        r#"{"choices":[{"message":{}}],"error":{"code":null,"message":null}}"#,
        r#"{"choices":[{"message":{}}],"error":{"code":0,"message":""}}"#,
        "\u{feff}{\"choices\":[{\"message\":{}}]}",
    ] {
        let content = Content::of(answer.as_bytes());
        assert!(matches!(content, Content::Answer), "{answer}: {content:?}");
    }
    let failed = "\u{feff}{\"error\":{\"message\":\"no\"}}";
    assert!(matches!(Content::of(failed.as_bytes()), Content::Error(_)));
    let both = r#"{"choices":[{"message":{}}],"error":{"message":"no"}}"#;
    assert!(matches!(Content::of(both.as_bytes()), Content::Error(_)));
}

fn told(code: &str, kind: &str, message: &str, status: u16) -> UpstreamError {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    UpstreamError {
        code: text(code),
        kind: text(kind),
        message: text(message),
        status: Some(status).filter(|status| *status > 0),
    }
}

#[test]
fn a_body_that_complains_is_read() {
    for (body, expected) in [
        (
            r#"{"error":{"message":"m","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            told("model_not_found", "invalid_request_error", "m", 0),
        ),
        (
            r#"{"error":{"code":"401","message":"Access denied"}}"#,
            told("", "", "Access denied", 401),
        ),
        (
            r#" {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"} "#,
            told("", "overloaded_error", "Overloaded", 0),
        ),
        (
            r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[]}}]"#,
            told("", "RESOURCE_EXHAUSTED", "m", 429),
        ),
        (
            r#"{"error":{"code":400,"message":"m","type":"t","status":"INVALID_ARGUMENT"}}"#,
            told("", "t", "m", 400),
        ),
        (
            r#"{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}"#,
            told("", "BadRequestError", "m", 400),
        ),
        (
            r#"{"object":"error","message":"m","type":"service_tier_capacity_exceeded","code":"3505"}"#,
            told("3505", "service_tier_capacity_exceeded", "m", 0),
        ),
        (r#"{"error":"m"}"#, told("", "", "m", 0)),
        (r#"{"code":"c","error":"m"}"#, told("c", "", "m", 0)),
        (r#"{"error":[{"message":"m"}]}"#, told("", "", "m", 0)),
        (r#"{"error":true}"#, told("", "", "", 0)),
        (r#"{"type":"error"}"#, told("", "", "", 0)),
        (r#"{"detail":"Not Found"}"#, told("", "", "Not Found", 0)),
        (
            r#"{"detail":[{"loc":["body","model"],"msg":"field required","type":"missing"},{"msg":"x"}]}"#,
            told("", "missing", "field required", 0),
        ),
        (
            r#"{"detail":{"code":"c","message":"m"}}"#,
            told("c", "", "m", 0),
        ),
        (
            r#"{"type":"about:blank","title":"t","status":403,"detail":"d"}"#,
            told("", "about:blank", "d", 403),
        ),
        (r#"{"message":"m","detail":"d"}"#, told("", "", "m", 0)),
        (
            r#"{"message":"m","type":"t","code":"InvalidApiKey","status":"failed"}"#,
            told("InvalidApiKey", "t", "m", 0),
        ),
        (r#"{"errors":{"message":"m"}}"#, told("", "", "m", 0)),
        (r#"{"errors":"m"}"#, told("", "", "m", 0)),
        (
            r#"{"success":false,"result":null,"errors":[{"code":7003,"message":"m"}]}"#,
            told("7003", "", "m", 0),
        ),
        (
            r#"{"object":"response","status":"failed","error":{"code":"server_error","message":"m"},"output":[]}"#,
            told("server_error", "", "m", 0),
        ),
        (
            r#"{"error":"m","error_type":"overloaded"}"#,
            told("", "overloaded", "m", 0),
        ),
        (
            r#"{"error":{"message":"m","http_status_code":422}}"#,
            told("", "", "m", 422),
        ),
        (
            r#"{"error_code":336003,"error_msg":"m"}"#,
            told("336003", "", "m", 0),
        ),
        (
            r#"{"code":20012,"message":"m","data":null}"#,
            told("20012", "", "m", 0),
        ),
        (r#"{"code":50007,"msg":"m"}"#, told("50007", "", "m", 0)),
        (
            r#"{"id":"x","choices":null,"base_resp":{"status_code":1008,"status_msg":"m"}}"#,
            told("1008", "", "m", 0),
        ),
        (
            r#"{"event":"error","status":429,"code":"c","message":"m"}"#,
            told("c", "", "m", 429),
        ),
        (
            r#"{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"error","error":{"code":502,"message":"m"}}]}"#,
            told("", "", "m", 502),
        ),
        (
            r#"{"choices":[{"finish_reason":"stop","error":"m"}]}"#,
            told("", "", "m", 0),
        ),
        (
            r#"{"choices":[{"finish_reason":"error"}]}"#,
            told("", "", "", 0),
        ),
        (
            r#"{"choices":[{"finish_reason":"insufficient_system_resource"}]}"#,
            told("insufficient_system_resource", "", "", 0),
        ),
        (
            r#"{"choices":[{"delta":{}}],"x_groq":{"id":"r","error":"m"}}"#,
            told("", "", "m", 0),
        ),
    ] {
        let body = body.as_bytes();
        let shown = String::from_utf8_lossy(body);
        assert_eq!(UpstreamError::read(body), Some(expected.clone()), "{shown}");
        // Neither does any of them pass for an answer.
        let (Content::Error(told) | Content::FailedResponse(told)) = Content::of(body) else {
            panic!("{shown}");
        };
        assert_eq!(told, expected, "{shown}");
    }
}

#[test]
fn a_whole_body_is_an_answer_or_an_error_or_neither() {
    for answer in [
        r#"{"id":"c","object":"chat.completion","choices":[{"finish_reason":"stop","error":null}]}"#,
        r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":"error"}]}"#,
        r#"{"choices":[{"finish_reason":"length"}],"base_resp":{"status_code":0,"status_msg":""}}"#,
        r#"{"choices":[],"x_groq":{"id":"r","error":null}}"#,
        r#"{"object":"response","status":"completed","error":null}"#,
        r#"{"object":"response","status":"incomplete","error":null}"#,
        r#"{"code":0,"message":"success","data":[{"embedding":[1]}]}"#,
        r#"{"message":"ok","results":[{"index":0}]}"#,
        r#"{"text":"hello","detail":"low"}"#,
        r#"{"a":1,"a":2,"error":null,"error":null}"#,
        " {} ",
        "[]",
        "[1]",
    ] {
        assert_eq!(Content::of(answer.as_bytes()), Content::Answer, "{answer}");
    }
    for other in [
        "",
        " ",
        "\"overloaded\"",
        "null",
        "7",
        "Internal Server Error",
        "<html><body>502</body></html>",
        r#"{"choices":[{"message":{"content":"x"}}"#,
        r#"{"choices":[]}}"#,
        r#"{"choices":[]} <html>"#,
    ] {
        let content = Content::of(other.as_bytes());
        assert_eq!(content, Content::NotAnAnswer, "{other}");
    }
    assert_eq!(
        Content::of(br#"{"text":"\xff"}"#),
        Content::NotAnAnswer,
        "an escape that JSON does not have"
    );
    assert_eq!(Content::of(b"{\"text\":\"\xff\"}"), Content::Answer);
    let failed = br#"{"object":"response","status":"failed","error":null}"#;
    let expected = Content::FailedResponse(told("", "", "", 0));
    assert_eq!(Content::of(failed), expected);
}

#[test]
fn a_body_that_does_not_complain_is_none() {
    let cases: [&[u8]; 24] = [
        b"",
        b" ",
        b"<html><body>502 Bad Gateway</body></html>",
        b"Internal Server Error",
        b"null",
        b"7",
        br#""error""#,
        b"{}",
        b"[]",
        b"[[]]",
        br#"["error"]"#,
        br#"[{"embedding":[0.1]}]"#,
        br#"{"error":{"message":"cut"#,
        br#"{"error":null}"#,
        br#"{"error":{}}"#,
        br#"{"error":[]}"#,
        br#"{"error":""}"#,
        br#"{"error":false}"#,
        br#"{"message":"","detail":null,"errors":[]}"#,
        br#"{"id":"c","object":"chat.completion","choices":[{"message":{"content":"x"}}]}"#,
        br#"{"choices":[],"message":"x"}"#,
        br#"{"object":"batch","errors":{"data":[{"message":"x"}]}}"#,
        br#"{"message":{"role":"assistant","content":"x"},"done":true}"#,
        b"{\"error\":\"\xff\"}",
    ];
    for body in cases {
        let shown = String::from_utf8_lossy(body);
        assert_eq!(UpstreamError::read(body), None, "{shown}");
    }
}

#[test]
fn the_texts_of_a_body_are_bounded() {
    let long = "é".repeat(MAX_TEXT_BYTES);
    let json = format!(r#"{{"error":{{"message":"x{long}","code":"{long}","status":"{long}"}}}}"#);
    let error = UpstreamError::read(json.as_bytes()).unwrap();
    for text in [error.message, error.code, error.kind] {
        let bytes = text.unwrap().len();
        assert!((MAX_TEXT_BYTES - 1..=MAX_TEXT_BYTES).contains(&bytes));
    }
}

#[test]
fn depth_costs_no_stack() {
    for (open, close) in [("[", "]"), ("{\"error\":", "}")] {
        let nested = open.repeat(100_000) + "1" + &close.repeat(100_000);
        UpstreamError::read(nested.as_bytes());
        let inner = format!(r#"{{"error":{nested},"detail":{nested}}}"#);
        assert_eq!(
            UpstreamError::read(inner.as_bytes()),
            Some(UpstreamError::default())
        );
    }
}
