//! Reading an answer for the requests that share it, while the client of this one is not ready for more.
//!
//! Owns that they wait for no client but their own, and the bound on what waits for this one. Does not handle how a
//! slow follower is held back (see `cache::flights`). What breaks meanwhile is told with the next read.

use std::pin::pin;
use std::time::{Duration, Instant};

use super::Answer;

impl Answer {
    /// Does something, and reads on meanwhile for the requests that share the answer: they do not wait for the client
    /// of this one. Bounded as what a follower may be behind.
    pub async fn read_during<T>(
        &mut self,
        (idle, deadline): (Duration, Instant),
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        while self.broken.is_none() && !self.is_over && self.copies.reads_ahead(self.ready.len()) {
            let limit = self.limit(idle, deadline);
            let read = tokio::select! {
                biased;
                done = &mut work => return done,
                read = self.next(limit) => read,
            };
            self.broken = read.err();
        }
        work.await
    }

    /// Whether something is ready for the client.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}
