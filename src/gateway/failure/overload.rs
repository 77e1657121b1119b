//! Failures of a request that exceeds a limit of ours, or comes too slowly.
//!
//! Owns their messages. Does not handle the limits (see `runtime`).

use http::StatusCode;

use super::{INVALID, error};
use crate::observe::metrics::Shed;
use crate::openai::error::ApiError;

/// What the client is told.
pub fn api_error(what: Shed) -> ApiError {
    let message = match what {
        Shed::Connections => {
            "The gateway has as many connections as it takes. Please try again in 1s."
        }
        Shed::ConnectionsPerAddress => {
            "Your address has as many connections as it may have. Please try again in 1s."
        }
        Shed::Requests => {
            "The gateway is serving as many requests as it can. Please try again in 1s."
        }
        Shed::HeaderMemory => {
            "The gateway holds as many headers as it can. Please try again in 1s, or send a shorter \
             header."
        }
        Shed::HeaderTimeout => "The header of the request did not arrive in time.",
        Shed::BodyRate => "The request body came too slowly.",
    };
    let (status, kind, code) = match passes_soon(what) {
        true => (
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "overloaded",
        ),
        false => (StatusCode::REQUEST_TIMEOUT, INVALID, "request_timeout"),
    };
    error(status, kind, Some(code), message.to_owned())
}

/// What the client of an address is told that sends too much.
pub fn flood() -> ApiError {
    error(
        StatusCode::TOO_MANY_REQUESTS,
        "requests",
        Some("rate_limit_exceeded"),
        "Too many requests from your address. Please try again in 1s.".to_owned(),
    )
}

/// Whether the same request may find room a moment later.
pub fn passes_soon(what: Shed) -> bool {
    match what {
        Shed::Connections | Shed::ConnectionsPerAddress | Shed::Requests | Shed::HeaderMemory => {
            true
        }
        Shed::HeaderTimeout | Shed::BodyRate => false,
    }
}
