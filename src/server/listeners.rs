//! Listening sockets.
//!
//! Owns binding them, or taking those that were inherited, and descriptors of them for the process that takes over. We
//! bind ourselves and pass the open sockets to Pingora by their address, so that a port in use is an error with a
//! message, and the port behind port 0 is known. Does not handle what is served on them (see `protocol`, `operator`),
//! nor where inherited sockets come from (see `inherited`). Fails with the address and the system's error.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::{Fds, ListenFds};

use super::StartError;
use super::inherited::Inherited;
use super::successor::Handed;

/// The write buffer of a client's connection. One event of a stream fits with its chunk's frame, so
/// that it leaves in one write.
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// Sockets that are open and not yet served.
pub struct Sockets {
    fds: Fds,
    inherited: Inherited,
    handed: Vec<Handed>,
}

/// One open socket.
pub struct BoundSocket {
    /// Its address, with the port that the system chose for port 0.
    pub address: SocketAddr,
}

impl Sockets {
    /// None yet; those that were inherited are taken before others are bound.
    pub fn new(inherited: Inherited) -> Self {
        Self {
            fds: Fds::new(),
            inherited,
            handed: Vec::new(),
        }
    }

    /// Opens a socket that is handed over under a name.
    ///
    /// # Errors
    /// The address, and why it cannot be listened on.
    pub fn open(
        &mut self,
        address: SocketAddr,
        name: &'static str,
    ) -> Result<BoundSocket, StartError> {
        let failed = |e| StartError::Listen(address, e);
        let socket = match self.inherited.claim(address, name) {
            Some(socket) => socket,
            None => TcpListener::bind(address).map_err(failed)?,
        };
        let descriptor = OwnedFd::from(socket.try_clone().map_err(failed)?);
        self.handed.push(Handed {
            name,
            socket: descriptor,
        });
        self.serve(socket).map_err(failed)
    }

    /// Binds a socket of this process alone, on any port.
    ///
    /// # Errors
    /// The address, and why it cannot be listened on.
    pub fn bind_own(&mut self, address: SocketAddr) -> Result<BoundSocket, StartError> {
        let bound = TcpListener::bind(address).and_then(|socket| self.serve(socket));
        bound.map_err(|e| StartError::Listen(address, e))
    }

    fn serve(&mut self, socket: TcpListener) -> std::io::Result<BoundSocket> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        self.fds.add(address.to_string(), socket.into_raw_fd());
        Ok(BoundSocket { address })
    }

    /// The addresses of inherited sockets that no listener has taken.
    pub fn unclaimed(&self) -> Vec<SocketAddr> {
        self.inherited.unclaimed()
    }

    /// The sockets in the form that Pingora takes, and descriptors of them for a successor.
    pub fn into_parts(self) -> (ListenFds, Vec<Handed>) {
        (Arc::new(Mutex::new(self.fds)), self.handed)
    }
}

impl BoundSocket {
    /// Pingora's settings for it. Pingora finds the socket by the address. TLS is handled above it.
    pub fn listener(&self) -> ListenerConfig {
        // Without the listener's read buffer of 64 KiB: it would be one more copy, as bodies are read
        // into the session's buffer.
        let buffers = L4BufferSettings::new(0, WRITE_BUFFER_BYTES);
        ListenerConfig::tcp(self.address.to_string()).l4_buffer(buffers)
    }
}
