//! What a request is told whose credential is not accepted.
//!
//! Owns the words for each method: they tell the client what to change, and not whether a tenant or a key exists.
//! The operator is told why, see [`NoCaller::log`].

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

use super::{INVALID, error, unauthorized};
use crate::auth::{
    self, CertificateRefused, NotOnce, Refused, Shown, SignatureRefused, TokenRefused,
};
use crate::config::{Method, Methods};
use crate::openai::error::ApiError;
use crate::secret;
use crate::signature;

/// What a signature has to be like (RFC 9421).
const ACCEPT_SIGNATURE: HeaderName = HeaderName::from_static("accept-signature");

/// What a request has shown is not accepted.
#[derive(Debug)]
pub struct NoCaller {
    refused: Refused,
    /// What the client has shown, as far as it may be told.
    shown: As,
    /// What the listener takes; `None` for everything.
    taken: Option<Methods>,
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
    /// Takes why it is refused, what was shown, and what the listener takes.
    pub fn new(refused: Refused, shown: &Shown<'_>, taken: Option<Methods>) -> Self {
        let shown = match shown.key {
            Some(key) => As::Key(secret::mask(&String::from_utf8_lossy(key))),
            None if auth::lacks_bearer(shown.headers) => As::NoBearer,
            None => As::Nothing,
        };
        Self {
            refused,
            shown,
            taken,
        }
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
        matches!(self.token(), Some(TokenRefused::NoKeys(_))) || self.waits_for_keys()
    }

    /// Whether its key may be one that was made at run time, and those are not known yet.
    fn waits_for_keys(&self) -> bool {
        matches!(self.refused, Refused::KeysNotLoaded)
    }

    /// What the client is told.
    pub(super) fn api_error(&self) -> ApiError {
        if let Refused::Address(..) = &self.refused {
            return address_error();
        }
        if self.waits_for_keys() {
            return error(
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                Some("keys_unavailable"),
                "Your API key cannot be checked at the moment. Please try again later.".to_owned(),
            );
        }
        if let Some(taken) = self.taken {
            let taken = taken.named();
            let code = Some("auth_method_not_allowed");
            match &self.refused {
                Refused::MethodOfListener(method) => {
                    let message =
                        format!("This address does not take {method}. It takes: {taken}.");
                    return unauthorized(code, message);
                }
                Refused::Missing if !matches!(self.shown, As::NoBearer) => {
                    let message =
                        format!("The request shows nothing of what this address takes: {taken}.");
                    return unauthorized(code, message);
                }
                _ => {}
            }
        }
        if let Refused::Certificate(refused) = &self.refused {
            return certificate_error(*refused);
        }
        if self.refused.method() == Some(Method::Hmac) {
            return match &self.refused {
                Refused::Signature(refused) => signature_error(refused),
                // Which of the others it is says something of the tenant.
                _ => signature_error(&SignatureRefused::Signature),
            };
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

    /// What the header of the answer says: how to authenticate, where a token or a signature was not accepted.
    pub(super) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match &self.refused {
            Refused::Signature(SignatureRefused::NotOnce(NotOnce::Full)) => {
                return Some((RETRY_AFTER, HeaderValue::from_static("1")));
            }
            Refused::Signature(SignatureRefused::Malformed(_)) => {
                return Some((
                    ACCEPT_SIGNATURE,
                    HeaderValue::from_static(signature::ACCEPTED),
                ));
            }
            _ => {}
        }
        if self.waits_for_keys() {
            return Some((RETRY_AFTER, HeaderValue::from_static("1")));
        }
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
        refused => unauthorized(Some("invalid_token"), sentence(refused)),
    }
}

/// What is told to a request whose signature is not accepted, or whose body was not signed.
pub(super) fn signature_error(refused: &SignatureRefused) -> ApiError {
    match refused {
        SignatureRefused::NotOnce(NotOnce::Full) => error(
            StatusCode::TOO_MANY_REQUESTS,
            "requests",
            Some("too_many_signatures"),
            sentence(refused),
        ),
        // That there is such a key is not told.
        SignatureRefused::Lapsed(..) => signature_error(&SignatureRefused::Signature),
        refused => unauthorized(Some("invalid_signature"), sentence(refused)),
    }
}

fn certificate_error(refused: CertificateRefused) -> ApiError {
    match refused {
        CertificateRefused::Origin => error(
            StatusCode::FORBIDDEN,
            INVALID,
            Some("origin_not_allowed"),
            sentence(&refused),
        ),
        refused => unauthorized(Some("invalid_certificate"), sentence(&refused)),
    }
}

/// A sentence of what is told to operators, too.
fn sentence(refused: &impl ToString) -> String {
    let mut why = refused.to_string();
    if let Some(first) = why.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    why.push('.');
    why
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
