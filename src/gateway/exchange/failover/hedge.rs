//! Two candidates at once, where waiting is worse.
//!
//! Owns when a second candidate is asked although the first may still answer, and what becomes of the one that is
//! slower: it is left at once. A rule says so (`hedge_after`), for streams alone, and one second candidate is asked
//! for a request. It counts against the retry budget of its upstream, and waits for no place there. Nothing that
//! creates a stored object is asked twice. Does not handle the attempts (see `asking`), or what follows where both
//! fail (see
//! `next_step`). Fails where the client leaves.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::asking::{Asking, Failures, Outcome};
use super::next_step::SoFar;
use super::{Begun, Failover};
use crate::gateway::context::Context;
use crate::gateway::exchange::answer::Answer;
use crate::gateway::exchange::requester::Requester;
use crate::gateway::failed::Failed;
use crate::gateway::failure::{Cause, Failure, Phase, UpstreamFailure};
use crate::gateway::lease;
use crate::openai::estimate::BYTES_PER_TOKEN;
use crate::openai::verdict::{Evidence, Reason};
use crate::runtime::Shared;

/// What the trail and the metrics call an attempt that was left because another one was faster.
pub const LEFT: &str = "hedged";

/// What came of two attempts at once, each after a time.
enum Raced {
    /// The first one has an answer; the second one may have failed before.
    First((Box<Answer>, Duration), Option<(Failed, Duration)>),
    /// The second one has an answer; the first one may have failed before.
    Second((Box<Answer>, Duration), Option<(Failed, Duration)>),
    /// Neither has one.
    Neither((Failed, Duration), (Failed, Duration)),
}

