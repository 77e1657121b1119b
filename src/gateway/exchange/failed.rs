//! An attempt that came to nothing.
//!
//! Owns what is known of it: the verdict, and what the client is told if nothing else helps. Does not
//! handle what follows on it (see `failover`). Cannot fail.

use std::time::Duration;

use crate::gateway::failure::{Cause, Failure, UpstreamFailure};
use crate::openai::verdict::{self, Evidence, Verdict};

/// An attempt that came to nothing.
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

    /// Whether it was not asked, because it is asked as much as it may be.
    pub fn is_busy(&self) -> bool {
        matches!(&self.told, Failure::Upstream(failure) if failure.cause == Cause::Busy)
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
}
