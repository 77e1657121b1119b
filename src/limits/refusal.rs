//! Why a request was not admitted.
//!
//! Owns what is known of it. Does not handle its text, its status and its headers (see `gateway::failure`).

use std::sync::Arc;
use std::time::Duration;

use super::kind::LimitKind;
use super::scope::Scope;
use super::standing::Standing;

/// The limit that was in the way: where several were, the one with the longest wait. Nothing was counted.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Which limit it is.
    pub kind: LimitKind,
    /// Whose limit it is.
    pub scope: Arc<Scope>,
    /// The limit, in its unit: requests, tokens or nano-dollars.
    pub limit: u64,
    /// What this request asks for, in the same unit.
    pub asked: u64,
    /// When it may pass. `None` if it never can: it [is too large](Self::is_too_large), or a quota without an end has
    /// nothing left. Where only requests in flight are in its way, it is one second, because their end is
    /// not known.
    pub retry_after: Option<Duration>,
    /// A quota refuses for the first time in its period, and not because of requests in flight alone. Told once.
    pub first_of_quota: bool,
    /// How the rates of the tenant and its key stand.
    pub standing: Option<Standing>,
}

impl Refusal {
    /// Whether this request alone asks for more than the limit.
    pub fn is_too_large(&self) -> bool {
        self.asked > self.limit
    }
}
