//! What is said of an operation that reaches further than the tenant may.

use http::StatusCode;

use super::{INVALID, error};
use crate::openai::error::ApiError;
use crate::openai::privileges::Privilege;

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