impl<'r> Failover<'r, '_> {
    /// After what time a second candidate is asked beside this one, if one is.
    pub(super) fn hedge_after(&self, context: &Context, asking: &Asking<'_>) -> Option<Duration> {
        let after = self.plan.rule().hedge_after?;
        let attempts = usize::try_from(context.runtime.settings.retries.attempts).unwrap_or(1);
        let may = asking.terms.asked.stream
            && !self.has_hedged
            && !self.steering.is_stored()
            && context.outcome.trail.len() + 2 <= attempts;
        may.then_some(after)
    }

    /// Asks a candidate, and after a time a second one, until one of them answers.
    pub(super) async fn ask_hedged(
        &mut self,
        requester: &mut Requester<'_>,
        context: &mut Context,
        mut first: Asking<'r>,
        so_far: &mut SoFar,
        after: Duration,
    ) -> Result<Result<Box<Begun<'r>>, Failures<'r>>, Failure> {
        let shared = self.shared;
        let started = first.started;
        let spoken = Arc::new(AtomicBool::new(false));
        first.outgoing.has_spoken = Some(Arc::clone(&spoken));
        let has_spoken = || spoken.load(Ordering::Relaxed);
        // Another target of the same upstream must not get the server and the key that are late.
        let tried = SoFar {
            servers: vec![first.lease.server()],
            keys: first.lease.key().into_iter().collect(),
            ..SoFar::default()
        };
        let tried = (first.candidate.position, tried);
        let mut asking = Box::pin(first.ask(shared));
        // Waiting for a place of ours is not the candidate's silence.
        let early = requester.wait(context, tokio::time::timeout(after, &mut asking));
        let alone = match early.await {
            Ok(Ok(outcome)) => Ok(outcome),
            Err(gone) => Err(gone),
            // It has begun, and is held until it is whole.
            Ok(Err(_late)) if has_spoken() => requester.wait(context, &mut asking).await,
            Ok(Err(_late)) => match self.second(requester, context, &tried)? {
                Some(mut second) => {
                    let racing = race(asking, started, &mut second, shared);
                    let raced = requester.wait(context, Box::pin(racing)).await;
                    let both = (first, second, has_spoken());
                    return self.end_race(context, both, raced, so_far);
                }
                None => requester.wait(context, &mut asking).await,
            },
        };
        drop(asking);
        context.outcome.is_asking = first.outgoing.is_sent && !matches!(alone, Ok(Err(_)));
        ask_for(context, &first);
        let concluded = self.conclude(context, first, (alone?, started.elapsed()), so_far);
        Ok(concluded.map_err(|last| Failures { before: None, last }))
    }

    /// The second candidate, if there is one that can be asked now.
    fn second(
        &mut self,
        requester: &Requester<'_>,
        context: &mut Context,
        tried: &(usize, SoFar),
    ) -> Result<Option<Asking<'r>>, Failure> {
        let mark = self.plan.mark();
        let next = self.plan.next_target(Reason::Silent);
        let Some(candidate) = next.or_else(|| self.plan.next_model(Reason::Silent)) else {
            return Ok(None);
        };
        let started = Instant::now();
        let upstream = candidate.upstream;
        context.ask(upstream, candidate.model);
        let permit = lease::permit_now(upstream).ok();
        let lease = permit.and_then(|permit| {
            let nothing = SoFar::default();
            let of_first = (tried.0 == candidate.position).then_some(&tried.1);
            let tried = of_first.unwrap_or(&nothing);
            self.lease(context, &candidate, tried, permit).ok()
        });
        let lease = lease.filter(|_| {
            let budget = &context.runtime.settings.retries.budget;
            let may = upstream.budget.ask_again(started, budget);
            if !may {
                self.shared.metrics.attempts().retry_refused(&upstream.name);
            }
            may
        });
        let Some(lease) = lease else {
            // It is there for what follows, if the first one fails.
            self.plan.go_back(mark);
            return Ok(None);
        };
        self.has_hedged = true;
        let asking = self.asking(requester, context, candidate, lease, started);
        asking.map(Some)
    }

    /// Counts what came of both, and gives the answer of the faster one.
    fn end_race(
        &self,
        context: &mut Context,
        (first, second, has_spoken): (Asking<'r>, Asking<'r>, bool),
        raced: Result<Raced, Failure>,
        so_far: &mut SoFar,
    ) -> Result<Result<Box<Begun<'r>>, Failures<'r>>, Failure> {
        let is_sent = first.outgoing.is_sent || second.outgoing.is_sent;
        context.outcome.is_asking = is_sent && !matches!(raced, Ok(Raced::Neither(..)));
        let winner = match &raced {
            Ok(Raced::First(..)) => Some((first.candidate.upstream, first.candidate.model)),
            _ => None,
        };
        let raced = match raced {
            Ok(raced) => raced,
            Err(gone) => {
                // What both may have used counts as the first one's.
                ask_for(context, &second);
                self.leave(context, second);
                ask_for(context, &first);
                return Err(gone);
            }
        };
        let begun = match raced {
            Raced::First(answer, failed) => {
                ask_for(context, &first);
                let begun = self.answered(context, first, answer);
                ask_for(context, &second);
                match failed {
                    Some(failed) => {
                        self.failed(context, second, failed, &mut SoFar::default());
                    }
                    None => drop(self.leave(context, second)),
                }
                begun
            }
            Raced::Second(answer, failed) => {
                ask_for(context, &first);
                match failed {
                    Some(failed) => {
                        self.failed(context, first, failed, so_far);
                    }
                    None if has_spoken => drop(self.leave(context, first)),
                    None => self.left_behind(context, first, so_far),
                }
                ask_for(context, &second);
                self.answered(context, second, answer)
            }
            Raced::Neither(one, two) => {
                return Ok(Err(self.have_failed(
                    context,
                    (first, one),
                    (second, two),
                    so_far,
                )));
            }
        };
        if let Some((upstream, model)) = winner {
            context.ask(upstream, model);
        }
        Ok(Ok(begun))
    }

    /// Counts that both have failed. What follows is about the one that failed last.
    fn have_failed(
        &self,
        context: &mut Context,
        (first, one): (Asking<'r>, (Failed, Duration)),
        (second, two): (Asking<'r>, (Failed, Duration)),
        so_far: &mut SoFar,
    ) -> Failures<'r> {
        let is_second_last = first.started + one.1 <= second.started + two.1;
        let mut of_second = SoFar::default();
        ask_for(context, &first);
        let one = self.failed(context, first, one, so_far);
        ask_for(context, &second);
        let two = self.failed(context, second, two, &mut of_second);
        let (before, last) = match is_second_last {
            true => {
                *so_far = of_second;
                (one, two)
            }
            false => (two, one),
        };
        let (before, _) = *before;
        Failures {
            before: Some(before),
            last,
        }
    }

    /// Counts an attempt that is left because another one was faster.
    fn leave(&self, context: &mut Context, left: Asking<'r>) -> Asking<'r> {
        let time = left.started.elapsed();
        self.count(context, &left, LEFT, time);
        let tokens = self.body.len() as u64 / BYTES_PER_TOKEN;
        let attempts = self.shared.metrics.attempts();
        attempts.hedged(&left.candidate.upstream.name, tokens);
        left
    }

    /// The same for the one that was asked first, which counts against it: it is ejected if that goes on, and requests
    /// do not wait for it.
    fn left_behind(&self, context: &mut Context, first: Asking<'r>, so_far: &SoFar) {
        let mut first = self.leave(context, first);
        let detail = "another target has answered before it";
        let failure = UpstreamFailure::of(Cause::Timeout(Phase::FirstToken), detail);
        let failed = Failed::new(&Evidence::Silent, failure);
        self.report(context, &failed, &mut first, so_far);
    }
}

/// What is noted next is about this attempt.
fn ask_for(context: &mut Context, asking: &Asking<'_>) {
    context.ask(asking.candidate.upstream, asking.candidate.model);
}

/// Waits until one of two has an answer, or both have failed. What has not ended is left with its connection.
async fn race(
    mut first: Pin<Box<impl Future<Output = Outcome>>>,
    started: Instant,
    second: &mut Asking<'_>,
    shared: &Shared,
) -> Raced {
    let second_started = second.started;
    let mut second = pin!(second.ask(shared));
    let (mut one, mut two) = (None, None);
    loop {
        tokio::select! {
            biased;
            outcome = &mut first, if one.is_none() => match outcome {
                Ok(answer) => return Raced::First((answer, started.elapsed()), two),
                Err(failed) => one = Some((failed, started.elapsed())),
            },
            outcome = &mut second, if two.is_none() => match outcome {
                Ok(answer) => return Raced::Second((answer, second_started.elapsed()), one),
                Err(failed) => two = Some((failed, second_started.elapsed())),
            },
        }
        (one, two) = match (one, two) {
            (Some(one), Some(two)) => return Raced::Neither(one, two),
            more => more,
        };
    }
}
