//! Counters of connections that are refused for their PROXY header.
//!
//! Owns their names and labels, as `metrics` owns those of requests. Does not handle what a connection is refused for
//! (see `server/proxy_protocol`). Cannot fail after the start.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec};

use super::families::counters;

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyRefusal {
    /// Its other end is no trusted proxy.
    Untrusted,
    /// It begins with something else.
    Missing,
    /// Its header is malformed.
    Malformed,
    /// It was closed before the end of its header.
    Closed,
    /// Its header was not complete in time.
    Late,
}

impl ProxyRefusal {
    const ALL: [Self; 5] = [
        Self::Untrusted,
        Self::Missing,
        Self::Malformed,
        Self::Closed,
        Self::Late,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Closed => "closed",
            Self::Late => "late",
        }
    }
}

/// The counters.
pub struct ProxyHeaders {
    refused: IntCounterVec,
    /// The counters of `refused`, by position of the reason.
    by_reason: [IntCounter; ProxyRefusal::ALL.len()],
}

impl ProxyHeaders {
    /// Makes the counters, each of which starts at zero.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let refused = counters(
            "tollgate_proxy_protocol_refused_total",
            "Connections that were closed for their PROXY header, by reason.",
            &["reason"],
        )?;
        Ok(Self {
            by_reason: ProxyRefusal::ALL.map(|why| refused.with_label_values(&[why.name()])),
            refused,
        })
    }

    /// All of them, to be registered.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.refused.clone())
    }

    /// Counts a connection that is refused.
    pub fn refused(&self, why: ProxyRefusal) {
        if let Some(counter) = self.by_reason.get(why as usize) {
            counter.inc();
        }
    }
}
