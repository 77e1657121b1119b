//! The dispatcher's queue.
//!
//! Owns its bounds: 1,024 events of quotas, one job to look at the outbox, and the ends of the requests that run. So a
//! thread that gives a job never waits. Does not handle the jobs (see `dispatcher`). An event beyond the bound is
//! refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::event::QuotaEvent;
use super::receivers::Receiver;
use super::sender::Outcome;

/// As many events of quotas wait for the dispatcher.
pub const MAX_TOLD: usize = 1_024;

/// A job for the dispatcher.
pub enum Job {
    /// Add the event of a quota.
    Tell(Box<QuotaEvent>),
    /// Look at what has changed.
    Look,
    /// An attempt to deliver a message is over.
    Done(Done),
}

/// The end of an attempt.
pub struct Done {
    /// The receiver, as it was then.
    pub receiver: Arc<Receiver>,
    /// The number of the message.
    pub message: i64,
    /// How many events it has.
    pub events: u64,
    /// How often it had been sent before.
    pub attempts: u32,
    /// Whether the receiver had failed before.
    pub was_failing: bool,
    /// What has become of it.
    pub outcome: Outcome,
}

impl Done {
    /// Tells of a failure, and when the message is due again.
    pub fn tell(&self, again: Duration) {
        let receiver = &self.receiver;
        match &self.outcome {
            Outcome::Delivered => {}
            Outcome::Failed { cause, .. } => {
                let again = humantime::format_duration(Duration::from_secs(again.as_secs()));
                log::warn!(
                    "webhooks: {receiver} did not accept a message: {cause}. It is sent again in {again}"
                );
            }
            Outcome::Gone => log::error!(
                "webhooks: {receiver} wants no more messages (410): none is sent for three days, or until its \
                 configuration changes"
            ),
        }
    }
}

/// Where jobs are given. Clones share the queue.
#[derive(Clone)]
pub struct Jobs {
    queue: Sender<Job>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    told: AtomicUsize,
    has_look: AtomicBool,
}

impl Jobs {
    /// With an empty queue.
    pub fn new(queue: Sender<Job>) -> Self {
        Self {
            queue,
            waiting: Arc::default(),
        }
    }

    /// Has the dispatcher look at the outbox.
    pub fn look(&self) {
        if !self.waiting.has_look.swap(true, Ordering::AcqRel) {
            // A dispatcher that has ended looks at nothing.
            let _ = self.queue.send(Job::Look);
        }
    }

    /// Gives the event of a quota. Returns whether there was room for it.
    pub fn tell(&self, event: QuotaEvent) -> bool {
        if self.waiting.told.fetch_add(1, Ordering::AcqRel) >= MAX_TOLD {
            self.waiting.told.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        self.queue.send(Job::Tell(Box::new(event))).is_ok()
    }

    /// What says that an attempt is over when it is dropped, even if its thread panics or does not start.
    pub fn report(&self, done: Done) -> Report {
        Report {
            jobs: self.clone(),
            done: Some(done),
        }
    }

    /// Makes room: the dispatcher has taken this job out of the queue.
    pub fn taken(&self, job: &Job) {
        match job {
            Job::Tell(_) => drop(self.waiting.told.fetch_sub(1, Ordering::AcqRel)),
            Job::Look => self.waiting.has_look.store(false, Ordering::Release),
            Job::Done(_) => {}
        }
    }
}

/// The end of an attempt, which is told when this is dropped.
pub struct Report {
    jobs: Jobs,
    done: Option<Done>,
}

impl Report {
    /// Sets what has become of it.
    pub fn set(&mut self, outcome: Outcome) {
        if let Some(done) = &mut self.done {
            done.outcome = outcome;
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            // A dispatcher that has ended has the message sent again after the next start.
            let _ = self.jobs.queue.send(Job::Done(done));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::ledger::webhooks::event::Spent;

    fn event() -> QuotaEvent {
        QuotaEvent {
            is_exhausted: false,
            tenant: "a".to_owned(),
            key: None,
            percent: 80,
            spent: Spent::Tokens {
                spent: 8,
                limit: 10,
            },
            period: None,
            at: UNIX_EPOCH,
        }
    }

    #[test]
    fn an_event_beyond_the_bound_is_refused_until_one_is_taken() {
        let (sender, queue) = channel();
        let jobs = Jobs::new(sender);
        for _ in 0..MAX_TOLD {
            assert!(jobs.tell(event()));
        }
        assert!(!jobs.tell(event()));
        jobs.taken(&queue.recv().unwrap());
        assert!(jobs.tell(event()));
        assert!(!jobs.tell(event()));
    }

    #[test]
    fn one_look_waits_at_a_time() {
        let (sender, queue) = channel();
        let jobs = Jobs::new(sender);
        jobs.look();
        jobs.look();
        jobs.taken(&queue.recv().unwrap());
        assert!(queue.try_recv().is_err());
        jobs.look();
        assert!(matches!(queue.try_recv(), Ok(Job::Look)));
    }
}
