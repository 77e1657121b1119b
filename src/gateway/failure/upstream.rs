//! How an upstream fails, and what the client and the operator are told.
//!
//! Owns the causes and their messages. Does not handle what follows on a failure (see
//! `exchange/failover`).

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use pingora::{Error, ErrorType, ImmutStr};

use super::error;
use crate::openai::echo::Masking;
use crate::openai::error::ApiError;
use crate::openai::usage::Usage;
use crate::upstreams::deadline::NO_ANSWER;
use crate::upstreams::{Session, forward_proxy, told};

/// What the TLS library says of an upstream, and what an operator can make of it.
const TLS_WORDS: [(&str, &str); 12] = [
    (
        "corrupt message of type InvalidContentType",
        "what it speaks is not TLS: does it speak http://?",
    ),
    (
        "received fatal alert: UnrecognisedName",
        "it does not serve the name in its URL (it sent the TLS alert `unrecognized_name`)",
    ),
    (
        "tls handshake eof",
        "it closed the connection during the TLS handshake: does it speak TLS on this port?",
    ),
    (
        "invalid peer certificate: UnknownIssuer",
        "no authority that is trusted has signed its certificate: name the one that has in `tls.ca`",
    ),
    (
        "invalid peer certificate: BadSignature",
        "no authority that is trusted has signed its certificate: the one in `tls.ca` has its name and another key",
    ),
    (
        "invalid peer certificate: certificate expired",
        "its certificate has expired",
    ),
    (
        "invalid peer certificate: certificate not valid yet",
        "its certificate is not valid yet",
    ),
    (
        "received fatal alert: CertificateRequired",
        "it asks for a certificate of ours: name one in `tls.cert`",
    ),
    (
        "received fatal alert: UnknownCA",
        "it does not know the authority of our certificate (`tls.cert`)",
    ),
    (
        "received fatal alert: CertificateExpired",
        "our certificate (`tls.cert`) has expired",
    ),
    (
        "received fatal alert: BadCertificate",
        "it refuses our certificate (`tls.cert`), or asks for one",
    ),
    (
        "received fatal alert: HandshakeFailure",
        "it does not agree to any of our suites, or asks for a certificate of ours (`tls.cert`)",
    ),
];

/// What the TLS library says where the other side has ended TLS.
const ALERT: &str = "received fatal alert: ";

fn of_tls(said: &str) -> String {
    let known = TLS_WORDS.iter().find(|(words, _)| said.contains(words));
    known.map_or_else(|| said.replace('\n', " "), |(_, plain)| (*plain).to_owned())
}

/// How an upstream failed.
#[derive(Debug)]
pub struct UpstreamFailure {
    /// What kind of failure.
    pub cause: Cause,
    /// For the operator: what the connection said.
    pub detail: String,
}

/// An upstream's own error.
#[derive(Debug)]
pub struct UpstreamRefusal {
    /// Its header.
    pub header: Parts,
    /// Its body, or the beginning of it where there is a rest.
    pub body: Bytes,
    /// What it says.
    pub message: Option<String>,
    /// What the upstream says that it has charged for.
    pub usage: Option<Usage>,
    /// What of its body is still to come, where that is too long to be understood.
    pub rest: Option<RestOfError>,
}

/// The rest of an error, which passes as it comes.
pub struct RestOfError {
    /// The connection that it comes over.
    pub session: Session,
    /// It has to have come by then.
    pub until: Instant,
    /// Masks the key in it; it may hold back what came last of the beginning.
    pub masking: Masking,
}

