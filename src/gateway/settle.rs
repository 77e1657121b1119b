//! What a request has used and said, counted once and written down.
//!
//! Owns when it is counted and from what: what the upstream tells, else an estimate, as the rule wants
//! it where the client has left. An estimate is made off the threads that serve, and no more than a
//! bounded number at a time; beyond it is taken from the length alone. Refuses to know how usage is
//! read. Never fails.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use super::context::Context;
use super::exchange::answer::json::Reading;
use crate::chatlog::{ChatLog, Entry};
use crate::config::OnClientGone;
use crate::observe::tokens::Pace;
use crate::openai::estimate::Prompt;
use crate::openai::usage::Usage;
use crate::runtime::{Rule, Shared};
use crate::upstreams::Upstream;

/// As many estimates are made at a time.
const MAX_ESTIMATES: usize = 64;

/// What is known of what a request has used.
pub struct Meter {
    /// What it asks with, where an answer that tells no usage can be estimated.
    pub prompt: Option<Prompt>,
    /// The chat log that it is written to, if it is.
    pub chat: Option<Chat>,
    /// What its answer tells, once one has begun.
    pub reading: Option<Reading>,
    /// When the last event of a stream has come.
    pub last_event: Option<Instant>,
    /// Whether the client has left before the answer's end.
    pub client_left: bool,
}

/// A request for the chat log.
pub struct Chat {
    log: Arc<ChatLog>,
    request: Bytes,
}

impl Meter {
    /// Of a request that has been read.
    pub fn new(prompt: Option<Prompt>, chat: Option<Chat>) -> Self {
        Self {
            prompt,
            chat,
            reading: None,
            last_event: None,
            client_left: false,
        }
    }
}

impl Chat {
    /// A request that is to be written down.
    pub fn new(log: Arc<ChatLog>, request: &Bytes) -> Self {
        Self {
            log,
            request: request.clone(),
        }
    }

    /// What is written, but for the answer and what it has used.
    fn entry(self, context: &Context) -> (Arc<ChatLog>, Entry) {
        let waited = context.started.elapsed();
        let now = SystemTime::now();
        // Where nobody has to show a key there are no tenants.
        let has_tenants = context.runtime.tenant(None).is_none();
        let tenant = context.tenant.as_ref().filter(|_| has_tenants);
        let entry = Entry {
            request_id: context.request_id.clone(),
            time: now.checked_sub(waited).unwrap_or(now),
            tenant: tenant.map(|tenant| tenant.id.clone()),
            endpoint: context.endpoint,
            model: context.model.clone().unwrap_or_default(),
            // It is noted only where it is another one.
            sent_model: context.sent_model.clone().or_else(|| {
                let asked = context.upstream.as_ref().and(context.model.as_ref());
                asked.cloned()
            }),
            upstream: context.upstream.as_ref().map(|u| u.name.clone()),
            forwarded_for: context.client.map(|client| client.to_string()),
            request: self.request,
            answer: None,
            is_partial: false,
            usage: None,
            status: context.told_status(),
        };
        (self.log, entry)
    }
}

/// A request that is over, and whose usage is to be counted.
pub struct Account {
    shared: Arc<Shared>,
    endpoint: &'static str,
    rule: Arc<Rule>,
    upstream: Option<Arc<Upstream>>,
    meter: Box<Meter>,
    pace: Option<Pace>,
    /// Whether anything may have been used.
    is_counted: bool,
    chat: Option<Box<(Arc<ChatLog>, Entry)>>,
}

impl Account {
    /// Closes the books of a request; nothing where none has been opened, or where somebody else has
    /// closed them.
    pub fn close(context: &mut Context, shared: &Arc<Shared>) -> Option<Self> {
        let mut meter = context.meter.take()?;
        let is_answered = (200..300).contains(&context.status);
        let error = meter.reading.as_ref().filter(|reading| reading.is_error);
        let is_counted = match error {
            Some(error) => error.usage.is_some(),
            None => is_answered || meter.client_left,
        };
        let pace = meter.last_event.and_then(|last| {
            let first_token = context.first_byte?;
            let rest = last.saturating_duration_since(context.started + first_token);
            Some(Pace { first_token, rest })
        });
        let chat = meter.chat.take();
        Some(Self {
            shared: Arc::clone(shared),
            endpoint: context.endpoint,
            rule: context.rule.clone()?,
            upstream: context.upstream.clone(),
            is_counted,
            meter,
            pace,
            chat: chat.map(|chat| Box::new(chat.entry(context))),
        })
    }

    /// The tokens that went in and came out, where the upstream has told them.
    pub fn tokens(&self) -> Option<(u64, u64)> {
        let usage = self.meter.reading.as_ref()?.usage.as_ref()?;
        Some((usage.total_input(), usage.output))
    }

    /// Puts in what was learnt after the client had left.
    pub fn learn(&mut self, reading: Reading) {
        self.meter.reading = Some(reading);
    }

    /// Counts what has been used, and has it written down.
    pub fn settle(mut self) {
        let mut reading = self.meter.reading.take().unwrap_or_default();
        if let Some((_, entry)) = self.chat.as_deref_mut() {
            entry.answer = reading.answer.take();
            entry.is_partial = !reading.is_whole && entry.answer.is_some();
        }
        let absorbs = self.meter.client_left && self.rule.on_client_gone == OnClientGone::Absorb;
        let prompt = self.meter.prompt.take();
        let prompt = prompt.filter(|_| self.is_counted && reading.usage.is_none() && !absorbs);
        let Some(prompt) = prompt else {
            return self.count(reading.usage.as_ref());
        };
        let Some(room) = self.shared.estimates.enter(MAX_ESTIMATES) else {
            let usage = estimated(prompt.roughly(), reading.said.roughly());
            return self.count(Some(&usage));
        };
        tokio::task::spawn_blocking(move || {
            let usage = estimated(prompt.tokens(), reading.said.tokens());
            self.count(Some(&usage));
            drop(room);
        });
    }

    fn count(self, usage: Option<&Usage>) {
        if let Some(upstream) = self.upstream.as_ref().filter(|_| self.is_counted) {
            let labels = [self.endpoint, self.rule.label.as_str(), &upstream.name];
            self.shared.metrics.tokens().count(labels, usage, self.pace);
        }
        if let Some(chat) = self.chat {
            let (log, mut entry) = *chat;
            entry.usage = usage.and_then(|usage| serde_json::to_value(usage).ok());
            log.record(entry);
        }
    }
}

fn estimated(input: u64, output: u64) -> Usage {
    Usage {
        input,
        output,
        is_estimated: true,
        ..Usage::default()
    }
}
