//! Why nothing can be asked.
//!
//! Owns the cause that the client is told when no candidate is left: for how long the keys are cooling
//! down, or that no server can be reached. Does not handle which targets were skipped, and why (see
//! `skipped`). Cannot fail.

use std::time::{Duration, Instant};

use crate::gateway::context::{Context, Skipped};
use crate::gateway::failure::{Cause, Failure, UpstreamFailure};
use crate::openai::verdict::Reason;
use crate::upstreams::{Fault, KeyRing, KeyUse, Readiness};

use super::skipped;

/// Why nothing can be asked.
#[derive(Debug, PartialEq, Eq)]
pub struct NoCandidate {
    /// What keeps us from the first target.
    pub why: Reason,
    /// When one of them can be asked again, where that is known.
    pub back_in: Option<Duration>,
    /// What was not asked, and why.
    pub skipped: Vec<Skipped>,
}

impl NoCandidate {
    /// No server can be reached.
    pub const UNREACHABLE: Self = Self::because(Reason::Unreachable);

    /// Nothing more is known than why.
    pub const fn because(why: Reason) -> Self {
        Self {
            why,
            back_in: None,
            skipped: Vec::new(),
        }
    }
}

/// Why none of these keys can be used, where all of them are cooling down.
pub fn cooling(keys: &KeyRing, wanted: KeyUse<'_>, now: Instant) -> Option<NoCandidate> {
    let Readiness::Cooling(left, fault) = keys.readiness(wanted, now) else {
        return None;
    };
    let why = match fault {
        Fault::RateLimited => Reason::RateLimited,
        Fault::Refused => Reason::KeyRefused,
        Fault::OutOfCredit => Reason::OutOfCredit,
    };
    Some(NoCandidate {
        back_in: Some(left),
        ..NoCandidate::because(why)
    })
}

/// What a client is told where nothing can be asked; what was not asked is noted in the context.
pub fn unavailable(none: NoCandidate, context: &mut Context) -> Failure {
    let seconds = none.back_in.map(|wait| wait.as_secs() + 1);
    let (cause, detail) = match none.why {
        Reason::RateLimited => (Cause::RateLimited(seconds), "all keys are cooling down"),
        Reason::KeyRefused | Reason::OutOfCredit => (Cause::Account, "no key is accepted"),
        _ => (Cause::Unavailable(seconds), "no target can be asked"),
    };
    let detail = match skipped::told(&none.skipped, &context.runtime) {
        causes if causes.is_empty() => detail.to_owned(),
        causes => format!("{detail}: {causes}"),
    };
    context.outcome.skipped = none.skipped;
    Failure::Upstream(UpstreamFailure::of(cause, detail))
}
