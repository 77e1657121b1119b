//! What limits of the server refuse.
//!
//! Owns the names of these limits, and their counters. Does not handle when one is counted (see `metrics`). Fails at
//! the start or not at all.

use prometheus::IntCounterVec;

use super::families::counters;

/// What is shed: refused, so that the rest can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// A connection, because there are too many.
    Connections,
    /// A connection, because its address has too many.
    ConnectionsPerAddress,
    /// A request, because there are too many.
    Requests,
    /// A request, because all headers together take too much memory.
    HeaderMemory,
    /// A connection whose request's header came too slowly.
    HeaderTimeout,
    /// A request whose body came too slowly.
    BodyRate,
}

impl Shed {
    const ALL: [Self; 6] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::Requests,
        Self::HeaderMemory,
        Self::HeaderTimeout,
        Self::BodyRate,
    ];

    /// The setting in `server.limits`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::Requests => "requests",
            Self::HeaderMemory => "header_memory",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyRate => "body_rate",
        }
    }
}

/// The counters, one for each limit.
pub(super) fn counters_by_limit() -> Result<IntCounterVec, prometheus::Error> {
    let help = "Connections and requests that were shed, by limit.";
    let shed = counters("tollgate_shed_total", help, &["limit"])?;
    // A series that starts at zero shows its first increase.
    for limit in Shed::ALL {
        shed.with_label_values(&[limit.name()]);
    }
    Ok(shed)
}
