//! What is to be told the store that several nodes share, and when.
//!
//! Owns the queue between requests and the task that speaks with the store: scopes that are in use, those whose slices
//! come to their end, and requests that wait for a grant. Owns what is known of the store, too: whether it answers, and
//! how many nodes share it. Does not handle what is told (see `shares`) or how (see `store`). A scope stands in it
//! once, and a request waits for a bounded time, so that it is bounded by the scopes and the requests in flight.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// As many messages for other nodes wait at a time, and one is no longer.
const MOST_MESSAGES: usize = 256;
const MAX_MESSAGE_BYTES: usize = 2_048;
/// A request waits no longer for the store, which is away by then if it answers nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The queue, and what is known of the store.
#[derive(Debug)]
pub struct Due<S> {
    name: Arc<str>,
    /// Tells this process from others of the same name.
    nonce: String,
    /// As the ledger knows it.
    node: OnceLock<Arc<str>>,
    queued: Mutex<Queued<S>>,
    messages: Mutex<Vec<String>>,
    wake: Notify,
    answered: Notify,
    is_away: AtomicBool,
    nodes: AtomicU64,
    least_nodes: u64,
}

/// What has been queued since it was taken last.
#[derive(Debug)]
pub(super) struct Queued<S> {
    /// Scopes that have come into use.
    pub(super) listed: Vec<Arc<S>>,
    /// Scopes that are to be reported at once. One may stand in it several times.
    pub(super) urgent: Vec<Arc<S>>,
    /// Requests that wait until their scopes are reported.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
}

/// What came of asking the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drawn {
    /// It has answered: with a grant or without.
    Answered,
    /// It answers, and too late for this request.
    Late,
    /// It does not answer.
    Away,
}

impl<S> Default for Queued<S> {
    fn default() -> Self {
        Self {
            listed: Vec::new(),
            urgent: Vec::new(),
            waiting: Vec::new(),
        }
    }
}

impl<S> Due<S> {
    /// Nothing yet, for the node with this name, one of so many at least. The store counts as away until it has
    /// answered.
    pub fn new(node: &str, least_nodes: u64) -> Self {
        Self {
            name: node.into(),
            nonce: format!("{:08x}", fastrand::u32(..)),
            node: OnceLock::new(),
            queued: Mutex::default(),
            messages: Mutex::default(),
            wake: Notify::new(),
            answered: Notify::new(),
            is_away: AtomicBool::new(true),
            nodes: AtomicU64::new(least_nodes.max(1)),
            least_nodes: least_nodes.max(1),
        }
    }

    /// The name of this node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells this process from others of the same name.
    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The name under which the ledger knows what this process uses. Only the first call counts.
    pub fn record_as(&self, node: &str) {
        let _ = self.node.set(node.into());
    }

    /// Whether the ledger records what this process uses, under a name that no other process has meanwhile.
    pub(super) fn is_recorded(&self) -> bool {
        self.node.get().is_some()
    }

    /// The name under which what this process uses of quotas is known.
    pub fn node(&self) -> &Arc<str> {
        self.node.get().unwrap_or(&self.name)
    }

    /// Whether the store gives no answers.
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Acquire)
    }

    /// How many nodes share the store, as far as is known.
    pub fn nodes(&self) -> u64 {
        self.nodes.load(Ordering::Acquire)
    }

    /// Notes whether the store answers. Tells whether that has changed.
    pub(super) fn set_away(&self, is_away: bool) -> bool {
        let has_changed = self.is_away.swap(is_away, Ordering::AcqRel) != is_away;
        if !is_away {
            self.answered.notify_waiters();
        }
        has_changed
    }

    /// Waits until the store has answered.
    pub async fn answered(&self) {
        loop {
            let answered = self.answered.notified();
            if !self.is_away() {
                return;
            }
            answered.await;
        }
    }

    /// Notes how many nodes share the store.
    pub(super) fn set_nodes(&self, nodes: u64) {
        let nodes = nodes.max(self.least_nodes);
        self.nodes.store(nodes, Ordering::Release);
    }

    /// Tells the other nodes something. Lost where too much waits, or while the store is away.
    pub fn tell(&self, message: String) {
        let mut messages = self.messages.lock();
        if messages.len() < MOST_MESSAGES && message.len() <= MAX_MESSAGE_BYTES && !self.is_away() {
            messages.push(message);
            self.wake.notify_one();
        }
    }

    /// Takes what the other nodes are to be told.
    pub(super) fn messages(&self) -> Vec<String> {
        std::mem::take(&mut *self.messages.lock())
    }

    /// Has a scope reported from now on, until it is not in use any more.
    pub(super) fn list(&self, scope: Arc<S>) {
        self.queued.lock().listed.push(scope);
    }

    /// Has a scope reported at once.
    pub(super) fn hurry(&self, scope: Arc<S>) {
        self.queued.lock().urgent.push(scope);
        self.wake.notify_one();
    }

    /// Has scopes reported at once, and waits for the answer.
    pub(super) async fn draw(&self, scopes: &[Arc<S>]) -> Drawn {
        let (done, answered) = oneshot::channel();
        {
            let mut queued = self.queued.lock();
            queued.urgent.extend(scopes.iter().cloned());
            queued.waiting.push(done);
        }
        self.wake.notify_one();
        let has_answered = timeout(LONGEST_WAIT, answered).await;
        match (self.is_away(), has_answered) {
            (true, _) => Drawn::Away,
            (false, Ok(Ok(()))) => Drawn::Answered,
            (false, _) => Drawn::Late,
        }
    }

    /// Takes what is queued.
    pub(super) fn take(&self) -> Queued<S> {
        std::mem::take(&mut *self.queued.lock())
    }

    /// Waits until something is to be reported at once.
    pub(super) async fn hurried(&self) {
        self.wake.notified().await;
    }
}
