//! How questions are compared by what they mean.
//!
//! Owns putting together what the operator wrote with the rule that serves the embedding model. Does not handle which
//! requests are compared (see `gateway::exchange::cache`). Cannot fail: validation has seen to it that there is a rule.

use std::sync::Arc;
use std::time::Duration;

use super::{Rule, reuse};
use crate::cache::{Key, KeyParts};
use crate::config::{Config, VectorCache};
use crate::routing::Index;

/// How questions are compared.
#[derive(Clone, Debug)]
pub struct ByMeaning {
    /// The model that makes vectors.
    pub model: String,
    /// The rule that serves it.
    pub rule: Arc<Rule>,
    /// How many numbers it is asked for; `None` for as many as it usually gives.
    pub dimensions: Option<u32>,
    /// A hash of all that its vectors depend on: those of one hash can be compared.
    pub space: Key,
    /// The least similarity of two questions that may have one answer.
    pub threshold: f32,
    /// For how long an answer may be used; `None` for what its rule says.
    pub ttl: Option<Duration>,
    /// The most messages of the user.
    pub max_turns: usize,
    /// The highest temperature.
    pub max_temperature: f64,
    /// How long a request waits for its vector and the comparison.
    pub timeout: Duration,
}

impl ByMeaning {
    /// What is written; `None` where questions are not compared.
    pub(super) fn new(config: &Config, index: &Index, rules: &[Arc<Rule>]) -> Option<Self> {
        let written = VectorCache::enabled(config.vector_cache.as_ref())?;
        let model = &written.embedding_model.value;
        let position = index.find(model)?;
        let mut parts = KeyParts::new("vectors");
        parts.add(model.as_bytes());
        parts.add(&written.dimensions.unwrap_or_default().to_le_bytes());
        parts.add(&reuse::targets(config.models.get(position)?, config).0);
        Some(Self {
            model: model.clone(),
            rule: Arc::clone(rules.get(position)?),
            dimensions: written.dimensions,
            space: parts.finish(),
            // It is missing only where it is to be found out, and nothing is served.
            threshold: written.threshold.unwrap_or(1.0),
            ttl: written.ttl,
            max_turns: written.max_turns,
            max_temperature: written.max_temperature,
            timeout: written.timeout,
        })
    }
}
