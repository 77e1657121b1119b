//! Listening sockets.
//!
//! Owns binding them, and the TLS settings of each. We bind ourselves and pass the open sockets to
//! Pingora by their address, so that a port in use is an error with a message, and the port behind
//! port 0 is known. Does not handle what is served on them (see `protocol`, `operator`). Fails with
//! the address and the system's error.

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

/// The write buffer of a client's connection. One event of a stream fits with its chunk's frame, so
/// that it leaves in one write.
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// Sockets that are bound and not yet served.
pub struct Sockets {
    fds: Fds,
}

impl Default for Sockets {
    fn default() -> Self {
        Self { fds: Fds::new() }
    }
}

/// One open socket.
pub struct BoundSocket {
    /// Its address, with the port that the system chose for port 0.
    pub address: SocketAddr,
    tls: Option<Tls>,
}

impl Sockets {
    /// Binds a socket.
    ///
    /// # Errors
    /// The address, and why it cannot be listened on.
    pub fn bind(
        &mut self,
        address: SocketAddr,
        tls: Option<&Tls>,
    ) -> Result<BoundSocket, StartError> {
        let failed = |e| StartError::Listen(address, e);
        let socket = TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        self.fds.add(address.to_string(), socket.into_raw_fd());
        Ok(BoundSocket {
            address,
            tls: tls.cloned(),
        })
    }

    /// The sockets, in the form that Pingora takes.
    pub fn into_fds(self) -> ListenFds {
        Arc::new(Mutex::new(self.fds))
    }
}

impl BoundSocket {
    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Pingora's settings for it. Pingora finds the socket by the address. TLS is handled above it.
    pub fn listener(&self) -> ListenerConfig {
        // Without the listener's read buffer of 64 KiB: it would be one more copy, as bodies are read
        // into the session's buffer.
        let buffers = L4BufferSettings::new(0, WRITE_BUFFER_BYTES);
        ListenerConfig::tcp(self.address.to_string()).l4_buffer(buffers)
    }

    /// Its TLS handshake, if it speaks TLS.
    ///
    /// # Errors
    /// The certificate or its key cannot be used.
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
