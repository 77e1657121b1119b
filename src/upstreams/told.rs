//! What the error of a connection tells an operator.
//!
//! Pingora's own words hold what the upstream has sent, where that was no HTTP or came with the end of an
//! HTTP/2 connection: it may be a key. Owns which words are safe to write down. Does not handle what a
//! failure means (`gateway::failure`). Never fails.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use pingora::{Error, ErrorType};

/// One line, with nothing in it that the upstream has chosen.
pub fn told(error: &Error) -> String {
    use ErrorType as E;
    let kind = error.etype().as_str();
    match error.etype() {
        _ if !holds_its_bytes(error) => error.to_string().trim().replace('\n', " "),
        E::ReadError | E::WriteError | E::ConnectionClosed | E::H2Error => {
            format!("the connection failed: {kind}")
        }
        _ => format!("invalid response: {kind}"),
    }
}

/// The same of something that had so much time.
pub fn told_within(error: &Error, limit: Duration) -> String {
    match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => no_answer_within(limit),
        _ => told(error),
    }
}

/// What is told where nothing came in time.
pub fn no_answer_within(limit: Duration) -> String {
    format!("no answer within {limit:?}")
}

fn holds_its_bytes(error: &Error) -> bool {
    use ErrorType as E;
    match error.etype() {
        E::InvalidHTTPHeader
        | E::H1Error
        | E::Custom("InvalidChunk")
        | E::H2Error
        | E::InvalidH2
        | E::H2Downgrade => true,
        // HTTP/2 gives its errors as the causes of these.
        E::ReadError | E::WriteError | E::ConnectionClosed => {
            error.cause.as_deref().is_some_and(|cause| !is_of_io(cause))
        }
        _ => false,
    }
}

fn is_of_io(cause: &(dyn StdError + Send + Sync + 'static)) -> bool {
    let inner = cause.downcast_ref::<Box<Error>>();
    cause.is::<io::Error>() || inner.is_some_and(|inner| !holds_its_bytes(inner))
}

#[cfg(test)]
mod tests {
    use super::super::deadline::NO_ANSWER;
    use super::*;

    const SENT: &str = "sk-sent-by-the-upstream";

    #[test]
    fn what_an_upstream_has_sent_is_not_told() {
        let no_http = Error::explain(ErrorType::InvalidHTTPHeader, SENT);
        let of_http2 = || io::Error::other(SENT).to_string();
        let cause: Box<dyn StdError + Send + Sync> = of_http2().into();
        let goaway = Error::because(ErrorType::ReadError, "while reading", cause);
        let nested = Error::because(
            ErrorType::ReadError,
            "while reading",
            Error::explain(ErrorType::H2Error, SENT),
        );
        for error in [no_http, goaway, nested] {
            let told = told(&error);
            assert!(!told.contains(SENT), "{told}");
            assert!(told.contains(": "), "{told}");
        }
    }

    #[test]
    fn what_we_say_of_something_that_is_no_answer_is_told() {
        let error = Error::explain(ErrorType::Custom(NO_ANSWER), "it sent hints without end");
        let told = told(&error);
        assert!(told.contains("it sent hints without end"), "{told}");
    }

    #[test]
    fn what_the_system_says_is_told_on_one_line() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = Error::because(ErrorType::ReadError, "on\nline", refused);
        let told = told(&error);
        assert!(told.contains("connection refused"), "{told}");
        assert!(!told.contains('\n'), "{told}");
    }
}
