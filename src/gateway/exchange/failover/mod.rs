//! The fifth step: one candidate after the other, until one has begun to answer.
//!
//! Owns going from one to the next: `next_step` decides what follows on a failure, `blame` counts it
//! against the server, target or key that it concerns. Nothing of an attempt that fails reaches the client; one that waits for
//! a stream may be kept awake with comments. Refuses to know how one attempt is made. Fails with what
//! the client is told.

mod next_step;
mod report;

use std::pin::pin;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::attempt;
use super::body::Body;
use super::failed::Failed;
use super::keepalive::Keepalive;
use super::outgoing::{self, Outgoing};
use super::terms::Terms;
use crate::gateway::context::{Context, Tried};
use crate::gateway::failure::{Cause, Failure, UpstreamFailure};
use crate::gateway::own_time;
use crate::gateway::plan::{self, Candidate, Nobody, Plan};
use crate::gateway::session::ClientSession;
use crate::openai::endpoint::Exchange;
use crate::openai::estimate::BYTES_PER_TOKEN;
use crate::openai::verdict::{Blame, Evidence, NextStep, Reason, Scope, Verdict};
use crate::runtime::Shared;
use crate::upstreams::{Full, Key, Permit, ServerLease, Upstream};
use next_step::{Here, Next};

/// A request that asks somebody.
pub struct Failover<'r, 'b> {
    /// What all requests share.
    pub shared: &'b Shared,
    /// What is asked.
    pub endpoint: &'static Exchange,
    /// The request's body.
    pub body: &'b Body,
    /// Who can be asked.
    pub plan: Plan<'r, 'b>,
}

/// An answer that has begun, and who gives it.
pub struct Begun<'r> {
    /// The answer.
    pub answer: Box<Answer>,
    /// Who gives it.
    pub candidate: Candidate<'r>,
    /// What is expected of it.
    pub terms: Terms,
    /// On which server.
    pub seat: ServerLease,
    /// The upstream's place, until the answer has ended.
    pub place: Option<Permit>,
}

/// Somebody who has begun to answer.
struct Asked {
    answer: Box<Answer>,
    seat: ServerLease,
    place: Option<Permit>,
}

impl<'r> Failover<'r, '_> {
    /// Asks until somebody answers.
    ///
    /// # Errors
    /// The failure to be told, once nothing is left to try; or the client has gone.
    pub async fn run(
        mut self,
        client: &mut ClientSession,
        context: &mut Context,
        keepalive: &mut Keepalive,
    ) -> Result<Begun<'r>, Failure> {
        let retries = context.runtime.settings.retries;
        self.shared.budget.deposit(Instant::now(), &retries.budget);
        let mut candidate = self.first(client, context, keepalive).await?;
        let mut here = Here::default();
        let mut told: Option<Failed> = None;
        loop {
            let attempt = self
                .attempt(client, context, keepalive, candidate, &mut here)
                .await?;
            let (failed, tried) = match attempt {
                Ok(begun) => return Ok(begun),
                Err(failed) => *failed,
            };
            candidate = tried;
            let next = self.next(context, &failed, &candidate, &mut here);
            context.outcome.retry_is_clients =
                next_step::is_left_to_client(context, &failed, &candidate);
            // The first failure is told, unless it speaks of our account, or a later one of what is
            // wrong with the request.
            if told.as_ref().is_none_or(is_ours) || is_the_clients(&failed) {
                told = Some(failed);
            }
            let wait = match next {
                Next::Tell => return Err(told.map_or_else(nobody, |failed| failed.told)),
                Next::Here(wait) => wait,
                Next::There(other) => {
                    candidate = *other;
                    here = Here::default();
                    Duration::ZERO
                }
            };
            if !wait.is_zero() {
                let waiting = tokio::time::sleep(wait);
                watched(client, context, keepalive, waiting).await?;
            }
        }
    }

    /// The first candidate; where all are cooling down for a moment, after that moment.
    async fn first(
        &mut self,
        client: &mut ClientSession,
        context: &mut Context,
        keepalive: &mut Keepalive,
    ) -> Result<Candidate<'r>, Failure> {
        let nobody = match self.plan.first() {
            Ok(candidate) => return Ok(candidate),
            Err(nobody) => nobody,
        };
        let longest = context.runtime.settings.retries.longest_wait;
        if let Some(wait) = nobody.back_in.filter(|wait| *wait <= longest) {
            let wait = wait + Duration::from_millis(1);
            watched(client, context, keepalive, tokio::time::sleep(wait)).await?;
            let first = self.plan.first();
            return first.map_err(|nobody| plan::unavailable(nobody, context));
        }
        Err(plan::unavailable(nobody, context))
    }

    /// Makes one attempt. The outer error: the client has gone.
    async fn attempt(
        &self,
        client: &mut ClientSession,
        context: &mut Context,
        keepalive: &mut Keepalive,
        mut candidate: Candidate<'r>,
        here: &mut Here,
    ) -> Result<Result<Begun<'r>, Box<(Failed, Candidate<'r>)>>, Failure> {
        context.ask(candidate.upstream, candidate.model);
        let started = Instant::now();
        let key = self.key(context, &candidate, here);
        if key.is_none() && candidate.upstream.keys.are_ours() {
            note(context, &candidate, None, "no_key", started);
            return Ok(Err(Box::new((keyless(context, &candidate), candidate))));
        }
        let terms = outgoing::terms(context, self.endpoint, self.body, &candidate);
        let mut outgoing = outgoing::outgoing(
            client,
            context,
            self.endpoint,
            self.body,
            &candidate,
            key.map(|(_, key)| key),
            terms.asked,
        )?;
        let affinity = outgoing::affinity(context, self.body, candidate.upstream);
        let asking = self.ask(
            candidate.upstream,
            &terms,
            &mut outgoing,
            &affinity,
            &here.servers,
        );
        // Made once where it stays: it would be moved from step to step, and kept by each stream.
        let asking = Box::pin(asking);
        let outcome = watched(client, context, keepalive, asking).await?;
        let name = match &outcome {
            Ok(_) => "ok",
            Err((failed, _)) => failed.name(),
        };
        let attempts = self.shared.metrics.attempts();
        attempts.attempted(&candidate.upstream.name, name);
        note(context, &candidate, key, name, started);
        Ok(match outcome {
            Ok(asked) => {
                if let Some((_, key)) = key {
                    report::served(context, &candidate, key, &asked, started);
                }
                Ok(report::praise(asked, terms, candidate))
            }
            Err((failed, seat)) => {
                here.times += 1;
                here.server = seat.as_ref().map(|seat| seat.server);
                if failed.verdict.reason.blames() == Blame::Key {
                    here.keys.extend(key.map(|(position, _)| position));
                    if let Some((_, key)) = key {
                        report::note(context, &candidate, key, &failed, started);
                    }
                } else if !failed.is_busy() {
                    if let Some((_, key)) = key.filter(|_| is_the_clients(&failed)) {
                        report::accepted(context, &candidate, key, started);
                    }
                    report::blame(self.shared, &failed, &mut candidate, seat, &here.servers);
                }
                Err(Box::new((failed, candidate)))
            }
        })
    }

    /// The key of ours for the next attempt.
    fn key(
        &self,
        context: &Context,
        candidate: &Candidate<'r>,
        here: &Here,
    ) -> Option<(usize, &'r Key)> {
        let wanted = outgoing::key_use(context, candidate.model);
        let turn = outgoing::turn(self.endpoint, self.body, wanted.tenant);
        // It is weighed against what a key has left.
        let tokens = self.body.len() as u64 / BYTES_PER_TOKEN;
        let keys = &candidate.upstream.keys;
        keys.choose(wanted, turn, &here.keys, tokens)
    }

    /// Takes a place and a server, and asks.
    async fn ask(
        &self,
        upstream: &Upstream,
        terms: &Terms,
        outgoing: &mut Outgoing,
        affinity: &[u8],
        tried: &[usize],
    ) -> Result<Asked, (Failed, Option<ServerLease>)> {
        let place = match &upstream.places {
            Some(places) => Some(places.take().await.map_err(busy)?),
            None => None,
        };
        let seat = upstream.pool.choose(affinity, tried);
        let mut seat = seat.ok_or_else(unresolved)?;
        match attempt::run(self.shared, upstream, &mut seat, terms, outgoing).await {
            Ok(answer) => Ok(Asked {
                answer,
                seat,
                place,
            }),
            Err(failed) => Err((failed, Some(seat))),
        }
    }
}

