//! The thread that has messages delivered.
//!
//! Owns which message is sent when, and what follows on a failure. Each request runs on a short-lived thread of its
//! own: eight at a time, one for each receiver. Receivers that have failed share four of them, so that those which hang
//! do not hold up the others. A receiver that fails is left alone for a while as a whole, and so is the message that it
//! did not accept: a single message that it never accepts does not keep the others from it.
//!
//! Of several processes with one outbox, one sends: the one that has the duty (see `outbox`). A process that hands over
//! gives it up when its last request has ended, and puts events into the outbox from then on, and nothing else.
//!
//! Does not handle requests (see `sender`) or what waits (see `outbox`). An outbox that fails is tried again, a
//! receiver whose messages cannot be read after ten seconds, and the log says so.

use std::sync::Arc;
use std::sync::mpsc::{Receiver as Queue, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::event::QuotaEvent;
use super::jobs::{Done, Job, Jobs};
use super::outbox::{Added, Message};
use super::receivers::{Receiver, Receivers};
use super::schedule::{Lane, Timing};
use super::sender::{Outcome, Sender};
use super::shared::{Shared, duration_ms, ms, now_ms};
use crate::ledger::store::StoreError;
use crate::observe::log_interval::LogInterval;

/// As many requests run at a time.
const REQUESTS: usize = 8;
/// As many of them go to receivers that have failed.
const FAILING_REQUESTS: usize = 4;
/// As many jobs are done before something is sent.
const JOBS_AT_ONCE: usize = 256;
/// The thread looks at its outbox at least this often: another process may have put something into it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a process that does not send looks whether it can.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long a receiver waits after the outbox has failed.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// The state of the thread.
pub struct Dispatcher {
    shared: Arc<Shared>,
    queue: Queue<Job>,
    /// The other end of the queue, where requests say that they are done.
    jobs: Jobs,
    sender: Sender,
    timing: Timing,
    receivers: Arc<Receivers>,
    /// By the number of the receiver. One that is not here has neither failed nor a request.
    lanes: FxHashMap<i64, Lane>,
    running: usize,
    running_failing: usize,
    logged: LogInterval,
}

impl Dispatcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(
        shared: Arc<Shared>,
        queue: Queue<Job>,
        jobs: Jobs,
        timing: Timing,
    ) -> std::io::Result<()> {
        let receivers = shared.receivers.load_full();
        let thread = thread::Builder::new().name("webhooks".to_owned());
        let run = move || {
            let dispatcher = Self {
                sender: Sender::new(timing.timeout),
                shared,
                queue,
                jobs,
                timing,
                receivers,
                lanes: FxHashMap::default(),
                running: 0,
                running_failing: 0,
                logged: LogInterval::default(),
            };
            dispatcher.run();
        };
        thread.spawn(run).map(drop)
    }

    fn run(mut self) {
        while self.shared.ends_by().is_none() {
            let may_send = self.may_send();
            self.take_receivers();
            let pause = match may_send {
                true => {
                    self.expire();
                    self.trim();
                    self.send_due()
                }
                false => ASK_EVERY,
            };
            self.shared.tell_dropped();
            match self.queue.recv_timeout(pause) {
                Ok(job) => self.work(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            for _ in 0..JOBS_AT_ONCE {
                let Ok(job) = self.queue.try_recv() else {
                    break;
                };
                self.work(job);
            }
        }
        self.finish();
        // Whoever waits for the end may start another one.
        self.give_up_duty();
        self.shared.ended();
    }

    /// Whether this process sends. It begins to, or ceases, where it is time.
    fn may_send(&mut self) -> bool {
        if self.shared.is_handed_over() {
            if self.running == 0 && self.shared.with_outbox(|outbox| outbox.has_duty()) {
                self.give_up_duty();
            }
            return false;
        }
        let (may_send, done) = self.shared.take_duty();
        if let Err(error) = done {
            self.log(&error);
        }
        may_send
    }

    fn give_up_duty(&mut self) {
        if let Err(error) = self.shared.with_outbox(|outbox| outbox.give_up_duty()) {
            self.log(&error);
        }
    }

    /// Keeps the events that were told, and waits for the requests that run.
    fn finish(&mut self) {
        let by = self.shared.ends_by().unwrap_or_else(Instant::now);
        loop {
            while let Ok(job) = self.queue.try_recv() {
                self.work(job);
            }
            let left = by.saturating_duration_since(Instant::now());
            if self.running == 0 || left.is_zero() {
                return;
            }
            match self.queue.recv_timeout(left) {
                Ok(job) => self.work(job),
                Err(_) => return,
            }
        }
    }

    fn work(&mut self, job: Job) {
        self.jobs.taken(&job);
        match job {
            Job::Look => {}
            Job::Tell(event) => self.keep(&event),
            Job::Done(done) => self.end(&done),
        }
    }

    /// Follows a reload. A receiver that has changed is tried at once.
    fn take_receivers(&mut self) {
        let receivers = self.shared.receivers.load_full();
        if Arc::ptr_eq(&receivers, &self.receivers) {
            return;
        }
        for receiver in receivers.all() {
            let before = self.receivers.numbered(receiver.number);
            if before.is_none_or(|before| before.is_same(receiver)) {
                continue;
            }
            if let Some(lane) = self.lanes.get_mut(&receiver.number) {
                lane.forget_failures();
            }
            let hurried = self
                .shared
                .with_outbox(|outbox| outbox.hurry(receiver.number, now_ms()));
            self.note(receiver.number, hurried);
        }
        self.lanes
            .retain(|number, lane| lane.is_busy || receivers.numbered(*number).is_some());
        self.receivers = receivers;
    }

    /// Gives up what has waited too long.
    fn expire(&mut self) {
        let before_ms = now_ms().saturating_sub(duration_ms(self.timing.retention));
        loop {
            let expired = self.shared.with_outbox(|outbox| outbox.expire(before_ms));
            let expired = match expired {
                Ok(expired) if expired.is_empty() => return,
                Ok(expired) => expired,
                Err(error) => return self.log(&error),
            };
            for (number, events) in expired {
                self.shared.counts.expired.inc_by(events);
                let receiver = self.receivers.numbered(number);
                let receiver = receiver.map_or_else(String::new, |r| format!(" to {r}"));
                log::error!(
                    "webhooks: {events} events could not be delivered{receiver} for so long that they are given up. \
                     What was used is in the ledger"
                );
            }
        }
    }

    /// Drops what is beyond the bounds.
    fn trim(&mut self) {
        match self.shared.with_outbox(|outbox| outbox.trim()) {
            Ok(dropped) => self.shared.count_all_dropped(&dropped),
            Err(error) => self.log(&error),
        }
    }

    /// Sends what is due. Returns when to look again.
    fn send_due(&mut self) -> Duration {
        let (now, now_ms) = (Instant::now(), now_ms());
        let mut pause = LOOK_EVERY;
        let mut ready = Vec::new();
        let waiting = self.shared.with_outbox(|outbox| outbox.waiting());
        for (number, next_ms) in waiting {
            let lane = self.lanes.get(&number).copied().unwrap_or_default();
            if lane.is_busy {
                continue;
            }
            let until_due = u64::try_from(next_ms.saturating_sub(now_ms)).unwrap_or(0);
            let wait = lane.wait(now).max(Duration::from_millis(until_due));
            match wait.is_zero() {
                true => ready.push((next_ms, number)),
                false => pause = pause.min(wait),
            }
        }
        ready.sort_unstable();
        for (_, number) in ready {
            if self.running >= REQUESTS {
                // The end of a request wakes the thread.
                break;
            }
            let is_failing = self.lanes.get(&number).is_some_and(Lane::is_failing);
            if is_failing && self.running_failing >= FAILING_REQUESTS {
                continue;
            }
            let Some(receiver) = self.receivers.numbered(number).cloned() else {
                continue;
            };
            let due = self.shared.with_outbox(|outbox| outbox.due(number, now_ms));
            match due {
                Ok(Some(message)) => self.send(receiver, message, is_failing),
                // Only now it is known when it is due.
                Ok(None) => pause = Duration::ZERO,
                Err(error) => self.note(number, Err(error)),
            }
        }
        pause
    }

    fn send(&mut self, receiver: Arc<Receiver>, message: Message, was_failing: bool) {
        self.running += 1;
        self.running_failing += usize::from(was_failing);
        self.lanes.entry(receiver.number).or_default().is_busy = true;
        let mut report = self.jobs.report(Done {
            receiver: Arc::clone(&receiver),
            message: message.id,
            events: message.events,
            attempts: message.attempts,
            was_failing,
            outcome: Outcome::Failed {
                cause: "the request could not be made".to_owned(),
                wait: None,
            },
        });
        let sender = self.sender.clone();
        let thread = thread::Builder::new().name("webhook".to_owned());
        let spawned = thread.spawn(move || {
            let outcome = sender.post(&receiver.webhook, &message.name, &message.body);
            report.set(outcome);
        });
        if let Err(error) = spawned {
            log::error!("webhooks: the system has no thread for a request: {error}");
        }
    }

    /// Puts the event of a quota into the outbox.
    fn keep(&mut self, event: &QuotaEvent) {
        let kind = event.kind();
        let json: Arc<str> = event.json().into();
        let receivers = self.shared.receivers.load_full();
        let events: Vec<Added> = receivers
            .of(&event.tenant, kind)
            .into_iter()
            .map(|receiver| Added {
                receiver: receiver.number,
                record: None,
                kind,
                json: Arc::clone(&json),
            })
            .collect();
        let added = self
            .shared
            .with_outbox(|outbox| outbox.add(&events, ms(event.at)));
        match added {
            Ok(dropped) => self.shared.count_all_dropped(&dropped),
            Err(error) => {
                self.shared.count_dropped(events.len() as u64);
                self.log(&error);
            }
        }
    }

    /// Notes what has become of a message.
    fn end(&mut self, done: &Done) {
        self.running = self.running.saturating_sub(1);
        let failing = usize::from(done.was_failing);
        self.running_failing = self.running_failing.saturating_sub(failing);
        let again = self.delay_after(done);
        let noted = self.shared.with_outbox(|outbox| match again {
            None => outbox.delivered(done.message),
            Some(delay) => {
                let due_ms = now_ms().saturating_add(duration_ms(delay));
                outbox.failed(done.message, due_ms).map(|()| false)
            }
        });
        if let Ok(true) = noted {
            self.shared.counts.delivered.inc_by(done.events);
        }
        done.tell(again.unwrap_or_default());
        let number = done.receiver.number;
        self.note(number, noted.map(drop));
        if self.receivers.numbered(number).is_none() {
            self.lanes.remove(&number);
        }
    }

    /// After what time the message is sent again, if it is. Notes what the attempt says about its receiver.
    fn delay_after(&mut self, done: &Done) -> Option<Duration> {
        let current = self.receivers.numbered(done.receiver.number);
        let is_current = current.is_some_and(|current| current.is_same(&done.receiver));
        let lane = self.lanes.entry(done.receiver.number).or_default();
        lane.is_busy = false;
        let counts = &self.shared.counts;
        let wait = match &done.outcome {
            Outcome::Delivered => {
                counts.ok.inc();
                lane.forget_failures();
                return None;
            }
            Outcome::Failed { wait, .. } => *wait,
            Outcome::Gone => Some(self.timing.retention),
        };
        counts.failed.inc();
        if !is_current {
            // It was changed meanwhile, and has not failed as it is now.
            return Some(Duration::ZERO);
        }
        let wait = wait.unwrap_or_default();
        lane.fail(self.timing.delay(lane.failures()).max(wait));
        Some(self.timing.delay(done.attempts).max(wait))
    }

    /// Has a receiver wait after the outbox has failed.
    fn note(&mut self, number: i64, done: Result<(), StoreError>) {
        if let Err(error) = done {
            self.lanes.entry(number).or_default().pause(AFTER_FAILURE);
            self.log(&error);
        }
    }

    fn log(&mut self, error: &StoreError) {
        if self.logged.has_passed() {
            log::error!("webhooks: the outbox fails, and is tried again: {error}");
        }
    }
}
