//! The fifth step: one candidate after the other, until one has begun to answer.
//!
//! Owns going from one to the next: `asking` asks one and counts what came of it, `hedge` asks a second one beside it,
//! `next_step` decides what follows on a failure, `report` counts it against the target. Nothing of an attempt that
//! fails reaches the client; one that waits for a stream may get comments that keep its connection alive. Does not
//! handle how one attempt is made (see `attempt`). Fails with what the client is told.

mod asking;
mod hedge;
mod next_step;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::body::Body;
use super::requester::Requester;
use super::steering::Steering;
use super::terms::Terms;
use crate::gateway::context::Context;
use crate::gateway::failed::Failed;
use crate::gateway::failure::{Failure, UpstreamFailure};
use crate::gateway::lease::Lease;
use crate::gateway::plan::{self, Candidate, Plan};
use crate::openai::endpoint::Exchange;
use crate::openai::verdict::Reason;
use crate::runtime::Shared;
use crate::upstreams::Upstream;
use asking::Failures;
use next_step::Next;

pub use next_step::SoFar;

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
    /// Whether a second candidate has been asked beside another one.
    pub has_hedged: bool,
}

/// An answer that has begun.
pub struct Begun<'r> {
    /// The answer.
    pub answer: Box<Answer>,
    /// What is expected of it.
    pub terms: Terms,
    /// What gives it.
    pub giver: Giver<'r>,
    /// The request, where another upstream may go on with the answer.
    pub body: Option<Box<Body>>,
}

/// What gives an answer.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all answers are asked for, and each request has one"
)]
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
            let (before, failed) = match attempt {
                Ok(begun) => return Ok(begun),
                Err(failures) => {
                    let (failed, tried) = *failures.last;
                    candidate = tried;
                    (failures.before, failed)
                }
            };
            let next = self.next(context, &failed, &candidate, &mut so_far);
            context.outcome.retry_is_clients =
                next_step::is_left_to_client(context, &failed, &candidate);
            // The first failure is told, unless it speaks of our account, or a later one of what is
            // wrong with the request.
            for failed in before.into_iter().chain([failed]) {
                if told.as_ref().is_none_or(is_ours) || failed.is_the_clients() {
                    told = Some(failed);
                }
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

    /// Makes one attempt, or two at once. The outer error: the client has gone.
    async fn attempt(
        &mut self,
        requester: &mut Requester<'_>,
        context: &mut Context,
        candidate: Candidate<'r>,
        so_far: &mut SoFar,
    ) -> Result<Result<Box<Begun<'r>>, Box<Failures<'r>>>, Failure> {
        let alone = |last| Box::new(Failures { before: None, last });
        let mut asking = match self.prepare(requester, context, candidate, so_far).await? {
            Ok(asking) => asking,
            Err(failed) => return Ok(Err(alone(failed))),
        };
        if let Some(after) = self.hedge_after(context, &asking) {
            let hedged = self.ask_hedged(requester, context, asking, so_far, after);
            return Ok(Box::pin(hedged).await?.map_err(Box::new));
        }
        let started = asking.started;
        // Made once where it stays: it would be moved from step to step, and kept by each stream.
        let outcome = requester
            .wait(context, Box::pin(asking.ask(self.shared)))
            .await;
        let has_failed = matches!(outcome, Ok(Err(_)));
        context.outcome.is_asking = asking.outgoing.is_sent && !has_failed;
        let timed = (outcome?, started.elapsed());
        Ok(self.conclude(context, asking, timed, so_far).map_err(alone))
    }
}

/// Whether what is told would speak of our account, where something else may say more.
fn is_ours(failed: &Failed) -> bool {
    matches!(
        failed.verdict.reason,
        Reason::KeyRefused | Reason::OutOfCredit
    )
}

fn no_server() -> Failure {
    Failure::Upstream(UpstreamFailure::unresolved())
}