/// Whether what is told would speak of our account, where something else may say more.
fn is_ours(failed: &Failed) -> bool {
    matches!(
        failed.verdict.reason,
        Reason::KeyRefused | Reason::OutOfCredit
    )
}

/// Whether the request itself is what is wrong.
fn is_the_clients(failed: &Failed) -> bool {
    let reason = failed.verdict.reason;
    reason.blames() == Blame::Nobody && reason.next_step() == NextStep::Client
}

/// Notes an attempt.
fn note(
    context: &mut Context,
    candidate: &Candidate<'_>,
    key: Option<(usize, &Key)>,
    outcome: &'static str,
    started: Instant,
) {
    context.outcome.trail.push(Tried {
        upstream: candidate.position,
        key: key.map(|(position, _)| position),
        outcome,
        time: started.elapsed(),
    });
}

/// Between the choice and the attempt another request has made the last key cool down.
fn keyless(context: &mut Context, candidate: &Candidate<'_>) -> Failed {
    let wanted = outgoing::key_use(context, candidate.model);
    let cooling = plan::cooling(&candidate.upstream.keys, wanted, Instant::now());
    let nobody = cooling.unwrap_or(Nobody::because(Reason::RateLimited));
    Failed {
        verdict: Verdict {
            reason: nobody.why,
            next_step: NextStep::OtherTarget,
            scope: Scope::Request,
        },
        wait: nobody.back_in,
        is_final: false,
        told: plan::unavailable(nobody, context),
    }
}

fn busy(_: Full) -> (Failed, Option<ServerLease>) {
    let failure = UpstreamFailure::of(Cause::Busy, "as many requests as it may have are served");
    let mut failed = Failed::new(&Evidence::Unreachable, failure);
    failed.verdict.reason = Reason::Overloaded;
    failed.is_final = true;
    (failed, None)
}

fn unresolved() -> (Failed, Option<ServerLease>) {
    let failure = UpstreamFailure::of(Cause::Unavailable(None), "no server of it can be asked");
    (Failed::new(&Evidence::Unreachable, failure), None)
}

fn nobody() -> Failure {
    Failure::Upstream(UpstreamFailure::unresolved())
}

/// Does some work for as long as the client is there, and keeps it awake meanwhile. All of that is waiting
/// where it cannot go on.
async fn watched<T>(
    client: &mut ClientSession,
    context: &mut Context,
    keepalive: &mut Keepalive,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    loop {
        // The work comes last: one that always has something to do leaves nothing for what comes behind it.
        let next = async {
            tokio::select! {
                biased;
                () = client.left() => Err(Failure::ClientGone),
                () = keepalive.due() => Ok(None),
                done = &mut work => Ok(Some(done)),
            }
        };
        if let Some(done) = own_time::timed(&mut context.outcome.waited, next).await? {
            return Ok(done);
        }
        keepalive.send(client, context).await?;
    }
}
