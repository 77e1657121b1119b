//! A candidate that is asked.
//!
//! Owns taking what an attempt holds of its upstream, asking, and counting what came of it: for the lease, for the
//! target, in the trail and in the metrics. Does not handle which candidate is asked (see the head of this folder),
//! how an attempt goes (see `attempt`), or two of them at once (see `hedge`). Fails where the client leaves; an
//! attempt that fails is a value.

use std::time::{Duration, Instant};

use super::next_step::SoFar;
use super::{Begun, Failover, Giver, report};
use crate::gateway::context::{Context, Tried};
use crate::gateway::exchange::answer::Answer;
use crate::gateway::exchange::attempt;
use crate::gateway::exchange::outgoing::{self, Outgoing};
use crate::gateway::exchange::requester::Requester;
use crate::gateway::exchange::terms::Terms;
use crate::gateway::failed::Failed;
use crate::gateway::failure::{Cause, Failure, UpstreamFailure};
use crate::gateway::lease::{self, Lease, NotTaken, Wanted};
use crate::gateway::plan::{self, Candidate, Ground, NoCandidate};
use crate::openai::estimate::BYTES_PER_TOKEN;
use crate::openai::verdict::{Evidence, NextStep, Reason, Scope, Verdict};
use crate::runtime::Shared;
use crate::upstreams::Permit;

/// A candidate that is asked, and what it holds.
pub struct Asking<'r> {
    /// The candidate.
    pub candidate: Candidate<'r>,
    /// What it holds of its upstream.
    pub lease: Lease,
    /// What is expected of its answer.
    pub terms: Terms,
    /// What it is asked.
    pub outgoing: Outgoing,
    /// When it began.
    pub started: Instant,
}

/// A failed attempt, and the candidate that was asked.
pub type FailedAttempt<'r> = Box<(Failed, Candidate<'r>)>;

/// What has failed, of one attempt or of two at once.
pub struct Failures<'r> {
    /// The one that failed before, where there were two.
    pub before: Option<Failed>,
    /// The last one.
    pub last: FailedAttempt<'r>,
}

/// What came of asking.
pub type Outcome = Result<Box<Answer>, Failed>;

impl Asking<'_> {
    /// Asks, and waits until the answer has begun.
    pub async fn ask(&mut self, shared: &Shared) -> Outcome {
        attempt::run(shared, &mut self.lease, &self.terms, &mut self.outgoing).await
    }
}

