//! The servers of an upstream and their addresses.
//!
//! Owns when names are resolved, off the request path, and which servers can be asked. Does not handle which of
//! them is next (see `balancer`), when one is ejected (see `breaker`), health checks (see `health`), or how one is
//! connected to (see `dial`).
//! A name that cannot be resolved keeps its last addresses; with none ever found the pool is empty and
//! [`Pool::choose`] gives `None`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora::Result as PingoraResult;
use pingora::protocols::Stream;

use super::balancer::Balancer;
use super::book::Book;
use super::breaker::{Admission, Breaker};
use super::dial::{Address, Dialer};
use super::health_state::Health;
use crate::config::{self, BaseUrl, Ejection};
use crate::tls::client::Protocols;

/// An idle connection is closed after this.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(60);

/// One address of a server, ready to connect to.
#[derive(Debug)]
pub struct Peer {
    address: Address,
    dialer: Arc<Dialer>,
    /// Connections to peers with the same value are interchangeable.
    pub key: u64,
    /// The `Host` header.
    pub authority: HeaderValue,
    /// The path before an operation of the API.
    pub base_path: String,
    /// The path of the server's URL, before that of a forwarded request.
    pub url_path: String,
    /// Whether HTTP/2 is offered to it.
    pub http2: bool,
    /// The state of its server.
    condition: Arc<ServerState>,
}

impl Peer {
    /// Where it is, or its proxy.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether TLS is spoken with it.
    pub fn has_tls(&self) -> bool {
        self.dialer.has_tls()
    }

    /// A new connection, over which one of these protocols is spoken.
    ///
    /// # Errors
    /// As a connection that cannot be made, and a handshake that fails.
    pub async fn dial(&self, protocols: Protocols) -> PingoraResult<Stream> {
        self.dialer.dial(&self.address, protocols).await
    }

    /// Makes a connection and gives it up.
    ///
    /// # Errors
    /// As a connection that cannot be made.
    pub async fn reach(&self) -> PingoraResult<()> {
        self.dialer.reach(&self.address).await
    }
}

/// The servers of one upstream.
pub struct Pool {
    servers: Vec<Server>,
    /// Where the API stands on a server whose URL has no path.
    default_path: String,
    balancer: Balancer,
    ejection: Option<Ejection>,
    http2: bool,
}

/// One server of a pool.
pub struct Server {
    /// Its URL, and a number that tells servers of one URL apart.
    name: String,
    url: BaseUrl,
    dialer: Arc<Dialer>,
    weight: u32,
    /// Its addresses; none before its name has been resolved.
    peers: ArcSwap<Vec<Arc<Peer>>>,
    /// The next of them.
    next: AtomicUsize,
    /// Its state.
    pub condition: Arc<ServerState>,
}

/// The state of a server; it outlives a snapshot.
#[derive(Debug, Default)]
pub struct ServerState {
    /// What its health checks have found.
    pub health: Health,
    /// What its requests have shown.
    breaker: Breaker,
    in_flight: AtomicUsize,
}

/// A server that serves one request, at one of its addresses.
#[derive(Debug)]
pub struct ServerLease {
    /// Its address.
    pub peer: Arc<Peer>,
    /// Its position in the pool.
    pub server: usize,
    admission: Option<Admission>,
}

impl Drop for ServerLease {
    fn drop(&mut self) {
        let condition = &self.peer.condition;
        condition.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(admission) = self.admission.take() {
            condition.breaker.abandoned(admission);
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls = self.servers.iter().map(|s| s.url.to_string());
        f.debug_list().entries(urls).finish()
    }
}

impl Pool {
    /// Takes what the operator wrote, with the servers and their weights. No address is known
    /// before [`Pool::resolve`].
    pub fn new(
        written: &config::Upstream,
        servers: Vec<(BaseUrl, u32)>,
        states: &Book<ServerState>,
    ) -> Self {
        let upstream = &written.name.value;
        let mut urls: HashMap<String, usize> = HashMap::new();
        let servers: Vec<Server> = servers
            .into_iter()
            .map(|(url, weight)| {
                let n = urls.entry(url.to_string()).or_default();
                *n += 1;
                let name = format!("{url} {n}");
                Server {
                    condition: states.of(format!("{upstream}\n{name}"), ServerState::default),
                    name,
                    dialer: Arc::new(Dialer::new(written, &url)),
                    url,
                    weight,
                    peers: ArcSwap::default(),
                    next: AtomicUsize::new(0),
                }
            })
            .collect();
        let weighted = servers.iter().map(|s| (s.name.clone(), s.weight));
        Self {
            balancer: Balancer::new(written.balance, weighted),
            servers,
            default_path: written.dialect.base_path.clone(),
            ejection: written.ejection,
            http2: written.http2,
        }
    }

