//! What follows on a failure.
//!
//! Owns the decision: another key or server of the candidate at once, another target for the same model, the candidate
//! once more after a wait, another model, or the client; and the bounds on it: attempts, time, and the budget of each
//! upstream. Does not handle how a candidate is asked (see `attempt`).

use std::time::{Duration, Instant};

use super::Failover;
use crate::gateway::context::Context;
use crate::gateway::failed::Failed;
use crate::gateway::lease::{self, Lease};
use crate::gateway::plan::Candidate;
use crate::ids;
use crate::openai::verdict::{Blame, NextStep, Reason};
use crate::upstreams::{Fault, KeyUse, Readiness, deadline};

/// As many other keys are tried for one request whose keys are refused: what it asks for may be why.
const OTHER_KEYS: usize = 1;
/// One request asks an upstream once more only where it has not asked it so often within this time.
const MOST_AT_ONCE: usize = 2;
const AT_ONCE: Duration = Duration::from_millis(1500);

/// What of a candidate has been tried.
#[derive(Default)]
pub struct SoFar {
    /// Servers that have failed.
    pub servers: Vec<usize>,
    /// Keys that have failed.
    pub keys: Vec<usize>,
    /// How often it has been asked.
    pub times: u32,
    /// The server that was asked last.
    pub server: Option<usize>,
    /// Whether it has been waited for, and asked once more.
    pub has_waited: bool,
}

impl SoFar {
    /// Notes an attempt that failed for this reason.
    pub fn failed(&mut self, lease: &Lease, reason: Reason) {
        self.times += 1;
        self.server = Some(lease.server());
        if reason.blames() == Blame::Key {
            self.keys.extend(lease.key());
        }
    }

    /// Waits for the candidate, and asks it once more: with any key and any server.
    fn wait<'r>(&mut self, wait: Duration) -> Next<'r> {
        self.servers.clear();
        self.keys.clear();
        self.has_waited = true;
        Next::Retry(wait + Duration::from_millis(1))
    }
}

/// What is done after a failure.
pub enum Next<'r> {
    /// The same candidate, after a while.
    Retry(Duration),
    /// Another one.
    MoveOn(Box<Candidate<'r>>),
    /// Nothing: the client is told.
    Fail,
}

impl<'r> Failover<'r, '_> {
    /// Decides what follows on a failure.
    pub fn next(
        &mut self,
        context: &Context,
        failed: &Failed,
        candidate: &Candidate<'r>,
        so_far: &mut SoFar,
    ) -> Next<'r> {
        let retries = &context.runtime.settings.retries;
        let reason = failed.verdict.reason;
        let upstream = candidate.upstream;
        let is_spent = context.outcome.trail.len()
            >= usize::try_from(retries.attempts).unwrap_or(1)
            || deadline::left(context.request.started + upstream.timeouts.total).is_zero();
        if is_spent {
            return Next::Fail;
        }
        let is_lost = reason == Reason::Lost && upstream.resend_lost;
        let next_step = next_step(failed, candidate, is_lost);
        // A rule may want that the client is told at once; a fallback may be for this alone.
        let asked = if is_lost { Reason::Unreachable } else { reason };
        let moves_on = next_step != NextStep::Client && candidate.moves_on(asked);
        let backoff = backoff(retries.backoff, so_far.times);
        let wanted = lease::key_use(context, None);
        let is_left = |wait: Duration| {
            wait < deadline::left(context.request.started + upstream.timeouts.total)
        };
        let at_once = at_once(
            next_step, moves_on, context, failed, candidate, so_far, backoff,
        );
        if let Some(wait) = at_once {
            if !is_left(wait) {
                return Next::Fail;
            }
            if self.may_ask(context, candidate) {
                return Next::Retry(wait);
            }
        }
        while let Some(other) = self.plan.next_target(asked) {
            if self.may_ask(context, &other) {
                return Next::MoveOn(Box::new(other));
            }
        }
        let may_wait = moves_on && at_once.is_none();
        let once_more = once_more(failed, candidate, so_far, wanted, backoff)
            .filter(|wait| may_wait && *wait <= retries.longest_wait && is_left(*wait));
        let is_own = candidate.fallback.is_none() && candidate.retries_first();
        if is_own
            && helps_soon(reason)
            && let Some(wait) = once_more.filter(|wait| !was_just_asked(context, candidate, *wait))
            && self.may_ask(context, candidate)
        {
            return so_far.wait(wait);
        }
        while let Some(other) = self.plan.next_model(asked) {
            if self.may_ask(context, &other) {
                return Next::MoveOn(Box::new(other));
            }
        }
        match once_more {
            Some(wait) if self.may_ask(context, candidate) => so_far.wait(wait),
            _ => Next::Fail,
        }
    }

    /// Whether the budget of the candidate's upstream allows one more attempt; counts it.
    pub fn may_ask(&self, context: &Context, candidate: &Candidate<'_>) -> bool {
        let settings = &context.runtime.settings.retries.budget;
        let upstream = candidate.upstream;
        let mut trail = context.outcome.trail.iter();
        let is_allowed = match trail.any(|tried| tried.upstream == candidate.position) {
            true => upstream.budget.ask_again(Instant::now(), settings),
            false => upstream.budget.move_on(Instant::now(), settings),
        };
        if !is_allowed {
            let attempts = self.shared.metrics.attempts();
            attempts.retry_refused(&upstream.name);
        }
        is_allowed
    }
}

