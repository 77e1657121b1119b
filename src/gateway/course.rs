//! The fifth step: one candidate after the other, until one has begun to answer.
//!
//! Owns what follows on a failure: the same target once more, with another key or on another
//! server, another target, a fallback, or the client; within the bounds on attempts, on time and on
//! what all requests together may try again. Nothing of an attempt that fails reaches the client; one
//! that waits for a stream may be kept awake with comments. Refuses to know how one attempt is made.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_proxy::Session;

use super::attempt::{self, Answer, Failed, Outgoing, Terms};
use super::awake::Awake;
use super::body::Body;
use super::context::{Context, Tried};
use super::failure::{Cause, Failure, UpstreamFailure};
use super::outgoing;
use super::plan::{self, Candidate, Nobody, Plan};
use super::relay;
use crate::ids;
use crate::openai::endpoint::Exchange;
use crate::openai::verdict::{Blame, Evidence, Reason, Remedy, Verdict};
use crate::runtime::Shared;
use crate::upstreams::{Full, Key, KeyRing, Place, Readiness, Rest, Seat};

/// As much of a request is taken for a token, when it is weighed against what a key has left.
const BYTES_PER_TOKEN: u64 = 4;

/// A request that asks somebody.
pub struct Course<'a> {
    /// What all requests share.
    pub shared: &'a Shared,
    /// What is asked.
    pub endpoint: &'static Exchange,
    /// The request's body.
    pub body: &'a Body,
    /// Who can be asked.
    pub plan: Plan,
}

/// An answer that has begun, and who gives it.
pub struct Begun {
    /// The answer.
    pub answer: Answer,
    /// Who gives it.
    pub candidate: Candidate,
    /// What is expected of it.
    pub terms: Terms,
    /// On which server.
    pub seat: Seat,
    /// The upstream's place, until the answer has ended.
    pub place: Option<Place>,
}

/// What of a candidate has been tried.
#[derive(Default)]
struct Here {
    servers: Vec<usize>,
    keys: Vec<Arc<Key>>,
    times: u32,
    /// The server that was asked last.
    server: Option<usize>,
}

/// Somebody who has begun to answer.
struct Asked {
    answer: Answer,
    seat: Seat,
    place: Option<Place>,
}

/// What is done after a failure.
enum Next {
    /// The same candidate, after a while.
    Here(Duration),
    /// Another one.
    There(Box<Candidate>),
    /// Nothing: the client is told.
    Tell,
}

