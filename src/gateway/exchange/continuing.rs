//! A chat that another upstream goes on with, after its stream broke.
//!
//! Owns which candidates are asked, in which order, and that it is done once. What the first upstream has used is
//! counted by itself. A candidate that refuses is passed over, and no client sees its refusal. Does not handle the
//! wire (see
//! `openai::continuation`), attempts (see `failover`), or what is told where no candidate goes on (see `relay`). Fails
//! where the client leaves.

use std::sync::Arc;

use bytes::Bytes;

use super::Begun;
use super::body::Body;
use super::failover::{Failover, SoFar};
use super::keepalive::Keepalive;
use super::relay::Cut;
use super::requester::Requester;
use super::steering::Steering;
use super::terms::{Form, Terms};
use crate::gateway::context::Context;
use crate::gateway::facts::Facts;
use crate::gateway::failed::Failed;
use crate::gateway::failure::{Cause, Failure, Phase, UpstreamFailure};
use crate::gateway::meter::Before;
use crate::gateway::plan::{Candidate, Ground, Plan};
use crate::gateway::session::ClientSession;
use crate::gateway::settle::{self, Charged};
use crate::openai::continuation::{Prefill, Repeats, Rest, Said, continued};
use crate::openai::endpoint::Exchange;
use crate::openai::estimate::Prompt;
use crate::openai::rewrite::Rewrites;
use crate::openai::usage::Usage;
use crate::openai::verdict::{self, Evidence, NextStep, Reason};
use crate::runtime::{Runtime, Shared};
use crate::upstreams::{Upstream, deadline};
use crate::workers::walk;

/// What an upstream gives that is to go on with a stream, and answers in another form.
const NO_STREAM: &str = "it gave no stream of events";

/// A stream that broke, and what it was the answer to.
pub struct Broken<'c> {
    /// The request.
    pub body: &'c Body,
    /// Its endpoint.
    pub endpoint: &'static Exchange,
    /// The upstream that broke off, and the model that it was asked for.
    pub asked: (&'c Arc<Upstream>, Option<&'c str>),
    /// What was expected of its answer.
    pub terms: &'c Terms,
    /// What has come of it.
    pub cut: &'c Cut,
}

/// What is sent to those that go on.
struct Continued {
    /// A body for each form that an upstream may want.
    bodies: Vec<(Prefill, Body)>,
    rest: Rest,
    /// What the first upstream has used.
    used: Usage,
}

