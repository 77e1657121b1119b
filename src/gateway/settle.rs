//! What a request has used, counted once and written down.
//!
//! Owns when it is counted and from what: the usage that the upstream reports, else an estimate, as the
//! rule says for a client that has left. It is counted before the client has the last byte of its answer,
//! so that no answer is delivered and not counted. An estimate is made outside the threads that serve, and
//! a bounded number at a time; beyond it the length alone is used. Does not handle how usage is read (see
//! `openai::usage`). Never fails.

mod charged;

use std::sync::Arc;
use std::time::Instant;

use super::context::{Context, Used};
use super::facts::{Amounts, Facts};
use super::meter::{Chat, Meter, Reading};
use super::quota_events;
use super::storing::Reused;
use crate::chatlog::{ChatLog, Entry};
use crate::clock;
use crate::config::OnClientGone;
use crate::ledger::{Record, Source};
use crate::limits::{Now, Reservation};
use crate::observe::money::Amount;
use crate::observe::tokens::Pace;
use crate::openai::estimate::{Prompt, Sample};
use crate::openai::tokenizer::OnDemand;
use crate::openai::usage::Usage;
use crate::runtime::Shared;

pub use charged::Charged;

/// As many estimates are made at a time.
const MAX_ESTIMATES: usize = 64;
/// The upstream in the metrics of money for answers that no upstream was asked for.
const CACHE: &str = "cache";
/// Why a task ends in the middle, as the ledger is told.
const RESTART: &str = "restart";
const CLIENT_GONE: &str = "client_gone";

/// A request that is over, and whose usage is to be counted.
pub struct Account {
    shared: Arc<Shared>,
    facts: Facts,
    meter: Box<Meter>,
    reservation: Option<Box<Reservation>>,
    pace: Option<Pace>,
    /// Whether anything may have been used.
    is_counted: bool,
    /// Whether the ledger is told.
    is_recorded: bool,
    chat: Option<Box<(Arc<ChatLog>, Entry)>>,
}

/// Counts what a request has used, unless that has been done. Call it before the last byte of an answer is
/// written.
pub async fn settle(context: &mut Context) {
    if let Some(account) = Account::close(context) {
        context.outcome.used = Box::pin(account.settle()).await;
    }
}

/// A request that is settled when its task ends, also in the middle.
pub struct Settled(pub Context);

impl Settled {
    /// Settles it now, as its task ends in the middle.
    pub fn settle_now(&mut self) {
        settle_now(&mut self.0);
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        self.settle_now();
    }
}

