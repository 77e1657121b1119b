//! The exchange: a request that is read, and its answer, which is read as well.
//!
//! Owns the order of the steps: admit, body, plan, reserve, cache, failover, relay; and what happens when the client
//! leaves in the middle of the answer. Each step is a file of this folder. Fails with what the client is told.

mod after_client;
pub mod answer;
mod attempt;
pub mod body;
mod cache;
mod continuing;
pub mod embedding;
mod failover;
mod keepalive;
mod last_event;
mod outgoing;
mod pacing;
mod relay;
mod requester;
mod steering;
mod terms;
mod upstream_error;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Context;
use super::failure::{Failure, UpstreamRefusal};
use super::lease::Lease;
use super::meter::{Chat, Meter, Reading};
use super::plan::{Expected, Plan};
use super::reserve::{self, Estimate};
use super::session::ClientSession;
use super::settle::Account;
use super::{admit, own_time};
use crate::config::OnClientGone;
use crate::ledger::Marks;
use crate::openai::endpoint::Exchange;
use crate::runtime::{Runtime, Shared};
use after_client::AfterClient;
use answer::Answer;
use body::Body;
use cache::{Each, Found, Looked, Looking};
use continuing::Broken;
use failover::{Begun, Failover, Giver};
use keepalive::Keepalive;
use relay::Ended;
use requester::Requester;
use steering::Steering;

/// Serves one request that we read.
pub async fn serve(
    session: &mut ClientSession,
    context: &mut Context,
    shared: &Arc<Shared>,
    endpoint: &'static Exchange,
) -> Result<(), Failure> {
    let runtime = Arc::clone(&context.runtime);
    let begun = ask(session, context, shared, endpoint, &runtime).await;
    if let Err(Failure::Refusal(refusal)) = &begun {
        note_error(context, refusal);
    }
    let served = match begun {
        Ok(begun) => pass(session, context, shared, (&runtime, endpoint), begun).await,
        Err(failure)
            if context.outcome.is_committed() && !matches!(failure, Failure::ClientGone) =>
        {
            note_no_answer(context);
            let event = last_event::last_event(&failure, endpoint.stream_error, None, context);
            Box::pin(last_event::tell(session, context, &failure, event)).await
        }
        Err(failure) => Err(failure),
    };
    if let (Err(Failure::ClientGone), Some(meter)) = (&served, &mut context.meter) {
        meter.client_left = true;
    }
    served
}

/// All steps up to the beginning of an answer. What they hold is released with this future, the body and its
/// file above all: an answer may take long.
async fn ask<'r>(
    session: &mut ClientSession,
    context: &mut Context,
    shared: &Arc<Shared>,
    endpoint: &'static Exchange,
    runtime: &'r Runtime,
) -> Result<Box<Begun<'r>>, Failure> {
    context.asked.endpoint = endpoint.name;
    let request = session.request();
    admit::caller(request, context).await?;
    let content = admit::content(&request.headers, endpoint)?;
    admit::body(session, context);

    let is_strict = context.tenant().is_some_and(|tenant| tenant.is_strict);
    if is_strict {
        admit::query(session.request())?;
    }
    let reading = body::read(session, content, &runtime.settings, is_strict);
    let body = own_time::timed(&mut context.outcome.waited, reading).await?;
    context.outcome.bytes_in = body.len();

    let plan = Plan::for_request(runtime, context, endpoint, body.model.as_deref())?;
    let prompt = endpoint.takes_text.then(|| body.prompt()).flatten();
    let estimate = Estimate {
        prompt: prompt.as_ref(),
        demand: body.demand,
        endpoint: Some(endpoint),
    };
    reserve::reserve(context, &estimate).await?;
    context.asked.marks = Marks {
        streamed: body.streaming.is_requested,
        multimodal: body.is_form() || context.is_recorded && body.is_multimodal(),
        tools: body.demand.has_tools,
        ..Marks::default()
    };
    let chats = shared
        .chat_log()
        .filter(|log| endpoint.has_both_forms && log.wants());
    let chat = chats.and_then(|log| Some(Chat::new(log, body.json()?)));
    context.meter = Some(Box::new(Meter::new(prompt, chat)));
    let mut keepalive = Keepalive::new(
        plan.rule()
            .keepalive_after
            .filter(|_| body.streaming.is_requested),
    );
    let headers = &session.request().headers;
    let follows = plan.rule().follows_conversations;
    let steering = Steering::of(context, headers, endpoint, &body, follows);
    let course = Failover {
        shared,
        endpoint,
        body: &body,
        plan: plan
            .steered_to(steering.target())
            .expecting(expected(&body)),
        steering,
        has_hedged: false,
    };
    let mut requester = Requester::Client {
        session,
        keepalive: &mut keepalive,
    };
    let mut begun = find_or_ask(&mut requester, context, course).await?;
    if begun.terms.wants.may_go_on {
        begun.body = Some(Box::new(body));
    }
    Ok(begun)
}

