//! The store in which several nodes count what they share: one task that speaks with it.
//!
//! Owns when a scope is reported: at once where a request waits or a slice comes to its end, soon after it was used,
//! and so often that what this node holds does not lapse. What is reported together is one call. A call that is not
//! answered in time may have been carried out: all that is told is the sum of what was used, so it counts once, however
//! often it is told. `wire` has what is written, `share.lua` how a limit is divided. Does not handle what a node does
//! without the store (see `sharing`). It never fails: it tries again.

mod mates;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::balance::Reached;
use super::demand::Now;
use super::due::Queued;
use super::report::{Grant, Report};
use super::reservation::Settled;
use super::scope::{DueScopes, Scope};
use super::share::Asking;
use super::shares::Urgency;
use crate::observe::log_interval::LogInterval;
use crate::observe::store::Counts;
use crate::store::redis::{Connected, Servers};
use mates::Mates;
use wire::{Call, Scripts};

/// How often it is looked whether something is to be reported.
const TICK: Duration = Duration::from_millis(100);
/// A scope that was used is reported after so long, one that only holds something less often.
const REPORT_NANOS: u64 = 1_000_000_000;
const RENEW_NANOS: u64 = 2_000_000_000;
/// How often this process says that it is there, and learns what others have found.
const PRESENCE: Duration = Duration::from_millis(500);
/// An answer of the store takes no longer.
const ANSWER: Duration = Duration::from_millis(450);
/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(250);
/// As many scopes are reported in one call: the store does nothing else meanwhile.
const BATCH: usize = 64;
/// After the store was away, each node goes on alone for so long: until all of them have told what they have used.
const SETTLE: Duration = Duration::from_millis(1_500);
/// How often the calls go out until all that is waited for is reported, when the process ends.
const LAST_TRIES: usize = 3;

/// Where goes what the store says.
pub trait Heard: Send + Sync {
    /// Thresholds were reached, and this process is to tell of them.
    fn reached(&self, settled: &Settled);

    /// Another process has told this, so long ago.
    fn told(&self, message: &str, age: Duration);
}

/// The task that speaks with the store.
pub struct Store {
    due: Arc<DueScopes>,
    servers: Servers,
    /// Tells this process from others of the same name.
    nonce: String,
    scripts: Scripts,
    counts: Counts,
    heard: Box<dyn Heard>,
    /// The last message of others that is known.
    last: String,
    connected: Option<Connected>,
    /// Scopes that are in use.
    active: Vec<Arc<Scope>>,
    present_at: Option<Instant>,
    /// Since when the store answers again.
    back_since: Option<Instant>,
    was_up: bool,
    /// When this process first spoke with the store, by its clock.
    begun: Option<Duration>,
    mates: Mates,
    logged: LogInterval,
}

/// Why the store has not answered.
enum Failure {
    Silent,
    Refused(String),
}

impl Store {
    /// Not connected yet. `heard` is told what the store says.
    pub fn new(
        due: &Arc<DueScopes>,
        servers: Servers,
        counts: Counts,
        heard: Box<dyn Heard>,
    ) -> Self {
        counts.nodes(due.nodes());
        Self {
            due: Arc::clone(due),
            servers,
            nonce: due.nonce().to_owned(),
            scripts: Scripts::default(),
            counts,
            heard,
            last: String::new(),
            connected: None,
            active: Vec::new(),
            present_at: None,
            back_since: None,
            was_up: false,
            begun: None,
            mates: Mates::default(),
            logged: LogInterval::default(),
        }
    }

    /// Speaks with the store until the process ends, and then gives back what this process holds.
    pub async fn run(mut self, mut ends: watch::Receiver<bool>) {
        while !*ends.borrow() {
            self.turn(false).await;
            tokio::select! {
                () = self.due.hurried() => {}
                () = sleep(TICK) => {}
                _ = ends.changed() => {}
            }
            if self.due.is_away() {
                // Requests do not wait for it now.
                sleep(RETRY).await;
            }
        }
        self.end().await;
    }

