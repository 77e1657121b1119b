//! What the ledger is told of a request, beside what it has used.
//!
//! Owns gathering it from the request's context, and the record that it makes. Does not handle what has been
//! used (see `settle`), nor how a record is kept (see `ledger`). Cannot fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::context::Context;
use crate::clock;
use crate::ids;
use crate::ledger::{Marks, Record, Source, Tokens};
use crate::limits::Periods;
use crate::openai::usage::Usage;
use crate::prices::Bill;
use crate::runtime::{Principal, Route, Rule, Runtime};
use crate::upstreams::Upstream;

/// What is known of a request.
pub struct Facts {
    /// The snapshot that it is served by.
    pub runtime: Arc<Runtime>,
    id: u128,
    /// When it came.
    pub at: Timestamp,
    started: Instant,
    caller: Option<Principal>,
    /// Its endpoint's name in metrics.
    pub endpoint: &'static str,
    /// The rule that served it.
    pub rule: Option<Arc<Rule>>,
    route: Option<Arc<Route>>,
    model: Option<String>,
    sent_model: Option<String>,
    /// The upstream that was asked last.
    pub upstream: Option<Arc<Upstream>>,
    status: u16,
    outcome: &'static str,
    attempts: u16,
    marks: Marks,
    first_byte: Option<Duration>,
}

/// What a request has used, and what that costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amounts {
    /// What it has used.
    pub tokens: Tokens,
    /// Where that is known from.
    pub source: Source,
    /// What the provider charges, in nano-dollars.
    pub cost_nanos: u64,
    /// What the tenant is charged, in nano-dollars.
    pub charge_nanos: u64,
    /// Whether what the provider charges is known: the model has a price.
    pub is_priced: bool,
    /// Whether the model has no price although others have.
    pub is_unpriced: bool,
}

impl Amounts {
    /// Of a usage, and what it is paid with.
    pub fn new(usage: &Usage, bill: Option<Bill<'_>>) -> Self {
        Self {
            tokens: Tokens {
                input: usage.input,
                cache_read: usage.cache_read,
                cache_write: usage.cache_write,
                output: usage.output,
                reasoning: usage.reasoning,
                audio: usage.input_audio.saturating_add(usage.output_audio),
                image: usage.input_image.saturating_add(usage.output_image),
                audio_ms: usage.audio_ms,
                searches: usage.searches,
                cached_answer: 0,
            },
            source: match usage.is_estimated {
                true => Source::Estimate,
                false => Source::Upstream,
            },
            cost_nanos: bill.map_or(0, |bill| bill.cost(usage)),
            charge_nanos: bill.map_or(0, |bill| bill.charge(usage)),
            is_priced: bill.is_some_and(|bill| !bill.is_unpriced()),
            is_unpriced: bill.is_some_and(|bill| bill.is_unpriced()),
        }
    }

    /// Of an answer that was given again, with so many tokens. Nothing has been used of a provider.
    pub fn of_reused(tokens: u64, charge_nanos: u64) -> Self {
        Self {
            tokens: Tokens {
                cached_answer: tokens,
                ..Tokens::default()
            },
            source: Source::Cache,
            charge_nanos,
            is_priced: true,
            ..Self::default()
        }
    }
}

impl Facts {
    /// What is known of a request now.
    pub fn of(context: &Context) -> Self {
        let now = clock::timestamp();
        let age = jiff::SignedDuration::try_from(context.request.started.elapsed());
        let at = age.ok().and_then(|age| now.checked_sub(age).ok());
        let outcome = &context.outcome;
        Self {
            runtime: Arc::clone(&context.runtime),
            id: ids::number(&context.request.id),
            at: at.unwrap_or(now),
            started: context.request.started,
            caller: context.caller.clone(),
            endpoint: context.asked.endpoint,
            rule: context.asked.rule.clone(),
            route: context.asked.route.clone(),
            model: context.asked.model.clone(),
            sent_model: outcome.sent_model.clone(),
            upstream: outcome.upstream.clone(),
            status: context.told_status(),
            outcome: outcome.error.unwrap_or(match context.told_status() {
                ..400 => "ok",
                // Passed on as it came.
                _ => "upstream_error",
            }),
            attempts: u16::try_from(outcome.trail.len()).unwrap_or(u16::MAX),
            marks: context.asked.marks,
            first_byte: outcome.first_byte(),
        }
    }

