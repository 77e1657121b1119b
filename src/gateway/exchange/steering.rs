//! Where a request had better go again.
//!
//! Owns what that depends on: an account that keeps something for the tenant, a conversation, whose beginning a
//! provider may still have in its prompt cache, or what `consistent_by` says. Does not handle the choice itself, which
//! passes over what fails (see `plan` and `upstreams`). Cannot fail.

use bytes::Bytes;
use http::HeaderMap;

use super::body::Body;
use crate::config::ConsistentBy;
use crate::gateway::context::Context;
use crate::openai::endpoint::Exchange;
use crate::secret::KeyHash;
use crate::upstreams::{Turn, Upstream};

/// Headers by which clients name a conversation; the first that is there counts.
const CONVERSATION_HEADERS: [&str; 5] = [
    "session-id",
    "session_id",
    "conversation_id",
    "thread-id",
    "x-session-affinity",
];

/// Where one request had better go.
#[derive(Debug, Default)]
pub struct Steering {
    tenant: Bytes,
    /// Its tenant and conversation.
    conversation: Option<Bytes>,
    user: Option<Bytes>,
    /// Whether an account of the tenant's has to serve it.
    is_stored: bool,
}

impl Steering {
    /// What a request says. `follows`: whether its rule follows conversations.
    pub fn of(
        context: &Context,
        headers: &HeaderMap,
        endpoint: &Exchange,
        body: &Body,
        follows: bool,
    ) -> Self {
        let tenant = Bytes::copy_from_slice(context.tenant_id().as_bytes());
        let named = || {
            let mut names = CONVERSATION_HEADERS.iter();
            let value = names.find_map(|name| headers.get(*name))?;
            Some(Bytes::copy_from_slice(value.as_bytes()))
        };
        let conversation = body.prompt_cache_key.clone().or_else(named);
        let conversation = conversation.filter(|_| follows);
        Self {
            conversation: conversation.map(|name| [&tenant, &b"/"[..], &name].concat().into()),
            user: body.user.clone(),
            is_stored: endpoint.is_stored || body.store,
            tenant,
        }
    }

    /// Whose turn it is among the keys: what is kept by the account that made it must be found there again.
    pub fn turn(&self) -> Turn<'_> {
        match &self.conversation {
            _ if self.is_stored => Turn::Of(&self.tenant),
            Some(conversation) => Turn::Of(conversation),
            None => Turn::Next,
        }
    }

    /// What the choice of a target depends on, where it depends on something.
    pub fn target(&self) -> Option<u64> {
        let conversation = self.conversation.as_ref()?;
        Some(KeyHash::of(conversation).head())
    }

    /// What the choice of a server depends on; empty where it depends on nothing.
    pub fn server(&self, upstream: &Upstream) -> Bytes {
        match upstream.consistent_by {
            None => Bytes::new(),
            Some(ConsistentBy::Tenant) => self.tenant.clone(),
            Some(ConsistentBy::PromptCacheKey) => {
                let known = self.conversation.clone().or_else(|| self.user.clone());
                known.unwrap_or_else(|| self.tenant.clone())
            }
        }
    }
}
