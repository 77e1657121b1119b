//! Why a form cannot be served.
//!
//! Owns the reasons. Does not handle what the client reads (see `gateway::failure`).

use super::super::model_name::NameError;
use super::super::references::Reference;

/// Why a form cannot be served.
#[derive(Debug, PartialEq, Eq)]
pub enum FormError {
    /// The content type is not that of a form, or has no boundary of 1 to 70 allowed characters.
    NoBoundary,
    /// Not a form, or one that could be read in two ways; what is wrong.
    Malformed(&'static str),
    /// A part that we act on stands twice.
    Duplicate(&'static str),
    /// A part whose name differs from one that we act on by its case alone.
    Shadowed(&'static str),
    /// The value of a part that we act on is longer than this many bytes.
    TooLong(&'static str, usize),
    /// The model's name cannot be one.
    Model(NameError),
    /// The value of a part has the wrong type.
    WrongType(&'static str, &'static str),
    /// A part names a model or something stored, where none may.
    Names(&'static Reference),
    /// There are more parts than this.
    TooManyParts(usize),
    /// The headers of one part have more bytes than this.
    HeaderTooLong(usize),
}

pub(super) fn malformed<T>(what: &'static str) -> Result<T, FormError> {
    Err(FormError::Malformed(what))
}
