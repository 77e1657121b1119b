//! Admission by limits that several nodes share.
//!
//! Owns when a request waits for the store, and what follows where it gives no answer: a request is admitted by what
//! this node holds already; else the store is asked; where it is away, the node goes on with its part of each limit, or
//! refuses. Does not handle what the store divides (see `store`). Fails with [`NotReserved`]; nothing was counted then.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::admission::{NotAdmitted, admit};
use super::counts::Mode;
use super::demand::{Demand, Now};
use super::due::Drawn;
use super::refusal::Refusal;
use super::reservation::Reservation;
use super::scope::{DueScopes, Scope};
use crate::config::OnDown;
use crate::observe::store::Counts;

/// How often the store is asked for one request: another request may have taken what it was granted, and other nodes
/// may hold what they do not use, and give it back.
const TRIES: usize = 8;
/// Between two of them, but for the first two.
const PAUSE: Duration = Duration::from_millis(50);

/// Admission by limits that several nodes share.
pub struct Sharing {
    due: Arc<DueScopes>,
    on_down: OnDown,
    counts: Counts,
}

/// A request that waits for a grant.
struct Waiting<'d> {
    scopes: &'d [Arc<Scope>],
    demand: Demand,
}

/// Why a request was not admitted.
#[derive(Debug)]
pub enum NotReserved {
    /// A limit is in the way.
    Refused(Box<Refusal>),
    /// The store is away, and nothing is admitted without it.
    Away,
}

impl Sharing {
    /// By what stands between the scopes and the store.
    pub fn new(due: Arc<DueScopes>, on_down: OnDown, counts: Counts) -> Self {
        Self {
            due,
            on_down,
            counts,
        }
    }

    /// Reserves one request, a permit and the demand in each of the scopes, or nothing in any of them.
    ///
    /// # Errors
    ///
    /// What is in the way.
    pub async fn reserve(
        &self,
        scopes: &[Arc<Scope>],
        demand: Demand,
        now: Now,
    ) -> Result<Reservation, NotReserved> {
        match admit(scopes, demand, now, Mode::Granted) {
            Ok(reservation) => Ok(reservation),
            // Few requests come here, and their waiting takes room.
            Err(not) => Box::pin(self.draw(scopes, demand, not)).await,
        }
    }

    async fn draw(
        &self,
        scopes: &[Arc<Scope>],
        demand: Demand,
        mut not: NotAdmitted,
    ) -> Result<Reservation, NotReserved> {
        for turn in 0..TRIES {
            if not.short.is_empty() {
                break;
            }
            if turn > 1 {
                sleep(PAUSE).await;
            }
            let drawn = match self.due.is_away() {
                true => Drawn::Away,
                false => self.ask(&not.short, demand).await,
            };
            match drawn {
                Drawn::Answered => {}
                Drawn::Late => break,
                Drawn::Away => return self.go_alone(scopes, demand),
            }
            match admit(scopes, demand, Now::read(), Mode::Granted) {
                Ok(reservation) => return Ok(reservation),
                Err(next) => not = next,
            }
        }
        Err(NotReserved::Refused(not.refusal))
    }

    /// Tells the other nodes something, which each of them is told within a second. May be lost.
    pub fn tell(&self, message: String) {
        self.due.tell(message);
    }

    /// What is wrong with the store, for `/health`.
    pub fn trouble(&self) -> Option<&'static str> {
        let is_away = self.due.is_away();
        is_away.then_some("the store in which several gateways count limits does not answer")
    }

    /// Asks the store for what a request is short of, and waits for its answer, which may be a refusal.
    async fn ask(&self, short: &[Arc<Scope>], demand: Demand) -> Drawn {
        let _waiting = Waiting::new(short, demand);
        self.due.draw(short).await
    }

    fn go_alone(&self, scopes: &[Arc<Scope>], demand: Demand) -> Result<Reservation, NotReserved> {
        self.counts.alone();
        if self.on_down == OnDown::Refuse {
            return Err(NotReserved::Away);
        }
        let alone = Mode::Alone(self.due.nodes());
        let admitted = admit(scopes, demand, Now::read(), alone);
        admitted.map_err(|not| NotReserved::Refused(not.refusal))
    }
}

impl<'d> Waiting<'d> {
    fn new(scopes: &'d [Arc<Scope>], demand: Demand) -> Self {
        let waiting = Self { scopes, demand };
        waiting.note(true);
        waiting
    }

    fn note(&self, waits: bool) {
        for scope in self.scopes {
            if let Some(shares) = &mut scope.lock().shares {
                shares.need(self.demand, waits);
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.note(false);
    }
}
