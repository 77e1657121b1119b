//! Provider accounts as they run: their servers, their keys, the connections to them.
//!
//! - `pool` has the servers and their addresses, `balancer` chooses one, `health` makes the health checks
//!   (`health_state` has what they found), and `breaker` ejects what fails.
//! - `speed` has how fast a target answers.
//! - `keys` takes turns among the keys, `cooldown` has the state of each, and `standing` how long a fault
//!   lasts.
//! - `concurrency` bounds the requests at a time, and `budget` the retries.
//! - `dial` connects to a server, through a `forward_proxy` where there is one; `names` has the addresses of names.
//! - `connector` keeps the connections, `session` reads answers and decides which connections may be used
//!   again, `deadline` bounds both in time, and `told` has the text of their errors.
//! - `registry` keeps what has been learnt of all of them from one snapshot to the next, each in a `book`.
//!
//! Owns everything that is needed to ask an upstream. Does not handle what is asked, or why (see
//! `gateway`). How each part fails stands in its file.

mod balancer;
mod book;
mod breaker;
mod budget;
mod catalogue;
mod concurrency;
mod connector;
mod cooldown;
pub mod deadline;
mod dial;
pub mod forward_proxy;
pub mod health;
mod health_state;
mod idle;
mod keys;
mod names;
mod payload;
mod pool;
mod registry;
mod session;
mod speed;
mod standing;
mod told;
mod window;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{self, ConsistentBy, HealthCheck, Timeouts};
use crate::openai::continuation::Prefill;
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
pub use registry::{Registry, TargetState};
pub use session::Session;
pub use speed::{Speed, SpeedShown};
pub use standing::{Fault, Finding, Shown};
pub use told::told;

/// One upstream of the running configuration.
#[derive(Debug)]
pub struct Upstream {
    /// Its name, as in the configuration, logs and metrics.
    pub name: String,
    /// How it differs from api.openai.com.
    pub dialect: Dialect,
    /// Its keys.
    pub keys: KeyRing,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// Its servers.
    pub pool: Pool,
    /// What decides which server is chosen, where the choice is consistent.
    pub consistent_by: Option<ConsistentBy>,
    /// How its servers are checked, if they are.
    pub health_check: Option<HealthCheck>,
    /// How many requests it takes at once, if that is bounded.
    pub concurrency: Option<Arc<Concurrency>>,
    /// How often it may be asked again.
    pub budget: Arc<Budget>,
    /// Whether a request is sent again whose connection broke after it had been sent whole.
    pub resend_lost: bool,
    /// How it continues a message that the assistant has begun.
    pub prefill: Prefill,
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
            concurrency: written
                .max_concurrent
                .map(|bounds| registry.concurrency(name, bounds)),
            budget: registry.budget(name),
            resend_lost: written.resend_lost,
            prefill: written.prefill,
            include_usage: written.include_usage,
            forward_headers: written.forward_headers.clone(),
            hops: written.hops,
            dialect: written.dialect.clone(),
            catalogue: Catalogue::default(),
        }
    }
}