/// The same for a request whose task ends in the middle, because its client has left or the process stops: nothing
/// is waited for.
fn settle_now(context: &mut Context) {
    let is_restart = context.in_flight.shared().is_draining();
    if let Some(meter) = &mut context.meter {
        meter.client_left = !is_restart;
    }
    let cause = if is_restart { RESTART } else { CLIENT_GONE };
    context.outcome.error.get_or_insert(cause);
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
        let is_recorded = std::mem::take(&mut context.is_recorded);
        if meter.is_none() && reservation.is_none() && !is_recorded {
            return None;
        }
        let mut meter = meter.unwrap_or_default();
        let pace = meter.last_event.and_then(|last| {
            let first_token = context.outcome.first_byte()?;
            let rest = last.saturating_duration_since(context.request.started + first_token);
            Some(Pace { first_token, rest })
        });
        let chat = meter.chat.take();
        Some(Self {
            shared: Arc::clone(context.in_flight.shared()),
            facts: Facts::of(context),
            is_counted: may_have_used(context, &meter),
            is_recorded,
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
        let recorded = reading.recorded.take().filter(|_| reading.is_whole);
        let usage = match self.take_prompt(&reading) {
            None => reading.usage.take(),
            Some(prompt) => Some(estimate(&self.shared, prompt, reading.sample).await),
        };
        if let (Some(storing), Some(recorded)) = (self.meter.storing.take(), recorded) {
            storing.store(&self.shared, recorded, usage.as_ref());
        }
        self.count(usage.as_ref())
    }

    /// The same at once: an estimate is made from lengths alone.
    pub fn settle_now(mut self) -> Option<Used> {
        let mut reading = self.read();
        let usage = match self.take_prompt(&reading) {
            None => reading.usage.take(),
            Some(prompt) => Some(roughly(&prompt, &reading.sample)),
        };
        self.count(usage.as_ref())
    }

    /// What is known of the answer. The chat log gets its part.
    fn read(&mut self) -> Reading {
        let mut reading = self.meter.reading.take().unwrap_or_default();
        // It may have been estimated when it was kept, and costs the same each time.
        if let Some(known) = self.meter.reused.as_ref().and_then(|r| r.usage.as_ref()) {
            reading.usage = Some(known.clone());
        }
        if let Some((_, entry)) = self.chat.as_deref_mut() {
            entry.answer = reading.answer.take();
            entry.is_partial = !reading.is_whole && entry.answer.is_some();
        }
        reading
    }

    /// Whether what is not known is not charged either, because the client has left.
    fn absorbs(&self) -> bool {
        let rule = self.facts.rule.as_ref();
        self.meter.client_left
            && rule.is_some_and(|rule| rule.on_client_gone == OnClientGone::Absorb)
    }

    /// What an estimate is made from, where one is needed.
    fn take_prompt(&mut self, reading: &Reading) -> Option<Prompt> {
        let absorbs = self.absorbs();
        let prompt = self.meter.prompt.take();
        prompt.filter(|_| self.is_counted && reading.usage.is_none() && !absorbs)
    }

    fn count(mut self, usage: Option<&Usage>) -> Option<Used> {
        let usage = usage.filter(|_| self.is_counted);
        let facts = &self.facts;
        let is_served = self.is_counted && facts.rule.is_some() && !self.absorbs();
        let reused = self.meter.reused.as_deref();
        let amounts = match reused {
            Some(reused) => amounts_of_reused(&self.shared, facts, usage, reused),
            None => amounts(facts, usage, is_served),
        };
        if self.is_counted && reused.is_none() {
            count_in_metrics(&self.shared, facts, usage, &amounts, self.pace);
        }
        if self.is_recorded {
            let held = self.reservation.as_ref();
            let periods = held.map(|held| held.periods()).unwrap_or_default();
            let client_gone = self.meter.client_left;
            record(&self.shared, &facts.record(&amounts, client_gone, periods));
        }
        if let Some(reservation) = &mut self.reservation {
            let tokens = amounts.tokens.total();
            let settled = reservation.settle(tokens, amounts.charge_nanos, Now::read());
            quota_events::tell_reached(&self.shared, &settled);
        }
        let cost_nanos = amounts.is_priced.then_some(amounts.cost_nanos);
        let cost_nanos = cost_nanos.filter(|cost| usage.is_some() || *cost > 0);
        let before = self.meter.before.take();
        let cost_nanos = match &before {
            Some(before) => sum(cost_nanos, before.cost_nanos),
            None => cost_nanos,
        };
        let all = before
            .zip(usage)
            .map(|(before, usage)| usage.plus(&before.usage));
        let usage = all.as_ref().or(usage);
        if let Some(chat) = self.chat {
            let (log, mut entry) = *chat;
            entry.usage = usage.and_then(|usage| serde_json::to_value(usage).ok());
            entry.cost_nanos = cost_nanos;
            log.record(entry);
        }
        let reported = usage.filter(|usage| !usage.is_estimated && self.meter.reused.is_none());
        Some(Used {
            tokens: reported.map(|usage| (usage.total_input(), usage.output)),
            cost_nanos,
        })
    }
}

/// The sum of costs, of which each may not be known.
fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

fn record(shared: &Shared, record: &Record<'_>) {
    if let Some(accounts) = shared.accounts() {
        accounts.record(record);
    }
}

/// What has been used, and what that costs. A request that was served has a price of its own even where nothing is
/// known of what it has used.
fn amounts(facts: &Facts, usage: Option<&Usage>, is_served: bool) -> Amounts {
    match usage {
        Some(usage) => Amounts::new(usage, facts.bill()),
        None if is_served => Amounts {
            source: Source::None,
            ..Amounts::new(&Usage::default(), facts.bill())
        },
        None => Amounts::default(),
    }
}

/// What is charged for an answer that was given again: nothing has been used of a provider.
fn amounts_of_reused(
    shared: &Shared,
    facts: &Facts,
    usage: Option<&Usage>,
    reused: &Reused,
) -> Amounts {
    let (Some(rule), Some(usage)) = (&facts.rule, usage) else {
        return Amounts::of_reused(0, 0);
    };
    let head = &reused.head;
    let bill = facts.bill_of(&head.upstream, &head.model);
    let charge = bill.as_ref().map_or(0, |bill| bill.charge(usage));
    let charge_nanos = share(charge, facts.runtime.settings.cache.price_ppm);
    let saved = bill.as_ref().map_or(0, |bill| bill.cost(usage));
    shared.metrics.cache().saved(&rule.label, saved);
    let labels = [rule.label.as_str(), CACHE, facts.tenant()];
    let amount = Amount {
        cost_nanos: 0,
        charge_nanos,
    };
    shared.metrics.money().count(labels, amount);
    let tokens = usage.total_input().saturating_add(usage.output);
    Amounts::of_reused(tokens, charge_nanos)
}

/// So many millionths of an amount, rounded to the nearest.
fn share(nanos: u64, ppm: u32) -> u64 {
    let share = (u128::from(nanos) * u128::from(ppm) + 500_000) / 1_000_000;
    u64::try_from(share).unwrap_or(u64::MAX)
}

fn count_in_metrics(
    shared: &Shared,
    facts: &Facts,
    usage: Option<&Usage>,
    amounts: &Amounts,
    pace: Option<Pace>,
) {
    let (Some(rule), Some(upstream)) = (&facts.rule, &facts.upstream) else {
        return;
    };
    let metrics = &shared.metrics;
    let labels = [facts.endpoint, rule.label.as_str(), &upstream.name];
    metrics.tokens().count(labels, usage, pace);
    if let Some(usage) = usage {
        rule.output.learn(usage.output);
    }
    if amounts.is_unpriced {
        metrics.money().unpriced(&rule.label, &upstream.name);
    }
    let labels = [rule.label.as_str(), &upstream.name, facts.tenant()];
    let amount = Amount {
        cost_nanos: amounts.cost_nanos,
        charge_nanos: amounts.charge_nanos,
    };
    metrics.money().count(labels, amount);
}

/// Whether a request may have used anything. What failed before its provider can have charged it has not.
fn may_have_used(context: &Context, meter: &Meter) -> bool {
    let error = meter.reading.as_ref().filter(|reading| reading.is_error);
    match error {
        Some(error) => error.usage.is_some(),
        None if meter.client_left => context.outcome.is_asking || meter.reused.is_some(),
        None => (200..300).contains(&context.told_status()),
    }
}

/// An estimate, made outside the threads that serve.
pub async fn estimate(shared: &Shared, prompt: Prompt, sample: Sample) -> Usage {
    let rough = roughly(&prompt, &sample);
    let Some(room) = shared.estimates.enter(MAX_ESTIMATES) else {
        return rough;
    };
    let tokenizer = Arc::clone(&shared.tokenizer);
    let counted = tokio::task::spawn_blocking(move || {
        let usage = count(&tokenizer, &prompt, &sample);
        drop(room);
        usage
    });
    counted.await.ok().flatten().unwrap_or(rough)
}

/// Counts what an estimate is made from. May take the time to load the tokenizer.
fn count(tokenizer: &OnDemand, prompt: &Prompt, sample: &Sample) -> Option<Usage> {
    let loaded = tokenizer.get(Instant::now());
    let loaded = loaded.inspect_err(|e| log::error!("an estimate from lengths alone: {e}"));
    let tokenizer = loaded.ok()?;
    Some(estimated(
        prompt.tokens(&tokenizer),
        sample.tokens(&tokenizer),
    ))
}

fn roughly(prompt: &Prompt, sample: &Sample) -> Usage {
    estimated(prompt.rough_tokens(), sample.rough_tokens())
}

/// What is written, but for the answer and what it has used.
fn entry(chat: Chat, context: &Context) -> (Arc<ChatLog>, Entry) {
    let waited = context.request.started.elapsed();
    let now = clock::now();
    let has_tenants = context.runtime.has_tenants();
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
        cost_nanos: None,
        status: context.told_status(),
    };
    (chat.log, entry)
}

/// A usage that was estimated, in tokens.
pub fn estimated(input: u64, output: u64) -> Usage {
    Usage {
        input,
        output,
        is_estimated: true,
        ..Usage::default()
    }
}
