//! A connection to one Redis or Valkey.
//!
//! Owns making it: over TCP, TLS or a Unix socket, with the login of its URL. Does not handle when it is made anew, nor
//! what is asked over it (see `cache::link` and `limits::store`). Fails with [`NotConnected`].

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{RedisServer, RedisUrl};
use crate::tls::client::{Client, Protocols};

/// Until a connection is made, its login included.
const CONNECT: Duration = Duration::from_secs(2);

/// A connection over TCP, TLS or a socket.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Moves the bytes of a connection until it ends.
pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why there is no connection.
#[derive(Debug)]
pub enum NotConnected {
    /// There is no way to the server.
    Io(io::Error),
    /// Its name cannot be that of a certificate.
    Name(InvalidDnsNameError),
    /// It refuses.
    Redis(RedisError),
    /// It does not answer.
    Silent,
}

/// Connects to the server of a URL, within two seconds. The driver has to be polled for the connection to live.
///
/// # Errors
/// The server is away, or refuses.
pub async fn connect(url: &RedisUrl) -> Result<(MultiplexedConnection, Driver), NotConnected> {
    connect_to(&url.server, url.has_tls, &url.login).await
}

/// The same to a server that another one has named.
///
/// # Errors
/// The server is away, or refuses.
pub async fn connect_to(
    server: &RedisServer,
    has_tls: bool,
    login: &RedisConnectionInfo,
) -> Result<(MultiplexedConnection, Driver), NotConnected> {
    let connected = timeout(CONNECT, async {
        let stream = dial(server, has_tls).await?;
        // Each command has a time of its own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(login, stream, config).await;
        let (connection, driver) = made.map_err(NotConnected::Redis)?;
        Ok((connection, Box::pin(driver) as Driver))
    });
    connected.await.unwrap_or(Err(NotConnected::Silent))
}

async fn dial(server: &RedisServer, has_tls: bool) -> Result<Box<dyn Stream>, NotConnected> {
    let (host, port) = match server {
        RedisServer::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        RedisServer::Tcp(host, port) => (host, *port),
    };
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    if !has_tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.clone()).map_err(NotConnected::Name)?;
    let usual = Client::usual().offering(Protocols::Http1);
    let mut config = (*usual).clone();
    config.alpn_protocols.clear();
    let connector = TlsConnector::from(Arc::new(config));
    Ok(Box::new(connector.connect(name, stream).await?))
}

impl From<io::Error> for NotConnected {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Name(error) => error.fmt(f),
            Self::Redis(error) => error.fmt(f),
            Self::Silent => write!(f, "no answer within {} s", CONNECT.as_secs()),
        }
    }
}
