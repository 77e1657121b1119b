//! What one attempt holds of an upstream.
//!
//! Owns the lease, which each way to an upstream takes: a permit of `max_concurrent`, a key and a server.
//! Owns reaching the server, too, over one connection or another. `report` counts how the attempt ended. The
//! parts are given back when the lease is dropped, so its owner keeps it until the upstream has nothing more
//! to do. Does not handle which upstream is asked (see `plan`), nor what follows on a failure (see
//! `exchange/failover`). Taking one fails with [`NotTaken`], reaching a server with [`Failed`].

mod report;

use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;

use super::context::Context;
use super::failed::Failed;
use super::failure::{Cause, UpstreamFailure};
use crate::openai::verdict::Reason;
use crate::runtime::Shared;
use crate::upstreams::{
    Connector, Full, Key, KeyUse, Peer, Permit, ServerLease, Session, Turn, Upstream,
};

pub use report::ejected;

/// Connections that are tried before we say that a server is gone: pooled ones that turn out to be
/// closed, and addresses that cannot be reached. None of them has seen any of the request.
pub const MAX_CONNECTIONS: usize = 3;

/// What is wanted of an upstream.
pub struct Wanted<'a> {
    /// The operation on what the tenant's account keeps; `None` where a model is asked for. What the attempt
    /// shows of the key counts for the one or the other. The tenant's own key serves an account where no key is
    /// ready: no other may have the object.
    pub account: Option<&'a str>,
    /// Whose turn it is among the keys.
    pub turn: Turn<'a>,
    /// About how many tokens are asked for; a key's allowance is weighed against that.
    pub tokens: u64,
    /// What the choice of a server depends on; empty where it depends on nothing.
    pub affinity: &'a [u8],
    /// Keys that have failed already, by position.
    pub tried_keys: &'a [usize],
    /// Servers that have failed already, by position.
    pub tried_servers: &'a [usize],
}

impl<'a> Wanted<'a> {
    /// What a request wants of the account that serves its tenant.
    pub fn of_account(tenant: &'a str, operation: &'a str) -> Self {
        Self {
            account: Some(operation),
            turn: Turn::Of(tenant.as_bytes()),
            tokens: 0,
            affinity: b"",
            tried_keys: &[],
            tried_servers: &[],
        }
    }
}

/// Why there is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The upstream serves as many requests as it may, and none of them ended in time.
    Busy,
    /// None of its keys can be used.
    NoKey,
    /// None of its servers can be asked.
    NoServer,
}

impl NotTaken {
    /// What the client is told, where no other upstream can be asked.
    pub fn failure(self) -> UpstreamFailure {
        match self {
            Self::Busy => {
                UpstreamFailure::of(Cause::Busy, "as many requests as it may have are served")
            }
            Self::NoKey => UpstreamFailure::of(Cause::Account, "no key is accepted"),
            Self::NoServer => UpstreamFailure::unresolved(),
        }
    }
}

impl From<Full> for NotTaken {
    fn from(_: Full) -> Self {
        Self::Busy
    }
}

/// One way to ask a server, once it has been chosen.
pub trait Dial {
    /// What there is when the server has the request.
    type Reached;

    /// Connects to a server, at this address, and sends it the request, or the beginning of one.
    async fn dial(
        &mut self,
        connector: &Connector,
        peer: &Peer,
    ) -> Result<Self::Reached, NotReached>;
}

/// Why a server was not reached at one address.
pub enum NotReached {
    /// No connection came about.
    NoConnection(Failed),
    /// A pooled connection turned out to be closed, and the server has seen nothing.
    Closed(Failed),
    /// Anything after which no other connection is tried.
    Failed(Failed),
}

/// Whether other servers of the upstream are asked where the one that was chosen cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherServers {
    /// They are.
    Asked,
    /// They are not: the owner of the lease decides what follows.
    Left,
}

/// What one attempt holds of an upstream.
pub struct Lease {
    upstream: Arc<Upstream>,
    /// What is asked of the tenant's account, if it is.
    account: Option<Box<str>>,
    /// The position of the key of ours, where one is used.
    key: Option<usize>,
    server: ServerLease,
    /// When it was taken.
    since: Instant,
    /// How many connections have been tried.
    connections: usize,
    _permit: Option<Permit>,
}

/// A permit that is free now; `Ok(None)` where the upstream has no bound.
///
/// # Errors
/// None is free.
pub fn permit_now(upstream: &Upstream) -> Result<Option<Permit>, NotTaken> {
    let permit = upstream
        .concurrency
        .as_ref()
        .map(|concurrency| concurrency.take_now());
    Ok(permit.transpose()?)
}

