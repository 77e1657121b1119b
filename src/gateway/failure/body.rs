//! Failures of a request's body.
//!
//! Owns their messages. Does not handle how a body is read (see `exchange/body`).

use http::StatusCode;

use super::{INVALID, bad_request, error, privilege};
use crate::openai::error::ApiError;
use crate::openai::form::FormError;
use crate::openai::model_name::NameError;
use crate::openai::request::{BodyError, MAX_DEPTH};

/// Why a body was not even read to its end.
#[derive(Debug)]
pub enum Unreadable {
    /// Its content type is not one that the endpoint takes.
    ContentType { found: String, takes: &'static str },
    /// It is compressed.
    ContentEncoding,
    /// It is larger than allowed.
    TooLarge { limit: usize },
    /// The client stopped sending it.
    Timeout,
    /// There is no room for it: what the system said, for the operator.
    NoRoom(String),
}

/// What is said of a body that was not read to its end.
pub fn unreadable(cause: &Unreadable) -> ApiError {
    let (status, code, message) = match cause {
        Unreadable::ContentType { found, takes } => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_content_type",
            format!("The Content-Type `{found}` is not supported here; send {takes}."),
        ),
        Unreadable::ContentEncoding => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_content_encoding",
            "Compressed request bodies are not supported; send the body without \
             Content-Encoding."
                .to_owned(),
        ),
        Unreadable::TooLarge { limit } => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            format!("The request body is larger than {limit} bytes."),
        ),
        Unreadable::Timeout => (
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "The request body did not arrive in time.".to_owned(),
        ),
        Unreadable::NoRoom(_) => {
            let message =
                "The gateway has no room for a body of this size. Please try again later.";
            let status = StatusCode::INSUFFICIENT_STORAGE;
            return error(status, "server_error", Some("no_room"), message.to_owned());
        }
    };
    error(status, INVALID, Some(code), message)
}

/// What is said of a JSON body.
pub fn json(cause: &BodyError) -> ApiError {
    match cause {
        BodyError::NotUtf8(valid) => bad_request(
            Some("invalid_encoding"),
            None,
            format!("The JSON body of your request is not valid UTF-8: see byte {valid}."),
        ),
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
        BodyError::WrongType(name, wanted) => bad_request(
            Some("invalid_type"),
            Some(name),
            format!("Invalid type for '{name}': expected {wanted}."),
        ),
        BodyError::Model(why) => model(*why),
    }
}

/// What is said of a model's name that cannot be one, wherever it stands.
pub fn model(why: NameError) -> ApiError {
    bad_request(
        Some("invalid_value"),
        Some("model"),
        format!("The name of the model is invalid: {why}."),
    )
}

/// What is said of a body that names no model where one is needed.
pub fn no_model() -> ApiError {
    bad_request(
        Some("missing_required_parameter"),
        Some("model"),
        "Missing required parameter: 'model'.".to_owned(),
    )
}

/// What is said of a form.
pub fn form(cause: &FormError) -> ApiError {
    let malformed = |message: String| bad_request(Some("invalid_form"), None, message);
    match cause {
        FormError::NoBoundary => malformed(
            "The Content-Type of the form has no usable boundary; let your HTTP library set it."
                .to_owned(),
        ),
        FormError::Malformed(what) => malformed(format!("The form is malformed: {what}.")),
        FormError::TooManyParts(limit) => {
            malformed(format!("The form has more than {limit} parts."))
        }
        FormError::HeaderTooLong(limit) => malformed(format!(
            "The header of a part of the form is longer than {limit} bytes."
        )),
        FormError::Duplicate(name) => bad_request(
            Some("duplicate_parameter"),
            Some(name),
            format!("The part '{name}' stands more than once in the form."),
        ),
        FormError::Shadowed(name) => bad_request(
            Some("unknown_parameter"),
            Some(name),
            format!("The form has a part that differs from '{name}' only by its case."),
        ),
        FormError::TooLong(name, limit) => bad_request(
            Some("invalid_value"),
            Some(name),
            format!("The part '{name}' is longer than {limit} bytes."),
        ),
        FormError::Model(why) => model(*why),
        FormError::Names(reference) => privilege::names(reference),
        FormError::WrongType(name, wanted) => json(&BodyError::WrongType(name, wanted)),
    }
}
