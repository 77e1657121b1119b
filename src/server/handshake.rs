//! The TLS handshake of a new connection.
//!
//! Owns the handshake within `header_timeout`, and what follows a failure: the failure is counted,
//! logged at debug with the client's address as `log.mask` has it, and the connection is closed. A
//! client that speaks plain HTTP is answered that it must use TLS. Pingora's listener could make the
//! handshake, but it logs each failure as an error with the whole address, so that one port scan fills
//! the log. Where a listener has a certificate for RFC 8998 beside the usual one, `client_hello` shows which of them a
//! client gets. Does not handle the certificates (see `certificates`) or the limits on connections (see `accept`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora::listeners::tls::{Acceptor, TlsSettings};
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as TcpStream;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use super::{accept, client_hello};
use crate::gateway;
use crate::observe::handshakes::HandshakeFailure;
use crate::observe::log_interval::LogInterval;
use crate::runtime::Shared;
use crate::tls::clients::{Presented, Trust, Verifier};
use crate::tls::sm;

/// The first byte of every TLS connection: a record of the handshake.
const HANDSHAKE_RECORD: u8 = 0x16;
/// How long a client that speaks plain HTTP may take to close, and how many bytes are read until then.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;

/// Makes TLS handshakes with the certificates of one listener.
pub struct Handshake {
    acceptors: ArcSwap<Acceptors>,
    /// When it was said last that a list of revoked certificates is missing.
    told: Mutex<LogInterval>,
}

/// What makes the handshakes of a listener: one of the two, or both.
pub struct Acceptors {
    /// With the usual suites.
    pub usual: Option<Acceptor>,
    /// With the suite of RFC 8998 alone.
    pub sm: Option<Acceptor>,
    /// What verifies the certificates of clients, where they are asked for one.
    pub clients: Option<Arc<Verifier>>,
}

/// An acceptor that keeps the certificate of a client with its connection.
///
/// # Errors
/// What Pingora says of its settings.
pub fn keeping_certificates(config: ServerConfig, trust: &Arc<Trust>) -> Result<Acceptor, String> {
    let settings = TlsSettings::with_callbacks(Box::new(Presented::new(trust)));
    let mut settings = settings.map_err(|e| e.to_string())?;
    // Its own configuration is replaced as a whole: callbacks can be had in no other way.
    settings.set_cert_resolver(Arc::clone(&config.cert_resolver));
    let mut acceptor = settings.build();
    acceptor.acceptor = TlsAcceptor::from(Arc::new(config));
    Ok(acceptor)
}

impl Acceptors {
    /// The one for a client that is about to begin.
    async fn choose(&self, client: &mut TcpStream) -> Option<&Acceptor> {
        match (&self.usual, &self.sm) {
            (Some(usual), Some(sm)) => {
                let offers = client_hello::look(client, sm::offers).await;
                // Where it is no ClientHello, rustls finds out and answers.
                Some(if offers.unwrap_or_default() {
                    sm
                } else {
                    usual
                })
            }
            (usual, sm) => usual.as_ref().or(sm.as_ref()),
        }
    }
}

/// A handshake that failed, with the text for the log.
struct Failed {
    cause: HandshakeFailure,
    detail: String,
    /// The connection, where the client speaks plain HTTP and can be answered.
    plain_http: Option<Stream>,
}

impl Failed {
    fn new(cause: HandshakeFailure, detail: impl fmt::Display) -> Self {
        Self {
            cause,
            detail: detail.to_string().replace('\n', " "),
            plain_http: None,
        }
    }
}

impl Handshake {
    /// Uses a listener's TLS settings.
    pub fn new(acceptors: Acceptors) -> Self {
        Self {
            acceptors: ArcSwap::from_pointee(acceptors),
            told: Mutex::default(),
        }
    }

    /// Uses other settings for handshakes that begin from now on.
    pub fn replace(&self, acceptors: Acceptors) {
        self.acceptors.store(Arc::new(acceptors));
    }

