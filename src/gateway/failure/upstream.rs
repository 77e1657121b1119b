//! How an upstream fails, and what is said about it.

use http::StatusCode;
use pingora::{Error, ErrorType};

use super::error;
use crate::openai::error::ApiError;

/// How an upstream failed.
#[derive(Debug)]
pub struct UpstreamFailure {
    /// What kind of failure.
    pub cause: Cause,
    /// For the operator: what the connection said.
    pub detail: String,
}

impl UpstreamFailure {
    /// Reads a connection's error; `phase` is what was being waited for.
    pub fn read(error: &Error, phase: Phase) -> Self {
        use ErrorType as E;
        let cause = match error.etype() {
            E::ConnectTimedout => Cause::Timeout(Phase::Connect),
            E::ReadTimedout | E::WriteTimedout => Cause::Timeout(phase),
            E::TLSHandshakeFailure
            | E::TLSHandshakeTimedout
            | E::InvalidCert
            | E::HandshakeError
            | E::TLSWantX509Lookup => Cause::Tls,
            E::ConnectRefused
            | E::ConnectNoRoute
            | E::ConnectError
            | E::BindError
            | E::SocketError => Cause::Unreachable,
            E::InvalidHTTPHeader
            | E::H1Error
            | E::Custom("InvalidChunk")
            | E::H2Error
            | E::InvalidH2
            | E::H2Downgrade => Cause::InvalidResponse,
            _ => Cause::Reset,
        };
        let detail = match cause {
            Cause::Timeout(_) if *error.etype() == E::WriteTimedout => {
                "it took nothing of the request for too long".to_owned()
            }
            Cause::Timeout(phase) => format!("timeouts.{} has passed", phase.setting()),
            // What an upstream sent in place of HTTP may hold anything: only its kind is told.
            Cause::InvalidResponse => format!("invalid response: {}", error.etype().as_str()),
            _ => error.to_string().replace('\n', " "),
        };
        Self { cause, detail }
    }

    /// None of the upstream's names has an address.
    pub fn unresolved() -> Self {
        Self {
            cause: Cause::Unreachable,
            detail: "none of its names could be resolved".to_owned(),
        }
    }

    /// What we have to say cannot be written as HTTP.
    pub fn unsendable() -> Self {
        Self {
            cause: Cause::Unreachable,
            detail: "the request cannot be written as HTTP".to_owned(),
        }
    }

    /// It has agreed to something else than what was asked for.
    pub fn disagrees() -> Self {
        Self {
            cause: Cause::InvalidResponse,
            detail: "it agreed to something else than this WebSocket".to_owned(),
        }
    }

    /// The answer had begun when `error` struck.
    pub fn cut(error: &Error) -> Self {
        Self {
            cause: Cause::Cut,
            ..Self::read(error, Phase::Idle)
        }
    }

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

const SERVER: &str = "server_error";

/// What the client is told.
pub fn api_error(cause: Cause) -> ApiError {
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
