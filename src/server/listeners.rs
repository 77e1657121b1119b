//! Listening sockets.
//!
//! Owns binding them, or taking those that were inherited, and descriptors of them for the process that takes over. We
//! bind ourselves and pass the open sockets to Pingora by their address, so that a port in use is an error with a
//! message, and the port behind port 0 is known. Does not handle what is served on them (see `protocol`, `operator`),
//! nor where inherited sockets come from (see `inherited`), nor the files of Unix sockets (see `unix_socket`). Fails
//! with the address and the system's error.

use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::{Fds, ListenFds};

use super::StartError;
use super::inherited::{self, Inherited};
use super::successor::Handed;
use super::unix_socket::{self, SocketFile};
use crate::config::{ListenAddress, Listener};

/// The write buffer of a client's connection. One event of a stream fits with its chunk's frame, so
/// that it leaves in one write.
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// Sockets that are open and not yet served.
pub struct Sockets {
    fds: Fds,
    inherited: Inherited,
    handed: Vec<Handed>,
    files: Vec<SocketFile>,
}

/// One open socket.
pub struct BoundSocket {
    /// Its address, with the port that the system chose for port 0.
    pub address: ListenAddress,
    /// Those of its file, which Pingora sets again.
    permissions: Option<Permissions>,
}

/// What is left of the sockets when Pingora has got them.
pub struct Opened {
    /// The sockets in the form that Pingora takes.
    pub fds: ListenFds,
    /// Descriptors of them for a successor.
    pub handed: Vec<Handed>,
    /// The files that are to be removed, unless a successor serves them.
    pub files: Vec<SocketFile>,
}

impl Sockets {
    /// None yet; those that were inherited are taken before others are bound.
    pub fn new(inherited: Inherited) -> Self {
        Self {
            fds: Fds::new(),
            inherited,
            handed: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Opens the socket of a client listener.
    ///
    /// # Errors
    /// The address, and why it cannot be listened on.
    pub fn open_for_clients(&mut self, listener: &Listener) -> Result<BoundSocket, StartError> {
        match &listener.address.value {
            ListenAddress::Ip(address) => self.open(*address, inherited::CLIENTS),
            ListenAddress::Unix(path) => {
                let opened = self.open_unix(path, listener.mode);
                opened.map_err(|e| StartError::Listen(listener.address.value.clone(), e))
            }
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
        let mut open = || {
            let socket = match self.inherited.claim(address, name) {
                Some(socket) => socket,
                None => TcpListener::bind(address)?,
            };
            self.hand(name, socket.try_clone()?.into());
            self.serve(socket)
        };
        open().map_err(|e| StartError::Listen(address.into(), e))
    }

    /// Binds a socket of this process alone, on any port.
    ///
    /// # Errors
    /// The address, and why it cannot be listened on.
    pub fn bind_own(&mut self, address: SocketAddr) -> Result<BoundSocket, StartError> {
        let bound = TcpListener::bind(address).and_then(|socket| self.serve(socket));
        bound.map_err(|e| StartError::Listen(address.into(), e))
    }

    /// A file that a predecessor has made is ours as if we had made it; systemd's is not.
    fn open_unix(&mut self, path: &Arc<str>, mode: Option<u32>) -> io::Result<BoundSocket> {
        let (socket, is_ours) = match self.inherited.claim_unix(path) {
            Some(claimed) => claimed,
            None => (unix_socket::bind(path, mode)?, true),
        };
        let permissions = unix_socket::adopt(path, mode)?;
        let name = match is_ours {
            true => inherited::OWN_CLIENTS,
            false => inherited::CLIENTS,
        };
        if is_ours {
            self.files.push(SocketFile::at(path)?);
        }
        self.hand(name, socket.try_clone()?.into());
        self.serve_unix(path, socket, permissions)
    }

    fn hand(&mut self, name: &'static str, socket: OwnedFd) {
        self.handed.push(Handed { name, socket });
    }

    fn serve(&mut self, socket: TcpListener) -> io::Result<BoundSocket> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        self.fds.add(address.to_string(), socket.into_raw_fd());
        Ok(BoundSocket {
            address: address.into(),
            permissions: None,
        })
    }

    fn serve_unix(
        &mut self,
        path: &Arc<str>,
        socket: UnixListener,
        permissions: Permissions,
    ) -> io::Result<BoundSocket> {
        socket.set_nonblocking(true)?;
        self.fds.add(path.to_string(), socket.into_raw_fd());
        Ok(BoundSocket {
            address: ListenAddress::Unix(Arc::clone(path)),
            permissions: Some(permissions),
        })
    }

    /// The addresses of inherited sockets that no listener has taken.
    pub fn unclaimed(&self) -> Vec<ListenAddress> {
        self.inherited.unclaimed()
    }

    /// What Pingora takes, and what is kept.
    pub fn into_opened(self) -> Opened {
        Opened {
            fds: Arc::new(Mutex::new(self.fds)),
            handed: self.handed,
            files: self.files,
        }
    }
}

impl BoundSocket {
    /// Pingora's settings for it. Pingora finds the socket by the address. TLS is handled above it.
    pub fn listener(&self) -> ListenerConfig {
        // Without the listener's read buffer of 64 KiB: it would be one more copy, as bodies are read
        // into the session's buffer.
        let buffers = L4BufferSettings::new(0, WRITE_BUFFER_BYTES);
        let listener = match (&self.address, &self.permissions) {
            (ListenAddress::Ip(address), _) => ListenerConfig::tcp(address.to_string()),
            (ListenAddress::Unix(path), None) => ListenerConfig::uds(&**path),
            (ListenAddress::Unix(path), Some(permissions)) => {
                ListenerConfig::uds(&**path).permissions(permissions.clone())
            }
        };
        listener.l4_buffer(buffers)
    }
}
