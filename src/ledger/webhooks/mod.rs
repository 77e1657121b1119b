//! Webhooks: receivers are told of usage and of quotas.
//!
//! Owns the way of an event: from the loader or a request into the outbox, and from there to its receiver, until
//! that has accepted it or three days have passed. A receiver may get an event twice, under the same id, and events in
//! another order than they happened in. While no webhook is configured, there is neither a thread nor a file.
//!
//! While one process takes over from another, both put events into the outbox, and one of them delivers. With a ledger
//! in PostgreSQL this is so for all gateways that share it, and events survive the machine that has made them.
//!
//! Does not handle where records come from (see `load`), when a quota reaches a threshold (see `limits`), or what may
//! be configured (see `config::webhook`). `telling` makes events of records, `outbox` keeps what waits, `dispatcher`
//! sends it, `sender` makes a request. Fails where the outbox cannot be written; a receiver that fails affects no
//! other.

mod address;
mod dispatcher;
mod event;
mod jobs;
mod outbox;
mod receivers;
mod schedule;
mod sender;
mod shared;
mod signature;
mod telling;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use event::{QuotaEvent, Spent};
pub use receivers::WebhookPlan;

use super::store::{StoreError, Teller, Telling};
use crate::observe::webhooks::Webhooks as Counts;
use crate::secret::Secret;
use dispatcher::Dispatcher;
use jobs::Jobs;
use outbox::{Bounds, Location};
use schedule::Timing;
use shared::{Shared, now_ms};
pub use telling::OfPlan;
use telling::OfUsage;

/// All webhooks of the process.
pub struct Webhooks {
    location: Location,
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
    /// Starts with a plan, the ledger's folder, which exists, and its PostgreSQL, if it has one. What waits since the
    /// last time is delivered. In the folder, what waits for webhooks that the plan does not have is dropped.
    ///
    /// # Errors
    /// The outbox in the folder cannot be written, a newer release wrote it, or the system has no thread. That
    /// PostgreSQL is away is no error.
    pub fn start(
        plan: &WebhookPlan,
        folder: &Path,
        postgres: Option<&Secret>,
        counts: Counts,
    ) -> Result<Arc<Self>, StoreError> {
        let location = Location {
            folder: folder.to_owned(),
            postgres: postgres.cloned(),
        };
        Self::start_with(plan, location, counts, Timing::default(), Bounds::default())
    }

    fn start_with(
        plan: &WebhookPlan,
        location: Location,
        counts: Counts,
        timing: Timing,
        bounds: Bounds,
    ) -> Result<Arc<Self>, StoreError> {
        let webhooks = Self {
            location,
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
            if !plan.is_empty() || self.location.has_file() {
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
        let outbox = self.location.open(self.bounds, now_ms())?;
        let shared = Arc::new(Shared::new(outbox, self.counts.clone()));
        shared.put_in_force(plan)?;
        let (jobs, queue) = channel();
        let jobs = Jobs::new(jobs);
        let started = Dispatcher::start(
            Arc::clone(&shared),
            queue,
            jobs.clone(),
            self.timing.clone(),
        );
        started.map_err(StoreError::Runtime)?;
        Ok(Running { shared, jobs })
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

/// Moves events that a lost node has left in its folder to the outbox in PostgreSQL. Returns how many they were.
/// Blocks.
///
/// # Errors
/// The file or PostgreSQL fails. What was not moved is in the file.
pub fn move_left(folder: &Path, url: &Secret) -> Result<u64, StoreError> {
    outbox::postgres::move_left(folder, url, now_ms())
}

impl Teller for Webhooks {
    fn telling(&self) -> Option<Box<dyn Telling>> {
        let Running { shared, jobs } = self.running.get()?;
        let of_usage = OfUsage::new(shared.receivers.load_full())?;
        Some(Box::new(of_usage.through(Arc::clone(shared), jobs.clone())))
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}
