//! An answer that is kept.
//!
//! Owns what is kept of it: its bytes as they came, and what is needed to give and to account for it again. Does not
//! handle where it is kept (see the cache), nor how it is given (see `gateway::exchange::cache`). Cannot fail.

use std::mem::size_of;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::Key;
use crate::openai::rewrite::Rewrites;
use crate::openai::usage::Usage;

/// What one entry takes besides its text and body: the map's own part, the counts of its pointers, and what an
/// allocator rounds up.
const OVERHEAD_BYTES: usize = 256;

/// What is known of an answer when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The tenant whose request it answers; empty where there are none.
    pub tenant: Box<str>,
    /// The label of the rule that served it.
    pub rule: Box<str>,
    /// The id of the request that it answers.
    pub id: Box<str>,
    /// The value of its `Content-Type`.
    pub content_type: Box<str>,
    /// Whether its body is a stream of events.
    pub is_stream: bool,
    /// What is changed in it for the client.
    pub rewrites: Rewrites,
    /// The upstream that gives it.
    pub upstream: Box<str>,
    /// The model that this upstream was asked for.
    pub model: Box<str>,
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What was known of it at its beginning.
    pub head: Arc<Head>,
    /// The body, as the upstream sent it.
    pub body: Bytes,
    /// What it has used, reported or estimated.
    pub usage: Option<Usage>,
    /// When it was stored.
    pub stored: SystemTime,
    /// For how long it may be used.
    pub ttl: Duration,
    /// How near the question that it answers is to the one that it is given for; `None` where that is an equal request.
    pub similarity: Option<f32>,
}

impl Entry {
    /// How old it is. A clock that was set back makes it new.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.stored).unwrap_or_default()
    }

    /// For how long it may still be used.
    pub fn remaining(&self, now: SystemTime) -> Duration {
        self.ttl.saturating_sub(self.age(now))
    }

    /// The memory that it takes, in bytes.
    pub fn weight(&self) -> usize {
        let head = &self.head;
        let texts = [
            &head.tenant,
            &head.rule,
            &head.id,
            &head.content_type,
            &head.upstream,
            &head.model,
        ];
        let texts: usize = texts.into_iter().map(|text| text.len()).sum();
        let rewrites = [&head.rewrites.model, &head.rewrites.prefix];
        let rewrites: usize = rewrites.into_iter().flatten().map(String::len).sum();
        let fixed = size_of::<Self>() + size_of::<Head>() + size_of::<Key>() + OVERHEAD_BYTES;
        fixed + self.body.len() + texts + rewrites
    }
}

/// An answer for tests: of the rule `m`, to the request `r`, stored at the beginning of time, for a minute.
#[cfg(test)]
pub(crate) fn sample(tenant: &str, body: impl Into<Bytes>) -> Entry {
    let head = Head {
        tenant: tenant.into(),
        rule: "m".into(),
        id: "r".into(),
        content_type: "application/json".into(),
        is_stream: false,
        rewrites: Rewrites::default(),
        upstream: "far".into(),
        model: "m".into(),
    };
    Entry {
        head: Arc::new(head),
        body: body.into(),
        usage: None,
        stored: SystemTime::UNIX_EPOCH,
        ttl: Duration::from_secs(60),
        similarity: None,
    }
}