impl Course<'_> {
    /// Asks until somebody answers.
    ///
    /// # Errors
    /// The failure to be told, once nothing is left to try; or the client has gone.
    pub async fn run(
        mut self,
        client: &mut Session,
        context: &mut Context,
        awake: &mut Awake,
    ) -> Result<Begun, Failure> {
        let retries = context.runtime.settings.retries;
        self.shared.budget.deposit(Instant::now(), &retries.budget);
        let mut candidate = self.first(client, context, awake).await?;
        let mut here = Here::default();
        let mut told: Option<Failed> = None;
        loop {
            let attempt = self
                .attempt(client, context, awake, candidate, &mut here)
                .await?;
            let (failed, tried) = match attempt {
                Ok(begun) => return Ok(*begun),
                Err(failed) => *failed,
            };
            candidate = tried;
            let next = self.next(context, &failed, &candidate, &mut here);
            if told.as_ref().is_none_or(is_ours) {
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
                context.waited += wait;
                let waiting = tokio::time::sleep(wait);
                watched(client, context, awake, waiting).await?;
            }
        }
    }

    /// The first candidate; where all rest for a moment, after that moment.
    async fn first(
        &mut self,
        client: &mut Session,
        context: &mut Context,
        awake: &mut Awake,
    ) -> Result<Candidate, Failure> {
        let nobody = match self.plan.first() {
            Ok(candidate) => return Ok(candidate),
            Err(nobody) => nobody,
        };
        let longest = context.runtime.settings.retries.longest_wait;
        if let Some(wait) = nobody.back_in.filter(|wait| *wait <= longest) {
            let wait = wait + Duration::from_millis(1);
            context.waited += wait;
            watched(client, context, awake, tokio::time::sleep(wait)).await?;
            return self.plan.first().map_err(plan::unavailable);
        }
        Err(plan::unavailable(nobody))
    }

    /// Makes one attempt. The outer error: the client has gone.
    async fn attempt(
        &self,
        client: &mut Session,
        context: &mut Context,
        awake: &mut Awake,
        candidate: Candidate,
        here: &mut Here,
    ) -> Result<Result<Box<Begun>, Box<(Failed, Candidate)>>, Failure> {
        context.ask(&candidate.upstream, &candidate.model);
        let started = Instant::now();
        let key = self.key(context, &candidate, here);
        let outgoing = outgoing::outgoing(
            client,
            context,
            self.endpoint,
            self.body,
            &candidate,
            key.as_deref(),
        )?;
        let terms = outgoing::terms(context, self.endpoint, self.body, &candidate);
        let affinity = outgoing::affinity(context, self.body, &candidate.upstream);
        let mut waited = Duration::ZERO;
        let asking = async {
            let keys = &candidate.upstream.keys;
            match key.is_none() && keys.are_ours() {
                true => Err((keyless(keys), None)),
                false => {
                    let servers = &here.servers;
                    self.ask(&terms, outgoing, &affinity, servers, &mut waited)
                        .await
                }
            }
        };
        let outcome = watched(client, context, awake, asking).await?;
        context.waited += waited;
        let name = match &outcome {
            Ok(_) => "ok",
            Err((failed, _)) => failed.verdict.reason.name(),
        };
        self.shared
            .metrics
            .trials()
            .attempted(&candidate.upstream.name, name);
        context.trail.push(Tried {
            upstream: Arc::clone(&candidate.upstream),
            key: key.clone(),
            outcome: name,
            time: started.elapsed(),
        });
        Ok(match outcome {
            Ok(asked) => Ok(Box::new(praise(asked, terms, candidate, key))),
            Err((failed, seat)) => {
                let mut candidate = candidate;
                here.times += 1;
                here.server = seat.as_ref().map(|seat| seat.server);
                self.blame(&failed, &mut candidate, seat, key.as_ref());
                here.keys.extend(key);
                Err(Box::new((failed, candidate)))
            }
        })
    }

    /// The key of ours for the next attempt.
    fn key(&self, context: &Context, candidate: &Candidate, here: &Here) -> Option<Arc<Key>> {
        let tenant = context.tenant.as_ref().map_or("", |t| t.id.as_str());
        let turn = outgoing::turn(self.endpoint, self.body, tenant);
        let tokens = self.body.len() as u64 / BYTES_PER_TOKEN;
        candidate.upstream.keys.choose(turn, &here.keys, tokens)
    }

    /// Takes a place and a server, and asks.
    async fn ask(
        &self,
        terms: &Terms,
        outgoing: Outgoing,
        affinity: &[u8],
        tried: &[usize],
        waited: &mut Duration,
    ) -> Result<Asked, (Failed, Option<Seat>)> {
        let upstream = &terms.upstream;
        let place = match &upstream.places {
            Some(places) => {
                let queueing = Instant::now();
                let place = places.take().await.map_err(busy);
                *waited += queueing.elapsed();
                Some(place?)
            }
            None => None,
        };
        let seat = upstream.pool.choose(affinity, tried);
        let mut seat = seat.ok_or_else(unresolved)?;
        match attempt::run(self.shared, &mut seat, terms, outgoing, waited).await {
            Ok(answer) => Ok(Asked {
                answer,
                seat,
                place,
            }),
            Err(failed) => Err((failed, Some(seat))),
        }
    }

    /// Counts a failure against whoever is to blame for it.
    fn blame(
        &self,
        failed: &Failed,
        candidate: &mut Candidate,
        seat: Option<Seat>,
        key: Option<&Arc<Key>>,
    ) {
        let (upstream, reason) = (Arc::clone(&candidate.upstream), failed.verdict.reason);
        match reason.blames() {
            Blame::Nobody => {}
            Blame::Key => {
                if let Some(key) = key {
                    rest(&upstream.name, &upstream.keys, key, failed);
                }
            }
            Blame::Server | Blame::Target => {
                if let Some(mut seat) = seat.filter(|_| reason.blames() == Blame::Server)
                    && let Some(time) = upstream.pool.failed(&mut seat)
                {
                    let server = upstream.pool.servers().get(seat.server);
                    let url = server.map(|server| server.url().to_string());
                    ejected(self.shared, &upstream.name, "server", url, reason, time);
                }
                if let Some(time) = candidate.failed() {
                    let model = Some(candidate.model.clone());
                    ejected(self.shared, &upstream.name, "target", model, reason, time);
                }
            }
        }
    }

    /// Decides what follows on a failure.
    fn next(
        &mut self,
        context: &Context,
        failed: &Failed,
        candidate: &Candidate,
        here: &mut Here,
    ) -> Next {
        let retries = &context.runtime.settings.retries;
        let reason = failed.verdict.reason;
        let upstream = &candidate.upstream;
        let is_spent = context.trail.len() >= usize::try_from(retries.attempts).unwrap_or(1)
            || attempt::left(context.started + upstream.timeouts.total).as_millis() <= 1;
        if is_spent {
            return Next::Tell;
        }
        let is_lost = reason == Reason::Lost && upstream.resend_lost;
        let remedy = match failed.verdict.remedy {
            Remedy::Client if is_lost => Remedy::OtherTarget,
            // The key is the client's own: no other is its to use.
            Remedy::OtherKey if !upstream.keys.are_ours() => match reason {
                Reason::RateLimited => Remedy::OtherTarget,
                _ => Remedy::Client,
            },
            remedy => remedy,
        };
        let backoff = backoff(retries.backoff, here.times);
        let choice = match remedy {
            Remedy::OtherKey if has_other_key(candidate, here) => Next::Here(Duration::ZERO),
            Remedy::SameTarget if here.times < 2 && !failed.is_final => {
                // The key is not to blame, and may be used again.
                here.keys.clear();
                Next::Here(backoff)
            }
            Remedy::OtherTarget
                if reason.blames() == Blame::Server && has_other_server(candidate, here) =>
            {
                Next::Here(Duration::ZERO)
            }
            Remedy::Client => match self.plan.next(reason) {
                Some(other) => Next::There(Box::new(other)),
                None => Next::Tell,
            },
            _ => {
                let asked = if is_lost { Reason::Unreachable } else { reason };
                match self.plan.next(asked) {
                    Some(other) => Next::There(Box::new(other)),
                    None => again(failed, candidate, here, backoff, retries.longest_wait),
                }
            }
        };
        let is_left = |wait: Duration| {
            wait < attempt::left(context.started + candidate.upstream.timeouts.total)
        };
        match choice {
            Next::Tell => Next::Tell,
            Next::Here(wait) if !is_left(wait) => Next::Tell,
            choice if self.shared.budget.withdraw(Instant::now(), &retries.budget) => choice,
            _ => {
                self.shared.metrics.trials().retry_refused();
                Next::Tell
            }
        }
    }
}

