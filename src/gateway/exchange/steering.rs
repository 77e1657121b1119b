//! Where a request had better go again.
//!
//! Owns what that depends on: an account that keeps something for the tenant, a conversation, whose beginning a
//! provider may still have in its prompt cache, or what `consistent_by` says. Does not handle the choice itself, which
//! passes over what fails (see `plan` and `upstreams`). Cannot fail.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use super::body::Body;
use crate::config::ConsistentBy;
use crate::gateway::context::Context;
use crate::openai::endpoint::Exchange;
use crate::secret::KeyHash;
use crate::tenants::Tenant;
use crate::upstreams::{Turn, Upstream};

/// Headers by which clients name a conversation; the first that is there counts.
static CONVERSATION_HEADERS: [HeaderName; 5] = [
    HeaderName::from_static("session-id"),
    HeaderName::from_static("session_id"),
    HeaderName::from_static("conversation_id"),
    HeaderName::from_static("thread-id"),
    HeaderName::from_static("x-session-affinity"),
];

/// Where one request had better go.
#[derive(Debug, Default)]
pub struct Steering {
    tenant: Option<Arc<Tenant>>,
    /// Its tenant and conversation, where its rule follows conversations.
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
        let conversation = || {
            let name = match &body.prompt_cache_key {
                Some(key) => &key[..],
                None => CONVERSATION_HEADERS
                    .iter()
                    .find_map(|name| headers.get(name))?
                    .as_bytes(),
            };
            Some([context.tenant_id().as_bytes(), b"/", name].concat().into())
        };
        Self {
            conversation: follows.then(conversation).flatten(),
            user: body.user.clone(),
            is_stored: endpoint.is_stored || body.store,
            tenant: context.tenant().cloned(),
        }
    }

    /// Whether an account keeps what the request creates.
    pub fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// The id of its tenant; empty where there is none.
    fn tenant(&self) -> &[u8] {
        self.tenant
            .as_ref()
            .map_or(b"", |tenant| tenant.id.as_bytes())
    }

    /// Whose turn it is among the keys: what is kept by the account that made it must be found there again.
    pub fn turn(&self) -> Turn<'_> {
        match &self.conversation {
            _ if self.is_stored => Turn::Of(self.tenant()),
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
    pub fn server(&self, upstream: &Upstream) -> &[u8] {
        match upstream.consistent_by {
            None => b"",
            Some(ConsistentBy::Tenant) => self.tenant(),
            Some(ConsistentBy::PromptCacheKey) => {
                let known = self.conversation.as_ref().or(self.user.as_ref());
                known.map_or(self.tenant(), |known| &known[..])
            }
        }
    }
}
