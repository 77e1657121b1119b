//! Connections to upstreams, pooled by address, and sending a request over one.
//!
//! Owns getting a connection, writing a request to it, and taking it back into the pool, which `session`
//! decides. `dial` makes new ones. Two things are done differently from Pingora's own connector, both measured (see
//! `docs/benchmarks.md`). A pooled HTTP/1 connection, which nearly every request gets, is taken from a
//! pool of our own (`idle`), in a future of its own: the future that can also connect and shake hands is
//! tens of kilobytes, would be moved from step to step with each request and kept by each open stream.
//! And a short request leaves in one write, header and body together, where Pingora flushes between them.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Uri;
use http::header::{HOST, TRANSFER_ENCODING};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::v2::{Connector as Http2Connector, H2HandshakeSettings, handshake};
use pingora::http::RequestHeader;
use pingora::listeners::DEFAULT_L4_WRITE_BUFFER_SIZE;
use pingora::protocols::Stream;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::{HttpSession as Http1Session, http_req_header_to_wire};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::tls::ALPN;
use pingora::upstreams::peer::Peer as PingoraPeer;
use pingora::{Error, ErrorType, OkOrErr as _, OrErr as _, Result};
use tokio::io::AsyncWriteExt;

use super::deadline;
use super::idle::Idle;
use super::payload::Chunks;
use super::pool::IDLE_CONNECTION;
use super::session::{Session, Wire};
use super::{Payload, Peer};
use crate::tls::client::Protocols;

/// Idle connections of HTTP/2 that are kept, over all upstreams.
const IDLE_CONNECTIONS: usize = 1024;
/// Streams on a connection of HTTP/2.
const MAX_STREAMS: usize = 100;
/// Idle connections are looked through this often.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// A write to an upstream that moves nothing for this long has failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// A request up to this size leaves in one write.
const ONE_WRITE_BYTES: u64 = 16 << 10;

/// Opens and keeps connections.
pub struct Connector {
    idle: Idle,
    /// Keeps connections of HTTP/2, and does not make them.
    http2: Http2Connector,
}

/// What tells Pingora's pool which connections are interchangeable. It has nothing to connect to.
#[derive(Clone)]
struct PoolKey(u64);

static NOWHERE: SocketAddr = SocketAddr::Inet(std::net::SocketAddr::V4(SocketAddrV4::new(
    Ipv4Addr::UNSPECIFIED,
    0,
)));

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:x}", self.0)
    }
}

impl PingoraPeer for PoolKey {
    fn address(&self) -> &SocketAddr {
        &NOWHERE
    }

    fn tls(&self) -> bool {
        false
    }

    fn sni(&self) -> &str {
        ""
    }

    fn reuse_hash(&self) -> u64 {
        self.0
    }

    fn matches_fd<V: AsRawFd>(&self, _: V) -> bool {
        // The key says it all: the far end of the connection may be a proxy.
        true
    }
}

/// A connection that is ready for a request.
pub struct Connection {
    wire: Wire,
    reused: bool,
}

/// A request that was not sent whole.
pub struct NotSent {
    /// What the connection said.
    pub error: Box<Error>,
    /// Whether the upstream has seen nothing of it, so that it may be sent again.
    pub unseen: bool,
    /// The connection, over which an early answer may have come. It carries no other request.
    pub session: Session,
}

impl Default for Connector {
    fn default() -> Self {
        let options = ConnectorOptions::new(IDLE_CONNECTIONS);
        Self {
            idle: Idle::default(),
            http2: Http2Connector::new(Some(options)),
        }
    }
}

impl Connector {
    /// A connection to `peer`.
    ///
    /// # Errors
    /// What was in the way of one.
    pub async fn connect(&self, peer: &Peer) -> Result<Connection> {
        if peer.http2 {
            return Box::pin(self.connect_http2(peer)).await;
        }
        let (stream, reused) = match self.idle.take(peer.key) {
            Some(stream) => (stream, true),
            None => (Box::pin(peer.dial(Protocols::Http1)).await?, false),
        };
        let wire = Wire::Http1(stream);
        Ok(Connection { wire, reused })
    }

