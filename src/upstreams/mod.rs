//! Provider accounts as they run: their servers, their keys, how they are connected to.
//!
//! `pool` picks a server and keeps its addresses fresh, `keys` takes turns among the keys,
//! `connector` keeps the connections. Owns what an upstream needs to be asked. Refuses to know what is asked, and why.

mod catalogue;
mod connector;
mod idle;
mod keys;
mod payload;
mod pool;

use std::net::SocketAddr;

use http::HeaderValue;

use crate::config::{self, Timeouts};
use crate::openai::dialect::Dialect;
use catalogue::Catalogue;

pub use catalogue::Listed;
pub use connector::{Connection, Connector, NotSent};
pub use keys::{KeyRing, Turn};
pub use payload::Payload;
pub use pool::{Peer, Pool};

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
    catalogue: Catalogue,
}

impl Upstream {
    /// Builds it from what the operator wrote. `built_in` is where the built-in provider listens,
    /// for dialects that have one and an upstream that names no server.
    pub fn new(written: &config::Upstream, built_in: Option<SocketAddr>) -> Self {
        let mut servers: Vec<_> = written
            .servers
            .iter()
            .map(|server| (server.url.clone(), server.weight))
            .collect();
        if servers.is_empty() {
            servers.extend(built_in.map(|address| (config::BaseUrl::from(address), 1)));
        }
        Self {
            name: written.name.value.clone(),
            keys: KeyRing::new(&written.keys, &written.dialect),
            timeouts: written.timeouts,
            pool: Pool::new(
                servers,
                &written.dialect.base_path,
                &written.timeouts,
                written.http2,
            ),
            dialect: written.dialect.clone(),
            catalogue: Catalogue::default(),
        }
    }

    /// The value of the dialect's key header; the client's key is asked for where it is sent on.
    pub fn credential<'k>(
        &self,
        turn: Turn<'_>,
        client_key: impl FnOnce() -> Option<&'k [u8]>,
    ) -> Option<HeaderValue> {
        match self.keys {
            KeyRing::Passthrough => self.dialect.credential(client_key()?),
            KeyRing::Own { .. } => self.keys.choose(turn).cloned(),
        }
    }
}
