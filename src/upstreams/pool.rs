//! The servers of an upstream and their addresses.
//!
//! Owns resolving names, off the request path, and choosing a server by weight with Pingora's load
//! balancer. A name that cannot be resolved keeps its last addresses; with none ever found the pool
//! is empty and [`Pool::choose`] gives `None`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora::upstreams::peer::{HttpPeer, Peer as _};
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, Backends, Extensions, LoadBalancer, discovery};

use crate::config::{BaseUrl, Timeouts};

/// A name lookup that takes longer than this has failed.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection is closed after this.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(60);
/// How many addresses of one name are used.
const MAX_ADDRESSES_PER_NAME: usize = 16;

/// One address of a server, ready to connect to.
#[derive(Debug)]
pub struct Peer {
    /// What Pingora connects with.
    pub http: HttpPeer,
    /// Names what it leads to: connections of one key are interchangeable.
    pub key: u64,
    /// The `Host` header.
    pub authority: HeaderValue,
    /// The path before an operation of the API.
    pub base_path: String,
    /// The path of the server's URL, before that of a forwarded request.
    pub url_path: String,
    /// Whether HTTP/2 is offered to it.
    pub http2: bool,
}

/// The servers of one upstream.
pub struct Pool {
    servers: Vec<Server>,
    /// Where the API stands on a server whose URL has no path.
    default_path: String,
    balancer: LoadBalancer<RoundRobin>,
    timeouts: Timeouts,
    http2: bool,
}

struct Server {
    url: BaseUrl,
    /// Its addresses; none before its name has been resolved.
    peers: ArcSwap<Vec<Arc<Peer>>>,
    /// Whose turn it is among them.
    next: AtomicUsize,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls = self.servers.iter().map(|s| s.url.to_string());
        f.debug_list().entries(urls).finish()
    }
}

impl Pool {
    /// Takes servers with their weights. No address is known before [`Pool::resolve`].
    pub fn new(
        servers: Vec<(BaseUrl, u32)>,
        default_path: &str,
        timeouts: &Timeouts,
        http2: bool,
    ) -> Self {
        let backends = servers.iter().enumerate();
        let backends = backends.filter_map(|(seat, (_, weight))| backend(seat, *weight));
        let discovery = discovery::Static::new(backends.collect());
        let servers = servers.into_iter().map(|(url, _)| Server {
            url,
            peers: ArcSwap::default(),
            next: AtomicUsize::new(0),
        });
        Self {
            servers: servers.collect(),
            default_path: default_path.to_owned(),
            balancer: LoadBalancer::from_backends(Backends::new(discovery)),
            timeouts: *timeouts,
            http2,
        }
    }

    /// The next server by weight, at the next of its addresses.
    pub fn choose(&self) -> Option<Arc<Peer>> {
        if let [only] = self.servers.as_slice() {
            return only.peer();
        }
        let is_known = |backend: &Backend, _healthy| {
            let server = self.seated(backend);
            server.is_some_and(|server| !server.peers.load().is_empty())
        };
        // The key is for consistent hashing, which this selection does not do.
        let backend = self
            .balancer
            .select_with(b"", self.servers.len() * 2, is_known)?;
        self.seated(&backend)?.peer()
    }

    fn seated(&self, backend: &Backend) -> Option<&Server> {
        self.servers
            .get(usize::from(backend.addr.as_inet()?.port()))
    }

    /// Whether a connection that failed may be tried again at another address.
    pub fn has_several_addresses(&self) -> bool {
        let known = self.servers.iter().map(|server| server.peers.load().len());
        known.sum::<usize>() > 1
    }

    /// Looks every name up again and takes over what was found.
    ///
    /// # Errors
    /// The servers whose names could not be resolved, for the operator; the rest is in force.
    pub async fn resolve(&self) -> Result<(), String> {
        let mut failures = Vec::new();
        for server in &self.servers {
            match lookup(&server.url).await {
                Ok(addresses) => {
                    let peers = addresses.into_iter();
                    let peers = peers.filter_map(|address| self.peer_at(&server.url, address));
                    server.peers.store(Arc::new(peers.map(Arc::new).collect()));
                }
                Err(e) => failures.push(format!("{}: {e}", server.url.host)),
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

    fn peer_at(&self, url: &BaseUrl, address: SocketAddr) -> Option<Peer> {
        let mut http = HttpPeer::new(address, url.tls, url.host.clone());
        let options = &mut http.options;
        options.connection_timeout = Some(self.timeouts.connect);
        options.total_connection_timeout = Some(self.timeouts.connect);
        options.idle_timeout = Some(IDLE_CONNECTION);
        if self.http2 {
            // Over TLS the server chooses; in cleartext both sides must know beforehand.
            let oldest = if url.tls { 1 } else { 2 };
            options.set_http_version(2, oldest);
            options.max_h2_streams = 100;
        }
        Some(Peer {
            key: http.reuse_hash(),
            http,
            authority: HeaderValue::from_str(&url.authority()).ok()?,
            base_path: match url.path.as_str() {
                "" => self.default_path.clone(),
                path => path.to_owned(),
            },
            url_path: url.path.clone(),
            http2: self.http2,
        })
    }
}

impl Server {
    fn peer(&self) -> Option<Arc<Peer>> {
        let peers = self.peers.load();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        peers.get(turn.checked_rem(peers.len())?).cloned()
    }
}

/// Pingora's balancer knows a server by its address and weight alone, and takes two of the same
/// for one. Two servers may share an address, and one may have several, so it is given seats: the
/// server's position, as a port of the unspecified address.
fn backend(seat: usize, weight: u32) -> Option<Backend> {
    let seat = u16::try_from(seat).ok()?;
    (weight > 0).then(|| Backend {
        addr: PingoraAddr::Inet(SocketAddr::from(([0, 0, 0, 0], seat))),
        // A weight is at most 1000.
        weight: usize::try_from(weight).unwrap_or(1),
        ext: Extensions::new(),
    })
}

/// The addresses of a URL's host: those of the family that the system prefers.
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
    match found.first() {
        Some(first) => {
            let preferred = first.is_ipv4();
            let of_family = found.iter().filter(|a| a.is_ipv4() == preferred);
            Ok(of_family.copied().collect())
        }
        None => Err("the name has no address".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn pool(servers: &[(&str, u32)]) -> Pool {
        let servers = servers
            .iter()
            .map(|(url, weight)| (BaseUrl::parse(url).unwrap(), *weight))
            .collect();
        Pool::new(servers, "/v1", &Timeouts::default(), false)
    }

    #[tokio::test]
    async fn servers_are_chosen_by_weight_even_at_one_address() {
        let pool = pool(&[
            ("http://127.0.0.1:1001/three", 3),
            ("http://127.0.0.1:1001/one", 1),
            ("http://127.0.0.1:1003/none", 0),
        ]);
        assert!(pool.choose().is_none(), "nothing is resolved yet");
        pool.resolve().await.unwrap();
        let mut counts: HashMap<String, u32> = HashMap::new();
        for _ in 0..400 {
            let peer = pool.choose().unwrap();
            *counts.entry(peer.base_path.clone()).or_default() += 1;
        }
        let expected = [("/three".to_owned(), 300), ("/one".to_owned(), 100)];
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
        assert_eq!(pool.choose().unwrap().authority, "127.0.0.1:1001");
    }
}