    /// Gives back what this process holds, and tells what it has used. What is used after that is to be told again.
    pub async fn end(&mut self) {
        for _ in 0..LAST_TRIES {
            if self.turn(true).await {
                break;
            }
        }
        self.active.drain(..).for_each(|scope| scope.unlist());
    }

    /// Reports what is due. Tells whether all of it was.
    async fn turn(&mut self, ends: bool) -> bool {
        let Queued {
            listed,
            urgent,
            waiting,
        } = self.due.take();
        self.active.extend(listed);
        let is_done = self.report(urgent, ends).await.is_ok();
        self.counts.waited(waiting.len());
        for request in waiting {
            let _ = request.send(());
        }
        is_done
    }

    async fn report(&mut self, urgent: Vec<Arc<Scope>>, ends: bool) -> Result<(), ()> {
        self.connect().await?;
        self.be_present(ends).await?;
        let now = Now::read();
        // What others have used meanwhile is not known yet.
        let holds_back = ends || self.due.is_away();
        let due = self.reports(&urgent, now, holds_back);
        let has_slots = self.servers.has_slots();
        let is_together = |one: &(Arc<Scope>, Report), next: &(Arc<Scope>, Report)| {
            !has_slots || wire::slot(one.0.name()) == wire::slot(next.0.name())
        };
        for slot in due.chunk_by(is_together) {
            for batch in slot.chunks(BATCH) {
                self.exchange(batch).await?;
            }
        }
        self.forget_unused(now);
        self.settle();
        Ok(())
    }

    /// Goes on with the store, once all nodes have had the time to tell it what they have used without it.
    fn settle(&mut self) {
        let back_since = *self.back_since.get_or_insert_with(Instant::now);
        if self.was_up && back_since.elapsed() < SETTLE {
            return;
        }
        self.was_up = true;
        if self.due.set_away(false) {
            let (nodes, places) = (self.due.nodes(), self.servers.places());
            log::info!("store: limits are shared at {places}; gateways: {nodes}");
        }
        self.counts.is_up(true);
    }

    /// What is to be told now, each scope once, in the order of slots where there are some.
    fn reports(
        &self,
        urgent: &[Arc<Scope>],
        now: Now,
        holds_back: bool,
    ) -> Vec<(Arc<Scope>, Report)> {
        let active = self.active.iter();
        let active = active.filter(|scope| holds_back || is_due(scope, now));
        let mut noted = FxHashSet::default();
        let scopes = urgent.iter().chain(active);
        let scopes = scopes.filter(|scope| noted.insert(Arc::as_ptr(scope)));
        let asking = match holds_back {
            true => Asking::Nothing,
            false => Asking::Among(self.due.nodes()),
        };
        let reports = scopes.filter_map(|scope| {
            let report = scope.report(asking, now)?;
            Some((Arc::clone(scope), report))
        });
        let mut reports: Vec<_> = reports.collect();
        if self.servers.has_slots() {
            reports.sort_by_cached_key(|(scope, _)| wire::slot(scope.name()));
        }
        reports
    }

    /// Reports a few scopes, and takes what is granted.
    async fn exchange(&mut self, batch: &[(Arc<Scope>, Report)]) -> Result<(), ()> {
        let named = batch.iter().map(|(scope, report)| (scope.name(), report));
        let named: Vec<_> = named.collect();
        let node = Arc::clone(self.due.node());
        let now = Now::store_time();
        let process = format!("{node}/{}", self.nonce);
        let call = self.scripts.share(
            (
                &process,
                &node,
                self.begun.filter(|_| self.due.is_recorded()),
            ),
            self.due.nodes(),
            &named,
            now,
        );
        let answer = self.call(&call).await?;
        let reports: Vec<&Report> = batch.iter().map(|(_, report)| report).collect();
        let Ok(grants) = wire::read_grants(&answer, &reports) else {
            self.fail(Failure::Refused("an answer that cannot be read".to_owned()));
            return Err(());
        };
        for ((scope, report), grant) in batch.iter().zip(&grants) {
            self.take(scope, report, grant);
        }
        Ok(())
    }

