//! Counters of TLS handshakes that came to nothing.
//!
//! Owns their names and labels, as `metrics` does those of requests. `server/handshake.rs` makes the
//! handshakes, and decides which of these a failure is.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};

/// Why a connection to a TLS listener could not be made secure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsecured {
    /// The client spoke something else: plain HTTP, or what a port scan sends.
    NotTls,
    /// The client closed the connection before it said anything.
    Closed,
    /// The client did not complete the handshake in time.
    Late,
    /// The two could not agree, or the connection broke in between.
    Failed,
}

impl Unsecured {
    const ALL: [Self; 4] = [Self::NotTls, Self::Closed, Self::Late, Self::Failed];

    fn name(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Closed => "closed",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }
}

/// What is counted of handshakes.
pub struct Handshakes {
    failed: IntCounterVec,
    /// Those of `failed`, by position.
    by_cause: [IntCounter; Unsecured::ALL.len()],
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
                "Connections to TLS listeners that could not be made secure, by cause.",
            ),
            &["cause"],
        )?;
        Ok(Self {
            by_cause: Unsecured::ALL.map(|cause| failed.with_label_values(&[cause.name()])),
            failed,
        })
    }

    /// All of them, to be registered.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.failed.clone())
    }

    /// Counts a failure.
    pub fn failed(&self, cause: Unsecured) {
        if let Some(counter) = self.by_cause.get(cause as usize) {
            counter.inc();
        }
    }
}
