//! `/admin/log-level`: the level of the log, shown and set while the process runs.
//!
//! Owns the form of the request and of the answer. Does not handle what a level lets pass (see
//! `observe::logging`) or who may ask (see `authorization`). A level that does not exist is refused with those that
//! do, and nothing changes.

use log::LevelFilter;
use pingora::protocols::http::ServerSession;
use serde_json::{Value, json};

use crate::observe::logging;

/// No body is longer, in bytes.
const MAX_BODY_BYTES: usize = 1024;

/// The answer: the level, and what has set it.
pub fn shown() -> Value {
    let (level, set_by) = logging::level();
    json!({ "level": level.as_str().to_ascii_lowercase(), "set_by": set_by.name() })
}

/// Sets the level that the body names.
///
/// # Errors
/// The body names none: text for the operator.
pub async fn set(session: &mut ServerSession) -> Result<Value, String> {
    let mut body = Vec::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => break,
            Err(e) => return Err(format!("The body could not be read: {e}")),
        }
        if body.len() > MAX_BODY_BYTES {
            return Err(format!(
                "The body is longer than {MAX_BODY_BYTES} bytes; send {FORMS}."
            ));
        }
    }
    let level = read(&body)?;
    let (before, _) = logging::level();
    let tell = || log::warn!("the operator sets the log's level to {level}; it was {before}");
    // With the more detailed of the two, so that it passes.
    if level < before {
        tell();
    }
    logging::set_level(level);
    if level >= before {
        tell();
    }
    Ok(shown())
}

/// What is expected, for people.
const FORMS: &str =
    "{\"level\":\"debug\"} or debug; the levels are off, error, warn, info, debug and trace";

/// The level that a body names, as JSON or alone.
fn read(body: &[u8]) -> Result<LevelFilter, String> {
    let text = std::str::from_utf8(body).unwrap_or_default().trim();
    let named = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(members)) => match members.get("level") {
            Some(Value::String(level)) if members.len() == 1 => level.clone(),
            _ => return Err(format!("The body has to be {FORMS}.")),
        },
        Ok(Value::String(level)) => level,
        _ => text.to_owned(),
    };
    named
        .parse()
        .map_err(|_| format!("There is no such level; send {FORMS}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_read_from_json_or_alone() {
        for body in ["debug", " DEBUG\n", "\"debug\"", "{\"level\":\"debug\"}"] {
            assert_eq!(read(body.as_bytes()), Ok(LevelFilter::Debug), "{body}");
        }
        assert_eq!(read(b"off"), Ok(LevelFilter::Off));
    }

    #[test]
    fn anything_else_is_refused_with_the_levels() {
        for body in [
            "",
            "loud",
            "5",
            "{}",
            "[]",
            "{\"level\":5}",
            "{\"level\":\"loud\"}",
            "{\"level\":\"debug\",\"target\":\"x\"}",
            "{\"level\":",
            "\u{0}",
        ] {
            let refused = read(body.as_bytes()).unwrap_err();
            assert!(
                refused.contains("off, error, warn, info, debug and trace"),
                "{body}"
            );
        }
        assert!(read(b"\xff").is_err());
    }
}
