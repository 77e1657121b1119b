//! A part of what a request uses that is charged by itself.
//!
//! Owns counting it, as a request of its own: a message of a WebSocket, or what an upstream has said with whose answer
//! another one went on. Does not handle what is counted (see the head of this folder). Cannot fail.

use super::{amounts, count_in_metrics, record};
use crate::gateway::facts::Facts;
use crate::gateway::quota_events;
use crate::limits::{Now, Reservation};
use crate::openai::usage::Usage;
use crate::runtime::Shared;

/// A part of what passes over a connection that is charged by itself, such as a message of a WebSocket.
pub struct Charged<'a> {
    /// What all requests share.
    pub shared: &'a Shared,
    /// What is known of it.
    pub facts: &'a Facts,
    /// What its request holds.
    pub reservation: Option<&'a Reservation>,
    /// Whether the ledger is told.
    pub is_recorded: bool,
}

/// What came of charging.
pub struct Counted {
    /// Whether a quota has nothing left.
    pub is_exhausted: bool,
    /// What the provider charges, in nano-dollars, where that is known.
    pub cost_nanos: Option<u64>,
}

impl Charged<'_> {
    /// Counts what it has used.
    pub fn count(&self, usage: Option<&Usage>) -> Counted {
        let amounts = amounts(self.facts, usage, true);
        count_in_metrics(self.shared, self.facts, usage, &amounts, None);
        let tokens = amounts.tokens.total();
        let settled = self
            .reservation
            .map(|held| held.charge(tokens, amounts.charge_nanos, Now::read()));
        if self.is_recorded {
            let periods = settled.as_ref().map(|settled| settled.periods);
            let periods = periods.unwrap_or_default();
            record(self.shared, &self.facts.record(&amounts, false, periods));
        }
        let is_exhausted = settled.is_some_and(|settled| {
            quota_events::tell_reached(self.shared, &settled);
            settled.exhausted
        });
        Counted {
            is_exhausted,
            cost_nanos: amounts.is_priced.then_some(amounts.cost_nanos),
        }
    }
}