    /// A server that can be asked and is none of `tried`, at the next of its addresses. `key`
    /// decides where the choice is consistent.
    pub fn choose(&self, key: &[u8], tried: &[usize]) -> Option<ServerLease> {
        if let [only] = self.servers.as_slice() {
            let is_open = only.is_healthy() && tried.is_empty();
            return is_open.then(|| only.lease(0, None)).flatten();
        }
        let now = Instant::now();
        let can = |position: usize| self.is_open(position, now) && !tried.contains(&position);
        let load = |position: usize| {
            let server = self.servers.get(position);
            server.map_or(0, |s| s.condition.in_flight.load(Ordering::Relaxed))
        };
        // Another request may begin the trial between the look and the choice.
        for _ in 0..self.servers.len() {
            let position = self.balancer.choose(key, can, load)?;
            let server = self.servers.get(position)?;
            match &self.ejection {
                None => return server.lease(position, None),
                Some(ejection) => match server.condition.breaker.admit(ejection, now) {
                    Some(admission) => return server.lease(position, Some(admission)),
                    None => continue,
                },
            }
        }
        None
    }

    /// Whether some server can be asked that is none of `tried`.
    pub fn has_open(&self, tried: &[usize]) -> bool {
        if let [only] = self.servers.as_slice() {
            return only.is_healthy() && tried.is_empty();
        }
        let now = Instant::now();
        (0..self.servers.len()).any(|n| self.is_open(n, now) && !tried.contains(&n))
    }

    /// Whether a server that can be asked was out a moment ago.
    pub fn is_just_back(&self, within: Duration, now: Instant) -> bool {
        let mut open = self.servers.iter().filter(|s| s.is_healthy());
        open.any(|s| s.condition.breaker.is_just_back(within, now))
    }

    /// How many requests its servers serve now.
    pub fn in_flight(&self) -> usize {
        self.servers.iter().map(|s| s.condition.in_flight()).sum()
    }

    /// Why none of its servers can be asked: the reason of the first with a weight. `None` where one
    /// can.
    pub fn obstacle(&self) -> Option<&'static str> {
        let several = self.servers.len() > 1;
        let mut servers = self.servers.iter().filter(|s| !several || s.weight > 0);
        let server = servers.next().filter(|_| !self.has_open(&[]))?;
        Some(if server.peers.load().is_empty() {
            "unresolved"
        } else if !server.condition.health.is_up() {
            "unhealthy"
        } else {
            "ejected"
        })
    }

    fn is_open(&self, position: usize, now: Instant) -> bool {
        self.servers.get(position).is_some_and(|server| {
            server.weight > 0
                && server.is_healthy()
                && self
                    .ejection
                    .as_ref()
                    .is_none_or(|e| server.condition.breaker.is_open_to(e, now))
        })
    }

    /// Another address of the same server.
    pub fn other_address(&self, lease: &mut ServerLease) -> bool {
        let server = self.servers.get(lease.server);
        let several = server.filter(|server| server.peers.load().len() > 1);
        match several.and_then(Server::peer) {
            Some(peer) => {
                lease.peer = peer;
                true
            }
            None => false,
        }
    }

    /// The server has served.
    pub fn succeeded(&self, lease: &mut ServerLease) {
        if let (Some(admission), Some(ejection)) = (lease.admission.take(), &self.ejection) {
            let breaker = &lease.peer.condition.breaker;
            breaker.succeeded(admission, ejection, Instant::now());
        }
    }

    /// The server has failed. Returns the length of the ejection that follows; at most half of a pool
    /// is ejected.
    pub fn failed(&self, lease: &mut ServerLease) -> Option<Duration> {
        let ejection = self.ejection.as_ref()?;
        let breaker = &lease.peer.condition.breaker;
        let now = Instant::now();
        // One that broke after it had begun to answer was counted as a success: it is admitted again, to
        // fail.
        let admission = lease.admission.take();
        let admission = admission.or_else(|| match self.servers.len() {
            1 => None,
            _ => breaker.admit(ejection, now),
        })?;
        breaker.failed(admission, ejection, now, || {
            let servers = self.servers.iter();
            let ejected = servers.filter(|s| s.condition.breaker.is_ejected());
            (ejected.count() + 1) * 2 <= self.servers.len()
        })
    }

    /// Its servers, for tables and health checks.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// When a server is ejected; `None` for never.
    pub fn ejection(&self) -> Option<&Ejection> {
        self.ejection.as_ref()
    }

    /// Resolves every name again and uses what was found.
    ///
    /// # Errors
    /// The servers whose names could not be resolved, for the operator. The others are in use.
    pub async fn resolve(&self) -> Result<(), String> {
        let mut failures = Vec::new();
        for server in &self.servers {
            match server.dialer.addresses().await {
                Ok(addresses) => {
                    let peers = addresses.into_iter();
                    let peers = peers.filter_map(|address| self.peer_at(server, address));
                    server.peers.store(Arc::new(peers.map(Arc::new).collect()));
                }
                Err(e) => failures.push(e),
            }
        }
        if let Err(e) = self.balancer.update().await {
            failures.push(format!("the load balancer: {e}"));
        }
        match failures.as_slice() {
            [] => Ok(()),
            _ => Err(failures.join("; ")),
        }
    }

