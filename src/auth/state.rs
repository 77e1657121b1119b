//! What is learnt of callers and outlives a snapshot.
//!
//! Owns nothing itself: each method has its own. Cannot fail.

use std::sync::Arc;

use super::jwt::Remotes;
use super::signatures::Nonces;

/// What is learnt of callers.
#[derive(Debug, Default)]
pub struct CallerState {
    /// The keys that issuers of tokens publish.
    pub remotes: Arc<Remotes>,
    /// The nonces of signatures.
    pub nonces: Nonces,
}

impl CallerState {
    /// Forgets what the snapshot in force does not need.
    pub fn forget_unused(&self, now_s: i64) {
        self.remotes.forget_unused();
        self.nonces.forget_unused(now_s);
    }
}
