//! The event that ends a stream of `/v1/responses` which has broken.
//!
//! Owns `response.failed`: what had come of the response (see `aggregate`), in the shape that its published
//! type asks for, with the error in it. Where no response had come, the event is that of `error`. Never
//! fails.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::endpoint::StreamError;
use super::error::ApiError;
use super::json::{WalkError, members, push_member, quoted, replace_members};

static SEQUENCE_NUMBER: LazyLock<Finder<'static>> =
    LazyLock::new(|| Finder::new(b"\"sequence_number\""));

/// The codes of ours that the error of a response may have as well. All others are the server's.
const SHARED_CODES: [&str; 1] = ["rate_limit_exceeded"];
const SERVER_ERROR: &str = "server_error";

/// What is known of a response when it breaks.
pub struct BrokenResponse<'a> {
    /// As much of it as has come, as JSON; nothing where it has not been created.
    pub response: Option<&'a [u8]>,
    /// The number of the next event.
    pub sequence_number: u64,
    /// The model that the client has asked for, where the response names none.
    pub model: &'a str,
    /// When it was made, in seconds since 1970, where it does not say.
    pub created: i64,
}

impl BrokenResponse<'_> {
    /// The event that reports it to the client.
    pub fn event(&self, error: &ApiError) -> Vec<u8> {
        let failed = self.response.and_then(|response| {
            let response = str::from_utf8(response).ok()?;
            self.failed(response, error).ok()
        });
        let Some(response) = failed else {
            return error.event(StreamError::Event, self.sequence_number);
        };
        let event = format!(
            "event: response.failed\ndata: {{\"type\":\"response.failed\",\"sequence_number\":{},\"response\":{response}}}",
            self.sequence_number
        );
        // Line ends may stand between the parts of JSON, and would end the line of the event.
        let head = event.find("data: ").unwrap_or_default();
        let (head, data) = event.split_at(head);
        [head, &data.replace(['\n', '\r'], " "), "\n\n"]
            .concat()
            .into_bytes()
    }

    /// The response as it has failed. Fails for one that has no id.
    fn failed(&self, response: &str, error: &ApiError) -> Result<String, WalkError> {
        let shared = SHARED_CODES
            .into_iter()
            .find(|code| error.code == Some(code));
        let mut failure = String::from("{");
        push_member(
            &mut failure,
            "code",
            &quoted(shared.unwrap_or(SERVER_ERROR)),
        );
        push_member(&mut failure, "message", &quoted(&error.message));
        failure.push('}');
        let (model, created) = (quoted(self.model), self.created.to_string());
        let needed = [
            ("object", "\"response\""),
            ("created_at", created.as_str()),
            ("model", model.as_str()),
            ("output", "[]"),
            ("instructions", "null"),
            ("incomplete_details", "null"),
            ("metadata", "null"),
            ("parallel_tool_calls", "true"),
            ("temperature", "null"),
            ("tool_choice", "\"auto\""),
            ("tools", "[]"),
            ("top_p", "null"),
        ];
        let mut has_id = false;
        let mut lacks = [true; 12];
        members(response, |name, value| {
            has_id |= name == "id" && value.get().starts_with('"');
            for ((known, default), lacks) in needed.iter().zip(&mut lacks) {
                // Null is no value of a member that must have one.
                *lacks &= *known != name || value.get() == "null" && *default != "null";
            }
            Ok(())
        })?;
        if !has_id {
            return Err(WalkError::Malformed);
        }
        let mut replaced = vec![("status", "\"failed\""), ("error", failure.as_str())];
        let lacking = needed.into_iter().zip(lacks).filter(|(_, lacks)| *lacks);
        replaced.extend(lacking.map(|(needed, _)| needed));
        replace_members(response, &replaced)
    }
}

