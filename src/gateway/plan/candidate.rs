//! A target that can be asked, and how.
//!
//! Owns what the plan knows of one candidate, and reporting to its breaker how it did. A candidate that
//! is dropped without a report has shown nothing. Does not handle the order of candidates (see `plan`).
//! Cannot fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Ground;
use crate::config::{Choose, Ejection};
use crate::openai::verdict::Reason;
use crate::routing::Target;
use crate::runtime::{Rule, Transforms};
use crate::upstreams::{Admission, Breaker, Speed, Upstream};

/// A target that can be asked, and how.
pub struct Candidate<'r> {
    /// The upstream.
    pub upstream: &'r Arc<Upstream>,
    /// Its position in the snapshot.
    pub position: usize,
    /// The model that it is asked for; `None` for the one that the client asked for.
    pub model: Option<&'r str>,
    /// The fallback that it is a target of; `None` for what the client asked for.
    pub fallback: Option<&'r str>,
    /// Why it was chosen, where its rule says how.
    pub ground: Option<Ground>,
    pub(super) rule: &'r Rule,
    pub(super) target: usize,
    /// What leaves the target out, where something else can be asked in its place.
    pub(super) guard: Option<Guard<'r>>,
    pub(super) admission: Option<Admission>,
}

pub(super) type Guard<'r> = (&'r Breaker, &'r Ejection);

impl<'r> Candidate<'r> {
    /// The target itself.
    pub fn target(&self) -> Option<&'r Target> {
        self.rule.targets.get(self.target)
    }

    /// What the target wants changed.
    pub fn transforms(&self) -> Option<&'r Transforms> {
        self.rule.transforms(self.target)
    }

    /// Whether its rule wants something else to be tried on this failure.
    pub fn moves_on(&self, why: Reason) -> bool {
        self.rule.on.contains(why)
    }

    /// Whether its rule has it asked once more before another model is.
    pub fn retries_first(&self) -> bool {
        !self.rule.changes_model_at_once
    }

    /// The record of how fast it answers, where it is chosen by that.
    fn speed(&self) -> Option<&'r Speed> {
        let is_chosen_by_it = self.rule.choose == Choose::Fastest;
        is_chosen_by_it
            .then(|| self.rule.speed(self.target))
            .flatten()
    }

    /// The target has served: it has begun an answer after this time, a stream's with its first output.
    pub fn succeeded(&mut self, is_stream: bool, time: Duration) {
        if let Some(speed) = self.speed() {
            speed.answered(is_stream, time, Instant::now());
        }
        if let (Some(admission), Some((breaker, ejection))) = (self.admission.take(), self.guard) {
            breaker.succeeded(admission, ejection, Instant::now());
        }
    }

    /// The target has failed. Tells for how long that leaves it out.
    pub fn failed(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if let Some(speed) = self.speed() {
            speed.failed(now);
        }
        let (breaker, ejection) = self.guard?;
        // One that broke after it had begun to answer, or is asked once more, fails anew.
        let admission = self.admission.take();
        let admission = admission.or_else(|| breaker.admit(ejection, now))?;
        breaker.failed(admission, ejection, now, || self.rule.may_eject())
    }
}

impl Drop for Candidate<'_> {
    fn drop(&mut self) {
        if let (Some(admission), Some((breaker, _))) = (self.admission.take(), self.guard) {
            breaker.abandoned(admission);
        }
    }
}