    /// Makes the handshake. `None`: it failed, and the connection is over.
    pub async fn accept(&self, stream: Stream, shared: &Shared) -> Option<Stream> {
        let client = stream
            .get_socket_digest()
            .and_then(|socket| accept::address(&socket));
        let limit = shared.pin().settings.limits.header_timeout;
        let done = tokio::time::timeout(limit, self.handshake(stream)).await;
        let failed = match done {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(failed)) => failed,
            Err(_) => Failed::new(
                HandshakeFailure::Late,
                format!("not complete within {limit:?}"),
            ),
        };
        shared.metrics.handshakes().failed(failed.cause);
        if failed.cause == HandshakeFailure::RevocationList && self.told.lock().has_passed() {
            log::warn!(
                "clients are refused: {}; see `clients.crl` of the listener, which needs a list of each authority that \
                 has not ended",
                failed.detail
            );
        }
        if log::log_enabled!(log::Level::Debug) {
            let client = shared.pin().settings.shown(client);
            log::debug!("TLS with {client} failed: {}", failed.detail);
        }
        if let Some(stream) = failed.plain_http {
            answer_plain_http(stream).await;
        }
        None
    }

    async fn handshake(&self, mut stream: Stream) -> Result<Stream, Failed> {
        let mut first = [0];
        let peeked = stream.try_peek(&mut first).await;
        peeked.map_err(|e| {
            let detail = format!("the client sent nothing: {e}");
            Failed::new(HandshakeFailure::Closed, detail)
        })?;
        if first != [HANDSHAKE_RECORD] {
            // A method of HTTP begins with a capital letter.
            let is_http = first.iter().all(u8::is_ascii_uppercase);
            let detail = match is_http {
                true => "the client speaks plain HTTP",
                false => "the client does not speak TLS",
            };
            return Err(Failed {
                plain_http: is_http.then_some(stream),
                ..Failed::new(HandshakeFailure::NotTls, detail)
            });
        }
        let tcp = stream.into_any().downcast::<TcpStream>();
        let mut tcp = tcp.map_err(|_| {
            Failed::new(
                HandshakeFailure::Failed,
                "the connection is not a TCP stream",
            )
        })?;
        let acceptors = self.acceptors.load_full();
        let acceptor = acceptors.choose(&mut tcp).await.ok_or_else(|| {
            Failed::new(HandshakeFailure::Failed, "the listener has no certificate")
        })?;
        let done = acceptor.tls_handshake(*tcp).await;
        Ok(Box::new(done.map_err(|e| {
            let detail = e.to_string();
            Failed::new(cause(&detail), detail)
        })?))
    }
}

/// What has failed, by the words of rustls: Pingora keeps nothing else of its error.
fn cause(detail: &str) -> HandshakeFailure {
    let words = [
        ("peer sent no certificates", HandshakeFailure::NoCertificate),
        ("UnknownRevocationStatus", HandshakeFailure::RevocationList),
        ("revocation list expired", HandshakeFailure::RevocationList),
        (
            "invalid peer certificate: certificate expired",
            HandshakeFailure::CertificateExpired,
        ),
        (
            "invalid peer certificate: Revoked",
            HandshakeFailure::CertificateRevoked,
        ),
        (
            "invalid peer certificate: UnknownIssuer",
            HandshakeFailure::CertificateUnknown,
        ),
        ("invalid peer certificate", HandshakeFailure::Certificate),
    ];
    let found = words.iter().find(|(words, _)| detail.contains(words));
    found.map_or(HandshakeFailure::Failed, |(_, cause)| *cause)
}

async fn answer_plain_http(mut stream: Stream) {
    let answer = gateway::tls_required();
    let sending = gateway::last_words(&mut stream, &answer, LINGER_BYTES);
    // The connection is over, whether or not the answer was read.
    let _ = tokio::time::timeout(LINGER, sending).await;
}
