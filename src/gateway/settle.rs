//! What a request has used, counted once and written down.
//!
//! Owns when it is counted and from what: the usage that the upstream reports, else an estimate, as the
//! rule says for a client that has left. It is counted before the client has the last byte of its answer,
//! so that no answer is delivered and not counted. An estimate is made outside the threads that serve, and
//! a bounded number at a time; beyond it the length alone is used. Does not handle how usage is read (see
//! `openai::usage`). Never fails.

use std::sync::Arc;

use super::context::{Context, Used};
use super::meter::{Chat, Meter, Reading};
use crate::chatlog::{ChatLog, Entry};
use crate::clock;
use crate::config::OnClientGone;
use crate::limits::{Now, Reservation, Settled};
use crate::observe::tokens::Pace;
use crate::openai::estimate::{Prompt, Sample};
use crate::openai::usage::Usage;
use crate::runtime::{Rule, Shared};
use crate::upstreams::Upstream;

/// As many estimates are made at a time.
const MAX_ESTIMATES: usize = 64;

/// A request that is over, and whose usage is to be counted.
pub struct Account {
    shared: Arc<Shared>,
    endpoint: &'static str,
    rule: Option<Arc<Rule>>,
    upstream: Option<Arc<Upstream>>,
    meter: Box<Meter>,
    reservation: Option<Box<Reservation>>,
    pace: Option<Pace>,
    /// Whether anything may have been used.
    is_counted: bool,
    chat: Option<Box<(Arc<ChatLog>, Entry)>>,
}

/// Counts what a request has used, unless that has been done. Call it before the last byte of an answer is
/// written.
pub async fn settle(context: &mut Context) {
    if let Some(account) = Account::close(context) {
        context.outcome.used = Box::pin(account.settle()).await;
    }
}

/// The same for a request whose task ends in the middle: nothing is waited for.
pub fn settle_now(context: &mut Context) {
    if let Some(meter) = &mut context.meter {
        meter.client_left = true;
    }
    if let Some(account) = Account::close(context) {
        context.outcome.used = account.settle_now();
    }
}

impl Account {
    /// Takes what is to be settled of a request; nothing where there is none, or where it has been taken
    /// already.
    pub fn close(context: &mut Context) -> Option<Self> {
        let reservation = context.reservation.take();
        let meter = context.meter.take();
        if meter.is_none() && reservation.is_none() {
            return None;
        }
        let mut meter = meter.unwrap_or_default();
        let is_answered = (200..300).contains(&context.told_status());
        let error = meter.reading.as_ref().filter(|reading| reading.is_error);
        let is_counted = match error {
            Some(error) => error.usage.is_some(),
            None => is_answered || meter.client_left,
        };
        let pace = meter.last_event.and_then(|last| {
            let first_token = context.outcome.first_byte()?;
            let rest = last.saturating_duration_since(context.request.started + first_token);
            Some(Pace { first_token, rest })
        });
        let chat = meter.chat.take();
        Some(Self {
            shared: Arc::clone(context.in_flight.shared()),
            endpoint: context.asked.endpoint,
            rule: context.asked.rule.clone(),
            upstream: context.outcome.upstream.clone(),
            is_counted,
            meter,
            reservation,
            pace,
            chat: chat.map(|chat| Box::new(entry(chat, context))),
        })
    }

    /// Puts in what was learnt after the client had left.
    pub fn learn(&mut self, reading: Reading) {
        self.meter.reading = Some(reading);
    }

    /// Counts what has been used, and has it written down.
    pub async fn settle(mut self) -> Option<Used> {
        let mut reading = self.read();
        let usage = match self.to_estimate(&reading) {
            None => reading.usage.take(),
            Some(prompt) => Some(estimate(&self.shared, prompt, reading.sample).await),
        };
        self.count(usage.as_ref())
    }

    /// The same at once: an estimate is made from lengths alone.
    pub fn settle_now(mut self) -> Option<Used> {
        let mut reading = self.read();
        let usage = match self.to_estimate(&reading) {
            None => reading.usage.take(),
            Some(prompt) => Some(roughly(&prompt, &reading.sample)),
        };
        self.count(usage.as_ref())
    }

