//! Failures of a request that asks for more than its tenant may do.
//!
//! Owns their messages. Does not handle which privilege a request needs (see `openai::privileges`).

use http::StatusCode;

use super::{INVALID, error};
use crate::openai::error::ApiError;
use crate::openai::privileges::Privilege;
use crate::openai::references::{Names, Reference};

/// Code, and what follows the path in the message.
fn wording(needs: Privilege) -> (&'static str, &'static str) {
    match needs {
        Privilege::EphemeralKeys => (
            "ephemeral_keys_not_allowed",
            "hands out keys of the provider's, which is not allowed here; open the realtime \
             WebSocket with your own key.",
        ),
        Privilege::Calls => (
            "calls_not_allowed",
            "starts or moves a call that does not go through this gateway, which is not allowed \
             here; open the realtime WebSocket with your own key.",
        ),
        Privilege::AccountKeys => (
            "account_keys_not_allowed",
            "hands out keys of the provider's account, which is not allowed here.",
        ),
        Privilege::Administration => (
            "administration_not_allowed",
            "administers the provider's account, which is not allowed here.",
        ),
        Privilege::UsageReports => (
            "usage_reports_not_allowed",
            "reports on the whole of the provider's account, which is not allowed here.",
        ),
    }
}

/// What the client is told.
pub fn api_error(path: &str, needs: Privilege) -> ApiError {
    let (code, what) = wording(needs);
    error(
        StatusCode::FORBIDDEN,
        INVALID,
        Some(code),
        format!(
            "{path} {what} The operator allows it with `{}`, in `server` or for the tenant.",
            needs.setting()
        ),
    )
}

/// What the client is told of a field that it may not use.
pub fn names(reference: &'static Reference) -> ApiError {
    let what = match reference.names {
        Names::Model => "another model",
        Names::Stored => "something that is stored at the provider",
    };
    let path = reference.path;
    let message = format!("'{path}' names {what}, which your key does not allow; leave it out.");
    ApiError {
        param: Some(path),
        ..error(
            StatusCode::FORBIDDEN,
            INVALID,
            Some("field_not_allowed"),
            message,
        )
    }
}

/// What the client is told of a way on which its messages would not be read.
pub fn unread(path: &str) -> ApiError {
    let message = format!(
        "{path} passes without being read, which your key does not allow; use the endpoints that are \
         asked by a request of their own."
    );
    error(
        StatusCode::FORBIDDEN,
        INVALID,
        Some("unread_not_allowed"),
        message,
    )
}