    fn take(&self, scope: &Arc<Scope>, report: &Report, grant: &Grant) {
        let reached: SmallVec<[Reached; 2]> = scope.grant(report, grant);
        if !reached.is_empty() {
            self.heard.reached(&Settled::reached(scope, reached));
        }
    }

    /// Says that this process is there, and learns how many are and what time it is.
    async fn be_present(&mut self, ends: bool) -> Result<(), ()> {
        let is_fresh = self.present_at.is_some_and(|at| at.elapsed() < PRESENCE);
        let messages = self.due.messages();
        if is_fresh && !ends && messages.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let process = format!("{}/{}", self.due.name(), self.nonce);
        let call = self.scripts.nodes(&process, ends, &self.last, &messages);
        let answer = self.call(&call).await?;
        let Ok(present) = wire::read_nodes(&answer) else {
            self.fail(Failure::Refused("an answer that cannot be read".to_owned()));
            return Err(());
        };
        // It was that late about in the middle between question and answer.
        Now::follow(present.time + begun.elapsed() / 2);
        self.due.set_nodes(present.nodes);
        self.counts.nodes(present.nodes);
        self.last = present.last;
        self.begun.get_or_insert(present.time);
        if self.mates.are_told(present.mates, begun) {
            log::error!(
                "store: another gateway is called {}, too, and what both use of quotas counts as that of one: give \
                 each its own server.node",
                self.due.name()
            );
        }
        for (age, message) in &present.messages {
            self.heard.told(message, *age);
        }
        self.present_at = Some(begun);
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), ()> {
        if self.connected.is_some() {
            return Ok(());
        }
        match self.servers.connect().await {
            Ok(connected) => {
                self.connected = Some(connected);
                self.present_at = None;
                Ok(())
            }
            Err(e) => {
                self.fail(Failure::Refused(e.to_string()));
                Err(())
            }
        }
    }

    async fn call(&mut self, call: &Call) -> Result<Vec<String>, ()> {
        let Some(connected) = &mut self.connected else {
            return Err(());
        };
        let asked = timeout(ANSWER, async {
            match connected.ask(&call.by_hash()).await {
                Err(e)
                    if e.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoScript) =>
                {
                    connected.ask(&call.whole()).await
                }
                answered => answered,
            }
        });
        let failure = match asked.await {
            Ok(Ok(answer)) => {
                self.counts.answered();
                let words: Vec<Vec<u8>> = answer;
                // What others have written there may be no text.
                let words = words
                    .iter()
                    .map(|word| String::from_utf8_lossy(word).into_owned());
                return Ok(words.collect());
            }
            Ok(Err(e)) => Failure::Refused(e.to_string()),
            Err(_) => Failure::Silent,
        };
        self.fail(failure);
        Err(())
    }

    /// The connection may be the reason, so that another one is made.
    fn fail(&mut self, failure: Failure) {
        self.connected = None;
        self.back_since = None;
        self.counts.failed(matches!(failure, Failure::Silent));
        self.counts.is_up(false);
        let has_changed = self.due.set_away(true);
        if has_changed || self.logged.has_passed() {
            let (what, why) = match failure {
                Failure::Silent => {
                    let why = format!("no answer within {} ms", ANSWER.as_millis());
                    ("does not answer", why)
                }
                Failure::Refused(why) => ("cannot be used", why),
            };
            log::error!(
                "store: {} {what}, and limits are not shared until that is over: {why}",
                self.servers.places()
            );
        }
    }

    /// Forgets scopes of which the store knows all and that hold nothing.
    fn forget_unused(&mut self, now: Now) {
        self.active.retain(|scope| {
            if scope.is_in_use(now) {
                return true;
            }
            scope.unlist();
            // It may have come into use in this moment.
            if scope.is_in_use(now) {
                scope.list();
            }
            false
        });
    }
}

/// Whether a scope is to be reported now.
fn is_due(scope: &Scope, now: Now) -> bool {
    let (urgency, reported_nanos) = scope.urgency();
    let since = now.nanos().saturating_sub(reported_nanos);
    match urgency {
        Urgency::Never => false,
        Urgency::Later => since >= RENEW_NANOS,
        Urgency::Soon => since >= REPORT_NANOS,
        Urgency::Now => true,
    }
}
