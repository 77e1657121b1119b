//! What webhooks are told of records.
//!
//! Owns which events a record makes, and for which receivers. Does not handle how they are kept (see `outbox`) or when
//! records are loaded (see `load`). With a ledger in SQLite, events are in the outbox before their records are loaded;
//! with one in PostgreSQL, in the same transaction. Fails where they cannot be kept: the records are not loaded then.

use std::sync::Arc;

use tokio_postgres::Transaction;

use super::event::{self, Kind};
use super::jobs::Jobs;
use super::outbox::{Added, postgres};
use super::receivers::{Receivers, WebhookPlan};
use super::shared::{Shared, now_ms};
use crate::ledger::record::Record;
use crate::ledger::store::{StoreError, Teller, Telling, Written};
use crate::store::postgres::Session;

/// The usage events of records, for some receivers.
pub struct OfUsage {
    receivers: Arc<Receivers>,
    /// Where they go in this process, if anything is sent from it.
    running: Option<(Arc<Shared>, Jobs)>,
}

impl OfUsage {
    /// `None` if no receiver is told of usage.
    pub fn new(receivers: Arc<Receivers>) -> Option<Self> {
        let is_told = receivers.any_wants(Kind::Usage);
        is_told.then_some(Self {
            receivers,
            running: None,
        })
    }

    /// With the outbox of this process.
    pub fn through(self, shared: Arc<Shared>, jobs: Jobs) -> Self {
        Self {
            running: Some((shared, jobs)),
            ..self
        }
    }
}

impl Telling for OfUsage {
    fn tell(&self, records: &[Record<'_>]) -> Result<(), StoreError> {
        let Some((shared, _)) = &self.running else {
            return Ok(());
        };
        let mut events = Vec::new();
        for record in records {
            let told = self.receivers.of(record.tenant, Kind::Usage);
            if told.is_empty() {
                continue;
            }
            let json: Arc<str> = event::usage_json(record).into();
            events.extend(told.into_iter().map(|receiver| Added {
                receiver: receiver.number,
                record: Some(record.id),
                kind: Kind::Usage,
                json: Arc::clone(&json),
            }));
        }
        if events.is_empty() {
            return Ok(());
        }
        let dropped = shared.with_outbox(|outbox| outbox.add(&events, now_ms()))?;
        shared.count_all_dropped(&dropped);
        Ok(())
    }

    fn prepare(&self, session: &mut Session) -> Result<(), StoreError> {
        postgres::prepare(session)
    }

    fn tell_within<'t>(
        &'t self,
        transaction: &'t Transaction<'t>,
        new: &'t [&'t Record<'t>],
    ) -> Written<'t> {
        Box::pin(async move {
            let mut events: Vec<(&str, Arc<str>)> = Vec::new();
            for record in new {
                let told = self.receivers.of(record.tenant, Kind::Usage);
                if told.is_empty() {
                    continue;
                }
                let json: Arc<str> = event::usage_json(record).into();
                let told = told.into_iter();
                events.extend(told.map(|receiver| (receiver.name(), Arc::clone(&json))));
            }
            let events = events.iter().map(|(receiver, json)| (*receiver, &**json));
            postgres::add_usage(transaction, events, now_ms()).await
        })
    }

    fn told(&self) {
        if let Some((_, jobs)) = &self.running {
            jobs.look();
        }
    }
}

/// Tells the webhooks of a plan of records, through an outbox in PostgreSQL. Another process sends.
pub struct OfPlan(Arc<Receivers>);

impl OfPlan {
    /// The webhooks of a plan.
    pub fn new(plan: &WebhookPlan) -> Self {
        Self(Arc::new(Receivers::of_plan(plan)))
    }
}

impl Teller for OfPlan {
    fn telling(&self) -> Option<Box<dyn Telling>> {
        let of_usage = OfUsage::new(Arc::clone(&self.0))?;
        Some(Box::new(of_usage))
    }
}
