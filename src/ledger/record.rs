//! A usage record: what one request was and used.
//!
//! Owns its members. The journal keeps it as bytes, the database as a row, a webhook as an event. Does not
//! handle when one is written (see `gateway::settle`). Cannot fail.

use serde::{Deserialize, Serialize};

/// What one request was and used. Text is borrowed, from a request that is served or from a journal that is
/// read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// Unique: the request's id as a number. A message of a WebSocket has an id of its own.
    pub id: u128,
    /// When the request came, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The tenant's id.
    pub tenant: &'a str,
    /// The name of the tenant's key; empty where no key was needed.
    pub key: &'a str,
    /// The endpoint's name in metrics.
    pub endpoint: &'a str,
    /// The rule's or route's label; empty where there is none.
    pub rule: &'a str,
    /// The model that the client asked for; empty where it named none.
    pub model: &'a str,
    /// The model that the upstream was asked for.
    pub served_model: &'a str,
    /// The upstream that was asked last; empty where none was.
    pub upstream: &'a str,
    /// The status that the client got; 499 where it had left before.
    pub status: u16,
    /// `ok`, or the code of what went wrong.
    pub outcome: &'a str,
    /// How many attempts were made.
    pub attempts: u16,
    /// What is known of the request and its answer.
    pub marks: Marks,
    /// What was used.
    pub tokens: Tokens,
    /// Where the figures come from.
    pub source: Source,
    /// What the provider charges, in nano-dollars.
    pub cost_nanos: u64,
    /// What the tenant is charged, in nano-dollars.
    pub charge_nanos: u64,
    /// Until the first byte of the answer, in milliseconds.
    pub first_byte_ms: u32,
    /// Until the record was written, in milliseconds.
    pub total_ms: u32,
    /// When the period of the tenant's quota began, in seconds since the Unix epoch; `None` where the
    /// tenant has no quota.
    pub period: Option<i64>,
    /// The same of the quota of the tenant's key; `None` where the key has none.
    pub key_period: Option<i64>,
}

/// What is known of a request and its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The answer was streamed.
    pub streamed: bool,
    /// The request had images, audio or files in it.
    pub multimodal: bool,
    /// The request offered tools.
    pub tools: bool,
    /// The client left before the answer's end.
    pub client_gone: bool,
    /// A model without a price.
    pub unpriced: bool,
}

/// Tokens by kind, as in [`Usage`](crate::openai::usage::Usage).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Input that was neither read from a cache nor written to one.
    pub input: u64,
    /// Input that was read from a cache.
    pub cache_read: u64,
    /// Input that was written to a cache.
    pub cache_write: u64,
    /// All output.
    pub output: u64,
    /// What of the output was reasoning.
    pub reasoning: u64,
    /// Audio that went in and came out.
    pub audio: u64,
    /// Images that went in and came out.
    pub image: u64,
    /// Audio that is priced by its time, in milliseconds.
    pub audio_ms: u64,
    /// Searches that are priced each.
    pub searches: u64,
    /// Tokens of an answer that came from the gateway's own cache: input and output of the request that it
    /// was stored of.
    pub cached_answer: u64,
}

impl Tokens {
    /// All input and output: what limits and quotas count. Nothing was asked of a provider for
    /// `cached_answer`, so that is no part of it. Saturates.
    pub fn total(&self) -> u64 {
        let cached = self.cache_read.saturating_add(self.cache_write);
        self.input
            .saturating_add(cached)
            .saturating_add(self.output)
    }
}

/// Where the figures of a record come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Nothing was used, or it is not known.
    #[default]
    None,
    /// The upstream reported them.
    Upstream,
    /// They were estimated.
    Estimate,
    /// The answer came from the cache; nothing was asked of an upstream.
    Cache,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_quotas_do_not_count_an_answer_from_the_cache() {
        let asked = Tokens {
            input: 10,
            cache_read: 3,
            cache_write: 2,
            output: 5,
            ..Tokens::default()
        };
        let answered = Tokens {
            cached_answer: 1_000,
            ..asked
        };
        assert_eq!(asked.total(), 20);
        assert_eq!(answered.total(), 20);
    }
}
