//! How fast the streams of a scope may pass: `stream_tokens_per_minute`.
//!
//! Owns how long a piece of one stream has to wait for all of its scopes, whose rates it shares with their other
//! streams (see `pace`). Does not handle the waiting (see `gateway`). Cannot fail.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::demand::Now;
use super::scope::Scope;

/// The rates of the scopes whose streams are slowed down, for one stream.
#[derive(Clone, Debug)]
pub struct Pacer {
    scopes: SmallVec<[Arc<Scope>; 2]>,
}

impl Pacer {
    /// `None` if none of the scopes slows streams down.
    pub(super) fn of<'a>(scopes: impl Iterator<Item = &'a Arc<Scope>>) -> Option<Self> {
        let scopes: SmallVec<_> = scopes.filter(|scope| scope.has_pace()).cloned().collect();
        (!scopes.is_empty()).then_some(Self { scopes })
    }

    /// Counts tokens that are about to pass, and says how long they have to wait: at most
    /// [`LONGEST_WAIT`](super::LONGEST_WAIT).
    pub fn take(&self, tokens: u64, now: Now) -> Duration {
        let waits = self.scopes.iter().map(|scope| scope.pace(tokens, now));
        waits.max().unwrap_or_default()
    }
}