    fn peer_at(&self, server: &Server, address: Address) -> Option<Peer> {
        let url = &server.url;
        Some(Peer {
            key: server.dialer.key(&address),
            address,
            dialer: Arc::clone(&server.dialer),
            authority: HeaderValue::from_str(&url.authority()).ok()?,
            base_path: url.path.as_ref().unwrap_or(&self.default_path).clone(),
            url_path: url.path.clone().unwrap_or_default(),
            http2: self.http2,
            condition: Arc::clone(&server.condition),
        })
    }
}

impl Server {
    fn peer(&self) -> Option<Arc<Peer>> {
        let peers = self.peers.load();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        peers.get(turn.checked_rem(peers.len())?).cloned()
    }

    fn lease(&self, position: usize, admission: Option<Admission>) -> Option<ServerLease> {
        let Some(peer) = self.peer() else {
            if let Some(admission) = admission {
                self.condition.breaker.abandoned(admission);
            }
            return None;
        };
        self.condition.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(ServerLease {
            peer,
            server: position,
            admission,
        })
    }

    /// Whether it has an address and its health checks do not say otherwise.
    fn is_healthy(&self) -> bool {
        !self.peers.load().is_empty() && self.condition.health.is_up()
    }

    /// Its URL.
    pub fn url(&self) -> &BaseUrl {
        &self.url
    }

    /// The host and port of the forward proxy that leads to it, if one does.
    pub fn proxy(&self) -> Option<&str> {
        self.dialer.proxy()
    }

    /// Its share.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Its addresses, as they were last found.
    pub fn peers(&self) -> Arc<Vec<Arc<Peer>>> {
        self.peers.load_full()
    }
}

impl ServerState {
    /// What its requests have shown.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// How many requests it is serving.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn pool(servers: &[(&str, u32)]) -> Pool {
        let mut text = "upstreams: { u: { servers: [".to_owned();
        for (url, weight) in servers {
            text += &format!("{{ url: '{url}', weight: {weight} }},");
        }
        text += "] } }\nmodels: [{ match: m, targets: [{ upstream: u }] }]";
        let config = config::Config::parse("test", &text, &Default::default()).unwrap();
        let written = &config.upstreams[0];
        let servers = written.servers.iter();
        let servers = servers.map(|s| (s.url.clone(), s.weight)).collect();
        Pool::new(written, servers, &Book::default())
    }

    fn chosen(pool: &Pool) -> Option<String> {
        Some(pool.choose(b"", &[])?.peer.base_path.clone())
    }

    #[tokio::test]
    async fn servers_are_chosen_by_weight_even_at_one_address() {
        let pool = pool(&[
            ("http://127.0.0.1:1001/three", 3),
            ("http://127.0.0.1:1001/one", 1),
            ("http://127.0.0.1:1001/one", 1),
            ("http://127.0.0.1:1003/none", 0),
        ]);
        assert!(chosen(&pool).is_none(), "nothing is resolved yet");
        pool.resolve().await.unwrap();
        let mut counts: HashMap<String, u32> = HashMap::new();
        for _ in 0..500 {
            *counts.entry(chosen(&pool).unwrap()).or_default() += 1;
        }
        let expected = [("/three".to_owned(), 300), ("/one".to_owned(), 200)];
        assert_eq!(counts, expected.into());
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_leaves_the_rest_in_force() {
        let pool = pool(&[
            ("http://nowhere.invalid/v1", 1),
            ("http://127.0.0.1:1001/v1", 1),
        ]);
        let error = pool.resolve().await.unwrap_err();
        assert!(error.contains("nowhere.invalid"), "{error}");
        let lease = pool.choose(b"", &[]).unwrap();
        assert_eq!(lease.peer.authority, "127.0.0.1:1001");
        assert!(pool.choose(b"", &[1]).is_none(), "it has been tried");
    }

    #[tokio::test]
    async fn no_more_than_half_of_a_pool_is_ejected_and_a_request_is_counted_while_it_lasts() {
        let pool = pool(&[
            ("http://127.0.0.1:1001/a", 1),
            ("http://127.0.0.1:1001/b", 1),
            ("http://127.0.0.1:1001/c", 1),
        ]);
        pool.resolve().await.unwrap();
        for _ in 0..30 {
            let mut lease = pool.choose(b"", &[]).unwrap();
            assert_eq!(pool.servers[lease.server].condition.in_flight(), 1);
            pool.failed(&mut lease);
        }
        let out = pool.servers.iter();
        let out = out.filter(|server| server.condition.breaker.is_ejected());
        assert_eq!(out.count(), 1);
        assert!(pool.servers.iter().all(|s| s.condition.in_flight() == 0));
    }
}
