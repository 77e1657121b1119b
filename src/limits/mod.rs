//! Limits: how much may be asked for in a time, at a time, and in the period of a quota.
//!
//! Owns what is counted for the gateway, for model rules, tenants and keys, and the admission of a request by all of
//! them at once. Without I/O but for `store`; the caller passes the time. Does not handle the settings (see
//! `config::RateLimits`, `config::Quota`), what a request may use (see `openai::estimate`) or costs (see `prices`), nor
//! where balances are kept (see `ledger`). Fails with a [`Refusal`], and changes nothing then.
//!
//! ```text
//! registry     the scopes by name, from one snapshot to the next; subjects: those that a credential brings
//! admission    several scopes at once: check all, then count in all
//! reservation  what a request holds until it is settled and dropped
//! refusal      why a request was not admitted
//! pacer        how long a piece of a stream waits for its scopes
//! scope        one of them: its name, its lock, its permits, the pace of its streams (pace)
//! counts       what it counts behind its lock: rates (rate: gcra, sliding) and a balance (balance: amount, calendar)
//! sharing      admission by limits that several nodes share: by what this node holds, else by what the store grants
//! granted      how a scope goes with the store: shares (share) are its parts, report is what is told
//! due, store   what is to be told to the store and when, and the task that tells it
//! standing, demand, kind    what all of these speak of
//! ```

mod admission;
mod amount;
mod balance;
mod calendar;
mod counts;
mod demand;
mod due;
mod gcra;
mod granted;
mod kind;
mod pace;
mod pacer;
mod rate;
mod refusal;
mod registry;
mod report;
mod reservation;
mod scope;
mod share;
mod shares;
mod sharing;
mod sliding;
mod standing;
mod store;
mod subjects;
#[cfg(test)]
mod tests;

pub use admission::Local;
pub use balance::QuotaUsage;
pub use demand::{Demand, Now};
pub use kind::LimitKind;
pub use pace::LONGEST_WAIT;
pub use pacer::Pacer;
pub use refusal::Refusal;
pub use registry::Limits;
pub use report::NodeUsage;
pub use reservation::{Crossed, Periods, Reservation, Settled};
pub use scope::{DueScopes, Scope, ScopeName};
pub use sharing::{NotReserved, Sharing};
pub use standing::{RateStanding, Standing};
pub use store::{Heard, Store};
