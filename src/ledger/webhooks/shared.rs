//! What the dispatcher's thread shares with those that give it events.
//!
//! Owns the locks, the log lines about dropped events (one a minute at most), and the end of the thread. Does not
//! handle the work (see `dispatcher`). Cannot fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};

use super::outbox::{Dropped, Outbox};
use super::receivers::{Receivers, WebhookPlan};
use crate::clock;
use crate::ledger::store::StoreError;
use crate::observe::log_interval::LogInterval;
use crate::observe::webhooks::Webhooks as Counts;

/// What is shared.
pub struct Shared {
    /// The webhooks.
    pub receivers: ArcSwap<Receivers>,
    /// The counters.
    pub counts: Counts,
    outbox: Mutex<Box<dyn Outbox>>,
    /// What the receivers were made from. Its lock is taken behind that of the outbox.
    plan: Mutex<WebhookPlan>,
    is_handed_over: AtomicBool,
    /// Events that were dropped and that no log line has told of.
    untold: AtomicU64,
    told: Mutex<LogInterval>,
    end: Mutex<End>,
    has_ended: Condvar,
}

#[derive(Default)]
struct End {
    by: Option<Instant>,
    has_ended: bool,
}

impl Shared {
    /// With what waits in an outbox, and no receivers yet.
    pub fn new(outbox: Box<dyn Outbox>, counts: Counts) -> Self {
        counts.waiting.set(signed(outbox.events()));
        Self {
            receivers: ArcSwap::default(),
            counts,
            outbox: Mutex::new(outbox),
            plan: Mutex::default(),
            is_handed_over: AtomicBool::new(false),
            untold: AtomicU64::new(0),
            told: Mutex::default(),
            end: Mutex::default(),
            has_ended: Condvar::new(),
        }
    }

    /// Does something with the outbox. It blocks while another thread does, and while the disk or the database takes
    /// its time.
    pub fn with_outbox<T>(&self, act: impl FnOnce(&mut dyn Outbox) -> T) -> T {
        let mut outbox = self.outbox.lock();
        let done = act(&mut **outbox);
        self.counts.waiting.set(signed(outbox.events()));
        done
    }

    /// Has the receivers of a plan.
    ///
    /// # Errors
    /// The outbox cannot be written. The plan before stays in force.
    pub fn put_in_force(&self, plan: &WebhookPlan) -> Result<(), StoreError> {
        self.with_outbox(|outbox| {
            self.number(outbox, plan)?;
            *self.plan.lock() = plan.clone();
            Ok(())
        })
    }

    /// Whether this process may send, which it begins to do here where no other process does, and what went wrong. To
    /// be called often: it learns what others have put into the outbox.
    pub fn take_duty(&self) -> (bool, Result<(), StoreError>) {
        self.with_outbox(|outbox| {
            let had_duty = outbox.has_duty();
            let mut done = outbox.take_duty(now_ms()).map(drop);
            if !had_duty && outbox.has_duty() {
                // What waits for webhooks that are gone may be removed from now on.
                done = done.and(self.number(outbox, &self.plan.lock()));
            }
            (outbox.has_duty(), done)
        })
    }

    fn number(&self, outbox: &mut dyn Outbox, plan: &WebhookPlan) -> Result<(), StoreError> {
        let (numbers, dropped) = outbox.set_receivers(&plan.names())?;
        if dropped > 0 {
            self.counts.dropped.inc_by(dropped);
            log::warn!(
                "webhooks: {dropped} events were dropped because their webhooks are no longer configured. What was \
                 used is in the ledger"
            );
        }
        let receivers = Receivers::new(plan, &numbers);
        self.receivers.store(Arc::new(receivers));
        Ok(())
    }

    /// Notes that another process is to send.
    pub fn hand_over(&self) {
        self.is_handed_over.store(true, Ordering::Release);
    }

    /// Whether another process is to send.
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over.load(Ordering::Acquire)
    }

    /// Counts events that were dropped because too many waited. Does not block.
    pub fn count_dropped(&self, events: u64) {
        self.counts.dropped.inc_by(events);
        self.untold.fetch_add(events, Ordering::Relaxed);
    }

    /// Counts what an outbox has dropped.
    pub fn count_all_dropped(&self, dropped: &Dropped) {
        for events in dropped.values() {
            self.count_dropped(*events);
        }
    }

    /// Tells of dropped events, once a minute at most.
    pub fn tell_dropped(&self) {
        if self.untold.load(Ordering::Relaxed) > 0 && self.told.lock().has_passed() {
            let events = self.untold.swap(0, Ordering::Relaxed);
            log::error!(
                "webhooks: {events} events were dropped because too many wait. What was used is in the ledger"
            );
        }
    }

    /// When the thread is to end, if it is.
    pub fn ends_by(&self) -> Option<Instant> {
        self.end.lock().by
    }

    /// Says when the thread is to end.
    pub fn end_by(&self, by: Instant) {
        self.end.lock().by = Some(by);
    }

    /// Notes that the thread has ended.
    pub fn ended(&self) {
        self.end.lock().has_ended = true;
        self.has_ended.notify_all();
    }

    /// Waits until the thread has ended. Returns whether it has.
    pub fn wait_for_end(&self, by: Instant) -> bool {
        let mut end = self.end.lock();
        while !end.has_ended {
            if self.has_ended.wait_until(&mut end, by).timed_out() {
                break;
            }
        }
        end.has_ended
    }
}

/// The time of day, in milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    ms(clock::now())
}

/// A time, in milliseconds since the Unix epoch.
pub fn ms(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, duration_ms)
}

/// A duration, in milliseconds.
pub fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