    async fn connect_http2(&self, peer: &Peer) -> Result<Connection> {
        let streamed = |session, reused| Connection {
            wire: Wire::Http2(Box::new(HttpSession::H2(session))),
            reused,
        };
        if let Some(session) = self.http2.reused_http_session(&PoolKey(peer.key)).await? {
            return Ok(streamed(session, true));
        }
        // Those of a server that has chosen HTTP/1.
        let (stream, reused) = match self.idle.take(peer.key) {
            Some(stream) => (stream, true),
            None => (peer.dial(Protocols::Http2).await?, false),
        };
        // Over TLS the server chooses; in cleartext both sides must know beforehand.
        if reused || peer.has_tls() && stream.selected_alpn_proto() != Some(ALPN::H2) {
            let wire = Wire::Http1(stream);
            return Ok(Connection { wire, reused });
        }
        let mut settings = H2HandshakeSettings::new();
        settings.max_streams = MAX_STREAMS;
        let connection = handshake(stream, settings).await?;
        let session = connection.spawn_stream().await?;
        let session = session.or_err(ErrorType::H2Error, "a new connection takes no streams")?;
        if connection.more_streams_allowed() {
            self.http2.in_use_pool().insert(peer.key, connection);
        }
        Ok(streamed(session, false))
    }

    /// A new connection to `peer` that speaks HTTP/1 whatever else the peer speaks: a WebSocket is
    /// opened over it.
    ///
    /// # Errors
    /// What was in the way of one.
    pub async fn connect_http1(&self, peer: &Peer) -> Result<Box<Http1Session>> {
        let stream = Box::pin(peer.dial(Protocols::Http1)).await?;
        Ok(Box::new(Http1Session::new(stream)))
    }

    /// Takes back a connection whose answer has been read to its end. One whose state is in doubt is
    /// closed.
    pub async fn release(&self, session: Session, peer: &Peer) {
        match session.reusable().await {
            Some(Wire::Http1(stream)) => self.idle.put(peer.key, stream, IDLE_CONNECTION),
            Some(Wire::Http2(session)) => {
                if let HttpSession::H2(stream) = *session {
                    let (key, idle) = (PoolKey(peer.key), Some(IDLE_CONNECTION));
                    self.http2.release_http_session(stream, &key, idle);
                }
            }
            None => {}
        }
    }

    /// Closes idle connections whose time has come, from time to time.
    pub async fn tend(&self) {
        loop {
            tokio::time::sleep(TEND_EVERY).await;
            self.idle.tend();
        }
    }
}

impl Connection {
    /// Sends a request, header and body.
    ///
    /// # Errors
    /// See [`NotSent`]; a timeout where it has not been taken until then.
    pub async fn send(
        self,
        header: &RequestHeader,
        body: &Payload,
        until: Instant,
    ) -> std::result::Result<Session, Box<NotSent>> {
        let (http, sent) = match self.wire {
            Wire::Http1(mut stream) => {
                let sent = send_http1(&mut stream, header, body, until).await;
                (Box::new(HttpSession::H1(Http1Session::new(stream))), sent)
            }
            Wire::Http2(mut session) => {
                session.set_write_timeout(Some(WRITE_TIMEOUT));
                let sent = Box::pin(send_http2(&mut session, header.clone(), body, until)).await;
                (session, sent)
            }
        };
        let mut session = Session::new(http, &header.method);
        match sent {
            Ok(()) => {
                session.sent_whole();
                Ok(session)
            }
            Err(Failed { error, began }) => Err(Box::new(NotSent {
                error,
                unseen: self.reused && !began,
                session,
            })),
        }
    }

    /// Sends the header of a request whose body is still on its way: it is written with
    /// [`Session::write_body`] and ended with [`Session::finish_body`]. Tells whether the connection
    /// had carried a request before.
    ///
    /// # Errors
    /// See [`NotSent`]. No server acts on a part of a header, so of a reused connection it has seen
    /// nothing.
    pub async fn send_header(
        self,
        mut header: RequestHeader,
    ) -> std::result::Result<(Session, bool), Box<NotSent>> {
        let mut http = match self.wire {
            Wire::Http1(stream) => Box::new(HttpSession::H1(Http1Session::new(stream))),
            Wire::Http2(session) => session,
        };
        http.set_write_timeout(Some(WRITE_TIMEOUT));
        let method = header.method.clone();
        let fit = match http.as_http2() {
            Some(_) => fit_for_http2(&mut header),
            None => Ok(()),
        };
        let written = match fit {
            Ok(()) => Box::pin(http.write_request_header(Box::new(header)))
                .await
                .map(drop),
            Err(error) => Err(error),
        };
        let session = Session::new(http, &method);
        match written {
            Ok(()) => Ok((session, self.reused)),
            Err(error) => Err(Box::new(NotSent {
                error,
                unseen: self.reused,
                session,
            })),
        }
    }
}

