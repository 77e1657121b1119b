//! Whatever can go wrong on a request's way, and what is said about it.
//!
//! The one place where failures become HTTP. Each has a message for the client, which names
//! nothing of the provider's, and a detail for the operator. `docs/errors.md` lists them.

use http::{Method, StatusCode};

use crate::openai::endpoint;
use crate::openai::error::ApiError;
use crate::openai::request::{BodyError, MAX_DEPTH};

/// Why a request was not served.
#[derive(Debug)]
pub enum Failure {
    /// The end of the request could be read in two ways.
    Framing(&'static str),
    /// No endpoint of ours.
    UnknownPath { method: Method, path: String },
    /// An endpoint of ours, asked with a method that it does not take.
    WrongMethod {
        method: Method,
        allowed: Method,
        path: String,
    },
    /// The address sends more than the flood guard lets through.
    Flood,
    /// No key at all.
    NoKey,
    /// A key that is nobody's.
    WrongKey { masked: String },
    /// The body's content type is not JSON.
    ContentType(String),
    /// The body is compressed.
    ContentEncoding,
    /// The body is larger than allowed.
    TooLarge { limit: usize },
    /// The client stopped sending its body.
    BodyTimeout,
    /// The body cannot be served.
    Body(BodyError),
    /// No rule serves the model, or the tenant may not ask for it.
    UnknownModel { model: String },
    /// The upstream did not answer properly.
    Upstream(UpstreamFailure),
    /// The client left: there is nobody to tell.
    ClientGone,
}

/// How an upstream failed.
#[derive(Debug)]
pub struct UpstreamFailure {
    /// What kind of failure.
    pub cause: Cause,
    /// For the operator: what the connection said.
    pub detail: String,
}

impl UpstreamFailure {
    /// Tells the operator.
    pub fn log(&self, request_id: &str, upstream: &str) {
        log::warn!("{request_id} upstream {upstream}: {}", self.detail);
    }
}

/// Kinds of failures of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No address, no route, or nobody listens there.
    Unreachable,
    /// TLS could not be agreed on.
    Tls,
    /// The connection broke before an answer.
    Reset,
    /// What came back is no HTTP.
    InvalidResponse,
    /// It took longer than its timeouts allow.
    Timeout(Phase),
    /// The answer had begun and was cut.
    Cut,
}

/// What was waited for when a timeout struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The connection.
    Connect,
    /// The first byte of a streamed answer.
    FirstToken,
    /// The next bytes.
    Idle,
    /// The whole.
    Total,
}

impl Phase {
    /// The key under `timeouts` that sets it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::FirstToken => "first_token",
            Self::Idle => "idle",
            Self::Total => "total",
        }
    }
}

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

impl Failure {
    /// What the client is told.
    pub fn api_error(&self) -> ApiError {
        match self {
            Self::Framing(what) => bad_request(
                Some("invalid_framing"),
                None,
                format!("The request is malformed: {what}."),
            ),
            Self::UnknownPath { method, path } => unknown_path(method, path),
            Self::WrongMethod {
                method,
                allowed,
                path,
            } => error(
                StatusCode::METHOD_NOT_ALLOWED,
                INVALID,
                Some("method_not_allowed"),
                format!("{path} does not take {method}; use {allowed}."),
            ),
            Self::Flood => error(
                StatusCode::TOO_MANY_REQUESTS,
                "requests",
                Some("rate_limit_exceeded"),
                "Too many requests from your address. Please try again in 1s.".to_owned(),
            ),
            Self::NoKey => unauthorized(
                None,
                "You didn't provide an API key. Send it in the Authorization header: \
                 Authorization: Bearer YOUR_KEY."
                    .to_owned(),
            ),
            Self::WrongKey { masked } => unauthorized(
                Some("invalid_api_key"),
                format!("Incorrect API key provided: {masked}."),
            ),
            Self::ContentType(_)
            | Self::ContentEncoding
            | Self::TooLarge { .. }
            | Self::BodyTimeout => self.unreadable_body(),
            Self::Body(cause) => body_error(cause),
            Self::UnknownModel { model } => ApiError {
                param: Some("model"),
                ..error(
                    StatusCode::NOT_FOUND,
                    INVALID,
                    Some("model_not_found"),
                    format!("The model `{model}` does not exist or you do not have access to it."),
                )
            },
            Self::Upstream(failure) => upstream_error(failure.cause),
            Self::ClientGone => error(
                client_closed_request(),
                INVALID,
                Some("client_gone"),
                "The client closed the connection.".to_owned(),
            ),
        }
    }

