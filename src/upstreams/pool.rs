//! The servers of an upstream and their addresses.
//!
//! Owns resolving names, off the request path, and choosing a server by weight with Pingora's load
//! balancer. A name that cannot be resolved keeps its last addresses; with none ever found the pool
//! is empty and [`Pool::choose`] gives `None`.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::HeaderValue;
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora::upstreams::peer::HttpPeer;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, Backends, Extensions, LoadBalancer};

use crate::config::{BaseUrl, Timeouts};

/// A name lookup that takes longer than this has failed.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection is closed after this.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);
/// A write to an upstream that moves nothing for this long has failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many addresses of one name are used.
const MAX_ADDRESSES_PER_NAME: usize = 16;

/// One address of a server, ready to connect to.
#[derive(Debug)]
pub struct Peer {
    /// What Pingora connects with.
    pub http: HttpPeer,
    /// The `Host` header.
    pub authority: HeaderValue,
    /// The path before the endpoint's own.
    pub base_path: String,
}

/// The servers of one upstream.
pub struct Pool {
    servers: Vec<Server>,
    /// Addresses of names that were looked up, by the server's position.
    balancer: LoadBalancer<RoundRobin>,
    found: Arc<Found>,
    peers: ArcSwap<HashMap<SocketAddr, Arc<Peer>>>,
    timeouts: Timeouts,
    http2: bool,
}

struct Server {
    url: BaseUrl,
    weight: u32,
    addresses: ArcSwap<Vec<SocketAddr>>,
}

/// What the balancer discovers: the addresses that were found last.
#[derive(Default)]
struct Found(ArcSwap<BTreeSet<Backend>>);

/// The balancer owns a box, we keep a handle: both lead to the same addresses.
struct Discovery(Arc<Found>);

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> pingora::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let found = BTreeSet::clone(&self.0.0.load());
        Ok((found, HashMap::new()))
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls = self.servers.iter().map(|s| s.url.to_string());
        f.debug_list().entries(urls).finish()
    }
}

impl Pool {
    /// Takes servers with their weights. No address is known before [`Pool::resolve`].
    pub fn new(servers: Vec<(BaseUrl, u32)>, timeouts: &Timeouts, http2: bool) -> Self {
        let found = Arc::new(Found::default());
        let backends = Backends::new(Box::new(Discovery(Arc::clone(&found))));
        let servers = servers.into_iter().map(|(url, weight)| Server {
            url,
            weight,
            addresses: ArcSwap::default(),
        });
        Self {
            servers: servers.collect(),
            balancer: LoadBalancer::from_backends(backends),
            found,
            peers: ArcSwap::default(),
            timeouts: *timeouts,
            http2,
        }
    }

    /// The next server's address, by weight.
    pub fn choose(&self) -> Option<Arc<Peer>> {
        let peers = self.peers.load();
        let mut only = peers.values();
        if let (Some(peer), None) = (only.next(), only.next()) {
            return Some(Arc::clone(peer));
        }
        // The key is for consistent hashing, which this selection does not do.
        let backend = self.balancer.select(b"", peers.len())?;
        peers.get(backend.addr.as_inet()?).cloned()
    }

    /// Looks every name up again and takes over what was found.
    ///
    /// # Errors
    /// The servers whose names could not be resolved, for the operator; the rest is in force.
    pub async fn resolve(&self) -> Result<(), String> {
        let mut failures = Vec::new();
        for server in &self.servers {
            match lookup(&server.url).await {
                Ok(addresses) => server.addresses.store(Arc::new(addresses)),
                Err(e) => failures.push(format!("{}: {e}", server.url.host)),
            }
        }
        self.publish().await;
        match failures.as_slice() {
            [] => Ok(()),
            _ => Err(failures.join("; ")),
        }
    }

    async fn publish(&self) {
        let mut peers = HashMap::new();
        let mut backends = BTreeSet::new();
        for server in self.servers.iter().filter(|s| s.weight > 0) {
            for address in server.addresses.load().iter() {
                let Some(peer) = self.peer(server, *address) else {
                    continue;
                };
                peers.insert(*address, Arc::new(peer));
                backends.insert(Backend {
                    addr: PingoraAddr::Inet(*address),
                    // A weight is at most 1000.
                    weight: usize::try_from(server.weight).unwrap_or(1),
                    ext: Extensions::new(),
                });
            }
        }
        self.peers.store(Arc::new(peers));
        self.found.0.store(Arc::new(backends));
        if let Err(e) = self.balancer.update().await {
            log::error!("the load balancer did not take over new addresses: {e}");
        }
    }

    fn peer(&self, server: &Server, address: SocketAddr) -> Option<Peer> {
        let url = &server.url;
        let mut http = HttpPeer::new(address, url.tls, url.host.clone());
        let options = &mut http.options;
        options.connection_timeout = Some(self.timeouts.connect);
        options.total_connection_timeout = Some(self.timeouts.connect);
        options.write_timeout = Some(WRITE_TIMEOUT);
        options.idle_timeout = Some(IDLE_CONNECTION);
        if self.http2 {
            // Over TLS the server chooses; in cleartext both sides must know beforehand.
            let oldest = if url.tls { 1 } else { 2 };
            options.set_http_version(2, oldest);
            options.max_h2_streams = 100;
        }
        Some(Peer {
            http,
            authority: HeaderValue::from_str(&url.authority()).ok()?,
            base_path: url.path.clone(),
        })
    }
}

async fn lookup(url: &BaseUrl) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = url.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, url.port)]);
    }
    let lookup = tokio::net::lookup_host((url.host.as_str(), url.port));
    let found: Vec<SocketAddr> = match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(addresses)) => addresses.take(MAX_ADDRESSES_PER_NAME).collect(),
        Ok(Err(e)) => return Err(e.to_string()),
        Err(_) => return Err(format!("no answer within {LOOKUP_TIMEOUT:?}")),
    };
    if found.is_empty() {
        return Err("the name has no address".to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(servers: &[(&str, u32)]) -> Pool {
        let servers = servers
            .iter()
            .map(|(url, weight)| (BaseUrl::parse(url).unwrap(), *weight))
            .collect();
        Pool::new(servers, &Timeouts::default(), false)
    }

    #[tokio::test]
    async fn servers_are_chosen_by_weight() {
        let pool = pool(&[
            ("http://127.0.0.1:1001/v1", 3),
            ("http://127.0.0.1:1002/v1", 1),
            ("http://127.0.0.1:1003/v1", 0),
        ]);
        assert!(pool.choose().is_none(), "nothing is resolved yet");
        pool.resolve().await.unwrap();
        let mut counts: HashMap<String, u32> = HashMap::new();
        for _ in 0..400 {
            let peer = pool.choose().unwrap();
            let authority = peer.authority.to_str().unwrap().to_owned();
            *counts.entry(authority).or_default() += 1;
        }
        assert_eq!(counts.get("127.0.0.1:1001"), Some(&300));
        assert_eq!(counts.get("127.0.0.1:1002"), Some(&100));
        assert_eq!(counts.len(), 2);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_leaves_the_rest_in_force() {
        let pool = pool(&[
            ("http://nowhere.invalid/v1", 1),
            ("http://127.0.0.1:1001/v1", 1),
        ]);
        let error = pool.resolve().await.unwrap_err();
        assert!(error.contains("nowhere.invalid"), "{error}");
        assert_eq!(pool.choose().unwrap().authority, "127.0.0.1:1001");
    }
}
