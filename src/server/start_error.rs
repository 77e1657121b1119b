//! Why the process could not start.
//!
//! Owns the causes and their words for the operator. Does not handle what follows (see `cli::run`). Cannot fail.

use std::fmt;
use std::path::PathBuf;

use crate::config::ListenAddress;
use crate::ledger::LedgerError;
use crate::store::StoreError;

/// Why the process could not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener could not be opened.
    Listen(ListenAddress, std::io::Error),
    /// The chat log cannot be opened.
    ChatLog(PathBuf, std::io::Error),
    /// The ledger cannot be opened.
    Ledger(LedgerError),
    /// Keys that are made at run time cannot be kept.
    Keys(StoreError),
    /// Sockets were handed over that the configuration does not name.
    Unclaimed(Vec<ListenAddress>),
    /// A certificate or its key cannot be used.
    Tls(String),
    /// The process lacks something that it needs from the system, or a part of it is broken.
    Internal(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, e) if e.kind() == std::io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: the port is in use (stop the other process, or choose \
                 another port: --port or `server.listen` for clients, `server.admin` for the operator; \
                 without a file, PORT and ADMIN)"
            ),
            Self::Listen(address, e) => write!(f, "cannot listen on {address}: {e}"),
            Self::Unclaimed(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "LISTEN_FDS: no listener of the configuration has the address {}: name it in \
                     `server.listen` or `server.admin`, or take it out of the .socket unit",
                    addresses.join(", ")
                )
            }
            Self::ChatLog(path, e) => {
                write!(f, "chat_log.path: {} cannot be opened: {e}", path.display())
            }
            Self::Ledger(e) => e.fmt(f),
            Self::Keys(e) => write!(f, "keys that are made at run time: {e}"),
            Self::Tls(what) => write!(f, "TLS: {what}"),
            Self::Internal(what) => write!(f, "internal: {what}"),
        }
    }
}
