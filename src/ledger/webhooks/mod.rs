//! Webhooks: receivers are told of usage and of quotas.
//!
//! Owns the way of an event: from the loader or a request into the outbox, and from there to its receiver, until
//! that has accepted it or three days have passed. A receiver may get an event twice, under the same id, and events in
//! another order than they happened in. While no webhook is configured, there is neither a thread nor a file.
//!
//! While one process takes over from another, both put events into the outbox, and one of them delivers.
//!
//! Does not handle where records come from (see `load`), when a quota reaches a threshold (see `limits`), or what may
//! be configured (see `config::webhook`). `outbox` keeps what waits, `dispatcher` sends it, `sender` makes a request.
//! Fails where the outbox cannot be written; a receiver that fails affects no other.

mod address;
mod dispatcher;
mod duty;
mod event;
mod jobs;
mod outbox;
mod receivers;
mod schedule;
mod sender;
mod shared;
mod signature;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use event::{QuotaEvent, Spent};
pub use receivers::WebhookPlan;

use super::record::Record;
use super::store::StoreError;
use crate::observe::webhooks::Webhooks as Counts;
use dispatcher::Dispatcher;
use duty::Duty;
use event::Kind;
use jobs::Jobs;
use outbox::{Added, Bounds, Outbox};
use schedule::Timing;
use shared::{Shared, now_ms};

/// The name of the outbox in the ledger's folder.
const FILE: &str = "outbox.db";

/// All webhooks of the process.
pub struct Webhooks {
    folder: PathBuf,
    counts: Counts,
    timing: Timing,
    bounds: Bounds,
    running: OnceLock<Running>,
    /// Held while a plan is put in force.
    planning: Mutex<()>,
}

struct Running {
    shared: Arc<Shared>,
    jobs: Jobs,
}

impl Webhooks {
    /// Starts with a plan and the ledger's folder, which exists. What waits since the last time is delivered; what
    /// waits for webhooks that the plan does not have is dropped.
    ///
    /// # Errors
    /// The outbox cannot be written, a newer release wrote it, or the system has no thread.
    pub fn start(
        plan: &WebhookPlan,
        folder: &Path,
        counts: Counts,
    ) -> Result<Arc<Self>, StoreError> {
        Self::start_with(plan, folder, counts, Timing::default(), Bounds::default())
    }

    fn start_with(
        plan: &WebhookPlan,
        folder: &Path,
        counts: Counts,
        timing: Timing,
        bounds: Bounds,
    ) -> Result<Arc<Self>, StoreError> {
        let webhooks = Self {
            folder: folder.to_owned(),
            counts,
            timing,
            bounds,
            running: OnceLock::new(),
            planning: Mutex::new(()),
        };
        webhooks.reload(plan)?;
        Ok(Arc::new(webhooks))
    }

    /// Puts another plan in force. It blocks for as long as the outbox takes.
    ///
    /// # Errors
    /// As with [`start`](Self::start). The plan before stays in force.
    pub fn reload(&self, plan: &WebhookPlan) -> Result<(), StoreError> {
        let _planning = self.planning.lock();
        let Some(running) = self.running.get() else {
            if !plan.is_empty() || self.folder.join(FILE).exists() {
                let running = self.run(plan)?;
                // It is set here alone, under the lock of `planning`.
                let _ = self.running.set(running);
            }
            return Ok(());
        };
        running.shared.put_in_force(plan)?;
        running.jobs.look();
        Ok(())
    }

    fn run(&self, plan: &WebhookPlan) -> Result<Running, StoreError> {
        let mut duty = Duty::new(&self.folder);
        let is_sending = duty.take().map_err(StoreError::file(&self.folder))?;
        let mut outbox = Outbox::open(&self.folder.join(FILE), self.bounds, now_ms())?;
        outbox.set_sending(is_sending)?;
        let shared = Arc::new(Shared::new(outbox, self.counts.clone()));
        shared.put_in_force(plan)?;
        let (jobs, queue) = channel();
        let jobs = Jobs::new(jobs);
        let started = Dispatcher::start(
            Arc::clone(&shared),
            queue,
            jobs.clone(),
            self.timing.clone(),
            duty,
        );
        started.map_err(StoreError::Runtime)?;
        Ok(Running { shared, jobs })
    }

    /// Adds records, for those webhooks that are told of their tenants' usage. To be called before the transaction
    /// that loads the records commits. A record that waits already is not added again, so the same records may be
    /// added again after a failure. One that was delivered meanwhile is delivered again, under its id.
    ///
    /// # Errors
    /// The outbox cannot be written. Nothing was added; the records should not count as loaded.
    pub fn add_records(&self, records: &[Record<'_>]) -> Result<(), StoreError> {
        let Some(running) = self.running.get() else {
            return Ok(());
        };
        let receivers = running.shared.receivers.load();
        let mut events = Vec::new();
        for record in records {
            let told = receivers.of(record.tenant, Kind::Usage);
            if told.is_empty() {
                continue;
            }
            let json: Arc<str> = event::usage_json(record).into();
            events.extend(told.into_iter().map(|receiver| Added {
                receiver,
                record: Some(record.id),
                kind: Kind::Usage,
                json: Arc::clone(&json),
            }));
        }
        if events.is_empty() {
            return Ok(());
        }
        let dropped = running
            .shared
            .with_outbox(|outbox| outbox.add(&events, now_ms()))?;
        running.shared.count_all_dropped(&dropped);
        running.jobs.look();
        Ok(())
    }

    /// Tells of a quota. Never blocks: if 1,024 events wait for the
    /// dispatcher already, the event is dropped and counted.
    pub fn tell(&self, event: QuotaEvent) {
        let Some(running) = self.running.get() else {
            return;
        };
        let shared = &running.shared;
        let receivers = shared.receivers.load();
        if receivers.of(&event.tenant, event.kind()).is_empty() {
            return;
        }
        if !running.jobs.tell(event) {
            shared.count_dropped(1);
        }
    }

    /// Leaves the delivery to another process, once the requests that run have ended. Events are put into the outbox as
    /// before. Never blocks.
    pub fn hand_over(&self) {
        if let Some(running) = self.running.get() {
            running.shared.hand_over();
            running.jobs.look();
        }
    }

    /// Ends. Events that were told are in the outbox then, and requests that run are waited for; what waits is
    /// delivered after the next start. Returns whether there was time enough.
    pub fn stop(&self, within: Duration) -> bool {
        let Some(running) = self.running.get() else {
            return true;
        };
        let by = Instant::now() + within;
        running.shared.end_by(by);
        running.jobs.look();
        running.shared.wait_for_end(by)
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}
