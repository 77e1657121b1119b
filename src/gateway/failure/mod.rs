//! Everything that can go wrong with a request, and what is said about it.
//!
//! The one place where failures become HTTP. Each has a message for the client, which names nothing of the provider's,
//! and a detail for the operator. `docs/reference/errors.md` lists them. `body` has the failures of bodies, `caller`
//! those of credentials, `limit` those of limits and quotas, `overload` those of requests that are too many or too
//! slow, `privilege` those of what a tenant may not do, `upstream` those of upstreams.

mod body;
mod caller;
mod limit;
mod overload;
mod privilege;
mod upstream;

use http::header::{ALLOW, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::headers::SHOULD_RETRY;
use crate::auth::SignatureRefused;
use crate::limits::Refusal;
use crate::observe::metrics::Shed;
use crate::openai::endpoint;
use crate::openai::error::ApiError;
use crate::openai::form::FormError;
use crate::openai::model_name::NameError;
use crate::openai::privileges::Privilege;
use crate::openai::references::Reference;
use crate::openai::request::BodyError;

pub use body::Unreadable;
pub use caller::NoCaller;
pub use limit::add_standing;
pub use upstream::{Cause, Phase, RestOfError, UpstreamFailure, UpstreamRefusal, unspoken};

/// Why a request was not served.
#[derive(Debug)]
pub enum Failure {
    /// The end of the request could be read in two ways.
    Framing(&'static str),
    /// The header is longer than `limits.header`, in bytes.
    HeaderTooLarge { limit: usize },
    /// There are more headers than `limits.header_fields`.
    TooManyHeaders { limit: usize },
    /// No endpoint of ours.
    UnknownPath { method: Method, path: String },
    /// An endpoint of ours, asked with a method that it does not take.
    WrongMethod {
        method: Method,
        allowed: Method,
        path: String,
    },
    /// A path that the upstream might read as another one.
    AmbiguousPath,
    /// A path that needs a privilege which the tenant has not.
    NotAllowed { path: String, needs: Privilege },
    /// A field that names a model or something stored, of a tenant that may name none.
    Names(&'static Reference),
    /// A way on which bodies are not read, for a tenant whose bodies are to be.
    Unread { path: String },
    /// A WebSocket at a path that opens none.
    NoSocketHere { path: String },
    /// A path that opens WebSockets, asked without one.
    SocketNeeded { path: String },
    /// A WebSocket that is not opened as RFC 6455 has it.
    Handshake(&'static str),
    /// A WebSocket of another version than 13.
    SocketVersion,
    /// What passes unread, asked by a tenant without a home.
    NoHome { method: Method, path: String },
    /// Plain HTTP on a listener that speaks TLS.
    TlsRequired,
    /// The query does not name a model.
    NoModelInQuery,
    /// The model's name in the query cannot be one.
    ModelInQuery(NameError),
    /// One of `server.limits` turns the request away.
    Shed(Shed),
    /// The address sends more than the flood guard lets through.
    Flood,
    /// A limit or a quota is in the way.
    Limited(Box<Refusal>),
    /// What the tenant uses cannot be recorded.
    QuotaUnavailable,
    /// The store in which several nodes count limits is away.
    LimitsUnavailable,
    /// The listener does not take requests from this address.
    Address,
    /// What the request shows is not accepted.
    Caller(NoCaller),
    /// The body is not the one that was signed.
    NotSigned,
    /// The body could not be read to its end.
    Unreadable(Unreadable),
    /// The body cannot be served.
    Body(BodyError),
    /// The form cannot be served.
    Form(FormError),
    /// The body names no model, and nothing else says which one.
    NoModel,
    /// No rule serves the model, or the tenant may not ask for it.
    UnknownModel { model: String },
    /// The upstream did not answer properly.
    Upstream(UpstreamFailure),
    /// The upstream answered with an error, which the client is told as it came.
    Refusal(Box<UpstreamRefusal>),
    /// The request wants an answer that is kept, and there is none.
    NotCached,
    /// The request has come through too many gateways: it may be running in a circle.
    Loop,
    /// The client has left: no answer is sent.
    ClientGone,
}

const INVALID: &str = "invalid_request_error";

impl Failure {
    /// What the client is told.
    pub fn api_error(&self) -> ApiError {
        match self {
            Self::Framing(what) => bad_request(
                Some("invalid_framing"),
                None,
                format!("The request is malformed: {what}."),
            ),
            Self::HeaderTooLarge { limit } => header_too_large(format!(
                "The header of the request is longer than {limit} bytes."
            )),
            Self::TooManyHeaders { limit } => {
                header_too_large(format!("The request has more than {limit} headers."))
            }
            Self::UnknownPath { .. }
            | Self::WrongMethod { .. }
            | Self::AmbiguousPath
            | Self::NoHome { .. }
            | Self::NotAllowed { .. }
            | Self::Names(_)
            | Self::Unread { .. } => self.of_path(),
            Self::NoSocketHere { .. }
            | Self::SocketNeeded { .. }
            | Self::Handshake(_)
            | Self::SocketVersion
            | Self::NoModelInQuery => self.of_socket(),
            Self::Shed(what) => overload::api_error(*what),
            Self::Flood => overload::flood(),
            Self::Limited(refusal) => limit::api_error(refusal),
            Self::QuotaUnavailable => limit::unavailable(),
            Self::LimitsUnavailable => limit::store_away(),
            Self::Address => caller::address_error(),
            Self::Caller(refused) => refused.api_error(),
            Self::NotSigned => caller::signature_error(&SignatureRefused::Body),
            Self::TlsRequired => bad_request(
                Some("tls_required"),
                None,
                "This port speaks TLS: use https:// in the URL.".to_owned(),
            ),
            Self::ModelInQuery(why) => body::model(*why),
            Self::Unreadable(cause) => body::unreadable(cause),
            Self::Body(cause) => body::json(cause),
            Self::Form(cause) => body::form(cause),
            Self::NoModel => body::no_model(),
            Self::UnknownModel { model } => unknown_model(model),
            Self::Upstream(failure) => upstream::api_error(failure.cause),
            Self::Refusal(refusal) => upstream::refusal(refusal),
            Self::NotCached | Self::Loop => self.of_way(),
            Self::ClientGone => error(
                client_closed_request(),
                INVALID,
                Some("client_gone"),
                "The client closed the connection.".to_owned(),
            ),
        }
    }

    /// Those of the way that a request has come, or may go.
    fn of_way(&self) -> ApiError {
        match self {
            Self::NotCached => error(
                StatusCode::GATEWAY_TIMEOUT,
                INVALID,
                Some("not_cached"),
                "There is no answer to this request in the cache, and `Cache-Control: only-if-cached` forbids asking \
                 the provider."
                    .to_owned(),
            ),
            _ => error(
                StatusCode::LOOP_DETECTED,
                INVALID,
                Some("loop_detected"),
                "The request has come through too many gateways; does one lead back to another?"
                    .to_owned(),
            ),
        }
    }

    fn of_path(&self) -> ApiError {
        match self {
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
            Self::NotAllowed { path, needs } => privilege::api_error(path, *needs),
            Self::Names(reference) => privilege::names(reference),
            Self::Unread { path } => privilege::unread(path),
            Self::UnknownPath { method, path } => unknown_path(method, path),
            Self::NoHome { method, path } => error(
                StatusCode::NOT_FOUND,
                INVALID,
                Some("no_home"),
                format!(
                    "{method} {path} is passed on to the upstream that is your tenant's home, and \
                     it has none. The operator of the gateway names one with `passthrough`, in \
                     `server` or for the tenant."
                ),
            ),
            _ => bad_request(
                Some("invalid_path"),
                None,
                "The path has an empty segment, one that ends in a dot, or a character that servers read \
                 differently; send letters, digits and -._~:@!$&'()*+,= alone."
                    .to_owned(),
            ),
        }
    }

    fn of_socket(&self) -> ApiError {
        let refused = |code, message| bad_request(Some(code), None, message);
        let upgrade =
            |code, message| error(StatusCode::UPGRADE_REQUIRED, INVALID, Some(code), message);
        match self {
            Self::NoSocketHere { path } => refused(
                "websocket_not_supported",
                format!("{path} does not open a WebSocket."),
            ),
            Self::SocketNeeded { path } => upgrade(
                "websocket_required",
                format!("{path} is opened as a WebSocket, not asked as a request."),
            ),
            Self::Handshake(what) => refused(
                "invalid_handshake",
                format!("The WebSocket cannot be opened: {what}."),
            ),
            Self::SocketVersion => upgrade(
                "unsupported_websocket_version",
                "Only version 13 of the WebSocket protocol is spoken here.".to_owned(),
            ),
            _ => bad_request(
                Some("missing_required_parameter"),
                Some("model"),
                "Missing required query parameter: 'model'.".to_owned(),
            ),
        }
    }

    /// Adds what the answer's header says besides.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::Limited(refusal) => limit::add_headers(refusal, headers),
            failure => headers.extend(failure.header()),
        }
    }

    /// What the header of any other answer says besides.
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let fixed = HeaderValue::from_static;
        match self {
            Self::WrongMethod { allowed, .. } if *allowed == Method::GET => {
                Some((ALLOW, fixed("GET, HEAD")))
            }
            Self::WrongMethod { allowed, .. } => {
                Some((ALLOW, HeaderValue::from_str(allowed.as_str()).ok()?))
            }
            Self::SocketNeeded { .. } => Some((UPGRADE, fixed("websocket"))),
            Self::SocketVersion => Some((SEC_WEBSOCKET_VERSION, fixed("13"))),
            Self::Flood | Self::QuotaUnavailable | Self::LimitsUnavailable => {
                Some((RETRY_AFTER, fixed("1")))
            }
            // Another try would take the same circle, or find as little.
            Self::Loop | Self::NotCached => Some((SHOULD_RETRY, fixed("false"))),
            Self::Upstream(failure) => {
                let seconds = failure.cause.retry_after()?;
                Some((RETRY_AFTER, HeaderValue::from(seconds)))
            }
            Self::Caller(refused) => refused.header(),
            Self::Shed(what) if overload::passes_soon(*what) => Some((RETRY_AFTER, fixed("1"))),
            _ => None,
        }
    }

    /// Which limit has turned the request away.
    pub fn shed(&self) -> Option<Shed> {
        match self {
            Self::Shed(what) => Some(*what),
            _ => None,
        }
    }

    /// For the operator: what the client is not told.
    pub fn log(&self, request_id: &str, upstream: &str) {
        match self {
            Self::Upstream(failure) => failure.log(request_id, upstream),
            Self::Unreadable(Unreadable::NoRoom(what)) => {
                log::error!("{request_id} a form could not be kept in a file: {what}");
            }
            Self::Caller(refused) => refused.log(request_id),
            _ => {}
        }
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

fn header_too_large(message: String) -> ApiError {
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    error(status, INVALID, Some("header_too_large"), message)
}

fn unknown_model(model: &str) -> ApiError {
    let message = format!("The model `{model}` does not exist or you do not have access to it.");
    let code = Some("model_not_found");
    ApiError {
        param: Some("model"),
        ..error(StatusCode::NOT_FOUND, INVALID, code, message)
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
