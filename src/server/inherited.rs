//! Listening sockets that another process has opened: systemd, or the process that this one takes over from.
//!
//! Owns systemd's protocol `LISTEN_FDS`, which serves both, and the socket `ready` that a predecessor adds: on it
//! this process says that it serves, or why it cannot. Does not handle which socket serves which address (see
//! `listeners`), nor the predecessor's side (see `successor`). Fails with a text for the operator.

use std::env;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use listenfd::ListenFd;

use crate::config::ListenAddress;

/// The name of the socket on which a successor reports.
pub const READY: &str = "ready";
/// The names of the sockets of clients and of the operator.
pub const CLIENTS: &str = "clients";
pub const ADMIN: &str = "admin";
/// The name of a socket of clients whose file a predecessor has made, and leaves to this process.
pub const OWN_CLIENTS: &str = "clients-own";
/// What a successor says when it serves.
pub const SERVING: &str = "serving\n";
/// More descriptors than this are a mistake.
const MAX_SOCKETS: usize = 256;

/// Sockets that this process has been given.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<Given>,
    predecessor: Option<UnixStream>,
}

/// A listening socket that nothing serves yet.
#[derive(Debug)]
struct Given {
    address: ListenAddress,
    name: String,
    socket: OwnedFd,
}

impl Inherited {
    /// Takes what the environment tells of. Call it once, and before any file is opened.
    ///
    /// # Errors
    /// A descriptor is no listening socket of TCP, and no Unix socket with a path.
    #[allow(
        clippy::disallowed_methods,
        reason = "systemd's protocol, not a setting"
    )]
    pub fn take() -> Result<Self, String> {
        let mut given = ListenFd::from_env();
        if given.len() > MAX_SOCKETS {
            return Err(format!(
                "LISTEN_FDS is {}: at most {MAX_SOCKETS} sockets can be taken",
                given.len()
            ));
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut inherited = Self::default();
        for position in 0..given.len() {
            let name = names.next().unwrap_or_default().to_owned();
            if name == READY {
                let socket = given.take_unix_listener(position);
                let socket = socket.map_err(|e| not_a_socket(position, &e))?;
                // It is a connected socket: only its kind was checked.
                inherited.predecessor = socket.map(|s| UnixStream::from(OwnedFd::from(s)));
                continue;
            }
            let taken = take_listener(&mut given, position);
            if let Some((address, socket)) = taken.map_err(|e| not_a_socket(position, &e))? {
                inherited.listeners.push(Given {
                    address,
                    name,
                    socket,
                });
            }
        }
        Ok(inherited)
    }

    /// The process that this one takes over from.
    pub fn predecessor(&mut self) -> Predecessor {
        Predecessor(self.predecessor.take())
    }

    /// The socket for a configured address: the one that has it; for port 0, one of that name or of none of ours, with
    /// the same IP address.
    pub fn claim(&mut self, address: SocketAddr, name: &str) -> Option<TcpListener> {
        let exact = self.position(&address.into());
        let any = || {
            let is_free = |g: &Given| {
                let is_named = g.name == name || ![CLIENTS, ADMIN].contains(&g.name.as_str());
                g.address.ip().map(|given| given.ip()) == Some(address.ip()) && is_named
            };
            let mut listeners = self.listeners.iter();
            (address.port() == 0).then(|| listeners.position(is_free))?
        };
        let position = exact.or_else(any)?;
        Some(self.listeners.remove(position).socket.into())
    }

    /// The Unix socket at a configured path, and whether a predecessor has made its file.
    pub fn claim_unix(&mut self, path: &Arc<str>) -> Option<(UnixListener, bool)> {
        let position = self.position(&ListenAddress::Unix(Arc::clone(path)))?;
        let given = self.listeners.remove(position);
        Some((given.socket.into(), given.name == OWN_CLIENTS))
    }

    fn position(&self, address: &ListenAddress) -> Option<usize> {
        let mut listeners = self.listeners.iter();
        listeners.position(|given| given.address == *address)
    }

    /// The addresses of the sockets that no one has claimed.
    pub fn unclaimed(&self) -> Vec<ListenAddress> {
        self.listeners.iter().map(|g| g.address.clone()).collect()
    }
}

/// The process that this one takes over from, if there is one.
#[derive(Debug)]
pub struct Predecessor(Option<UnixStream>);

impl Predecessor {
    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Tells it that this process serves.
    pub fn tell_ready(&mut self) {
        self.tell(SERVING);
    }

    /// Tells it why this process ends.
    pub fn tell_failure(&mut self, why: &str) {
        self.tell(why);
    }

    fn tell(&mut self, text: &str) {
        if let Some(mut predecessor) = self.0.take() {
            // Where it has ended, nobody needs to know.
            let _ = predecessor.write_all(text.as_bytes());
        }
    }
}

/// Takes a socket of either kind, with its address. `None`: it was taken before.
fn take_listener(
    given: &mut ListenFd,
    position: usize,
) -> io::Result<Option<(ListenAddress, OwnedFd)>> {
    let error = match given.take_tcp_listener(position) {
        Ok(None) => return Ok(None),
        Ok(Some(socket)) => return Ok(Some((socket.local_addr()?.into(), socket.into()))),
        Err(error) => error,
    };
    let Ok(Some(socket)) = given.take_unix_listener(position) else {
        return Err(error);
    };
    let address = socket.local_addr()?;
    let path = address.as_pathname().and_then(|path| path.to_str());
    let path = path.ok_or_else(|| io::Error::other("it has no path"))?;
    Ok(Some((ListenAddress::Unix(path.into()), socket.into())))
}

fn not_a_socket(position: usize, error: &std::io::Error) -> String {
    format!(
        "LISTEN_FDS: socket {} of those that were handed over cannot be used: {error} (only listening \
         sockets of TCP and Unix sockets with a path can; in a systemd .socket unit: ListenStream=)",
        position + 1
    )
}
