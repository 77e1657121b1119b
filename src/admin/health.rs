//! `GET /health`, on both listeners.
//!
//! Owns its members and its status: 503 while the process is ending, so that a balancer sends nothing more. Does not
//! handle what is wrong (see `runtime::accounts`, `limits::Sharing` and `managed`). Cannot fail.

use http::StatusCode;
use serde_json::{Value, json};

use crate::clock;
use crate::runtime::Shared;

/// The answer of `/health`.
pub fn health(shared: &Shared) -> (StatusCode, Value) {
    let trouble = shared.trouble();
    let (code, status) = match (shared.is_draining(), trouble) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, Some(_)) => (StatusCode::OK, "degraded"),
        (false, None) => (StatusCode::OK, "ok"),
    };
    let mut health = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": clock::uptime().as_secs(),
        "time": clock::now_rfc3339().to_string(),
    });
    if let (Some(trouble), Some(members)) = (trouble, health.as_object_mut()) {
        members.insert("reason".to_owned(), trouble.into());
    }
    (code, health)
}