/// A permit, for which the request waits in the upstream's queue where it has to.
///
/// # Errors
/// The queue is full, or the request has waited for long enough.
pub async fn permit(upstream: &Upstream) -> Result<Option<Permit>, NotTaken> {
    match &upstream.concurrency {
        Some(concurrency) => Ok(Some(concurrency.take().await?)),
        None => Ok(None),
    }
}

impl Lease {
    /// Takes a key and a server beside a permit.
    ///
    /// # Errors
    /// There is none of the one or the other.
    pub fn take(
        upstream: &Arc<Upstream>,
        permit: Option<Permit>,
        wanted: &Wanted<'_>,
        context: &Context,
    ) -> Result<Self, NotTaken> {
        let key_use = key_use(context, wanted.account);
        let keys = &upstream.keys;
        let chosen = keys.choose(key_use, wanted.turn, wanted.tried_keys, wanted.tokens);
        let chosen = chosen.or_else(|| wanted.account.and_then(|_| keys.pinned(wanted.turn)));
        if chosen.is_none() && keys.are_ours() {
            return Err(NotTaken::NoKey);
        }
        let server = upstream.pool.choose(wanted.affinity, wanted.tried_servers);
        Ok(Self {
            upstream: Arc::clone(upstream),
            account: wanted.account.map(Box::from),
            key: chosen.map(|(position, _)| position),
            server: server.ok_or(NotTaken::NoServer)?,
            since: Instant::now(),
            connections: 0,
            _permit: permit,
        })
    }

    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The position of the server.
    pub fn server(&self) -> usize {
        self.server.server
    }

    /// The position of the key of ours, where one is used.
    pub fn key(&self) -> Option<usize> {
        self.key
    }

    /// The value of the dialect's key header: our key, or the client's own where that is sent on.
    pub fn credential<'k>(
        &self,
        client_key: impl FnOnce() -> Option<&'k [u8]>,
    ) -> Option<HeaderValue> {
        match self.upstream.keys.are_ours() {
            true => self.our_key()?.value.clone(),
            false => self.upstream.dialect.credential(client_key()?),
        }
    }

    fn our_key(&self) -> Option<&Arc<Key>> {
        self.upstream.keys.keys().get(self.key?)
    }

    /// Whether another connection may be tried.
    pub fn may_connect(&self) -> bool {
        self.connections < MAX_CONNECTIONS
    }

    /// Reaches the server: at another address where one cannot be reached, over another connection where a
    /// pooled one was closed, and another server where that is wanted.
    ///
    /// # Errors
    /// What the last connection showed.
    pub async fn reach<D: Dial>(
        &mut self,
        shared: &Shared,
        dial: &mut D,
        others: OtherServers,
    ) -> Result<D::Reached, Failed> {
        let mut tried = Vec::new();
        let mut failed = Failed::unsendable();
        while self.may_connect() {
            self.connections += 1;
            match dial.dial(&shared.connector, &self.server.peer).await {
                Ok(reached) => return Ok(reached),
                Err(NotReached::Failed(failed)) => return Err(failed),
                Err(NotReached::Closed(closed)) => failed = closed,
                Err(NotReached::NoConnection(unreachable)) => {
                    failed = unreachable;
                    let has_other = self.upstream.pool.other_address(&mut self.server)
                        || others == OtherServers::Asked
                            && self.other_server(shared, &mut tried, failed.verdict.reason);
                    if !has_other {
                        break;
                    }
                }
            }
        }
        Err(failed)
    }

    /// Takes another server in the place of one that could not be reached. Tells whether there is one.
    fn other_server(&mut self, shared: &Shared, tried: &mut Vec<usize>, reason: Reason) -> bool {
        tried.push(self.server.server);
        let Some(other) = self.upstream.pool.choose(b"", tried) else {
            return false;
        };
        self.server_failed(shared, reason);
        self.server = other;
        true
    }

    /// Gives a connection back whose answer has been read.
    pub async fn release(&self, shared: &Shared, session: Session) {
        shared.connector.release(session, &self.server.peer).await;
    }
}

/// What a key is wanted for: an operation on the tenant's account, or the model that is sent.
pub fn key_use<'a>(context: &'a Context, account: Option<&'a str>) -> KeyUse<'a> {
    KeyUse {
        model: account.or(context.model_to_send()).unwrap_or_default(),
        tenant: context.tenant_id(),
    }
}
