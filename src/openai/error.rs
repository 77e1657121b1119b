//! Errors in the form that OpenAI's clients read.
//!
//! Owns the body `{"error":{message,type,param,code}}`, with all four keys always there, and the events that
//! carry an error within a stream. Does not handle which failures exist (see `gateway::failure`). Cannot
//! fail.

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

use super::endpoint::StreamError;

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The class, as in `invalid_request_error`.
    pub kind: &'static str,
    /// The cause, as in `model_not_found`.
    pub code: Option<&'static str>,
    /// The field of the request that is to blame.
    pub param: Option<&'static str>,
    /// What happened and what to change.
    pub message: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

impl ApiError {
    fn parts(&self) -> Body<'_> {
        Body {
            message: &self.message,
            kind: self.kind,
            param: self.param,
            code: self.code,
        }
    }

    /// The JSON body of the answer.
    pub fn body(&self) -> Vec<u8> {
        to_json(&Envelope {
            error: self.parts(),
        })
    }

    /// The message that reports it over a WebSocket. Events of the realtime API have an id.
    pub fn socket_event(&self, event_id: &str) -> Vec<u8> {
        to_json(&serde_json::json!({
            "type": "error",
            "event_id": event_id,
            "status": self.status.as_u16(),
            "error": self.parts(),
        }))
    }

    /// The event that reports it after a stream has begun; where that numbers its events, with this number.
    pub fn event(&self, form: StreamError, sequence_number: u64) -> Vec<u8> {
        let (head, json): (&[u8], _) = match form {
            StreamError::Data => (b"data: ", self.body()),
            StreamError::Event => {
                // In a stream of responses, `type` names the event; the SDKs read the rest of the
                // error from the same level.
                let event = serde_json::json!({
                    "type": "error",
                    "code": self.code,
                    "message": self.message,
                    "param": self.param,
                    "sequence_number": sequence_number,
                });
                (b"event: error\ndata: ", to_json(&event))
            }
        };
        [head, &json, b"\n\n"].concat()
    }
}

/// Gives an upstream's error the four keys that clients read, and keeps its other members; `None` for a
/// body that is no error in any known form. The provider's own name of a deployment is removed.
pub fn fill_in(status: StatusCode, body: &[u8]) -> Option<Vec<u8>> {
    let mut answer: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let mut error = match answer.remove("error") {
        Some(Value::Object(error)) => error,
        // Proxies in front of the API send it without an envelope.
        _ => answer,
    };
    let theirs = error.get("message").and_then(Value::as_str)?.to_owned();
    let code = error
        .get("code")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let (kind, usual) = match status {
        StatusCode::TOO_MANY_REQUESTS => ("requests", Some("rate_limit_exceeded")),
        _ if status.is_server_error() => ("server_error", None),
        _ => ("invalid_request_error", None),
    };
    let (code, param, message) = match code {
        "DeploymentNotFound" => {
            // Its other members may name the deployment again.
            error.clear();
            (
                Some("model_not_found"),
                Some("model"),
                "The model does not exist or you do not have access to it.".to_owned(),
            )
        }
        // The status once more.
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => (usual, None, theirs),
        code => (Some(code), None, theirs),
    };
    let code = Value::from(code);
    error.insert("code".to_owned(), code);
    error.insert("message".to_owned(), Value::from(message));
    for (key, value) in [("type", Value::from(kind)), ("param", Value::from(param))] {
        let there = error.get(key).is_some_and(|value| !value.is_null());
        if !there {
            error.insert(key.to_owned(), value);
        }
    }
    Some(to_json(&serde_json::json!({ "error": error })))
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Serialising strings and options into memory has no way to fail.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> ApiError {
        ApiError {
            status: StatusCode::NOT_FOUND,
            kind: "invalid_request_error",
            code: Some("model_not_found"),
            param: None,
            message: "The model `x\"` does not exist".into(),
        }
    }

    #[test]
    fn the_body_has_all_four_keys_and_escapes_the_message() {
        let body: serde_json::Value = serde_json::from_slice(&error().body()).unwrap();
        let expected = serde_json::json!({"error": {
            "message": "The model `x\"` does not exist",
            "type": "invalid_request_error",
            "param": null,
            "code": "model_not_found",
        }});
        assert_eq!(body, expected);
    }

    #[test]
    fn an_error_that_lacks_keys_gets_them_and_keeps_the_rest() {
        let filled = |status: u16, body: &str| {
            let filled = fill_in(StatusCode::from_u16(status).unwrap(), body.as_bytes())?;
            let mut answer: Value = serde_json::from_slice(&filled).unwrap();
            Some(answer["error"].take())
        };
        let unauthorized = filled(401, r#"{"error":{"code":"401","message":"Access denied"}}"#);
        let expected = serde_json::json!({
            "message": "Access denied", "type": "invalid_request_error",
            "param": null, "code": null,
        });
        assert_eq!(unauthorized, Some(expected.clone()));
        let bare = filled(401, r#"{"statusCode":401,"message":"Access denied"}"#).unwrap();
        assert_eq!(
            (&bare["type"], &bare["code"]),
            (&expected["type"], &Value::Null)
        );
        let missing = r#"{"error":{"code":"DeploymentNotFound","message":"deployment secret-1","details":["secret-1"]}}"#;
        let missing = filled(404, missing).unwrap();
        assert_eq!(
            (&missing["code"], &missing["param"]),
            (&"model_not_found".into(), &"model".into())
        );
        assert!(!missing.to_string().contains("secret-1"));
        let limited = filled(429, r#"{"error":{"code":"429","message":"slow"}}"#).unwrap();
        assert_eq!(
            (&limited["code"], &limited["type"]),
            (&"rate_limit_exceeded".into(), &"requests".into())
        );
        let filtered = r#"{"error":{"message":"no","type":null,"param":"prompt","code":"content_filter","innererror":{"x":1}}}"#;
        let filtered = filled(400, filtered).unwrap();
        assert_eq!(
            (&filtered["code"], &filtered["param"]),
            (&"content_filter".into(), &"prompt".into())
        );
        assert_eq!(filtered["innererror"]["x"], 1);
        for other in ["<html>", "[]", "{}", r#"{"error":"text"}"#] {
            assert_eq!(filled(500, other), None, "{other}");
        }
    }

    #[test]
    fn an_event_ends_with_a_blank_line() {
        for form in [StreamError::Data, StreamError::Event] {
            assert!(error().event(form, 0).ends_with(b"\n\n"));
        }
        let event = String::from_utf8(error().event(StreamError::Event, 3)).unwrap();
        assert!(event.starts_with("event: error\ndata: {"), "{event}");
        assert!(event.contains("\"sequence_number\":3"), "{event}");
    }
}
