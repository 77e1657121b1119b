//! What a scope tells the store that several nodes share, and what it is told.
//!
//! Owns the figures of one exchange. Does not handle how they come about (see `shares`) or how they are sent (see
//! `store`). Cannot fail.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::demand::Demand;
use super::kind::LimitKind;

/// What one scope tells the store.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// Each limit that nodes share.
    pub(super) limits: SmallVec<[ReportedLimit; 4]>,
    /// Which of the store's memories the scope has spoken to last; empty for none.
    pub(super) epoch: Arc<str>,
    /// Its quota.
    pub(super) quota: Option<ReportedQuota>,
    /// Whether the rates move by a sliding window.
    pub(super) slides: bool,
}

/// What is told of a limit. Units are requests, tokens or nano-dollars.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportedLimit {
    pub(super) kind: LimitKind,
    pub(super) limit: u64,
    /// Used by this process; for a quota, by this node in the period.
    pub(super) used: u64,
    /// What of it was told before.
    pub(super) reported: u64,
    /// What of it time has not paid for, as far as this process knows.
    pub(super) backlog: f64,
    /// Set aside for requests in flight.
    pub(super) reserved: u64,
    /// For requests that wait for the answer.
    pub(super) needed: u64,
    /// The least that one of them asks for; 0 for none.
    pub(super) smallest: u64,
    /// For requests to come.
    pub(super) ahead: u64,
    /// The largest that a request has asked for lately.
    pub(super) largest: u64,
}

/// What is told of a quota.
#[derive(Clone, Debug)]
pub(super) struct ReportedQuota {
    /// Which calendar its periods follow.
    pub(super) calendar: String,
    /// When its period began, in seconds since the Unix epoch; 0 for one that does not end.
    pub(super) start: i64,
    /// When it ends; `None` if it does not.
    pub(super) end: Option<i64>,
    /// What this node has used in it.
    pub(super) own: Demand,
    /// What other nodes have used, as far as this one knows.
    pub(super) others: Vec<NodeUsage>,
    /// The shares at which it warns, in percent, and 100.
    pub(super) warn_at: SmallVec<[u8; 4]>,
    /// Whether it has refused a request for want of tokens, of money.
    pub(super) has_refused: [bool; 2],
}

/// What one node has used of a quota in its period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeUsage {
    /// The node's name, as the ledger knows it.
    pub node: Arc<str>,
    /// Tokens and money.
    pub used: Demand,
}

/// What a scope is told.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    /// In the order of the report.
    pub(super) limits: SmallVec<[GrantedLimit; 4]>,
    pub(super) epoch: Arc<str>,
    /// When the period of the quota began that the store is in.
    pub(super) start: i64,
    /// What each node has used of the quota.
    pub(super) nodes: Vec<NodeUsage>,
}

/// What is told of one limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct GrantedLimit {
    /// What this node holds from now on, beside what it has reported as used.
    pub(super) held: u64,
    /// What is used of the limit.
    pub(super) level: f64,
    /// What is neither used nor held by a node.
    pub(super) left: u64,
    /// What other nodes hold for requests to come, and give back when little is left.
    pub(super) idle: u64,
    /// Whether nothing is left, whatever a request asks for.
    pub(super) is_spent: bool,
    /// Until the largest request fits beside what is used.
    pub(super) wait: Duration,
    /// Until all that is used is paid for.
    pub(super) reset: Duration,
    /// Of a quota: the highest threshold that was reached, in percent, and up to which one others tell.
    pub(super) reached: (u8, u8),
}
