//! What a request is told whose credential is not accepted.
//!
//! Owns the words for each method: they tell the client what to change, and not whether a tenant or a key exists.
//! The operator is told why, see [`NoCaller::log`].

use super::unauthorized;
use crate::auth::{self, Refused, Shown};
use crate::openai::error::ApiError;
use crate::secret;

/// What a request has shown is not accepted.
#[derive(Debug)]
pub struct NoCaller {
    refused: Refused,
    /// What the client has shown, as far as it may be told.
    shown: As,
}

#[derive(Debug)]
enum As {
    /// Nothing.
    Nothing,
    /// An `Authorization` header of another kind.
    NoBearer,
    /// A key, masked.
    Key(String),
}

impl NoCaller {
    /// Takes why it is refused, and what was shown.
    pub fn new(refused: Refused, shown: &Shown<'_>) -> Self {
        let shown = match shown.key {
            Some(key) => As::Key(secret::mask(&String::from_utf8_lossy(key))),
            None if auth::lacks_bearer(shown.headers) => As::NoBearer,
            None => As::Nothing,
        };
        Self { refused, shown }
    }

    /// What the client is told.
    pub(super) fn api_error(&self) -> ApiError {
        match &self.shown {
            As::Key(masked) => unauthorized(
                Some("invalid_api_key"),
                format!("Incorrect API key provided: {masked}."),
            ),
            As::NoBearer => unauthorized(
                None,
                "The Authorization header does not begin with `Bearer `. Send it as \
                 Authorization: Bearer YOUR_KEY."
                    .to_owned(),
            ),
            As::Nothing => unauthorized(
                None,
                "You didn't provide an API key. Send it in the Authorization header: \
                 Authorization: Bearer YOUR_KEY."
                    .to_owned(),
            ),
        }
    }

    /// Tells the operator why, where the credential is one that is configured, or a tenant's by its prefix. Of any
    /// other, the access line says enough.
    pub(super) fn log(&self, request_id: &str) {
        let refused = &self.refused;
        match (refused.is_known(), refused.tenant()) {
            (true, _) => log::warn!("{request_id} refused: {refused}"),
            (false, Some(_)) => log::info!("{request_id} refused: {refused}"),
            (false, None) => {}
        }
    }
}
