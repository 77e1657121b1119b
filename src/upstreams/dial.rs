//! Connecting to a server: over TCP or a Unix socket, through a forward proxy where there is one, then TLS.
//!
//! Owns the steps, that they take no longer than the upstream's timeout, and which connections are interchangeable. The
//! certificate of a server is verified against the name in its URL, or the one that is written in its place; a name
//! that is an address against that address. Does not handle what a proxy is asked (see `forward_proxy`), what is
//! negotiated (see `tls::client`), nor keeping connections (see `connector`). Pingora's own connector is not used: it
//! takes no TLS configuration, and does not tell connections with different authorities apart. Fails with Pingora's
//! errors, and with those of `forward_proxy`.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pingora::prelude::timeout;
use pingora::protocols::Stream;
use pingora::protocols::l4::ext::{connect, connect_uds};
use pingora::protocols::l4::stream::Stream as Socket;
use pingora::protocols::tls::client::handshake;
use pingora::tls::TlsConnector;
use pingora::{Error, ErrorType, Result};

use super::deadline::left;
use super::forward_proxy::ForwardProxy;
use super::names;
use crate::config::{self, BaseUrl};
use crate::tls::client::{Client, Protocols};

/// Where a connection leads to at first: a server, or its proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How the server at one URL is connected to.
#[derive(Debug)]
pub struct Dialer {
    hop: Hop,
    proxy: Option<ForwardProxy>,
    tls: Option<Tls>,
    timeout: Duration,
    fingerprint: u64,
}

/// What has the address.
#[derive(Debug, Hash)]
enum Hop {
    Socket(PathBuf),
    Host(String, u16),
    Proxy(String, u16),
}

#[derive(Debug)]
struct Tls {
    client: Client,
    server_name: String,
}

impl Dialer {
    /// For the server at `url` of an upstream.
    pub fn new(written: &config::Upstream, url: &BaseUrl) -> Self {
        let proxy = written.proxy.as_ref().filter(|_| url.socket.is_none());
        let hop = match (&url.socket, proxy) {
            (Some(path), _) => Hop::Socket(path.clone()),
            (None, Some(proxy)) => Hop::Proxy(proxy.host.clone(), proxy.port),
            (None, None) => Hop::Host(url.host.clone(), url.port),
        };
        let proxy = proxy.map(|proxy| ForwardProxy::new(proxy, &url.host, url.port));
        let settings = written.tls.as_ref();
        let tls = url.tls.then(|| Tls {
            client: settings.map_or_else(Client::usual, |tls| tls.client.clone()),
            server_name: settings
                .and_then(|tls| tls.server_name.as_ref())
                .unwrap_or(&url.host)
                .clone(),
        });
        let mut hasher = DefaultHasher::new();
        hop.hash(&mut hasher);
        proxy.hash(&mut hasher);
        if let Some(tls) = &tls {
            tls.client.fingerprint().hash(&mut hasher);
            tls.server_name.hash(&mut hasher);
        }
        tls.is_some().hash(&mut hasher);
        written.http2.hash(&mut hasher);
        Self {
            hop,
            proxy,
            tls,
            timeout: written.timeouts.connect,
            fingerprint: hasher.finish(),
        }
    }

    /// Whether TLS is spoken.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The host and port of the proxy, where there is one.
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_ref().map(ForwardProxy::name)
    }

    /// The addresses to connect to.
    ///
    /// # Errors
    /// A name cannot be resolved. The text names it.
    pub async fn addresses(&self) -> Result<Vec<Address>, String> {
        let (host, port, what) = match &self.hop {
            Hop::Socket(path) => return Ok(vec![Address::Unix(path.clone())]),
            Hop::Host(host, port) => (host, *port, ""),
            Hop::Proxy(host, port) => (host, *port, " (its proxy)"),
        };
        let found = names::lookup(host, port).await;
        let found = found.map_err(|e| format!("{host}{what}: {e}"))?;
        Ok(found.into_iter().map(Address::Tcp).collect())
    }

    /// A number that connections have in common which may serve each other's requests: they lead to the same
    /// server in the same way.
    pub fn key(&self, address: &Address) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.fingerprint, address).hash(&mut hasher);
        hasher.finish()
    }

    /// A connection over which HTTP can be spoken.
    ///
    /// # Errors
    /// What was in the way, and that it took too long.
    pub async fn dial(&self, address: &Address, protocols: Protocols) -> Result<Stream> {
        let until = Instant::now() + self.timeout;
        let socket = self.reach_until(address, until).await?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(socket));
        };
        let connector = TlsConnector::from(tls.client.offering(protocols));
        let handshake = handshake(&connector, &tls.server_name, socket);
        let late = || Error::new(ErrorType::ConnectTimedout);
        Ok(Box::new(in_time(until, late, handshake).await?))
    }

    /// Makes a connection without TLS and gives it up: whether something listens there.
    ///
    /// # Errors
    /// As [`Dialer::dial`].
    pub async fn reach(&self, address: &Address) -> Result<()> {
        let until = Instant::now() + self.timeout;
        self.reach_until(address, until).await.map(drop)
    }

    async fn reach_until(&self, address: &Address, until: Instant) -> Result<Socket> {
        let late = || Error::new(ErrorType::ConnectTimedout);
        let Some(proxy) = &self.proxy else {
            return in_time(until, late, open(address)).await;
        };
        let opened = in_time(until, late, open(address)).await;
        let mut socket = opened.map_err(|e| proxy.unreachable(&e))?;
        in_time(until, late, proxy.ask(&mut socket)).await?;
        Ok(socket)
    }
}

async fn open(address: &Address) -> Result<Socket> {
    let opened = match address {
        Address::Tcp(address) => connect(address, None).await.map(Socket::from),
        Address::Unix(path) => connect_uds(path).await.map(Socket::from),
    };
    let mut socket = opened.map_err(|mut e| {
        // To Pingora it is its own fault where the system does not allow the connection.
        if *e.etype() == ErrorType::InternalError {
            e.etype = ErrorType::ConnectError;
        }
        e.more_context(format!("cannot connect to {address}"))
    })?;
    if let Address::Tcp(_) = address {
        socket.set_nodelay()?;
    }
    Ok(socket)
}

async fn in_time<T>(
    until: Instant,
    late: impl FnOnce() -> Box<Error>,
    io: impl Future<Output = Result<T>>,
) -> Result<T> {
    match timeout(left(until), io).await {
        Ok(done) => done,
        Err(_) => Err(late()),
    }
}