impl fmt::Debug for RestOfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestOfError")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl UpstreamFailure {
    /// Reads a connection's error; `phase` is what was being waited for.
    pub fn read(error: &Error, phase: Phase) -> Self {
        use ErrorType as E;
        let cause = match error.etype() {
            E::ConnectTimedout => Cause::Timeout(Phase::Connect),
            E::ReadTimedout | E::WriteTimedout => Cause::Timeout(phase),
            E::Custom(forward_proxy::UNREACHABLE) => Cause::ProxyUnreachable,
            E::Custom(forward_proxy::REFUSED) => Cause::ProxyRefused,
            E::ReadError | E::WriteError if is_alert(error) => Cause::Tls,
            E::TLSHandshakeFailure if broke_in_handshake(error) => Cause::Unreachable,
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
            | E::Custom("InvalidChunk" | NO_ANSWER)
            | E::InvalidH2
            | E::H2Downgrade => Cause::InvalidResponse,
            _ => Cause::Reset,
        };
        let detail = match cause {
            Cause::Timeout(_) if *error.etype() == E::WriteTimedout => {
                "it did not take the request in time".to_owned()
            }
            Cause::Timeout(phase) => format!("timeouts.{} has passed", phase.setting()),
            Cause::Tls => of_tls(&error.to_string()),
            Cause::ProxyUnreachable | Cause::ProxyRefused => words_of(error),
            _ => told(error),
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

    /// Something else than its connection keeps us from it.
    pub fn of(cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            cause,
            detail: detail.into(),
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

/// Whether a connection broke before TLS could be agreed on, which may go better the next time. The
/// TLS library's words are all that is left of why.
fn broke_in_handshake(error: &Error) -> bool {
    const BROKEN: [&str; 3] = ["tls handshake eof", "Connection reset", "Broken pipe"];
    let words = error.to_string();
    BROKEN.iter().any(|broken| words.contains(broken))
}

/// Whether the other side has ended TLS in the place of an answer.
fn is_alert(error: &Error) -> bool {
    let io = error.cause.as_deref();
    let io = io.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.to_string().contains(ALERT))
}

/// The words of an error that has no others than ours.
fn words_of(error: &Error) -> String {
    let words = error.context.as_ref().map(ImmutStr::as_str);
    words.unwrap_or_default().to_owned()
}

/// Kinds of failures of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No address, no route, or no server listens there.
    Unreachable,
    /// The forward proxy that leads to it cannot be reached.
    ProxyUnreachable,
    /// The forward proxy that leads to it makes no connection.
    ProxyRefused,
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
    /// The answer was whole and said nothing.
    Empty,
    /// In the middle of the answer it told an error.
    Complained,
    /// It takes no more requests at once.
    Busy,
    /// It asks us to wait; for how many seconds.
    RateLimited(Option<u64>),
    /// Its account does not serve us: a key that is refused, no money.
    Account,
    /// None that could be asked is well; in how many seconds one may be.
    Unavailable(Option<u64>),
}

impl Cause {
    /// How many seconds the client had better wait.
    pub fn retry_after(self) -> Option<u64> {
        match self {
            Self::Busy => Some(1),
            Self::RateLimited(seconds) => seconds,
            Self::Unavailable(seconds) => Some(seconds.unwrap_or(5)),
            _ => None,
        }
    }
}

/// What was waited for when a timeout struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The connection.
    Connect,
    /// The first byte of a streamed answer.
    FirstToken,
    /// The header of an answer that is not streamed.
    Answer,
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
            Self::Answer => "answer",
            Self::Idle => "idle",
            Self::Total => "total",
        }
    }
}

const SERVER: &str = "server_error";
const UNAVAILABLE: &str = "service_unavailable_error";

/// What the client is told of an error of the upstream's where it cannot pass as it came: within a
/// stream that has begun.
pub fn refusal(refusal: &UpstreamRefusal) -> ApiError {
    let told = unspoken(refusal.header.status);
    ApiError {
        message: refusal.message.clone().unwrap_or(told.message.clone()),
        ..told
    }
}

/// What the client is told of an error that says nothing which can be passed on.
pub fn unspoken(status: StatusCode) -> ApiError {
    let message = "The model's provider refused the request.".to_owned();
    error(status, SERVER, Some("upstream_error"), message)
}

/// What the client is told.
pub fn api_error(cause: Cause) -> ApiError {
    let (status, kind, code, message) = match cause {
        Cause::RateLimited(_) => (
            StatusCode::TOO_MANY_REQUESTS,
            "requests",
            "rate_limit_exceeded",
            "The model's provider takes no more requests for now. Please try again later.",
        ),
        Cause::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            UNAVAILABLE,
            "upstream_busy",
            "The model's provider is as busy as it may be. Please try again in 1s.",
        ),
        Cause::Account => (
            StatusCode::SERVICE_UNAVAILABLE,
            UNAVAILABLE,
            "upstream_account",
            "The model's provider does not serve this gateway's account at present. The operator \
             finds the cause in the gateway's log.",
        ),
        Cause::Unavailable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            UNAVAILABLE,
            "upstream_unavailable",
            "No provider of this model is available at present.",
        ),
        cause => {
            let (status, code, message) = broken(cause);
            (status, SERVER, code, message)
        }
    };
    error(status, kind, Some(code), message.to_owned())
}

/// What is told of an answer that did not come, or not whole.
fn broken(cause: Cause) -> (StatusCode, &'static str, &'static str) {
    let (code, message) = match cause {
        Cause::Timeout(_) => {
            let message = "The model's provider did not answer in time.";
            return (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message);
        }
        // Which way leads to a provider is not for the client to know.
        Cause::Unreachable | Cause::ProxyUnreachable | Cause::ProxyRefused => (
            "upstream_unreachable",
            "The model's provider could not be reached.",
        ),
        Cause::Tls => (
            "upstream_tls",
            "No secure connection to the model's provider could be made.",
        ),
        Cause::Reset => (
            "upstream_reset",
            "The model's provider closed the connection without an answer.",
        ),
        Cause::Empty => (
            "upstream_empty",
            "The model's provider gave an answer that says nothing.",
        ),
        Cause::Complained => (
            "upstream_error",
            "The model's provider told of an error in the middle of its answer.",
        ),
        Cause::Cut => (
            "upstream_cut",
            "The model's provider broke off in the middle of its answer.",
        ),
        _ => (
            "upstream_invalid_response",
            "The model's provider gave an answer that is not valid.",
        ),
    };
    (StatusCode::BAD_GATEWAY, code, message)
}
