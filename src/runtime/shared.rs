//! State that outlives a snapshot.
//!
//! Owns the current snapshot's place, what has been learnt of the upstreams, the connections to them, the metrics, the
//! limits, the ledger, the chat log, the second level of the cache, questions that are compared, the counts of clients'
//! connections and of requests in flight, and the flood guard. Does not handle the configuration (see `runtime`): all
//! of it comes through the snapshot. Fails only at the start.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use pingora_limits::rate::Rate;
use tokio::sync::Notify;

use super::{
    Accounts, Connections, Gauge, Keys, Memory, Orders, Reloads, Runtime, Settings, SharedHead,
    known, questions,
};
use crate::auth::CallerState;
use crate::cache::meaning::Questions;
use crate::cache::{Bounds, Cache, Flights, Removals, SecondLevel, Which};
use crate::chatlog::ChatLog;
use crate::clock;
use crate::config;
use crate::ledger::Ledger;
use crate::limits::{Limits, Sharing};
use crate::observe::log_interval::LogInterval;
use crate::observe::metrics::Metrics;
use crate::openai::tokenizer::OnDemand;
use crate::upstreams::{Connector, Registry};

/// Answers that are waited for at a time, each by so many requests. One more asks for itself.
const MOST_FLIGHTS: usize = 4096;
const MOST_FOLLOWERS: usize = 4096;

/// What all requests share.
pub struct Shared {
    current: ArcSwap<Runtime>,
    /// What has been learnt of servers, keys and targets.
    pub registry: Registry,
    /// What has been counted of limits and quotas.
    pub limits: Limits,
    /// Admission by limits that several nodes share; `None` on one node.
    pub sharing: Option<Sharing>,
    /// What has been learnt of callers.
    pub callers: CallerState,
    /// Connections to upstreams, pooled by address.
    pub connector: Arc<Connector>,
    /// Connections of clients.
    pub connections: Arc<Connections>,
    /// Long headers of requests.
    pub headers: Arc<Memory>,
    /// Refused requests whose bodies are read and thrown away.
    pub lingering: Arc<Gauge>,
    /// Answers that are read on for clients that have left.
    pub drains: Arc<Gauge>,
    /// Estimates that are being made.
    pub estimates: Arc<Gauge>,
    /// Vectors that are asked for.
    pub embeddings: Arc<Gauge>,
    /// What counts tokens of estimates.
    pub tokenizer: Arc<OnDemand>,
    /// When it was said last that a key has come in cleartext to a listener that redirects.
    pub exposed_keys: Mutex<LogInterval>,
    /// Answers that may be given again.
    pub cache: Cache,
    /// Requests that wait for the answer to an equal one.
    pub flights: Flights<SharedHead>,
    /// Answers that were removed while they were asked for.
    pub removals: Removals,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// How the configuration that is in force came to be.
    pub reloads: Reloads,
    /// What the operator asks of the process.
    pub orders: Orders,
    second_level: ArcSwapOption<SecondLevel>,
    questions: ArcSwapOption<Questions>,
    chat_log: ArcSwapOption<ChatLog>,
    accounts: OnceLock<Accounts>,
    pub(super) keys: OnceLock<Keys>,
    arrivals: Rate,
    in_flight: AtomicUsize,
    /// Requests in flight whose caller is known.
    serving: AtomicUsize,
    idle: Notify,
    draining: AtomicBool,
    drain: Notify,
}

