//! Counters of requests whose caller was not found.
//!
//! Owns their name and labels: the method that was used, and why its credential was not accepted. Does not handle
//! the refusals themselves (see `auth`). Cannot fail after the start.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec};

use super::families::counters;
use super::proxy_headers::ProxyHeaders;

/// The reasons of each method. What shows no credential has the method `none`.
pub const REASONS: &[(&str, &[&str])] = &[
    ("none", &["missing"]),
    (
        "key",
        &[
            "unknown",
            "wrong_prefix",
            "not_loaded",
            "expired",
            "disabled",
            "method",
            "address",
        ],
    ),
    (
        "jwt",
        &[
            "malformed",
            "issuer",
            "algorithm",
            "no_keys",
            "unknown_key",
            "signature",
            "audience",
            "expired",
            "early",
            "claim",
            "tenant",
            "disabled",
            "method",
            "address",
        ],
    ),
    (
        "hmac",
        &[
            "malformed",
            "component",
            "algorithm",
            "unknown",
            "signature",
            "late",
            "early",
            "replayed",
            "nonces",
            "body",
            "expired",
            "disabled",
            "method",
            "address",
        ],
    ),
    (
        "mtls",
        &[
            "unknown",
            "ambiguous",
            "revoked",
            "origin",
            "expired",
            "disabled",
            "method",
            "address",
        ],
    ),
];

/// The counters of refused callers.
pub struct Callers {
    refused: IntCounterVec,
    /// What the lists of addresses of the client listeners have turned away.
    pub addresses: IntCounter,
    /// The same of the operator's listener.
    pub admin_addresses: IntCounter,
    by_listener: IntCounterVec,
    /// Connections that were refused for their PROXY header.
    pub proxy_headers: ProxyHeaders,
}

impl Callers {
    /// Makes the counters, each of which starts at zero.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let refused = counters(
            "tollgate_callers_refused_total",
            "Requests whose credential was not accepted, by its method and the reason.",
            &["method", "reason"],
        )?;
        for (method, reasons) in REASONS {
            for reason in *reasons {
                refused.with_label_values(&[method, reason]);
            }
        }
        let by_listener = counters(
            "tollgate_addresses_refused_total",
            "Connections and requests that a listener's list of addresses turned away.",
            &["listener"],
        )?;
        Ok(Self {
            refused,
            addresses: by_listener.with_label_values(&["clients"]),
            admin_addresses: by_listener.with_label_values(&["admin"]),
            by_listener,
            proxy_headers: ProxyHeaders::new()?,
        })
    }

    /// All of them, to be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 3] {
        [
            Box::new(self.refused.clone()),
            Box::new(self.by_listener.clone()),
            self.proxy_headers.collector(),
        ]
    }

    /// Counts a refusal.
    pub fn refused(&self, method: &str, reason: &str) {
        self.refused.with_label_values(&[method, reason]).inc();
    }
}
