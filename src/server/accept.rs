//! Which new connections are admitted, and how the others are refused.
//!
//! Owns the decision on a new connection, and the answer to a refused one. A bounded number of refused
//! connections have a moment to read that answer. The others are closed at once and may lose it. Does
//! not handle the counts (see `runtime/connections.rs`). Cannot fail.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::{ALPN, SocketDigest, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::gateway;
use crate::observe::metrics::Shed;
use crate::runtime::{AtLimit, ConnectionPermit, Shared};

/// How many refused connections at a time may take a moment to read the answer. Each takes a
/// descriptor beyond the limit on connections.
const REFUSALS: usize = 128;
/// How long a refused connection may take to close, and how many bytes of it are read until then.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;

/// What each side of HTTP/2 begins with: its settings, none of them changed.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// GOAWAY: the end of a connection before its first stream, with ENHANCE_YOUR_CALM.
const GO_AWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";

/// Admits new connections, within the limits.
pub struct ConnectionLimiter {
    shared: Arc<Shared>,
    /// The most connections for which the process can open files.
    system_limit: usize,
    refusals: Arc<Semaphore>,
}

/// The decision on a connection.
pub enum Admission {
    /// It is admitted and counted, for as long as the permit lives.
    Admitted(ConnectionPermit),
    /// It is refused because of this limit. With a permit, it has a moment to read the answer.
    Refused(Shed, Option<OwnedSemaphorePermit>),
}

impl ConnectionLimiter {
    /// Admits no more than `system_limit`, whatever the configuration says.
    pub fn new(shared: &Arc<Shared>, system_limit: usize) -> Self {
        Self {
            shared: Arc::clone(shared),
            system_limit,
            refusals: Arc::new(Semaphore::new(REFUSALS)),
        }
    }

    /// Whether a connection may come from its address to the listener at this position. Of a trusted proxy, its
    /// requests are looked at one by one.
    pub fn permits(&self, listener: usize, socket: Option<&SocketDigest>) -> bool {
        let runtime = self.shared.pin();
        let settings = &runtime.settings;
        let address = socket.and_then(address);
        let is_permitted = settings
            .listener(listener)
            .is_none_or(|l| l.permits(address));
        if is_permitted || settings.trusts(address) {
            return true;
        }
        self.shared.metrics.callers().addresses.inc();
        false
    }

    /// Decides on a connection.
    pub fn admit(&self, socket: Option<&SocketDigest>) -> Admission {
        let limit = self.shared.pin().settings.limits.connections;
        let admitted = self
            .shared
            .connections
            .admit(limit.min(self.system_limit), self.counted(socket));
        match admitted {
            Ok(permit) => Admission::Admitted(permit),
            Err(limit) => self.refuse(limit),
        }
    }

    /// Counts a connection that was admitted before its client was known.
    pub fn count(&self, admission: Admission, socket: Option<&SocketDigest>) -> Admission {
        let (mut permit, (address, limit)) = match (admission, self.counted(socket)) {
            (Admission::Admitted(permit), Some(counted)) => (permit, counted),
            (admission, _) => return admission,
        };
        match permit.count_for(address, limit) {
            Ok(()) => Admission::Admitted(permit),
            Err(limit) => self.refuse(limit),
        }
    }

    /// The address that a connection counts for, and how many it may have. That of a trusted proxy has no bound.
    fn counted(&self, socket: Option<&SocketDigest>) -> Option<(IpAddr, usize)> {
        let runtime = self.shared.pin();
        let limits = &runtime.settings.limits;
        let address = socket
            .and_then(address)
            .filter(|ip| !runtime.settings.trusts(Some(*ip)))?;
        Some((limits.counted_as(address), limits.connections_per_address))
    }

    fn refuse(&self, limit: AtLimit) -> Admission {
        let shed = match limit {
            AtLimit::Total => Shed::Connections,
            AtLimit::Address => Shed::ConnectionsPerAddress,
        };
        self.shared.metrics.shed(shed);
        let permit = Arc::clone(&self.refusals).try_acquire_owned().ok();
        Admission::Refused(shed, permit)
    }
}

/// The address of a connection's other end.
pub fn address(socket: &SocketDigest) -> Option<IpAddr> {
    let address = socket.peer_addr()?.as_inet()?;
    Some(address.ip().to_canonical())
}

/// Sends the refusal without reading the request. With `may_linger`, waits for the client to read it.
pub async fn refuse(mut stream: Stream, limit: Shed, may_linger: bool) {
    let answer = match stream.selected_alpn_proto() {
        Some(ALPN::H2) => [SETTINGS, GO_AWAY].concat(),
        _ => gateway::refusal(limit),
    };
    let sending = gateway::last_words(&mut stream, &answer, LINGER_BYTES);
    let longest = if may_linger { LINGER } else { Duration::ZERO };
    // The connection is over, whether or not the answer was read. A timeout of zero still lets the
    // first write through.
    let _ = tokio::time::timeout(longest, sending).await;
}
