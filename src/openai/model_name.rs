//! What a model's name may be.
//!
//! Owns the one check for every place that names a model: a member of JSON, a part of a form, a query. A name
//! becomes a part of paths, log lines and decisions, so a name that another reader may take for something
//! else, or for nothing, is refused. Does not handle which models exist (see `routing`). Fails with what is
//! wrong.

use std::fmt;

/// A longer name is refused.
pub const MAX_NAME_BYTES: usize = 256;

/// Why something is no model's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It has nothing in it.
    Empty,
    /// It is longer than [`MAX_NAME_BYTES`].
    TooLong,
    /// It is `.` or `..`, which in a path mean another place.
    Dots,
    /// It has a control character.
    Control,
    /// It is not UTF-8.
    NotText,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => write!(f, "it is longer than {MAX_NAME_BYTES} bytes"),
            Self::Dots => f.write_str("`.` and `..` are no names"),
            Self::Control => f.write_str("it has a control character"),
            Self::NotText => f.write_str("it is not UTF-8"),
        }
    }
}

/// Checks a model's name.
///
/// # Errors
/// See [`NameError`].
pub fn check(name: &str) -> Result<(), NameError> {
    match name {
        "" => Err(NameError::Empty),
        "." | ".." => Err(NameError::Dots),
        _ if name.len() > MAX_NAME_BYTES => Err(NameError::TooLong),
        _ if name.contains(char::is_control) => Err(NameError::Control),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_text_that_means_itself() {
        let longest = "x".repeat(MAX_NAME_BYTES);
        for name in [
            "gpt-4o",
            "...",
            "a/b:c@1",
            " padded ",
            "é",
            "ft:gpt-4o:org::id",
            &longest,
        ] {
            assert_eq!(check(name), Ok(()), "{name:?}");
        }
        for (name, why) in [
            ("", NameError::Empty),
            (".", NameError::Dots),
            ("..", NameError::Dots),
            ("a\nb", NameError::Control),
            ("a\u{7f}", NameError::Control),
            ("\u{85}", NameError::Control),
            (&"x".repeat(MAX_NAME_BYTES + 1), NameError::TooLong),
        ] {
            assert_eq!(check(name), Err(why), "{name:?}");
        }
    }
}