impl Shared {
    /// Starts with a first snapshot.
    ///
    /// # Errors
    /// The metrics could not be registered: a name is taken twice.
    pub fn new(
        runtime: Runtime,
        registry: Registry,
        (limits, callers): (Limits, CallerState),
        orders: Orders,
    ) -> Result<Arc<Self>, prometheus::Error> {
        let metrics = Metrics::new()?;
        metrics.start_series(&known::known(&runtime));
        let caching = &runtime.settings.cache;
        let evicted = metrics.cache().evictions();
        let cache = Cache::new(caching.memory_bytes as u64, move |entry| {
            evicted.count(&entry.head.rule);
        });
        let flights = Flights::new(Bounds {
            flights: MOST_FLIGHTS,
            followers: MOST_FOLLOWERS,
            bytes: caching.max_answer_bytes,
        });
        metrics.store.is_called(&runtime.settings.node);
        let on_down = runtime.settings.on_store_down;
        let sharing = limits
            .due()
            .map(|due| Sharing::new(Arc::clone(due), on_down, metrics.store.clone()));
        let second_level = second_level(caching, &metrics);
        let questions = runtime.settings.questions.as_ref();
        let questions = questions
            .map(|written| questions::load(written, caching, metrics.cache().vectors().counts()));
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(runtime),
            registry,
            limits,
            sharing,
            callers,
            connector: Arc::default(),
            connections: Arc::default(),
            headers: Arc::default(),
            lingering: Arc::default(),
            drains: Arc::default(),
            estimates: Arc::default(),
            embeddings: Arc::default(),
            reloads: Reloads::new(metrics.reloads().clone()),
            exposed_keys: Mutex::default(),
            tokenizer: Arc::default(),
            cache,
            flights,
            removals: Removals::default(),
            metrics,
            orders,
            second_level: ArcSwapOption::new(second_level),
            questions: ArcSwapOption::new(questions),
            chat_log: ArcSwapOption::empty(),
            accounts: OnceLock::new(),
            keys: OnceLock::new(),
            arrivals: Rate::new(Duration::from_secs(1)),
            in_flight: AtomicUsize::new(0),
            serving: AtomicUsize::new(0),
            idle: Notify::new(),
            draining: AtomicBool::new(false),
            drain: Notify::new(),
        }))
    }

    /// The current snapshot, to be kept for the life of a request.
    pub fn pin(&self) -> Arc<Runtime> {
        self.current.load_full()
    }

    /// Puts another snapshot in force, which differs in its callers alone.
    pub(super) fn replace_callers(&self, runtime: Runtime) {
        self.current.store(Arc::new(runtime));
    }

    /// Puts another snapshot in force, for requests that come from now on (see `managed`).
    pub(super) fn replace(&self, runtime: Runtime) {
        self.metrics.start_series(&known::known(&runtime));
        self.cache
            .set_most_bytes(runtime.settings.cache.memory_bytes as u64);
        self.replace_second_level(&runtime.settings.cache);
        self.replace_questions(&runtime.settings);
        self.current.store(Arc::new(runtime));
        self.limits.forget_unused();
        self.callers.forget_unused(clock::now_unix_seconds());
    }

    /// Removes answers that are kept, here, with questions and in the second level. Tells how many were here.
    pub fn forget_answers(&self, which: &Which) -> usize {
        self.removals.note(which, Instant::now());
        if let Some(level) = self.second_level()
            && !level.remove(which.clone())
        {
            log::warn!(
                "the second level of the cache has too much to do: nothing is removed there"
            );
        }
        let questions = self.questions();
        let questions = questions.map_or(0, |questions| questions.remove(which));
        self.cache.remove(which) + questions
    }

    /// Removes answers whose time has passed. Tells how many. It looks at all of them.
    pub fn forget_expired_answers(&self) -> usize {
        let questions = self.questions();
        let questions = questions.map_or(0, |questions| questions.remove_expired(clock::now()));
        self.cache.remove_expired(Instant::now()) + questions
    }

    /// Questions that are compared by meaning, where there are such.
    pub fn questions(&self) -> Option<Arc<Questions>> {
        self.questions.load_full()
    }

    /// Writes the questions to their file, where one is configured.
    pub fn save_questions(&self) {
        let settings = &self.pin().settings;
        if let (Some(questions), Some(written)) = (self.questions(), &settings.questions) {
            questions::save(&questions, written);
        }
    }

    /// Questions that are kept where they were, and are encrypted with the same key, stay.
    fn replace_questions(&self, settings: &Settings) {
        let key = settings.cache.encryption_key.as_ref();
        let (current, written) = (self.questions(), settings.questions.as_ref());
        let stay = current.zip(written);
        if stay.is_some_and(|(current, written)| current.change(written, key)) {
            return;
        }
        let counts = || self.metrics.cache().vectors().counts();
        let next = written.map(|written| Arc::new(Questions::new(written, key, counts())));
        self.questions.store(next);
    }

    /// A second level that is not another one keeps its connection, and what is known of it.
    fn replace_second_level(&self, caching: &config::Cache) {
        let current = self.second_level();
        let is_same = match (&current, &caching.redis) {
            (Some(level), Some(url)) => level.is_of(url, caching.encryption_key.as_ref()),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            let next = second_level(caching, &self.metrics);
            self.second_level.store(next);
        }
    }

    /// The Redis that several nodes share answers in, where there is one.
    pub fn second_level(&self) -> Option<Arc<SecondLevel>> {
        self.second_level.load_full()
    }

    /// Writes chats to another log from now on, or to none. The one before ends when its last line is written.
    pub fn log_chats(&self, log: Option<ChatLog>) {
        self.chat_log.store(log.map(Arc::new));
    }

    /// The chat log, where there is one.
    pub fn chat_log(&self) -> Option<Arc<ChatLog>> {
        self.chat_log.load_full()
    }

    /// The ledger, and what follows where it fails; `None` where nothing is recorded.
    pub fn accounts(&self) -> Option<&Accounts> {
        self.accounts.get()
    }

    /// The ledger itself, for reports.
    pub fn ledger(&self) -> Option<Arc<Ledger>> {
        let accounts = self.accounts()?;
        Some(Arc::clone(accounts.ledger()))
    }

    /// Records from now on. Only the first call counts.
    pub fn record_in(&self, accounts: Accounts) {
        let _ = self.accounts.set(accounts);
    }

    /// Counts a request until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight {
            shared: Arc::clone(self),
            is_served: false,
        }
    }

    /// How many requests are being served.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Whether `address` has sent more than `limit` requests within this second. The count is an
    /// estimate and may be too high: good enough for a flood guard, not for a tenant's limit.
    pub fn floods(&self, address: IpAddr, limit: u32) -> bool {
        let seen = self.arrivals.observe(&address, 1);
        u32::try_from(seen).is_ok_and(|seen| seen > limit)
    }

    /// Marks that the process is ending: from now on answers close their connections.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
        self.drain.notify_waiters();
    }

    /// Waits until the process is ending.
    pub async fn draining(&self) {
        loop {
            let notified = self.drain.notified();
            if self.is_draining() {
                return;
            }
            notified.await;
        }
    }

    /// Whether the process is ending.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits until no request is in flight.
    pub async fn drained(&self) {
        loop {
            let notified = self.idle.notified();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }
}

fn second_level(caching: &config::Cache, metrics: &Metrics) -> Option<Arc<SecondLevel>> {
    let url = caching.redis.as_ref()?;
    SecondLevel::start(
        url,
        caching.encryption_key.as_ref(),
        metrics.cache().redis().counts(),
    )
}

/// A request in flight.
pub struct InFlight {
    shared: Arc<Shared>,
    is_served: bool,
}

impl InFlight {
    /// Counts the request among those that are served, unless there are `limit`. Returns whether it
    /// is counted.
    pub fn serve(&mut self, limit: usize) -> bool {
        if !self.is_served {
            let before = self.shared.serving.fetch_add(1, Ordering::AcqRel);
            self.is_served = true;
            if before >= limit {
                self.give_way();
            }
        }
        self.is_served
    }

    /// Counts the request no longer.
    pub fn give_way(&mut self) {
        if std::mem::take(&mut self.is_served) {
            self.shared.serving.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// What all requests share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.give_way();
        if self.shared.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.idle.notify_waiters();
        }
    }
}
