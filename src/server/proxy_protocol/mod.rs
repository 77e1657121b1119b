//! The client's address, as a proxy announces it before the first byte of a connection (PROXY protocol).
//!
//! Owns which proxies may announce one, the time that it may take, and what the rest of the process sees of it: the
//! address of the connection's other end is the announced one from then on. What comes behind the header is read by
//! whatever follows, TLS or HTTP. Does not handle the form of the header (see `header`), nor what follows of an address
//! (see
//! `accept`, `gateway::client_address`). Fails by closing the connection, counted by its reason and logged at debug.

mod header;

use std::os::fd::AsRawFd;

use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream};
use tokio::io::AsyncReadExt;

use self::header::{Client, Fault};
use super::accept;
use crate::observe::proxy_headers::ProxyRefusal;
use crate::runtime::Shared;

/// Bytes of one read. Few headers have more.
const READ_BYTES: usize = 256;

/// Whether the other end of a connection may announce a client. One that may not is counted.
pub fn permits(socket: Option<&SocketDigest>, shared: &Shared) -> bool {
    let address = socket.and_then(accept::address);
    let may = shared.pin().settings.trusts(address);
    if !may {
        note(
            socket,
            ProxyRefusal::Untrusted,
            "it is no trusted proxy",
            shared,
        );
    }
    may
}

/// Reads the header, and gives the connection the address that it names. `None`: the connection is over.
pub async fn accept(stream: Stream, shared: &Shared) -> Option<Stream> {
    let socket = stream.get_socket_digest();
    let limit = shared.pin().settings.limits.header_timeout;
    let read = tokio::time::timeout(limit, read(stream)).await;
    let (why, detail) = match read {
        Ok(Ok((mut stream, client))) => {
            announce(&mut stream, client);
            return Some(stream);
        }
        Ok(Err(failed)) => failed,
        Err(_) => (ProxyRefusal::Late, "it was not complete in time"),
    };
    note(socket.as_deref(), why, detail, shared);
    None
}

async fn read(stream: Stream) -> Result<(Box<TcpStream>, Client), (ProxyRefusal, &'static str)> {
    let closed = (ProxyRefusal::Closed, "the proxy left before its end");
    let stream = stream.into_any().downcast::<TcpStream>();
    let mut stream = stream.map_err(|_| closed)?;
    let mut taken = Vec::new();
    loop {
        let mut bytes = [0; READ_BYTES];
        let count = stream.read(&mut bytes).await.map_err(|_| closed)?;
        if count == 0 {
            return Err(closed);
        }
        taken.extend_from_slice(bytes.get(..count).unwrap_or_default());
        match header::parse(&taken) {
            Ok(None) => {}
            Ok(Some(header)) => {
                stream.rewind(taken.get(header.length..).unwrap_or_default());
                return Ok((stream, header.client));
            }
            Err(Fault::Missing) => return Err((ProxyRefusal::Missing, "none came")),
            Err(Fault::Malformed(why)) => return Err((ProxyRefusal::Malformed, why)),
        }
    }
}

/// Has everything that follows see the announced address.
fn announce(stream: &mut TcpStream, client: Client) {
    let announced = match client {
        Client::Unnamed => return,
        Client::Address(address) => Some(address.into()),
        Client::Unix => None,
    };
    let socket = SocketDigest::from_raw_fd(stream.as_raw_fd());
    // It is new, so nothing is set.
    let _ = socket.peer_addr.set(announced);
    stream.set_socket_digest(socket);
}

/// Counts a connection that is refused, and logs why, with the proxy's address as `log.mask` has it.
fn note(socket: Option<&SocketDigest>, why: ProxyRefusal, detail: &str, shared: &Shared) {
    shared.metrics.callers().proxy_headers.refused(why);
    if log::log_enabled!(log::Level::Debug) {
        let proxy = shared
            .pin()
            .settings
            .shown(socket.and_then(accept::address));
        log::debug!("PROXY header of {proxy}: {detail}");
    }
}