/// How much is asked and answered, by what the request says.
fn expected(body: &Body) -> Expected {
    Expected {
        bytes: body.len(),
        max_output: body.demand.max_output,
        is_stream: body.streaming.is_requested,
    }
}

/// An answer that is there already, or that of an upstream.
async fn find_or_ask<'r>(
    requester: &mut Requester<'_>,
    context: &mut Context,
    mut course: Failover<'r, '_>,
) -> Result<Box<Begun<'r>>, Failure> {
    let rule = course.plan.rule();
    if rule.reuse.is_none() {
        return course.run(requester, context).await;
    }
    let looking = Looking {
        shared: course.shared,
        endpoint: course.endpoint,
        body: course.body,
        rule,
    };
    // What few rules do has room of its own.
    let lead = match Box::pin(looking.look(requester, context)).await? {
        Looked::Found(found) => return Ok(Box::new(Begun::from(*found))),
        Looked::Ask(lead) => lead,
        Looked::AskSome(each) => {
            let some = ask_some(requester, context, course, *each);
            return Box::pin(some).await;
        }
    };
    let mut begun = course.run(requester, context).await?;
    cache::begun(context, &mut begun, lead);
    Ok(begun)
}

/// The answer to a request with several inputs, of which some are asked for.
async fn ask_some<'r>(
    requester: &mut Requester<'_>,
    context: &mut Context,
    course: Failover<'r, '_>,
    each: Each,
) -> Result<Box<Begun<'r>>, Failure> {
    let mut course = Failover {
        body: each.body.as_ref().unwrap_or(course.body),
        ..course
    };
    let mut begun = course.run(requester, context).await?;
    let shared = course.shared;
    each.complete(shared, context, &mut begun).await?;
    Ok(begun)
}

impl From<Found> for Begun<'_> {
    fn from(found: Found) -> Self {
        Self {
            answer: found.answer,
            terms: found.terms,
            giver: Giver::Found(found.upstream),
            body: None,
        }
    }
}

/// Notes what an upstream's own error tells that it has used. One under a status of success is an
/// answer besides.
fn note_error(context: &mut Context, refusal: &UpstreamRefusal) {
    if let Some(meter) = &mut context.meter {
        let is_answer = refusal.header.status.is_success();
        meter.reading = Some(Reading {
            usage: refusal.usage.clone(),
            answer: is_answer.then(|| refusal.body.clone()),
            is_whole: true,
            is_error: true,
            ..Reading::default()
        });
    }
}

/// Notes that no upstream has answered although the client has been given the beginning of a stream: it is charged
/// no more than with a status of failure.
fn note_no_answer(context: &mut Context) {
    if let Some(meter) = &mut context.meter {
        meter.reading.get_or_insert_with(|| Reading {
            is_error: true,
            ..Reading::default()
        });
    }
}