/// The number that an event of a response has, by which clients put them in order.
pub fn sequence_number(data: &[u8]) -> Option<u64> {
    let behind = SEQUENCE_NUMBER.find(data)? + SEQUENCE_NUMBER.needle().len();
    let value = data.get(behind..)?.trim_ascii_start().strip_prefix(b":")?;
    let value = value.trim_ascii_start();
    let digits = value
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    str::from_utf8(value.get(..digits)?).ok()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;

    fn error(code: &'static str) -> ApiError {
        ApiError {
            status: StatusCode::BAD_GATEWAY,
            kind: "server_error",
            code: Some(code),
            param: None,
            message: "It \"broke\".".into(),
        }
    }

    /// The name and the data of the event that tells of a response that broke.
    fn event(response: Option<&str>, code: &'static str) -> (String, Value) {
        let broken = BrokenResponse {
            response: response.map(str::as_bytes),
            sequence_number: 7,
            model: "gpt-4o",
            created: 1_700_000_000,
        };
        let event = String::from_utf8(broken.event(&error(code))).unwrap();
        let event = event.strip_suffix("\n\n").unwrap();
        let (name, data) = event.split_once("\ndata: ").unwrap();
        assert!(!data.contains(['\n', '\r']), "{data:?}");
        let name = name.strip_prefix("event: ").unwrap();
        (name.to_owned(), serde_json::from_str(data).unwrap())
    }

    #[test]
    fn a_response_that_broke_has_failed_and_keeps_what_there_was() {
        let response = "{\"id\":\"resp_1\",\r\n\"model\":\"m\",\"created_at\":5,\"status\":\"in_progress\",\"error\":null,\"output\":[{\"type\":\"message\"}],\"tools\":[{\"type\":\"x\"}],\n\"top_p\":0.10,\"tool_choice\":null,\"new\":1}";
        let (name, data) = event(Some(response), "upstream_cut");
        assert_eq!(name, "response.failed");
        assert_eq!(data["type"], "response.failed");
        assert_eq!(data["sequence_number"], 7);
        let expected = json!({
            "id": "resp_1", "object": "response", "created_at": 5, "model": "m", "status": "failed",
            "error": {"code": "server_error", "message": "It \"broke\"."},
            "output": [{"type": "message"}], "tools": [{"type": "x"}], "tool_choice": "auto",
            "parallel_tool_calls": true, "top_p": 0.10, "temperature": null, "instructions": null,
            "incomplete_details": null, "metadata": null, "new": 1,
        });
        assert_eq!(data["response"], expected);
    }

    #[test]
    fn what_a_response_does_not_say_is_filled_in() {
        let (_, data) = event(Some(r#"{"id":"r"}"#), "rate_limit_exceeded");
        let response = &data["response"];
        assert_eq!(response["model"], "gpt-4o");
        assert_eq!(response["created_at"], 1_700_000_000);
        assert_eq!(response["output"], json!([]));
        assert_eq!(response["error"]["code"], "rate_limit_exceeded");
    }

    #[test]
    fn where_there_is_no_response_there_is_an_error_event() {
        for response in [None, Some("{}"), Some("[]"), Some(r#"{"id":7}"#), Some("{")] {
            let (name, data) = event(response, "upstream_cut");
            assert_eq!(name, "error", "{response:?}");
            let expected = json!({
                "type": "error", "code": "upstream_cut", "message": "It \"broke\".", "param": null,
                "sequence_number": 7,
            });
            assert_eq!(data, expected);
        }
    }

    #[test]
    fn the_number_of_an_event_is_read() {
        for (data, number) in [
            (r#"{"type":"x","sequence_number":41,"delta":"a"}"#, Some(41)),
            (r#"{"sequence_number" : 0}"#, Some(0)),
            (
                r#"{"delta":"\"sequence_number\":5","sequence_number":6}"#,
                Some(6),
            ),
            (r#"{"sequence_number":null}"#, None),
            (r#"{"sequence_number":-1}"#, None),
            (r#"{"sequence_number":99999999999999999999}"#, None),
            (r#"{"sequence_number""#, None),
            ("{}", None),
        ] {
            assert_eq!(sequence_number(data.as_bytes()), number, "{data}");
        }
    }
}
