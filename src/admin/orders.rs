//! `POST /admin/reload` and `POST /admin/upgrade`.
//!
//! Owns the form of their answers. Each waits until the order is carried out. Does not handle who may ask (see
//! `authorization`), nor the orders themselves (see `server::operate`). Fails with a status and a message; a
//! configuration with mistakes is answered with each of them.

use http::StatusCode;
use serde_json::{Value, json};

use crate::config::Problem;
use crate::runtime::{NotReloaded, NotTaken, Orders, Shared};

/// An answer: its status and its JSON.
pub type Answer = (StatusCode, Value);

/// Reads the configuration again.
pub async fn reload(shared: &Shared) -> Answer {
    match shared.orders.reload().await {
        Ok(Ok(changes)) => {
            let mut answer = changes.json();
            if let Some(members) = answer.as_object_mut() {
                let source = shared.reloads.state().source;
                members.insert("source".to_owned(), Value::String(source));
            }
            (StatusCode::OK, answer)
        }
        Ok(Err(NotReloaded::Invalid(problems))) => {
            let message = format!(
                "The configuration has mistakes; the one before stays in force.\n{}",
                problems.to_string().trim_end()
            );
            let mut answer = error("configuration_error", &message);
            if let Some(members) = answer.as_object_mut() {
                let problems = problems.0.iter().map(problem).collect();
                members.insert("problems".to_owned(), Value::Array(problems));
            }
            (StatusCode::UNPROCESSABLE_ENTITY, answer)
        }
        Ok(Err(NotReloaded::Failed(why))) => {
            let message = format!("The configuration before stays in force: {why}.");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                error("server_error", &message),
            )
        }
        Err(not_taken) => refused(&not_taken),
    }
}

/// Hands over to the binary that is on disk.
pub async fn upgrade(orders: &Orders) -> Answer {
    match orders.upgrade().await {
        Ok(Ok(pid)) => (StatusCode::OK, json!({ "pid": pid })),
        Ok(Err(why)) => {
            let message = format!("The process that was asked serves on: {why}");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                error("server_error", &message),
            )
        }
        Err(not_taken) => refused(&not_taken),
    }
}

fn refused(not_taken: &NotTaken) -> Answer {
    let message = match not_taken {
        NotTaken::Busy => "Other orders are being carried out; try again in a moment.",
        NotTaken::Ending => "The process is ending.",
    };
    (
        StatusCode::SERVICE_UNAVAILABLE,
        error("server_error", message),
    )
}

fn error(kind: &str, message: &str) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": null, "code": null } })
}

fn problem(problem: &Problem) -> Value {
    json!({
        "source": problem.source,
        "line": problem.line,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    })
}
