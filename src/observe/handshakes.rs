//! Counters of TLS handshakes that failed.
//!
//! Owns their names and labels, as `metrics` owns those of requests. Does not handle which failure a
//! handshake counts as (see `server/handshake.rs`). Cannot fail after the start.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client spoke something else: plain HTTP, or what a port scan sends.
    NotTls,
    /// The client closed the connection before it sent anything.
    Closed,
    /// The client did not complete the handshake in time.
    Late,
    /// The client has shown no certificate where one is required.
    NoCertificate,
    /// The client's certificate has expired.
    CertificateExpired,
    /// The client's certificate has been revoked.
    CertificateRevoked,
    /// The client's certificate is of an authority that is not trusted.
    CertificateUnknown,
    /// There is no list of revoked certificates for an authority of the client's, or it has ended.
    RevocationList,
    /// Something else is wrong with the client's certificate.
    Certificate,
    /// The two sides did not agree, or the connection broke.
    Failed,
}

impl HandshakeFailure {
    const ALL: [Self; 10] = [
        Self::NotTls,
        Self::Closed,
        Self::Late,
        Self::NoCertificate,
        Self::CertificateExpired,
        Self::CertificateRevoked,
        Self::CertificateUnknown,
        Self::RevocationList,
        Self::Certificate,
        Self::Failed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Closed => "closed",
            Self::Late => "late",
            Self::NoCertificate => "no_certificate",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateRevoked => "certificate_revoked",
            Self::CertificateUnknown => "certificate_unknown",
            Self::RevocationList => "revocation_list",
            Self::Certificate => "certificate",
            Self::Failed => "failed",
        }
    }
}

/// The counters of handshakes.
pub struct Handshakes {
    failed: IntCounterVec,
    /// The counters of `failed`, by position of the cause.
    by_cause: [IntCounter; HandshakeFailure::ALL.len()],
}

impl Handshakes {
    /// Makes the counters.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let failed = IntCounterVec::new(
            Opts::new(
                "tollgate_tls_handshakes_failed_total",
                "TLS handshakes of clients that failed, by cause.",
            ),
            &["cause"],
        )?;
        Ok(Self {
            by_cause: HandshakeFailure::ALL.map(|cause| failed.with_label_values(&[cause.name()])),
            failed,
        })
    }

    /// All of them, to be registered.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.failed.clone())
    }

    /// Counts a failure.
    pub fn failed(&self, cause: HandshakeFailure) {
        if let Some(counter) = self.by_cause.get(cause as usize) {
            counter.inc();
        }
    }
}
