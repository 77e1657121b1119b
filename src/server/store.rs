//! The store in which several nodes count what they share, with the process.
//!
//! Owns that it is asked before the first request where it can be, and that what this process holds is given back at
//! its end. Does not handle what is counted (see `limits`). It never fails: where the store is away, the process
//! starts without it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::{self, Config};
use crate::gateway::{key_news, quota_events};
use crate::limits::{DueScopes, Heard, Limits, Settled, Store};
use crate::runtime::Shared;
use crate::store::redis::Servers;

/// How long the start waits for the store.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// How long the end waits until all is told.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// How long it waits once more, after requests were cut off.
const REST_WITHIN: Duration = Duration::from_secs(1);

/// Limits that count nothing yet: those of this node, or of all that share a store.
pub fn limits(config: &Config) -> Limits {
    match &config.store {
        Some(store) => {
            let due = DueScopes::new(&config.server.node, store.value.nodes);
            Limits::shared(Arc::new(due))
        }
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
    rest: Rest,
}

/// What is left to be told when the last requests have been cut off.
pub struct Rest {
    written: config::Store,
    shared: Arc<Shared>,
}

/// Begins to speak with the store of a configuration, and waits a little for its first answer.
pub async fn start(config: &Config, shared: &Arc<Shared>) -> Option<Running> {
    let (written, due) = (&config.store.as_ref()?.value, shared.limits.due()?);
    let store = store(written, shared)?;
    let (ends, ending) = watch::channel(false);
    let task = tokio::spawn(store.run(ending));
    let _ = timeout(ANSWERED_WITHIN, due.answered()).await;
    let rest = Rest {
        written: written.clone(),
        shared: Arc::clone(shared),
    };
    Some(Running { ends, task, rest })
}

fn store(written: &config::Store, shared: &Arc<Shared>) -> Option<Store> {
    let counts = shared.metrics.store.clone();
    let told = Box::new(Told(Arc::clone(shared)));
    let due = shared.limits.due()?;
    Some(Store::new(due, Servers::of(written), counts, told))
}

impl Running {
    /// Tells the store what it does not know, and gives back what this process holds.
    pub async fn stop(self) -> Rest {
        let _ = self.ends.send(true);
        if timeout(TOLD_WITHIN, self.task).await.is_err() {
            log::warn!(
                "store: not all that was used could be told; what this process held lapses by itself"
            );
        }
        self.rest
    }
}

impl Rest {
    /// Tells the rest, after the tasks of all requests have ended. Blocks, for a second at most.
    pub fn tell(&self) {
        let runtime = Builder::new_current_thread().enable_all().build();
        if let (Ok(runtime), Some(mut store)) = (runtime, store(&self.written, &self.shared)) {
            let _ = runtime.block_on(async { timeout(REST_WITHIN, store.end()).await });
        }
    }
}
