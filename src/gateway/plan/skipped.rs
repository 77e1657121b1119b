//! Targets that were not asked, and why.
//!
//! Owns the names of the causes in the access line and the log. It runs only when no target can be asked,
//! so it costs a served request nothing. Does not handle which targets can be asked (see `plan`). Cannot
//! fail.

use std::time::{Duration, Instant};

use crate::gateway::context::Skipped;
use crate::routing::Target;
use crate::runtime::{Rule, Runtime};
use crate::upstreams::{KeyUse, Readiness, State, Upstream};

/// As many are told of in the log; the access line cuts them by its own bound.
const MAX_TOLD: usize = 16;

/// Why each target of a rule cannot be asked.
/// `wanted` tells what a key is wanted for where a target is asked.
pub fn of_rule<'t>(
    rule: &'t Rule,
    runtime: &Runtime,
    wanted: impl Fn(&'t Target) -> KeyUse<'t>,
    now: Instant,
) -> Vec<Skipped> {
    let targets = rule.targets.all().iter().enumerate();
    let weighted = targets.filter(|(_, target)| target.weight > 0);
    let skipped = weighted.take(MAX_TOLD).filter_map(|(position, target)| {
        let upstream = runtime.upstream(target)?;
        let (cause, lasts) = match upstream.keys.readiness(wanted(target), now) {
            Readiness::Cooling(left, fault) => (fault.name(), Some(left)),
            Readiness::Ready | Readiness::Exhausted => obstacle(rule, position, upstream, now),
        };
        Some(Skipped {
            upstream: target.upstream,
            cause,
            lasts,
        })
    });
    skipped.collect()
}

/// What keeps us from a target whose keys can be used.
fn obstacle(
    rule: &Rule,
    position: usize,
    upstream: &Upstream,
    now: Instant,
) -> (&'static str, Option<Duration>) {
    if let Some((breaker, ejection)) = rule.guard(position, upstream)
        && !breaker.is_open_to(ejection, now)
    {
        let left = match breaker.state(now) {
            State::Ejected { left } => Some(left),
            State::Closed | State::Trial => None,
        };
        return ("ejected", left);
    }
    // A target that has become well in between is told as one that is being tried.
    (upstream.pool.obstacle().unwrap_or("in_trial"), None)
}

/// What the log says of them.
pub fn told(skipped: &[Skipped], runtime: &Runtime) -> String {
    let one = |skipped: &Skipped| {
        let upstream = runtime.upstreams().get(skipped.upstream)?;
        let (name, cause) = (&upstream.name, skipped.cause.replace('_', " "));
        // A refusal is of the keys, and the other states are of the target.
        let what = match skipped.cause {
            "refused" | "out_of_credit" => format!("the keys of {name} are {cause}"),
            _ => format!("{name} is {cause}"),
        };
        Some(match skipped.lasts {
            Some(left) => format!("{what} for {:.1}s", left.as_secs_f64()),
            None => what,
        })
    };
    let all: Vec<String> = skipped.iter().take(MAX_TOLD).filter_map(one).collect();
    all.join(", ")
}