/// A write that failed, and whether bytes had gone out before.
struct Failed {
    error: Box<Error>,
    began: bool,
}

async fn send_http1(
    stream: &mut Stream,
    header: &RequestHeader,
    body: &Payload,
    until: Instant,
) -> std::result::Result<(), Failed> {
    let Some(mut head) = http_req_header_to_wire(header) else {
        return Err(Failed {
            error: Error::explain(ErrorType::InvalidHTTPHeader, "the header cannot be written"),
            began: false,
        });
    };
    let mut accepted = 0;
    let written = async {
        let total = head.len() as u64 + body.len();
        if total <= ONE_WRITE_BYTES
            && let Some(pieces) = body.in_memory()
        {
            pieces.for_each(|piece| head.extend_from_slice(piece));
            write(stream, &head, until, &mut accepted).await?;
        } else {
            write(stream, &head, until, &mut accepted).await?;
            let mut chunks = body.chunks();
            while let Some(chunk) = read(&mut chunks).await? {
                write(stream, &chunk, until, &mut accepted).await?;
            }
        }
        in_time(until, stream.flush()).await
    };
    written.await.map_err(|error| Failed {
        error,
        // What is no longer than the stream's own buffer has not left it yet.
        began: accepted > DEFAULT_L4_WRITE_BUFFER_SIZE,
    })
}

/// Writes bytes, as long as each write moves within [`WRITE_TIMEOUT`].
async fn write(
    stream: &mut Stream,
    mut left: &[u8],
    until: Instant,
    accepted: &mut usize,
) -> Result<()> {
    while !left.is_empty() {
        let written = in_time(until, stream.write(left)).await?;
        if written == 0 {
            return Error::e_explain(ErrorType::WriteError, "the connection takes no more");
        }
        *accepted += written;
        left = left.get(written..).unwrap_or_default();
    }
    Ok(())
}

async fn read(chunks: &mut Chunks<'_>) -> Result<Option<Bytes>> {
    let chunk = chunks.next().await;
    chunk.or_err(ErrorType::FileReadError, "a body that waits in a file")
}

async fn in_time<T>(until: Instant, io: impl Future<Output = std::io::Result<T>>) -> Result<T> {
    let io = async {
        let done = io.await;
        done.or_err(ErrorType::WriteError, "while sending the request")
    };
    deadline::writing(until, WRITE_TIMEOUT, io).await
}

/// HTTP/2 frames bodies itself, and has a field of its own for the host: nginx refuses a request that has it twice.
fn fit_for_http2(header: &mut RequestHeader) -> Result<()> {
    header.remove_header(&TRANSFER_ENCODING);
    let (Some(host), Some(path)) = (header.remove_header(&HOST), header.uri.path_and_query())
    else {
        return Ok(());
    };
    let uri = Uri::builder().scheme("https").path_and_query(path.clone());
    let uri = uri.authority(host.as_bytes()).build();
    header.set_uri(uri.or_err(ErrorType::InvalidHTTPHeader, "the host of the upstream")?);
    Ok(())
}

async fn send_http2(
    session: &mut HttpSession,
    mut header: RequestHeader,
    body: &Payload,
    until: Instant,
) -> std::result::Result<(), Failed> {
    let failed = |began| move |error| Failed { error, began };
    fit_for_http2(&mut header).map_err(failed(false))?;
    let headed = session.write_request_header(Box::new(header)).await;
    headed.map_err(failed(false))?;
    let written = async {
        let mut chunks = body.chunks();
        while let Some(chunk) = read(&mut chunks).await? {
            session.write_request_body(chunk, false).await?;
        }
        session.finish_request_body().await
    };
    deadline::writing(until, Duration::MAX, written)
        .await
        .map_err(failed(true))
}