    /// The same as of a part of it that has an id of its own, such as a message of a WebSocket, and comes now.
    pub fn renew(&mut self) {
        self.id = ids::number(&ids::request_id());
        self.at = Timestamp::try_from(clock::now()).unwrap_or(self.at);
        self.started = Instant::now();
    }

    /// Takes the model that the upstream says it has served, where that has a price; else it is the one that it was
    /// asked for. Gives what was there, for [`restore`](Self::restore).
    pub fn serve_by(&mut self, model: Option<String>) -> Option<String> {
        let asked = self.sent_model.clone();
        let Some(model) = model else {
            return asked;
        };
        let served = (self.upstream_name(), model.as_str());
        let metering = &self.runtime.metering;
        let bill = metering.bill(self.caller.as_ref(), served, self.at);
        if bill.is_some_and(|bill| !bill.is_unpriced()) {
            self.sent_model = Some(model);
        }
        asked
    }

    /// Goes back to the model that the upstream was asked for.
    pub fn restore(&mut self, asked: Option<String>) {
        self.sent_model = asked;
    }

    /// The model that the upstream was asked for; empty where none was.
    pub fn served_model(&self) -> &str {
        match &self.upstream {
            Some(_) => self.sent_model.as_deref().or(self.model.as_deref()),
            None => None,
        }
        .unwrap_or_default()
    }

    /// The upstream's name; empty where none was asked.
    pub fn upstream_name(&self) -> &str {
        self.upstream.as_ref().map_or("", |upstream| &upstream.name)
    }

    /// The tenant's id; empty where there are none.
    pub fn tenant(&self) -> &str {
        let tenant = self.caller.as_ref().filter(|c| c.position.is_some());
        tenant.map_or("", |caller| &caller.tenant.id)
    }

    /// The label of its rule or route; empty where there is none.
    pub fn label(&self) -> &str {
        let rule = self.rule.as_ref().map(|rule| rule.label.as_str());
        let route = self.route.as_ref().map(|route| route.prefix.as_str());
        rule.or(route).unwrap_or_default()
    }

    /// What it is paid with, where anything has a price.
    pub fn bill(&self) -> Option<Bill<'_>> {
        self.bill_of(self.upstream_name(), self.served_model())
    }

    /// What it would be paid with, had this model of an upstream served it.
    pub fn bill_of(&self, upstream: &str, model: &str) -> Option<Bill<'_>> {
        let metering = &self.runtime.metering;
        metering.bill(self.caller.as_ref(), (upstream, model), self.at)
    }

    /// The record that it makes with what it has used. `periods`: in which quotas count it.
    pub fn record(&self, amounts: &Amounts, client_gone: bool, periods: Periods) -> Record<'_> {
        let key = self.caller.as_ref().map(Principal::credential_name);
        Record {
            id: self.id,
            at_ms: self.at.as_millisecond(),
            tenant: self.tenant(),
            key: key.unwrap_or_default(),
            endpoint: self.endpoint,
            rule: self.label(),
            model: self.model.as_deref().unwrap_or_default(),
            served_model: self.served_model(),
            upstream: self.upstream_name(),
            status: self.status,
            outcome: self.outcome,
            attempts: self.attempts,
            marks: Marks {
                client_gone,
                unpriced: amounts.is_unpriced,
                ..self.marks
            },
            tokens: amounts.tokens,
            source: amounts.source,
            cost_nanos: amounts.cost_nanos,
            charge_nanos: amounts.charge_nanos,
            first_byte_ms: ms(self.first_byte.unwrap_or_default()),
            total_ms: ms(self.started.elapsed()),
            period: periods.tenant,
            key_period: periods.key,
        }
    }
}

fn ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
