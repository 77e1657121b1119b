//! Provider accounts as they run: their servers, their keys, how they are connected to.
//!
//! `pool` keeps the servers and their addresses, `balancer` picks one, `health` asks them how they
//! are and `breaker` leaves out what fails. `keys` takes turns among the keys, `cooldown` knows which
//! of them can be used, and `standing` how long a fault of one lasts. `places` bounds how much is asked
//! at once and `budget` how often again; `connector` keeps the connections, `session` reads answers and
//! decides which connections may be used again, and `deadline` holds both to their time; `told` is what
//! their errors tell. `conditions` keeps what has been learnt of all of them from one snapshot to
//! the next. Owns what an upstream needs to be asked. Does not know what is asked, and why (`gateway`).
//! How each part fails stands in its file.

mod balancer;
mod book;
mod breaker;
mod budget;
mod catalogue;
mod concurrency;
mod connector;
mod cooldown;
pub mod deadline;
pub mod health;
mod health_state;
mod idle;
mod keys;
mod payload;
mod pool;
mod registry;
mod session;
mod standing;
mod told;
mod window;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{self, ConsistentBy, HealthCheck, Timeouts};
use crate::openai::dialect::Dialect;
use crate::openai::forwarding::Forwarded;
use catalogue::Catalogue;

pub use breaker::{Admission, Breaker, State};
pub use budget::Budget;
pub use catalogue::Listed;
pub use concurrency::{Concurrency, Full, Permit};
pub use connector::{Connection, Connector, NotSent};
pub use cooldown::{Cooled, KeyUse, Readiness};
pub use keys::{Key, KeyRing, Turn};
pub use payload::Payload;
pub use pool::{Peer, Pool, Server, ServerLease};
pub use registry::Registry;
pub use session::Session;
pub use standing::{Fault, Finding, Shown};
pub use told::told;

/// One upstream of the running configuration.
#[derive(Debug)]
pub struct Upstream {
    /// Its name, as in the configuration, logs and metrics.
    pub name: String,
    /// How it differs from api.openai.com.
    pub dialect: Dialect,
    /// What it is asked with.
    pub keys: KeyRing,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// Its servers.
    pub pool: Pool,
    /// What the choice of a server hangs on, where it hangs on anything.
    pub consistent_by: Option<ConsistentBy>,
    /// How its servers are checked, if they are.
    pub health_check: Option<HealthCheck>,
    /// How many requests it takes at once, if that is bounded.
    pub places: Option<Arc<Concurrency>>,
    /// How often it may be asked again.
    pub budget: Arc<Budget>,
    /// Whether a request is sent again whose connection broke after it had been sent whole.
    pub resend_lost: bool,
    /// Whether it is asked for the usage of streams.
    pub include_usage: bool,
    /// Headers of clients that it sees besides those that every upstream does.
    pub forward_headers: Forwarded,
    /// Whether it is told through how many gateways a request has come.
    pub hops: bool,
    catalogue: Catalogue,
}

impl Upstream {
    /// Builds it from what the operator wrote. `built_in` is where the built-in provider listens,
    /// for dialects that have one and an upstream that names no server.
    pub fn new(
        written: &config::Upstream,
        built_in: Option<SocketAddr>,
        registry: &Registry,
    ) -> Self {
        let name = &written.name.value;
        let mut servers: Vec<_> = written
            .servers
            .iter()
            .map(|server| (server.url.clone(), server.weight))
            .collect();
        if servers.is_empty() {
            servers.extend(built_in.map(|address| (config::BaseUrl::from(address), 1)));
        }
        Self {
            name: name.clone(),
            keys: KeyRing::new(&written.keys, &written.dialect, name, &registry.keys),
            timeouts: written.timeouts,
            pool: Pool::new(written, servers, &registry.servers),
            consistent_by: match written.balance {
                config::Balance::Consistent(by) => Some(by),
                _ => None,
            },
            health_check: written.health_check.clone(),
            places: written
                .max_concurrent
                .map(|bounds| registry.places(name, bounds)),
            budget: registry.budget(name),
            resend_lost: written.resend_lost,
            include_usage: written.include_usage,
            forward_headers: written.forward_headers.clone(),
            hops: written.hops,
            dialect: written.dialect.clone(),
            catalogue: Catalogue::default(),
        }
    }
}
