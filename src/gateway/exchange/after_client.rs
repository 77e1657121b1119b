//! Reading on for a client that has left, so that the upstream can tell what was used.
//!
//! Owns the bounds on it: time, bytes, and how many answers at once; at a bound the upstream is left, and
//! what it has said is estimated. The client's own connection is long gone. Does not handle how usage is
//! counted (see `settle`). Never fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{Answer, EventReader};
use crate::config::Drain;
use crate::gateway::lease::Lease;
use crate::gateway::settle::Account;
use crate::runtime::Shared;

/// An answer that is read on after its client has left.
pub struct AfterClient {
    /// The answer.
    pub answer: Box<Answer>,
    /// What it holds of its upstream, which it keeps.
    pub lease: Lease,
    /// How long it may be silent.
    pub idle: Duration,
    /// What is to be settled.
    pub account: Account,
    /// How much is read on.
    pub bounds: Drain,
    /// How long it is read on for the requests that share it.
    pub deadline: Instant,
}

impl AfterClient {
    /// Reads on in a task of its own, if there is room for it, and settles.
    pub fn start(mut self, shared: &Arc<Shared>) {
        let room = shared.drains.enter(self.bounds.at_once);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let is_wanted = room.is_some() || self.answer.copies.is_shared();
            let is_whole = is_wanted && self.read_on(&shared).await;
            if let Some(reading) = self.answer.reading(is_whole) {
                self.account.learn(reading);
            }
            if !is_whole {
                self.answer.shutdown().await;
            } else if let Some(connection) = self.answer.into_session() {
                self.lease.release(&shared, connection).await;
            }
            drop(self.lease);
            self.account.settle().await;
            drop(room);
        });
    }

    /// Reads to the end of the answer, or to a bound. Tells whether it has come to its end.
    async fn read_on(&mut self, shared: &Shared) -> bool {
        let own_deadline = Instant::now() + self.bounds.time;
        let most = self.answer.read_bytes() + self.bounds.bytes;
        loop {
            self.answer.forget();
            // Those that share it read it at their own pace, and have their own bounds.
            let is_shared = self.answer.copies.is_shared();
            let has_failed = self.answer.events().and_then(EventReader::error).is_some();
            if has_failed || self.answer.read_bytes() > most && !is_shared {
                return false;
            }
            let deadline = if is_shared {
                self.deadline
            } else {
                own_deadline
            };
            let limit = self.answer.limit(self.idle, deadline);
            let read = tokio::select! {
                read = self.answer.next(limit) => read,
                () = shared.draining() => return false,
            };
            match read {
                Ok(true) => {}
                Ok(false) => return true,
                Err(_) => return false,
            }
        }
    }
}