/// Counts a success for everyone who had a part in it.
fn praise(asked: Asked, terms: Terms, mut candidate: Candidate, key: Option<Arc<Key>>) -> Begun {
    let Asked {
        answer,
        mut seat,
        place,
    } = asked;
    candidate.upstream.pool.succeeded(&mut seat);
    candidate.succeeded();
    if let Some(key) = key {
        key.served(&outgoing::headroom(&answer));
    }
    Begun {
        answer,
        terms,
        candidate,
        seat,
        place,
    }
}

/// Whether what is told would speak of our account, where something else may say more.
fn is_ours(failed: &Failed) -> bool {
    matches!(
        failed.verdict.reason,
        Reason::KeyRefused | Reason::OutOfCredit
    )
}

fn has_other_key(candidate: &Candidate, here: &Here) -> bool {
    let now = Instant::now();
    let keys = candidate.upstream.keys.keys().iter();
    let mut untried = keys.filter(|key| !here.keys.iter().any(|tried| Arc::ptr_eq(tried, key)));
    untried.any(|key| !matches!(key.readiness(now), Readiness::Resting(..)))
}

/// Notes the server that has failed; tells whether another can be asked.
fn has_other_server(candidate: &Candidate, here: &mut Here) -> bool {
    // Where nobody had a place, no server is to blame.
    let Some(server) = here.server else {
        return false;
    };
    here.servers.push(server);
    // The key is not to blame, and may be used again.
    here.keys.clear();
    candidate.upstream.pool.has_open(&here.servers)
}

