//! Which new connections are admitted, and what the others are told.
//!
//! Owns the verdict on a new connection, and the answer to one that finds no room. So many at a time
//! have a moment to read it; the others are closed at once, which may cost them the answer. How
//! connections are counted is decided in `runtime/connections.rs`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::{ALPN, SocketDigest, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::gateway;
use crate::observe::metrics::Shed;
use crate::runtime::{Crowded, Place, Shared};

/// How many at a time may take a moment to read that there is no room for them. Each takes a
/// descriptor beyond the limit on connections.
const REFUSALS: usize = 128;
/// How long, and for how many bytes, one that has been told may take to leave.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;

/// What each side of HTTP/2 begins with: its settings, none of them changed.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// The end of a connection, after no stream at all, for ENHANCE_YOUR_CALM.
const GO_AWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";

/// Judges new connections.
pub struct Arrivals {
    shared: Arc<Shared>,
    /// How many connections the system has room for.
    room: usize,
    refusals: Arc<Semaphore>,
}

/// What has become of a connection.
pub enum Arrival {
    /// It is counted.
    Admitted(Place),
    /// There is no room for it. With a permit, it has a moment to read that.
    Refused(Shed, Option<OwnedSemaphorePermit>),
}

impl Arrivals {
    /// Admits no more than `room`, whatever the configuration says.
    pub fn new(shared: &Arc<Shared>, room: usize) -> Self {
        Self {
            shared: Arc::clone(shared),
            room,
            refusals: Arc::new(Semaphore::new(REFUSALS)),
        }
    }

    /// Judges a connection.
    pub fn judge(&self, socket: Option<Arc<SocketDigest>>) -> Arrival {
        let runtime = self.shared.pin();
        let settings = &runtime.settings;
        let limits = &settings.limits;
        let exempt = |ip: &IpAddr| settings.trusted_proxies.iter().any(|net| net.contains(ip));
        let address = socket
            .and_then(|socket| address(&socket))
            .filter(|ip| !exempt(ip));
        let admitted = self.shared.connections.admit(
            limits.connections.min(self.room),
            address.map(|ip| (limits.counted_as(ip), limits.connections_per_address)),
        );
        let shed = match admitted {
            Ok(place) => return Arrival::Admitted(place),
            Err(Crowded::InTotal) => Shed::Connections,
            Err(Crowded::OfAddress) => Shed::ConnectionsPerAddress,
        };
        self.shared.metrics.shed(shed);
        let permit = Arc::clone(&self.refusals).try_acquire_owned().ok();
        Arrival::Refused(shed, permit)
    }
}

fn address(socket: &SocketDigest) -> Option<IpAddr> {
    let address = socket.peer_addr()?.as_inet()?;
    Some(address.ip().to_canonical())
}

/// Tells a client that there is no room, without a look at what it asks; waits for it to read that if
/// it `may_linger`.
pub async fn refuse(mut stream: Stream, what: Shed, may_linger: bool) {
    let answer = match stream.selected_alpn_proto() {
        Some(ALPN::H2) => [SETTINGS, GO_AWAY].concat(),
        _ => gateway::refusal(what),
    };
    let telling = gateway::last_words(&mut stream, &answer, LINGER_BYTES);
    let limit = if may_linger { LINGER } else { Duration::ZERO };
    // Whether it was read or not, it is over. What needs no waiting is done in no time.
    let _ = tokio::time::timeout(limit, telling).await;
}
