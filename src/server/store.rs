//! The store in which several nodes count what they share, with the process.
//!
//! Owns that it is asked before the first request where it can be, and that what this process holds is given back at
//! its end. Does not handle what is counted (see `limits`). It never fails: where the store is away, the process
//! starts without it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::Config;
use crate::gateway::{key_news, quota_events};
use crate::limits::{DueScopes, Heard, Limits, Settled, Store};
use crate::runtime::Shared;
use crate::store::redis::Servers;

/// How long the start waits for the store.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// How long the end waits until all is told.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// Limits that count nothing yet: those of this node, or of all that share a store.
pub fn limits(config: &Config) -> Limits {
    match &config.store {
        Some(_) => Limits::shared(Arc::new(DueScopes::new(&config.server.node))),
        None => Limits::new(),
    }
}

/// What the store says, for the gateway.
struct Told(Arc<Shared>);

impl Heard for Told {
    fn reached(&self, settled: &Settled) {
        quota_events::tell_reached(&self.0, settled);
    }

    fn told(&self, message: &str, age: Duration) {
        key_news::take(&self.0, message, age);
    }
}

/// The task that speaks with the store.
pub struct Running {
    ends: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Begins to speak with the store of a configuration, and waits a little for its first answer.
pub async fn start(config: &Config, shared: &Arc<Shared>) -> Option<Running> {
    let (store, due) = (config.store.as_ref()?, shared.limits.due()?);
    let servers = Servers::of(&store.value);
    let counts = shared.metrics.store.clone();
    let store = Store::new(due, servers, counts, Box::new(Told(Arc::clone(shared))));
    let (ends, ending) = watch::channel(false);
    let task = tokio::spawn(store.run(ending));
    let _ = timeout(ANSWERED_WITHIN, due.answered()).await;
    Some(Running { ends, task })
}

impl Running {
    /// Tells the store the rest, and ends.
    pub async fn stop(self) {
        let _ = self.ends.send(true);
        if timeout(TOLD_WITHIN, self.task).await.is_err() {
            log::warn!(
                "store: not all that was used could be told; what this process held lapses by itself"
            );
        }
    }
}