    /// What is said of a body that is not even read to its end.
    fn unreadable_body(&self) -> ApiError {
        let (status, code, message) = match self {
            Self::ContentType(found) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_content_type",
                format!("The Content-Type `{found}` is not supported here; send application/json."),
            ),
            Self::ContentEncoding => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_content_encoding",
                "Compressed request bodies are not supported; send the body without \
                 Content-Encoding."
                    .to_owned(),
            ),
            Self::TooLarge { limit } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                format!("The request body is larger than {limit} bytes."),
            ),
            _ => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The request body did not arrive in time.".to_owned(),
            ),
        };
        error(status, INVALID, Some(code), message)
    }
}

/// nginx's status for a client that left; it is never sent, only logged and counted.
pub fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

fn error(
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
) -> ApiError {
    ApiError {
        status,
        kind,
        code,
        param: None,
        message,
    }
}

fn bad_request(
    code: Option<&'static str>,
    param: Option<&'static str>,
    message: String,
) -> ApiError {
    ApiError {
        param,
        ..error(StatusCode::BAD_REQUEST, INVALID, code, message)
    }
}

fn unauthorized(code: Option<&'static str>, message: String) -> ApiError {
    error(StatusCode::UNAUTHORIZED, INVALID, code, message)
}

fn unknown_path(method: &Method, path: &str) -> ApiError {
    let hint = match endpoint::suggestion(path) {
        Some(meant) => format!(" Did you mean {meant}?"),
        None => String::new(),
    };
    let message = format!("Invalid URL ({method} {path}).{hint}");
    error(StatusCode::NOT_FOUND, INVALID, None, message)
}

fn body_error(cause: &BodyError) -> ApiError {
    match cause {
        BodyError::NotJson(what) => bad_request(
            None,
            None,
            format!("We could not parse the JSON body of your request: {what}."),
        ),
        BodyError::NotAnObject => bad_request(
            None,
            None,
            "The JSON body of your request must be an object.".to_owned(),
        ),
        BodyError::TooDeep => bad_request(
            Some("nesting_too_deep"),
            None,
            format!("The JSON body is nested deeper than {MAX_DEPTH} levels."),
        ),
        BodyError::Duplicate(name) => bad_request(
            Some("duplicate_parameter"),
            Some(name),
            format!("The parameter '{name}' stands more than once in the body."),
        ),
        BodyError::Shadowed(name) => bad_request(
            Some("unknown_parameter"),
            Some(name),
            format!("The body has a parameter that differs from '{name}' only by its case."),
        ),
        BodyError::NoModel => bad_request(
            Some("missing_required_parameter"),
            Some("model"),
            "Missing required parameter: 'model'.".to_owned(),
        ),
        BodyError::WrongType(name, wanted) => bad_request(
            Some("invalid_type"),
            Some(name),
            format!("Invalid type for '{name}': expected {wanted}."),
        ),
    }
}

fn upstream_error(cause: Cause) -> ApiError {
    let (status, code, message) = match cause {
        Cause::Unreachable => (
            StatusCode::BAD_GATEWAY,
            "upstream_unreachable",
            "The model's provider could not be reached.",
        ),
        Cause::Tls => (
            StatusCode::BAD_GATEWAY,
            "upstream_tls",
            "No secure connection to the model's provider could be made.",
        ),
        Cause::Reset => (
            StatusCode::BAD_GATEWAY,
            "upstream_reset",
            "The model's provider closed the connection without an answer.",
        ),
        Cause::InvalidResponse => (
            StatusCode::BAD_GATEWAY,
            "upstream_invalid_response",
            "The model's provider gave an answer that is not valid HTTP.",
        ),
        Cause::Timeout(_) => (
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_timeout",
            "The model's provider did not answer in time.",
        ),
        Cause::Cut => (
            StatusCode::BAD_GATEWAY,
            "upstream_cut",
            "The model's provider broke off in the middle of its answer.",
        ),
    };
    error(status, SERVER, Some(code), message.to_owned())
}
