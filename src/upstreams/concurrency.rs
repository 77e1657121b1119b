//! How many requests an upstream takes at once.
//!
//! Owns the permits, and a short queue for them. Does not handle what holds a permit (see
//! `gateway::lease`). Fails with [`Full`] where the queue is full, or where a request has waited for the
//! longest time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config;

/// The permits of one upstream.
#[derive(Debug)]
pub struct Concurrency {
    bounds: config::Concurrency,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A permit; it is free again when it is dropped.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

/// No permit is free, and none became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Concurrency {
    /// All permits are free.
    pub fn new(bounds: config::Concurrency) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bounds.concurrent)),
            waiting: AtomicUsize::new(0),
            bounds,
        }
    }

    /// Takes a permit that is free now.
    ///
    /// # Errors
    /// There is none.
    pub fn take_now(&self) -> Result<Permit, Full> {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        permit.map(|_permit| Permit { _permit }).map_err(|_| Full)
    }

    /// Takes a permit, after others in the queue.
    ///
    /// # Errors
    /// The queue is full, or no permit became free in time.
    pub async fn take(&self) -> Result<Permit, Full> {
        if let Ok(permit) = self.take_now() {
            return Ok(permit);
        }
        let _in_queue = self.queue()?;
        let free = Arc::clone(&self.free).acquire_owned();
        match tokio::time::timeout(self.bounds.patience, free).await {
            Ok(Ok(_permit)) => Ok(Permit { _permit }),
            _ => Err(Full),
        }
    }

    /// Whether one is free now.
    pub fn has_free(&self) -> bool {
        self.free.available_permits() > 0
    }

    /// How many are taken, and how many wait.
    pub fn taken(&self) -> (usize, usize) {
        let free = self.free.available_permits();
        let taken = self.bounds.concurrent.saturating_sub(free);
        (taken, self.waiting.load(Ordering::Relaxed))
    }

    /// The bounds.
    pub fn bounds(&self) -> &config::Concurrency {
        &self.bounds
    }

    fn queue(&self) -> Result<InQueue<'_>, Full> {
        let more = |waiting| (waiting < self.bounds.queue).then_some(waiting + 1);
        let entered = self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        entered.map(|_| InQueue(self)).map_err(|_| Full)
    }
}

struct InQueue<'a>(&'a Concurrency);

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn permits(concurrent: usize, queue: usize) -> Arc<Concurrency> {
        Arc::new(Concurrency::new(config::Concurrency {
            concurrent,
            queue,
            patience: Duration::from_secs(5),
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_waits_for_a_permit_and_the_next_is_refused() {
        let permits = permits(1, 1);
        let first = permits.take().await.unwrap();
        let second = tokio::spawn({
            let permits = Arc::clone(&permits);
            async move { permits.take().await }
        });
        while permits.taken() != (1, 1) {
            tokio::task::yield_now().await;
        }
        assert_eq!(permits.take().await.unwrap_err(), Full);
        assert_eq!(permits.taken(), (1, 1), "a refused request does not count");
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert_eq!(permits.taken(), (1, 0));
        drop(second);
        assert_eq!(permits.taken(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_waits_for_ever() {
        let permits = permits(1, 1);
        let _first = permits.take().await.unwrap();
        assert_eq!(permits.take().await.unwrap_err(), Full);
        assert_eq!(permits.taken(), (1, 0));
    }
}