/// For how long the same candidate is waited for, where it is asked again before any other.
fn at_once(
    next_step: NextStep,
    moves_on: bool,
    context: &Context,
    failed: &Failed,
    candidate: &Candidate<'_>,
    so_far: &mut SoFar,
    backoff: Duration,
) -> Option<Duration> {
    let reason = failed.verdict.reason;
    let wanted = lease::key_use(context, None);
    if so_far.has_waited {
        return None;
    }
    match next_step {
        NextStep::OtherKey
            if may_try_other_key(context, reason) && has_other_key(candidate, so_far, wanted) =>
        {
            Some(Duration::ZERO)
        }
        NextStep::SameTarget if moves_on && may_ask_once_more(failed, candidate, so_far) => {
            avoid_server(reason, candidate, so_far);
            Some(backoff)
        }
        NextStep::OtherTarget
            if moves_on
                && reason.blames() == Blame::Server
                && has_other_server(candidate, so_far) =>
        {
            Some(Duration::ZERO)
        }
        _ => None,
    }
}

/// Whether the same target may be asked once more for what it has failed at.
fn may_ask_once_more(failed: &Failed, candidate: &Candidate<'_>, so_far: &SoFar) -> bool {
    so_far.times < 2 && !failed.is_final && candidate.upstream.pool.has_open(&[])
}

/// Has another server asked than the one that has failed, where there is one.
fn avoid_server(reason: Reason, candidate: &Candidate<'_>, so_far: &mut SoFar) {
    if reason.blames() == Blame::Server && !has_other_server(candidate, so_far) {
        so_far.servers.clear();
    }
}

/// Whether the client may ask again what we do not, because it may have been charged for.
pub fn is_left_to_client(context: &Context, failed: &Failed, candidate: &Candidate<'_>) -> bool {
    match failed.verdict.reason {
        Reason::Lost => !candidate.upstream.resend_lost,
        Reason::Empty => true,
        // That is asked again, unless the bounds do not allow it.
        Reason::Cut => context.outcome.trail.len() == 1,
        _ => false,
    }
}

/// What is done about a failure, by what its upstream is.
fn next_step(failed: &Failed, candidate: &Candidate<'_>, is_lost: bool) -> NextStep {
    match failed.verdict.next_step {
        NextStep::Client if is_lost => NextStep::OtherTarget,
        // The key is the client's own: no other is its to use.
        NextStep::OtherKey if candidate.upstream.keys.keys().is_empty() => {
            match failed.verdict.reason {
                Reason::RateLimited => NextStep::OtherTarget,
                _ => NextStep::Client,
            }
        }
        next_step => next_step,
    }
}

/// Whether another key may be tried after this failure.
fn may_try_other_key(context: &Context, reason: Reason) -> bool {
    let refusals = [Reason::KeyRefused, Reason::OutOfCredit];
    let is_refusal = |outcome| refusals.iter().any(|reason| reason.name() == outcome);
    let refused = context
        .outcome
        .trail
        .iter()
        .filter(|tried| is_refusal(tried.outcome));
    !refusals.contains(&reason) || refused.count() <= OTHER_KEYS
}

fn has_other_key(candidate: &Candidate<'_>, so_far: &SoFar, wanted: KeyUse<'_>) -> bool {
    let now = Instant::now();
    let keys = candidate.upstream.keys.keys().iter().enumerate();
    let mut untried = keys.filter(|(position, _)| !so_far.keys.contains(position));
    untried.any(|(_, key)| !matches!(key.condition.readiness(wanted, now), Readiness::Cooling(..)))
}

/// Notes the server that has failed; tells whether another can be asked.
fn has_other_server(candidate: &Candidate<'_>, so_far: &mut SoFar) -> bool {
    // Without a permit, no server was asked.
    let Some(server) = so_far.server else {
        return false;
    };
    so_far.servers.push(server);
    candidate.upstream.pool.has_open(&so_far.servers)
}

/// For how long the same candidate is waited for, where it may be asked once more.
fn once_more(
    failed: &Failed,
    candidate: &Candidate<'_>,
    so_far: &SoFar,
    wanted: KeyUse<'_>,
    backoff: Duration,
) -> Option<Duration> {
    let now = Instant::now();
    let cooling = match candidate.upstream.keys.readiness(wanted, now) {
        Readiness::Cooling(left, Fault::RateLimited) => Some(left),
        _ => None,
    };
    let wait = match failed.verdict.reason {
        Reason::RateLimited => cooling.or(failed.wait).unwrap_or(backoff),
        Reason::Overloaded => failed.wait.unwrap_or(backoff),
        // What may have been charged for is not asked of the same again.
        Reason::ServerError | Reason::Unreachable | Reason::NotSent => backoff,
        Reason::ProxyUnreachable | Reason::ProxyRefused => backoff,
        Reason::Lost if candidate.upstream.resend_lost => backoff,
        _ => return None,
    };
    let may = !so_far.has_waited && !failed.is_final && candidate.upstream.pool.has_open(&[]);
    may.then_some(wait)
}

/// Whether the provider may have recovered from this in a moment: then it is asked once more before another model is.
fn helps_soon(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ServerError | Reason::Overloaded | Reason::RateLimited
    )
}

/// Whether this request has asked the candidate's upstream often enough already, just before a wait ends.
fn was_just_asked(context: &Context, candidate: &Candidate<'_>, wait: Duration) -> bool {
    let since = (Instant::now() + wait).checked_sub(AT_ONCE);
    let trail = context.outcome.trail.iter();
    let recent = trail.filter(|tried| {
        tried.upstream == candidate.position && since.is_none_or(|since| tried.started > since)
    });
    recent.count() >= MOST_AT_ONCE
}

/// Twice as long each time, give or take half.
fn backoff(first: Duration, times: u32) -> Duration {
    let doubled = first.saturating_mul(1 << times.saturating_sub(1).min(10));
    let half = doubled / 2;
    let spread = u64::try_from(doubled.as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    half + Duration::from_micros(ids::random_below(spread))
}