/// The same candidate again, where nothing else is left and it may help.
fn again(
    failed: &Failed,
    candidate: &Candidate,
    here: &mut Here,
    backoff: Duration,
    longest_wait: Duration,
) -> Next {
    let now = Instant::now();
    let rests = match candidate.upstream.keys.readiness(now) {
        Readiness::Resting(left, Rest::RateLimited) => Some(left),
        _ => None,
    };
    let wait = match failed.verdict.reason {
        Reason::RateLimited => rests.or(failed.wait).unwrap_or(backoff),
        Reason::Overloaded => failed.wait.unwrap_or(backoff),
        // What may have been charged for is not asked of the same again.
        Reason::ServerError | Reason::Unreachable | Reason::NotSent => backoff,
        Reason::Lost if candidate.upstream.resend_lost => backoff,
        _ => return Next::Tell,
    };
    here.servers.clear();
    here.keys.clear();
    match wait <= longest_wait && !failed.is_final && candidate.upstream.pool.has_open(&[]) {
        true => Next::Here(wait + Duration::from_millis(1)),
        false => Next::Tell,
    }
}

/// Twice as long each time, give or take half.
fn backoff(first: Duration, times: u32) -> Duration {
    let doubled = first.saturating_mul(1 << times.saturating_sub(1).min(10));
    let half = doubled / 2;
    let spread = u64::try_from(doubled.as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    half + Duration::from_micros(ids::lot(spread))
}

fn rest(name: &str, keys: &KeyRing, key: &Key, failed: &Failed) {
    let why = match failed.verdict.reason {
        Reason::OutOfCredit => Rest::OutOfCredit,
        Reason::KeyRefused => Rest::Refused,
        _ => Rest::RateLimited,
    };
    let time = keys.rest(key, why, failed.wait);
    let fingerprint = &key.fingerprint;
    match why {
        Rest::RateLimited => log::info!("upstream {name}: key {fingerprint} rests for {time:?}"),
        Rest::Refused => {
            log::warn!("upstream {name}: key {fingerprint} is refused, and not used for {time:?}")
        }
        Rest::OutOfCredit => log::warn!(
            "upstream {name}: the account of key {fingerprint} has no money left, and is not used \
             for {time:?}"
        ),
    }
}

fn ejected(
    shared: &Shared,
    upstream: &str,
    kind: &'static str,
    what: Option<String>,
    reason: Reason,
    time: Duration,
) {
    let what = what.unwrap_or_default();
    log::warn!("upstream {upstream}: {kind} {what} fails ({reason}) and is left out for {time:?}");
    shared.metrics.trials().ejected(upstream, kind);
}

fn busy(_: Full) -> (Failed, Option<Seat>) {
    let failure = UpstreamFailure::of(Cause::Busy, "as many requests as it may have are served");
    let mut failed = Failed::new(&Evidence::Unreachable, failure);
    failed.verdict.reason = Reason::Overloaded;
    failed.is_final = true;
    (failed, None)
}

fn unresolved() -> (Failed, Option<Seat>) {
    let failure = UpstreamFailure::of(Cause::Unavailable(None), "no server of it can be asked");
    (Failed::new(&Evidence::Unreachable, failure), None)
}

/// All our keys rest: other requests have come to know it since this candidate was chosen.
fn keyless(keys: &KeyRing) -> Failed {
    let nobody = plan::resting(keys, Instant::now()).unwrap_or(Nobody {
        why: Reason::RateLimited,
        back_in: None,
    });
    Failed {
        verdict: Verdict {
            reason: nobody.why,
            remedy: Remedy::OtherTarget,
        },
        wait: nobody.back_in,
        is_final: false,
        told: plan::unavailable(nobody),
    }
}

fn nobody() -> Failure {
    Failure::Upstream(UpstreamFailure::unresolved())
}

/// Does some work for as long as the client is there, and keeps it awake meanwhile.
async fn watched<T>(
    client: &mut Session,
    context: &mut Context,
    awake: &mut Awake,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = relay::client_left(client) => return Err(Failure::ClientGone),
            () = awake.due() => {}
        }
        awake.send(client, context).await?;
    }
}
