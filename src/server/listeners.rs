//! Opening sockets.
//!
//! We bind ourselves and hand Pingora the open sockets by their address, so that a port that is
//! taken is an error with words, and port 0 tells which port it became.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora::listeners::tls::{Acceptor, TlsSettings};
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::{Fds, ListenFds};

use super::StartError;
use super::handshake::Handshake;
use crate::config::{Tls, certificate};

/// What a connection of a client may hold back on its way out. One event of a stream fits, with
/// its chunk's frame, so that it leaves in one write.
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// Sockets that are open and not yet served.
pub struct Sockets {
    fds: Fds,
}

impl Default for Sockets {
    fn default() -> Self {
        Self { fds: Fds::new() }
    }
}

/// One open socket.
pub struct Bound {
    /// Where it listens, with the port that it got.
    pub address: SocketAddr,
    tls: Option<Tls>,
}

impl Sockets {
    /// Opens a socket.
    pub fn bind(&mut self, address: SocketAddr, tls: Option<&Tls>) -> Result<Bound, StartError> {
        let failed = |e| StartError::Listen(address, e);
        let socket = TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        self.fds.add(address.to_string(), socket.into_raw_fd());
        Ok(Bound {
            address,
            tls: tls.cloned(),
        })
    }

    /// Hands the sockets over.
    pub fn into_fds(self) -> ListenFds {
        Arc::new(Mutex::new(self.fds))
    }
}

impl Bound {
    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What Pingora serves it with. It finds the socket by the address. TLS is spoken above it.
    pub fn listener(&self) -> ListenerConfig {
        // The listener's own read buffer of 64 KiB would be one more copy: bodies are read into
        // the session's buffer anyway.
        let buffers = L4BufferSettings::new(0, WRITE_BUFFER_BYTES);
        ListenerConfig::tcp(self.address.to_string()).l4_buffer(buffers)
    }

    /// How TLS is spoken on it, where it is.
    pub fn handshake(&self) -> Result<Option<Handshake>, StartError> {
        let acceptor = self.tls.as_ref().map(acceptor).transpose()?;
        Ok(acceptor.map(Handshake::new))
    }
}

fn acceptor(tls: &Tls) -> Result<Acceptor, StartError> {
    // Pingora panics on a certificate that it cannot use, and the files may have changed since the
    // configuration was read.
    certificate::check(tls).map_err(|fault| StartError::Tls(fault.message))?;
    let (cert, key) = (&tls.cert.value, &tls.key.value);
    let (Some(cert), Some(key)) = (cert.to_str(), key.to_str()) else {
        return Err(StartError::Tls("a path is not UTF-8".to_owned()));
    };
    let mut settings =
        TlsSettings::intermediate(cert, key).map_err(|e| StartError::Tls(e.to_string()))?;
    settings.enable_h2();
    Ok(settings.build())
}
