//! Which answers of a rule are used again.
//!
//! Owns putting together what the operator wrote with what its targets make of a request. Does not handle when an
//! answer is used again (see `gateway::exchange::cache`). Cannot fail.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::cache::{Head, Key, KeyParts};
use crate::config::{self, CacheScope, CacheWhen, Config, Keys, ModelRule};
use crate::openai::echo::Echo;
use crate::openai::forwarding::Forwarded;
use crate::upstreams::Upstream;

/// Headers of a client that upstreams get, and that decide what they answer.
const DECIDING_HEADERS: [&str; 6] = [
    "anthropic-beta",
    "anthropic-version",
    // A server may keep a conversation under it, and go on with that.
    "conversation_id",
    "thread-id",
    // An upstream may answer with what it has answered before under this key, to whatever it was asked.
    "idempotency-key",
    "openai-beta",
];

/// Which answers of a rule are used again, and for whom.
#[derive(Debug)]
pub struct Reuse {
    /// For how long an answer may be used; `None` where none is kept.
    pub ttl: Option<Duration>,
    /// Who may get it.
    pub scope: CacheScope,
    /// Whether answers are kept where the model may answer otherwise each time.
    pub always: bool,
    /// Whether answers that call tools are kept.
    pub tools: bool,
    /// Whether answers to questions that mean the same are used again.
    pub by_meaning: bool,
    /// Whether equal requests at the same time share one answer.
    pub coalesces: bool,
    /// The same where the model may answer otherwise each time.
    pub coalesces_all: bool,
    /// Whether an upstream gets the client's own key: its account is none of ours.
    pub passes_keys: bool,
    /// What its targets are asked for. Answers of other targets are other answers.
    pub targets: Key,
    /// The headers that the operator has named for its upstreams.
    forwarded: Vec<Forwarded>,
}

impl Reuse {
    /// What a rule says; `None` where none of its answers are used again.
    pub(super) fn new(written: &ModelRule, config: &Config) -> Option<Self> {
        let caching = written.cache.as_ref().map(|cache| &cache.value);
        let coalesces = written.coalesce.unwrap_or(caching.is_some());
        if caching.is_none() && !coalesces {
            return None;
        }
        let default_ttl = || config.cache.clone().unwrap_or_default().value.ttl;
        let always = caching.is_some_and(|caching| caching.when == CacheWhen::Always);
        let named: Vec<&config::Upstream> = named(written, config).collect();
        Some(Self {
            ttl: caching.map(|caching| caching.ttl.unwrap_or_else(default_ttl)),
            scope: caching.map_or(CacheScope::Tenant, |caching| caching.scope),
            always,
            tools: !always || caching.is_some_and(|caching| caching.tools),
            by_meaning: caching.is_some_and(|caching| caching.by_meaning),
            coalesces,
            coalesces_all: written.coalesce == Some(true) || coalesces && always,
            passes_keys: named.iter().any(|u| !matches!(u.keys, Keys::Own(_))),
            targets: targets(written, config),
            forwarded: named.iter().map(|u| u.forward_headers.clone()).collect(),
        })
    }

    /// Whether what a client says in a header may decide what is answered.
    pub fn varies_by(&self, name: &HeaderName) -> bool {
        DECIDING_HEADERS.contains(&name.as_str())
            || self
                .forwarded
                .iter()
                .any(|forwarded| forwarded.passes(name))
    }
}

/// An answer that has begun, and that equal requests get as well.
#[derive(Clone)]
pub struct SharedHead {
    /// What is known of it.
    pub head: Arc<Head>,
    /// The key that the upstream was asked with, to be masked.
    pub echo: Echo,
    /// The upstream that gives it.
    pub upstream: Arc<Upstream>,
}

/// The upstream of each target.
fn named<'c>(
    written: &'c ModelRule,
    config: &'c Config,
) -> impl Iterator<Item = &'c config::Upstream> {
    written.targets.iter().filter_map(|target| {
        let name = &target.upstream.value;
        config.upstreams.iter().find(|u| u.name.value == *name)
    })
}

/// A hash over what the targets of a rule are asked for and how their answers are changed.
pub(super) fn targets(written: &ModelRule, config: &Config) -> Key {
    let mut parts = KeyParts::new("targets");
    for target in &written.targets {
        let model = target.model.as_deref().unwrap_or_default();
        for text in [target.upstream.value.as_str(), model] {
            parts.add(text.as_bytes());
        }
        parts.add(format!("{:?}", target.transforms).as_bytes());
    }
    for upstream in named(written, config) {
        parts.add(format!("{:?}", upstream.dialect).as_bytes());
        for server in &upstream.servers {
            parts.add(format!("{:?}", server.url).as_bytes());
        }
    }
    parts.finish()
}
