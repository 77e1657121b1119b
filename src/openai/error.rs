//! Errors in the form that OpenAI's clients read.
//!
//! Owns the body `{"error":{message,type,param,code}}`, all four keys always there, and the events
//! that carry one within a stream. Refuses to know which failures exist.

use http::StatusCode;
use serde::Serialize;

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

    /// The message that reports it over a WebSocket.
    pub fn socket_event(&self) -> Vec<u8> {
        to_json(&serde_json::json!({
            "type": "error",
            "status": self.status.as_u16(),
            "error": self.parts(),
        }))
    }

    /// The event that reports it after a stream has begun.
    pub fn event(&self, form: StreamError) -> Vec<u8> {
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
                });
                (b"event: error\ndata: ", to_json(&event))
            }
        };
        [head, &json, b"\n\n"].concat()
    }
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
    fn an_event_ends_with_a_blank_line() {
        for form in [StreamError::Data, StreamError::Event] {
            assert!(error().event(form).ends_with(b"\n\n"));
        }
        assert!(
            error()
                .event(StreamError::Event)
                .starts_with(b"event: error\ndata: {")
        );
    }
}