/// Passes the answer on. If it breaks, that counts against its server and target, and another upstream may go on.
async fn pass(
    session: &mut ClientSession,
    context: &mut Context,
    shared: &Arc<Shared>,
    (runtime, endpoint): (&Runtime, &'static Exchange),
    begun: Box<Begun<'_>>,
) -> Result<(), Failure> {
    let Begun {
        answer,
        terms,
        mut giver,
        body,
    } = *begun;
    let upstream = giver.upstream().cloned();
    let name = upstream.as_deref();
    let continues = body.is_some() && matches!(giver, Giver::Asked { .. });
    let ended = relay::relay(session, context, name, &terms, answer, continues).await;
    let Giver::Asked { candidate, lease } = &mut giver else {
        return end_found(context, ended?);
    };
    if has_broken(&ended) {
        let name = &candidate.upstream.name;
        shared.metrics.attempts().attempted(name, "broken");
        lease.report_broken(shared, context);
        candidate.failed();
    }
    match ended? {
        Ended::Complete(answer) => {
            if let Some(connection) = answer.into_session() {
                lease.release(shared, connection).await;
            }
            Ok(())
        }
        Ended::Broken => Ok(()),
        Ended::Cut(cut) => {
            let asked = (candidate.upstream, candidate.model);
            // What it holds is free for others while another upstream goes on.
            drop(giver);
            let broken = body.as_deref().map(|body| Broken {
                body,
                endpoint,
                asked,
                terms: &terms,
                cut: &cut,
            });
            let next = match broken {
                Some(broken) => Box::pin(broken.go_on(session, context, shared, runtime)).await?,
                None => None,
            };
            // One that goes on has no request to be continued with: once is enough.
            if let Some(next) = next {
                return Box::pin(pass(session, context, shared, (runtime, endpoint), next)).await;
            }
            let ended = relay::give_up(session, context, name, &terms, *cut);
            Box::pin(ended).await.map(drop)
        }
        Ended::Left(answer) => {
            let times = (candidate.upstream.timeouts.idle, terms.deadline);
            if let Giver::Asked { lease, .. } = giver {
                leave(context, shared, answer, lease, times).await;
            }
            Err(Failure::ClientGone)
        }
    }
}

/// Whether the upstream has broken off.
fn has_broken(ended: &Result<Ended, Failure>) -> bool {
    matches!(
        ended,
        Ok(Ended::Broken | Ended::Cut(_)) | Err(Failure::Upstream(_))
    )
}

/// An answer has ended for which nothing was asked.
fn end_found(context: &mut Context, ended: Ended) -> Result<(), Failure> {
    let Ended::Left(mut answer) = ended else {
        return Ok(());
    };
    if let Some(meter) = &mut context.meter {
        meter.client_left = true;
        meter.reading = answer.reading(false);
    }
    Err(Failure::ClientGone)
}

/// The client has gone: the rest of its answer is read on, where the rule wants that, or left.
async fn leave(
    context: &mut Context,
    shared: &Arc<Shared>,
    mut answer: Box<Answer>,
    lease: Lease,
    (idle, deadline): (Duration, Instant),
) {
    let rule = context.asked.rule.as_ref();
    // What cannot be estimated is read to its end.
    let cannot_estimate = context
        .meter
        .as_ref()
        .is_some_and(|meter| meter.prompt.is_none());
    let drains = rule.is_some_and(|rule| match rule.on_client_gone {
        OnClientGone::Drain => true,
        OnClientGone::Estimate => cannot_estimate,
        OnClientGone::Absorb => false,
    });
    if let Some(meter) = &mut context.meter {
        meter.client_left = true;
    }
    // Others wait for the rest of it.
    let drains = drains || answer.copies.is_shared();
    let account = drains.then(|| Account::close(context)).flatten();
    if let Some(account) = account {
        let bounds = context.runtime.settings.drain;
        let after_client = AfterClient {
            answer,
            lease,
            idle,
            account,
            bounds,
            deadline,
        };
        return after_client.start(shared);
    }
    answer.shutdown().await;
    if let Some(meter) = &mut context.meter {
        meter.reading = answer.reading(false);
    }
}
