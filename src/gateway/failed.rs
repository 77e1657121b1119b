//! An attempt that failed.
//!
//! Owns what is known of it: the verdict, and what the client is told if nothing else helps. Does not
//! handle what follows on it (see `exchange/failover`). Cannot fail.

use std::time::Duration;

use super::failure::{Cause, Failure, Phase, UpstreamFailure};
use crate::openai::verdict::{self, Blame, Evidence, NextStep, Reason, Verdict};

/// An attempt that failed.
#[derive(Debug)]
pub struct Failed {
    /// Why, and what is to be done about it.
    pub verdict: Verdict,
    /// How long the upstream asks us to wait.
    pub wait: Option<Duration>,
    /// Whether the upstream asks not to be asked again.
    pub is_final: bool,
    /// What the client is told, if nothing else helps.
    pub told: Failure,
}

impl Failed {
    /// Names it in metrics and logs: by its reason, or by what of ours kept us from asking.
    pub fn name(&self) -> &'static str {
        match self.is_busy() {
            true => "busy",
            false => self.verdict.reason.name(),
        }
    }

    /// Whether the upstream was not asked, because it serves as many requests as it may.
    pub fn is_busy(&self) -> bool {
        matches!(&self.told, Failure::Upstream(failure) if failure.cause == Cause::Busy)
    }

    /// Whether the request itself is what is wrong.
    pub fn is_the_clients(&self) -> bool {
        is_the_clients(self.verdict.reason)
    }

    /// One whose evidence is a connection's error.
    pub fn new(evidence: &Evidence<'_>, failure: UpstreamFailure) -> Self {
        Self {
            verdict: verdict::judge(evidence),
            wait: None,
            is_final: false,
            told: Failure::Upstream(failure),
        }
    }

    /// One of a connection that did not come about.
    pub fn unreachable(error: &pingora::Error, phase: Phase) -> Self {
        let failure = UpstreamFailure::read(error, phase);
        match failure.cause {
            Cause::Tls => Self::new(&Evidence::Tls, failure),
            Cause::ProxyUnreachable => Self::new(&Evidence::ProxyUnreachable, failure),
            Cause::ProxyRefused => Self::new(&Evidence::ProxyRefused, failure),
            _ => Self::new(&Evidence::Unreachable, failure),
        }
    }

    /// One of a connection that failed after the request had been sent, where nothing is sent again.
    pub fn lost(failure: UpstreamFailure) -> Self {
        match failure.cause {
            Cause::Timeout(_) => Self::new(&Evidence::Late, failure),
            Cause::InvalidResponse => Self::new(&Evidence::InvalidResponse, failure),
            _ => Self::new(&Evidence::Lost, failure),
        }
    }

    /// One of a request that cannot be written as HTTP.
    pub fn unsendable() -> Self {
        Self::new(&Evidence::NotSent, UpstreamFailure::unsendable())
    }
}

/// Whether a reason says that the request itself is what is wrong.
pub fn is_the_clients(reason: Reason) -> bool {
    reason.blames() == Blame::Nothing && reason.next_step() == NextStep::Client
}
