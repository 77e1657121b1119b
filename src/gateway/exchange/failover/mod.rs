//! The fifth step: one candidate after the other, until one has begun to answer.
//!
//! Owns going from one to the next: `next_step` decides what follows on a failure, `report` counts it
//! against the target, the lease against the server or key. Nothing of an attempt that fails reaches the
//! client; one that waits for a stream may get comments that keep its connection alive. Does not handle how
//! one attempt is made (see `attempt`). Fails with what the client is told.

mod next_step;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::attempt;
use super::body::Body;
use super::outgoing;
use super::requester::Requester;
use super::steering::Steering;
use super::terms::Terms;
use crate::gateway::context::{Context, Tried};
use crate::gateway::failed::Failed;
use crate::gateway::failure::{Cause, Failure, UpstreamFailure};
use crate::gateway::lease::{self, Lease, NotTaken, Wanted};
use crate::gateway::plan::{self, Candidate, NoCandidate, Plan};
use crate::openai::endpoint::Exchange;
use crate::openai::estimate::BYTES_PER_TOKEN;
use crate::openai::verdict::{Evidence, NextStep, Reason, Scope, Verdict};
use crate::runtime::Shared;
use crate::upstreams::{Permit, Upstream};
use next_step::{Next, SoFar};

/// A request, and its candidates.
pub struct Failover<'r, 'b> {
    /// What all requests share.
    pub shared: &'b Shared,
    /// What is asked.
    pub endpoint: &'static Exchange,
    /// The request's body.
    pub body: &'b Body,
    /// Where the request had better go.
    pub steering: Steering,
    /// What can be asked.
    pub plan: Plan<'r, 'b>,
}

/// An answer that has begun.
pub struct Begun<'r> {
    /// The answer.
    pub answer: Box<Answer>,
    /// What is expected of it.
    pub terms: Terms,
    /// What gives it.
    pub giver: Giver<'r>,
}

/// What gives an answer.
pub enum Giver<'r> {
    /// The candidate that was asked.
    Asked {
        /// The candidate.
        candidate: Candidate<'r>,
        /// What it holds of its upstream, until the answer has ended.
        lease: Lease,
    },
    /// Nothing was asked for it: it was kept, or an upstream is giving it to an equal request.
    Found(Option<Arc<Upstream>>),
}

impl<'r> Giver<'r> {
    /// Whether it is a fallback: the model that was asked for may be back in a moment.
    pub fn is_fallback(&self) -> bool {
        matches!(self, Self::Asked { candidate, .. } if candidate.fallback.is_some())
    }

    /// The upstream; `None` for an answer that was kept.
    pub fn upstream(&self) -> Option<&Arc<Upstream>> {
        match self {
            Self::Asked { candidate, .. } => Some(candidate.upstream),
            Self::Found(upstream) => upstream.as_ref(),
        }
    }
}

