//! Reading on for a client that has left, so that the upstream can tell what was used.
//!
//! Owns the bounds on it: time, bytes, and how many answers at once; at a bound the upstream is left, and
//! what it has said is estimated. The client's own connection is long gone. Refuses to know how usage
//! is counted. Never fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::events::EventReader;
use crate::config::Drain;
use crate::gateway::settle::Account;
use crate::runtime::Shared;
use crate::upstreams::{Permit, ServerLease, Session};

/// What is left of an answer whose client has gone.
pub struct Rest {
    /// The connection that it comes over.
    pub session: Session,
    /// What is understood of it.
    pub events: Box<EventReader>,
}

/// An answer that is read on.
pub struct Draining {
    /// What is left of it.
    pub rest: Rest,
    /// Who gives it, on which server.
    pub seat: ServerLease,
    /// How long it may be silent.
    pub idle: Duration,
    /// The upstream's place, which it keeps.
    pub place: Option<Permit>,
    /// What is to be settled.
    pub account: Account,
    /// How much is read on.
    pub bounds: Drain,
}

impl Draining {
    /// Reads on in a task of its own, if there is room for it, and settles.
    pub fn start(mut self, shared: &Arc<Shared>) {
        let room = shared.drains.enter(self.bounds.at_once);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let is_whole = room.is_some() && self.read_on(&shared).await;
            let Rest {
                mut session,
                mut events,
            } = self.rest;
            match is_whole {
                true => shared.connector.release(session, &self.seat.peer).await,
                false => session.shutdown().await,
            }
            drop(self.place);
            self.account.learn(events.reading());
            self.account.settle();
            drop(room);
        });
    }

    /// Reads to the end of the answer, or to a bound. Tells whether it has come to its end.
    async fn read_on(&mut self, shared: &Shared) -> bool {
        let Rest { session, events } = &mut self.rest;
        let until = Instant::now() + self.bounds.time;
        let (mut passed, mut bytes) = (Vec::new(), 0);
        while bytes <= self.bounds.bytes && events.complaint().is_none() {
            if session.response_done() {
                return true;
            }
            let read = tokio::select! {
                read = session.read_body(until.min(Instant::now() + self.idle)) => read,
                () = shared.draining() => return false,
            };
            match read {
                Ok(Some(chunk)) => {
                    bytes += chunk.len();
                    events.push(chunk, &mut passed);
                    passed.clear();
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        false
    }
}
