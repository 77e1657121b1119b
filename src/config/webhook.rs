//! Webhooks: where usage and quotas are told of.
//!
//! Owns the keys of a `webhook`. Does not handle how events are sent (see `ledger::webhooks`). What cannot
//! be read is reported with its place.

use super::document::Located;
use crate::secret::Secret;

/// An address that events are posted to.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The address: `https`, or `http` to a loopback address.
    pub url: Located<String>,
    /// The key of its signatures; `None` for no signature.
    pub secret: Option<Secret>,
    /// Which events are sent.
    pub events: Events,
    /// Whether the address may lie in a private network.
    pub allow_private: bool,
}

/// Which events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// What each request has used, in batches.
    pub usage: bool,
    /// A share of a quota has been used.
    pub threshold: bool,
    /// A quota is used up.
    pub exhausted: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            usage: true,
            threshold: true,
            exhausted: true,
        }
    }
}
