//! Where clients connect: an IP address with a port, or a Unix socket.
//!
//! Owns both forms and the bound on a path. Does not handle how a socket is opened (see `server::listeners`). What
//! cannot be read is reported with its place.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::document::Node;

/// What a Unix socket begins with.
const UNIX: &str = "unix:";
/// The most bytes of a path: what Linux has room for, without the byte that ends it.
const MOST_PATH_BYTES: usize = 107;
/// All permissions of all users.
const MOST_MODE: u32 = 0o777;

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(Arc<str>),
}

impl ListenAddress {
    /// The address and port; `None` for a Unix socket.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether the system chooses the port.
    pub fn is_any_port(&self) -> bool {
        self.ip().is_some_and(|address| address.port() == 0)
    }

    /// Whether nothing but this machine reaches it.
    pub fn is_of_this_machine(&self) -> bool {
        self.ip().is_none_or(|address| address.ip().is_loopback())
    }

    /// As a URL, where it has one.
    pub fn described(&self, speaks_tls: bool) -> String {
        match (self, speaks_tls) {
            (Self::Ip(address), false) => format!("http://{address}"),
            (Self::Ip(address), true) => format!("https://{address}"),
            (Self::Unix(_), false) => self.to_string(),
            (Self::Unix(_), true) => format!("{self} (TLS)"),
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{path}"),
        }
    }
}

/// Reads either form.
pub(super) fn read(node: &Node<'_>) -> Option<ListenAddress> {
    let text = node.name()?;
    match text.strip_prefix(UNIX) {
        Some(path) => Some(ListenAddress::Unix(read_path(node, path)?)),
        None => Some(ListenAddress::Ip(read_ip(node)?)),
    }
}

/// Reads an IP address with a port.
pub(super) fn read_ip(node: &Node<'_>) -> Option<SocketAddr> {
    let text = node.name()?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            node.report(
                format!("`{text}` is not an address with a port"),
                Some("as in 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080"),
            );
            None
        }
    }
}

fn read_path(node: &Node<'_>, path: &str) -> Option<Arc<str>> {
    let (message, hint) = if !path.starts_with('/') || path.ends_with('/') {
        (
            format!("`{path}` is not the absolute path of a socket"),
            "as in unix:/run/tollgate/tollgate.sock; abstract sockets are not supported",
        )
    } else if path.contains('\0') {
        ("a path has no NUL".to_owned(), "remove it")
    } else if path.len() > MOST_PATH_BYTES {
        (
            format!(
                "the path has {} bytes, and a Unix socket has room for {MOST_PATH_BYTES}",
                path.len()
            ),
            "take a shorter one, as in unix:/run/tollgate/tollgate.sock",
        )
    } else {
        return Some(path.into());
    };
    node.report(message, Some(hint));
    None
}

/// Reads the permissions of a socket's file, in octal digits.
pub(super) fn read_mode(node: &Node<'_>) -> Option<u32> {
    let text = node.text()?;
    let mode = u32::from_str_radix(text.trim(), 8).ok();
    let mode = mode.filter(|mode| *mode <= MOST_MODE);
    if mode.is_none() {
        node.report(
            format!("`{text}` is not a mode in octal digits"),
            Some("as in mode: \"0660\", for the socket's owner and group"),
        );
    }
    mode
}