impl Broken<'_> {
    /// Asks the candidates that can go on, one after the other. `None` where none does.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn go_on<'r>(
        &self,
        session: &mut ClientSession,
        context: &mut Context,
        shared: &Arc<Shared>,
        runtime: &'r Runtime,
    ) -> Result<Option<Box<Begun<'r>>>, Failure> {
        let Some(continued) = self.continued(runtime, context, shared).await else {
            return Ok(None);
        };
        let facts = Facts::of(context);
        let Some(model) = context.asked.model.clone() else {
            return Ok(None);
        };
        let Ok(plan) = Plan::new(runtime, context, &model) else {
            return Ok(None);
        };
        let mut keepalive = Keepalive::new(plan.rule().keepalive_after);
        let mut requester = Requester::Client {
            session,
            keepalive: &mut keepalive,
        };
        let mut course = Failover {
            shared,
            endpoint: self.endpoint,
            body: self.body,
            steering: Steering::default(),
            plan,
            has_hedged: true,
        };
        let asked = self
            .ask_each(&mut course, &mut requester, context, &continued)
            .await;
        if let Ok(Some((begun, prompt))) = asked {
            self.tell_operator(context, &begun);
            let before = charge(shared, context, facts, continued.used);
            if let Some(meter) = &mut context.meter {
                meter.before = Some(Box::new(before));
                meter.reading = None;
                meter.prompt = prompt;
            }
            return Ok(Some(begun));
        }
        // What is counted from here on is about the first upstream.
        context.ask(self.asked.0, self.asked.1);
        asked.map(|_| None)
    }

    /// Asks one candidate after the other; the one that broke off comes last, and not at all if it was silent.
    async fn ask_each<'r, 'b>(
        &self,
        course: &mut Failover<'r, 'b>,
        requester: &mut Requester<'_>,
        context: &mut Context,
        continued: &'b Continued,
    ) -> Result<Option<(Box<Begun<'r>>, Option<Prompt>)>, Failure> {
        let mut next = course.plan.first().ok();
        let mut own = None;
        while !self.is_spent(context) {
            let (candidate, is_last) = match next.take() {
                Some(candidate) => (candidate, false),
                None => match own.take() {
                    Some(candidate) => (candidate, true),
                    None => break,
                },
            };
            if !is_last {
                let others = course.plan.next_target(Reason::Cut);
                next = others.or_else(|| course.plan.next_model(Reason::Cut));
            }
            if !is_last && self.is_own(&candidate) {
                own = Some(candidate).filter(|_| !self.has_been_silent());
                continue;
            }
            let Some(body) = continued.body_for(candidate.upstream.prefill) else {
                continue;
            };
            if !course.may_ask(context, &candidate) {
                continue;
            }
            course.body = body;
            let asking = self.ask(course, requester, context, candidate, &continued.rest);
            match asking.await {
                Ok(Some(begun)) => return Ok(Some((begun, body.prompt()))),
                Err(Failure::ClientGone) => return Err(Failure::ClientGone),
                // It is not what the client has asked for that fails.
                Ok(None) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Asks one candidate. `None` where it does not go on.
    async fn ask<'r>(
        &self,
        course: &Failover<'r, '_>,
        requester: &mut Requester<'_>,
        context: &mut Context,
        mut candidate: Candidate<'r>,
        rest: &Rest,
    ) -> Result<Option<Box<Begun<'r>>>, Failure> {
        let mut so_far = SoFar::default();
        candidate.ground = Some(Ground::Continued);
        let prepared = course.prepare(requester, context, candidate, &mut so_far);
        let Ok(mut asking) = prepared.await? else {
            return Ok(None);
        };
        let terms = &mut asking.terms;
        if terms.form != Form::AsItComes {
            return Ok(None);
        }
        terms.deadline = terms.deadline.min(self.terms.deadline);
        terms.is_held_whole = false;
        terms.records = None;
        // What the splicing does, these would do once more.
        terms.rewrites = Rewrites::default();
        terms.wants.hides_usage = false;
        terms.wants.may_go_on = false;
        terms.rest = Some(Box::new(Rest {
            repeats: asking.candidate.upstream.prefill.repeats(),
            ..rest.clone()
        }));
        let started = asking.started;
        let outcome = requester
            .wait(context, Box::pin(asking.ask(course.shared)))
            .await?;
        let outcome = match outcome {
            Ok(mut answer) if answer.events().is_none() => {
                answer.shutdown().await;
                let failure = UpstreamFailure::of(Cause::InvalidResponse, NO_STREAM);
                Err(Failed::new(&Evidence::InvalidResponse, failure))
            }
            outcome => outcome,
        };
        let timed = (outcome, started.elapsed());
        let concluded = course.conclude(context, asking, timed, &mut so_far);
        Ok(concluded.ok())
    }

    /// What is sent; `None` where the answer cannot be continued.
    async fn continued(
        &self,
        runtime: &Runtime,
        context: &Context,
        shared: &Shared,
    ) -> Option<Continued> {
        let so_far = self.cut.so_far.as_ref().filter(|_| self.may_help())?;
        let mut said = Said::read(so_far)?;
        if let Some(model) = &self.terms.rewrites.model {
            said.model = Some(model.as_str().into());
        }
        let meter = context.meter.as_ref()?;
        let reading = meter.reading.as_ref()?;
        let used = match (&reading.usage, &meter.prompt) {
            (Some(usage), _) => usage.clone(),
            (None, Some(prompt)) => {
                settle::estimate(shared, prompt.clone(), reading.sample.clone()).await
            }
            (None, None) => return None,
        };
        let json = self.body.json()?;
        let mut bodies: Vec<(Prefill, Body)> = Vec::new();
        for upstream in runtime.upstreams() {
            let prefill = upstream.prefill;
            let is_known = bodies.iter().any(|(known, _)| *known == prefill);
            if prefill.is_possible() && !is_known {
                let body = walk(json.len(), || {
                    continued(json, &said.text, used.output, prefill)
                })?;
                bodies.push((prefill, Body::of_json(Bytes::from(body), false).ok()?));
            }
        }
        Some(Continued {
            bodies,
            rest: Rest {
                said,
                repeats: Repeats::Nothing,
                used: (used.total_input(), used.output),
                shows_usage: self.body.streaming.includes_usage,
            },
            used,
        })
    }

    /// Whether another try may give the rest: not where the upstream has said that it is the request that is wrong.
    fn may_help(&self) -> bool {
        let error = self.cut.answer.events().and_then(|events| events.error());
        error.is_none_or(|error| {
            let verdict = verdict::judge(&Evidence::UnderSuccess(error));
            verdict.next_step != NextStep::Client
        })
    }

    /// Tells why the first upstream broke off, and which one goes on.
    fn tell_operator(&self, context: &Context, begun: &Begun<'_>) {
        let id = &context.request.id;
        if let Failure::Upstream(failure) = &self.cut.failure {
            failure.log(id, &self.asked.0.name);
        }
        let next = begun.giver.upstream().map_or("", |upstream| &upstream.name);
        log::info!("{id} upstream {next}: goes on with this answer");
    }

    /// Whether it is the candidate that broke off.
    fn is_own(&self, candidate: &Candidate<'_>) -> bool {
        let (upstream, model) = self.asked;
        Arc::ptr_eq(candidate.upstream, upstream) && candidate.model == model
    }

    fn has_been_silent(&self) -> bool {
        let Failure::Upstream(failure) = &self.cut.failure else {
            return false;
        };
        matches!(
            failure.cause,
            Cause::Timeout(Phase::Idle | Phase::FirstToken)
        )
    }

    /// Whether the request may be tried no more.
    fn is_spent(&self, context: &Context) -> bool {
        let attempts = context.runtime.settings.retries.attempts;
        context.outcome.trail.len() >= usize::try_from(attempts).unwrap_or(1)
            || deadline::left(self.terms.deadline).is_zero()
    }
}

impl Continued {
    fn body_for(&self, prefill: Prefill) -> Option<&Body> {
        let mut bodies = self.bodies.iter();
        let (_, body) = bodies.find(|(known, _)| *known == prefill)?;
        Some(body)
    }
}

/// Counts what the first upstream has used, as a request of its own.
fn charge(shared: &Shared, context: &Context, mut facts: Facts, used: Usage) -> Before {
    facts.renew();
    let charged = Charged {
        shared,
        facts: &facts,
        reservation: context.reservation.as_deref(),
        is_recorded: context.is_recorded,
    };
    let counted = charged.count(Some(&used));
    Before {
        usage: used,
        cost_nanos: counted.cost_nanos,
    }
}