impl<'r> Failover<'r, '_> {
    /// Asks one candidate after the other, until one answers.
    ///
    /// # Errors
    /// The failure to be told, once nothing is left to try; or the client has gone.
    pub async fn run(
        &mut self,
        requester: &mut Requester<'_>,
        context: &mut Context,
    ) -> Result<Box<Begun<'r>>, Failure> {
        let budget = context.runtime.settings.retries.budget;
        let mut candidate = self.first(requester, context).await?;
        candidate.upstream.budget.deposit(Instant::now(), &budget);
        let mut so_far = SoFar::default();
        let mut told: Option<Failed> = None;
        loop {
            let attempt = self
                .attempt(requester, context, candidate, &mut so_far)
                .await?;
            let (failed, tried) = match attempt {
                Ok(begun) => return Ok(begun),
                Err(failed) => *failed,
            };
            candidate = tried;
            let next = self.next(context, &failed, &candidate, &mut so_far);
            context.outcome.retry_is_clients =
                next_step::is_left_to_client(context, &failed, &candidate);
            // The first failure is told, unless it speaks of our account, or a later one of what is
            // wrong with the request.
            if told.as_ref().is_none_or(is_ours) || failed.is_the_clients() {
                told = Some(failed);
            }
            let wait = match next {
                Next::Fail => return Err(told.map_or_else(no_server, |failed| failed.told)),
                Next::Retry(wait) => wait,
                Next::MoveOn(other) => {
                    candidate = *other;
                    so_far = SoFar::default();
                    Duration::ZERO
                }
            };
            if !wait.is_zero() {
                let waiting = tokio::time::sleep(wait);
                requester.wait(context, waiting).await?;
            }
        }
    }

    /// The first candidate; where all are cooling down for a moment, after that moment.
    async fn first(
        &mut self,
        requester: &mut Requester<'_>,
        context: &mut Context,
    ) -> Result<Candidate<'r>, Failure> {
        let none = match self.plan.first() {
            Ok(candidate) => return Ok(candidate),
            Err(none) => none,
        };
        let longest = context.runtime.settings.retries.longest_wait;
        if let Some(wait) = none.back_in.filter(|wait| *wait <= longest) {
            let wait = wait + Duration::from_millis(1);
            requester.wait(context, tokio::time::sleep(wait)).await?;
            let first = self.plan.first();
            return first.map_err(|none| plan::unavailable(none, context));
        }
        Err(plan::unavailable(none, context))
    }

    /// Makes one attempt. The outer error: the client has gone.
    async fn attempt(
        &self,
        requester: &mut Requester<'_>,
        context: &mut Context,
        mut candidate: Candidate<'r>,
        so_far: &mut SoFar,
    ) -> Result<Result<Box<Begun<'r>>, Box<(Failed, Candidate<'r>)>>, Failure> {
        let upstream = candidate.upstream;
        context.ask(upstream, candidate.model);
        let started = Instant::now();
        let permit = match lease::permit_now(upstream) {
            Ok(permit) => Ok(permit),
            Err(_) => requester.wait(context, lease::permit(upstream)).await?,
        };
        let lease = permit.and_then(|permit| self.lease(context, &candidate, so_far, permit));
        let mut lease = match lease {
            Ok(lease) => lease,
            Err(not_taken) => {
                let failed = self.not_taken(context, &mut candidate, so_far, not_taken, started);
                return Ok(Err(Box::new((failed, candidate))));
            }
        };
        let terms = outgoing::terms(context, self.endpoint, self.body, &candidate);
        let mut outgoing = outgoing::outgoing(
            requester.request(),
            context,
            self.endpoint,
            self.body,
            &candidate,
            &lease,
            terms.asked,
        )?;
        // Made once where it stays: it would be moved from step to step, and kept by each stream.
        let asking = Box::pin(attempt::run(self.shared, &mut lease, &terms, &mut outgoing));
        let outcome = requester.wait(context, asking).await;
        context.outcome.is_asking = outgoing.is_sent && !matches!(outcome, Ok(Err(_)));
        let outcome = outcome?;
        let name = outcome.as_ref().map_or_else(Failed::name, |_| "ok");
        self.count(&candidate, name);
        note(context, &candidate, lease.key(), name, started);
        Ok(match outcome {
            Ok(answer) => {
                lease.report_success(context, &outgoing::headroom(&answer));
                candidate.succeeded();
                Ok(Box::new(Begun {
                    answer,
                    terms,
                    giver: Giver::Asked { candidate, lease },
                }))
            }
            Err(failed) => {
                so_far.failed(&lease, failed.verdict.reason);
                lease.report_failure(self.shared, context, failed.verdict, failed.wait);
                let server = Some(lease.server());
                report::target_failed(
                    self.shared,
                    &failed,
                    &mut candidate,
                    server,
                    &so_far.servers,
                );
                Err(Box::new((failed, candidate)))
            }
        })
    }

    /// A key and a server for the next attempt.
    fn lease(
        &self,
        context: &Context,
        candidate: &Candidate<'_>,
        so_far: &SoFar,
        permit: Option<Permit>,
    ) -> Result<Lease, NotTaken> {
        let upstream = candidate.upstream;
        let wanted = Wanted {
            account: None,
            turn: self.steering.turn(),
            tokens: self.body.len() as u64 / BYTES_PER_TOKEN,
            affinity: self.steering.server(upstream),
            tried_keys: &so_far.keys,
            tried_servers: &so_far.servers,
        };
        Lease::take(upstream, permit, &wanted, context)
    }

    /// What it means that there was no lease.
    fn not_taken(
        &self,
        context: &mut Context,
        candidate: &mut Candidate<'_>,
        so_far: &mut SoFar,
        why: NotTaken,
        started: Instant,
    ) -> Failed {
        let failed = match why {
            NotTaken::NoKey => {
                note(context, candidate, None, "no_key", started);
                return keyless(context, candidate);
            }
            NotTaken::Busy => busy(),
            NotTaken::NoServer => unresolved(),
        };
        so_far.times += 1;
        so_far.server = None;
        self.count(candidate, failed.name());
        note(context, candidate, None, failed.name(), started);
        if why == NotTaken::NoServer {
            report::target_failed(self.shared, &failed, candidate, None, &so_far.servers);
        }
        failed
    }

    fn count(&self, candidate: &Candidate<'_>, outcome: &'static str) {
        let attempts = self.shared.metrics.attempts();
        attempts.attempted(&candidate.upstream.name, outcome);
    }
}

/// Whether what is told would speak of our account, where something else may say more.
fn is_ours(failed: &Failed) -> bool {
    matches!(
        failed.verdict.reason,
        Reason::KeyRefused | Reason::OutOfCredit
    )
}

/// Notes an attempt.
fn note(
    context: &mut Context,
    candidate: &Candidate<'_>,
    key: Option<usize>,
    outcome: &'static str,
    started: Instant,
) {
    context.outcome.trail.push(Tried {
        upstream: candidate.position,
        key,
        outcome,
        started,
        time: started.elapsed(),
    });
}

/// Between the choice and the attempt another request has made the last key cool down.
fn keyless(context: &mut Context, candidate: &Candidate<'_>) -> Failed {
    let wanted = lease::key_use(context, None);
    let cooling = plan::cooling(&candidate.upstream.keys, wanted, Instant::now());
    let none = cooling.unwrap_or(NoCandidate::because(Reason::RateLimited));
    Failed {
        verdict: Verdict {
            reason: none.why,
            next_step: NextStep::OtherTarget,
            scope: Scope::Request,
        },
        wait: none.back_in,
        is_final: false,
        told: plan::unavailable(none, context),
    }
}

fn busy() -> Failed {
    let mut failed = Failed::new(&Evidence::Unreachable, NotTaken::Busy.failure());
    failed.verdict.reason = Reason::Overloaded;
    failed.is_final = true;
    failed
}

fn unresolved() -> Failed {
    let failure = UpstreamFailure::of(Cause::Unavailable(None), "no server of it can be asked");
    Failed::new(&Evidence::Unreachable, failure)
}

fn no_server() -> Failure {
    Failure::Upstream(UpstreamFailure::unresolved())
}
