//! A second level of answers, in a Redis that several nodes share.
//!
//! This file owns looking an answer up within a time, and handing answers over to be written. `place` names values, and
//! `orders` is what is done in the background: writing and removing. The connection is a `cache::link`. Does not handle
//! which answers may be given again, nor the memory, which comes first (see the parent). Fails for no caller: where
//! Redis is away or slow, or a value cannot be used, there is no answer, and that is counted.

mod orders;
mod place;

use std::sync::Arc;

pub use place::Scope;

use super::link::{LONGEST_LOOK, Link};
use super::queue::{self, queue};
use super::sealed::Sealing;
use super::{Entry, Key, Which};
use crate::clock;
use crate::config::RedisUrl;
use crate::observe::cache::{StoreCounts, StoreResult};
use crate::secret::Secret;
use crate::workers::walk;
use orders::Order;

/// A Redis that answers are kept in. Its connection and its tasks end with it, once what is queued is written.
pub struct SecondLevel {
    url: Secret,
    encryption_key: Option<Secret>,
    inner: Arc<Inner>,
    orders: queue::Sender<Order>,
}

/// What requests and the background have in common.
struct Inner {
    link: Link,
    /// How values are written and read.
    sealing: Sealing,
}

/// Where an answer is kept, or would be: for the life of a request, whatever is configured meanwhile.
#[derive(Clone)]
pub struct Place {
    /// The second level.
    pub level: Arc<SecondLevel>,
    /// To whom the answer may be given.
    pub scope: Scope,
    /// Its key.
    pub key: Key,
}

impl SecondLevel {
    /// Begins to connect; `None` for a URL that is none. To be called within a runtime.
    pub fn start(
        url: &Secret,
        encryption_key: Option<&Secret>,
        counts: StoreCounts,
    ) -> Option<Arc<Self>> {
        let server = RedisUrl::read(url)?;
        let inner = Arc::new(Inner {
            link: Link::new(server, "answers", counts),
            sealing: Sealing::new(encryption_key),
        });
        let (orders, queued) = queue();
        tokio::spawn(orders::carry_out(Arc::clone(&inner), queued));
        Some(Arc::new(Self {
            url: url.clone(),
            encryption_key: encryption_key.cloned(),
            inner,
            orders,
        }))
    }

    /// Whether it is the one with this URL and this key.
    pub fn is_of(&self, url: &Secret, encryption_key: Option<&Secret>) -> bool {
        self.url == *url && self.encryption_key.as_ref() == encryption_key
    }

    /// Whether it is connected, and asked.
    pub fn is_up(&self) -> bool {
        self.inner.link.is_up()
    }

    /// Removes entries, in the background and after what was handed over before. Tells whether that is going to be
    /// done: `false` where too much is waiting.
    pub fn remove(&self, which: Which) -> bool {
        self.orders.send(Order::Remove(which), 0)
    }
}

impl Place {
    /// The answer that is kept there, if it comes in time and may still be used. May be dropped while it waits.
    pub async fn get(&self, max_answer_bytes: usize) -> Option<Entry> {
        let link = &self.level.inner.link;
        let found = self.look(max_answer_bytes).await;
        link.counts.count(match &found {
            Ok(Some(_)) => StoreResult::Hit,
            Ok(None) => StoreResult::Miss,
            Err(result) => *result,
        });
        found.ok().flatten()
    }

    async fn look(&self, max_answer_bytes: usize) -> Result<Option<Entry>, StoreResult> {
        let Inner { link, sealing, .. } = &*self.level.inner;
        let name = place::name(&self.scope, &self.key);
        let most_bytes = Sealing::most_bytes(max_answer_bytes);
        let Some(value) = link.read(&name, most_bytes, LONGEST_LOOK).await? else {
            return Ok(None);
        };
        let opened = walk(value.len(), || {
            sealing.open(&self.key, &value, max_answer_bytes)
        });
        let entry = opened.map_err(|fault| {
            log::debug!("cache: the value {name} of Redis cannot be used: {fault}");
            StoreResult::Damaged
        })?;
        Ok(Some(entry).filter(|entry| !entry.remaining(clock::now()).is_zero()))
    }

    /// Hands an answer over to be kept there. At the bound of what waits it is dropped.
    pub fn put(self, entry: Entry) {
        let Self { level, scope, key } = self;
        let weight = entry.weight();
        let order = Order::Put { scope, key, entry };
        if !level.orders.send(order, weight) {
            level.inner.link.counts.count(StoreResult::Dropped);
        }
    }
}

#[cfg(test)]
mod tests;