impl<'r> Failover<'r, '_> {
    /// Takes what is needed to ask a candidate, and waits for a place if there is none. The outer error: the client
    /// has gone, or the request cannot be written.
    pub async fn prepare(
        &self,
        requester: &mut Requester<'_>,
        context: &mut Context,
        mut candidate: Candidate<'r>,
        so_far: &mut SoFar,
    ) -> Result<Result<Asking<'r>, FailedAttempt<'r>>, Failure> {
        let upstream = candidate.upstream;
        context.ask(upstream, candidate.model);
        let started = Instant::now();
        let permit = match lease::permit_now(upstream) {
            Ok(permit) => Ok(permit),
            Err(_) => requester.wait(context, lease::permit(upstream)).await?,
        };
        let lease = permit.and_then(|permit| self.lease(context, &candidate, so_far, permit));
        match lease {
            Ok(lease) => {
                let asking = self.asking(requester, context, candidate, lease, started);
                asking.map(Ok)
            }
            Err(not_taken) => {
                let failed = self.not_taken(context, &mut candidate, so_far, not_taken, started);
                Ok(Err(Box::new((failed, candidate))))
            }
        }
    }

    /// What a candidate is asked, with a lease that has been taken.
    pub fn asking(
        &self,
        requester: &Requester<'_>,
        context: &Context,
        candidate: Candidate<'r>,
        lease: Lease,
        started: Instant,
    ) -> Result<Asking<'r>, Failure> {
        let terms = outgoing::terms(context, self.endpoint, self.body, &candidate);
        let outgoing = outgoing::outgoing(
            requester.request(),
            context,
            self.endpoint,
            self.body,
            &candidate,
            &lease,
            terms.asked,
        )?;
        Ok(Asking {
            candidate,
            lease,
            terms,
            outgoing,
            started,
        })
    }

    /// Counts what came of asking, after this time.
    pub fn conclude(
        &self,
        context: &mut Context,
        asking: Asking<'r>,
        (outcome, time): (Outcome, Duration),
        so_far: &mut SoFar,
    ) -> Result<Box<Begun<'r>>, FailedAttempt<'r>> {
        match outcome {
            Ok(answer) => Ok(self.answered(context, asking, (answer, time))),
            Err(failed) => Err(self.failed(context, asking, (failed, time), so_far)),
        }
    }

    /// Counts an answer that has begun after this time.
    pub fn answered(
        &self,
        context: &mut Context,
        mut asking: Asking<'r>,
        (answer, time): (Box<Answer>, Duration),
    ) -> Box<Begun<'r>> {
        self.count(context, &asking, "ok", time);
        let terms = asking.terms;
        let headroom = outgoing::headroom(&answer);
        asking.lease.report_success(context, &headroom);
        asking.candidate.succeeded(terms.passes_stream(), time);
        Box::new(Begun {
            answer,
            terms,
            giver: Giver::Asked {
                candidate: asking.candidate,
                lease: asking.lease,
            },
            body: None,
        })
    }

    /// Counts a failure after this time.
    pub fn failed(
        &self,
        context: &mut Context,
        mut asking: Asking<'r>,
        (failed, time): (Failed, Duration),
        so_far: &mut SoFar,
    ) -> FailedAttempt<'r> {
        self.count(context, &asking, failed.name(), time);
        so_far.failed(&asking.lease, failed.verdict.reason);
        self.report(context, &failed, &mut asking, so_far);
        Box::new((failed, asking.candidate))
    }

    /// Notes what came of an attempt.
    pub fn count(
        &self,
        context: &mut Context,
        asking: &Asking<'_>,
        outcome: &'static str,
        time: Duration,
    ) {
        let (candidate, key) = (&asking.candidate, asking.lease.key());
        self.attempted(candidate, outcome);
        note(context, candidate, key, outcome, (asking.started, time));
    }

    /// Counts a failure against the key, server or target that it speaks of.
    pub fn report(
        &self,
        context: &Context,
        failed: &Failed,
        asking: &mut Asking<'r>,
        so_far: &SoFar,
    ) {
        let lease = &mut asking.lease;
        lease.report_failure(self.shared, context, failed.verdict, failed.wait);
        let server = Some(lease.server());
        let candidate = &mut asking.candidate;
        report::target_failed(self.shared, failed, candidate, server, &so_far.servers);
    }

    /// A key and a server for the next attempt.
    pub fn lease(
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
        let time = (started, started.elapsed());
        let failed = match why {
            NotTaken::NoKey => {
                note(context, candidate, None, "no_key", time);
                return keyless(context, candidate);
            }
            NotTaken::Busy => busy(),
            NotTaken::NoServer => unresolved(),
        };
        so_far.times += 1;
        so_far.server = None;
        self.attempted(candidate, failed.name());
        note(context, candidate, None, failed.name(), time);
        if why == NotTaken::NoServer {
            report::target_failed(self.shared, &failed, candidate, None, &so_far.servers);
        }
        failed
    }

    /// Counts an attempt by what came of it.
    fn attempted(&self, candidate: &Candidate<'_>, outcome: &'static str) {
        let attempts = self.shared.metrics.attempts();
        attempts.attempted(&candidate.upstream.name, outcome);
    }
}

/// Notes an attempt in the trail.
fn note(
    context: &mut Context,
    candidate: &Candidate<'_>,
    key: Option<usize>,
    outcome: &'static str,
    (started, time): (Instant, Duration),
) {
    context.outcome.trail.push(Tried {
        upstream: candidate.position,
        key,
        outcome,
        ground: candidate.ground.map(Ground::name),
        started,
        time,
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
