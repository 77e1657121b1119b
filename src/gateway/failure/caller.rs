//! What a request is told whose credential is not accepted.
//!
//! Owns the words for each method: they tell the client what to change, and not whether a tenant or a key exists.
//! The operator is told why, see [`NoCaller::log`].

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

use super::{INVALID, error, unauthorized};
use crate::auth::{self, Refused, Shown, TokenRefused};
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

    /// Why a token is refused, where it is one.
    fn token(&self) -> Option<&TokenRefused> {
        match &self.refused {
            Refused::Token(refused) => Some(refused),
            _ => None,
        }
    }

    /// Whether it may be accepted in a moment.
    pub(super) fn passes_soon(&self) -> bool {
        matches!(self.token(), Some(TokenRefused::NoKeys(_)))
    }

    /// What the client is told.
    pub(super) fn api_error(&self) -> ApiError {
        if let Refused::Address(..) = &self.refused {
            return address_error();
        }
        match &self.shown {
            As::Key(_) if let Some(token) = self.token() => token_error(token),
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

    /// What the header of the answer says: how to authenticate, where a token was not accepted.
    pub(super) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let token = self.token()?;
        if self.passes_soon() {
            return Some((RETRY_AFTER, HeaderValue::from_static("5")));
        }
        let value = format!("Bearer error=\"invalid_token\", error_description=\"{token}\"");
        Some((WWW_AUTHENTICATE, HeaderValue::from_str(&value).ok()?))
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

fn token_error(refused: &TokenRefused) -> ApiError {
    match refused {
        TokenRefused::NoKeys(_) => error(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            Some("identity_provider_unavailable"),
            "Your token cannot be checked now: the keys of its issuer are not known yet."
                .to_owned(),
        ),
        refused => {
            let mut why = refused.to_string();
            if let Some(first) = why.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            unauthorized(Some("invalid_token"), format!("{why}."))
        }
    }
}

/// What is told to a request from an address that is not on a list.
pub(super) fn address_error() -> ApiError {
    error(
        StatusCode::FORBIDDEN,
        INVALID,
        Some("address_not_allowed"),
        "Requests from your address are not allowed.".to_owned(),
    )
}