    /// What is known of the answer. The chat log gets its part.
    fn read(&mut self) -> Reading {
        let mut reading = self.meter.reading.take().unwrap_or_default();
        if let Some((_, entry)) = self.chat.as_deref_mut() {
            entry.answer = reading.answer.take();
            entry.is_partial = !reading.is_whole && entry.answer.is_some();
        }
        reading
    }

    /// What an estimate is made from, where one is needed.
    fn to_estimate(&mut self, reading: &Reading) -> Option<Prompt> {
        let rule = self.rule.as_ref();
        let absorbs = self.meter.client_left
            && rule.is_some_and(|rule| rule.on_client_gone == OnClientGone::Absorb);
        let prompt = self.meter.prompt.take();
        prompt.filter(|_| self.is_counted && reading.usage.is_none() && !absorbs)
    }

    fn count(self, usage: Option<&Usage>) -> Option<Used> {
        let usage = usage.filter(|_| self.is_counted);
        if let (Some(rule), Some(upstream), true) = (&self.rule, &self.upstream, self.is_counted) {
            let labels = [self.endpoint, rule.label.as_str(), &upstream.name];
            self.shared.metrics.tokens().count(labels, usage, self.pace);
        }
        if let (Some(rule), Some(usage)) = (&self.rule, usage) {
            rule.output.learn(usage.output);
        }
        if let Some(mut reservation) = self.reservation {
            let tokens = usage.map_or(0, Usage::total);
            let settled = reservation.settle(tokens, 0, Now::read());
            tell(&settled);
        }
        if let Some(chat) = self.chat {
            let (log, mut entry) = *chat;
            entry.usage = usage.and_then(|usage| serde_json::to_value(usage).ok());
            log.record(entry);
        }
        let reported = usage.filter(|usage| !usage.is_estimated)?;
        Some(Used {
            input: reported.total_input(),
            output: reported.output,
        })
    }
}

/// Tells the operator of the thresholds that a settlement has reached.
fn tell(settled: &Settled) {
    for crossed in &settled.crossed {
        let (scope, percent) = (crossed.scope.name(), crossed.percent);
        let quota = crossed.kind.name();
        log::warn!("{scope}: {percent} % of its {quota} is used");
    }
}

/// An estimate, made outside the threads that serve.
async fn estimate(shared: &Shared, prompt: Prompt, sample: Sample) -> Usage {
    let rough = roughly(&prompt, &sample);
    let Some(room) = shared.estimates.enter(MAX_ESTIMATES) else {
        return rough;
    };
    let counted = tokio::task::spawn_blocking(move || {
        let usage = estimated(prompt.tokens(), sample.tokens());
        drop(room);
        usage
    });
    counted.await.unwrap_or(rough)
}

fn roughly(prompt: &Prompt, sample: &Sample) -> Usage {
    estimated(prompt.rough_tokens(), sample.rough_tokens())
}

/// What is written, but for the answer and what it has used.
fn entry(chat: Chat, context: &Context) -> (Arc<ChatLog>, Entry) {
    let waited = context.request.started.elapsed();
    let now = clock::now();
    // Without client keys there are no tenants.
    let has_tenants = context.runtime.has_client_keys();
    let tenant = context.tenant().filter(|_| has_tenants);
    let upstream = context.outcome.upstream_name();
    let entry = Entry {
        request_id: context.request.id.clone(),
        time: now.checked_sub(waited).unwrap_or(now),
        tenant: tenant.map(|tenant| tenant.id.clone()),
        endpoint: context.asked.endpoint,
        model: context.asked.model.clone().unwrap_or_default(),
        sent_model: upstream.and(context.model_to_send()).map(str::to_owned),
        upstream: upstream.map(str::to_owned),
        forwarded_for: context.request.client.map(|client| client.to_string()),
        request: chat.request,
        answer: None,
        is_partial: false,
        usage: None,
        status: context.told_status(),
    };
    (chat.log, entry)
}

fn estimated(input: u64, output: u64) -> Usage {
    Usage {
        input,
        output,
        is_estimated: true,
        ..Usage::default()
    }
}
