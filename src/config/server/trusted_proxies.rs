//! The key `server.trusted_proxies`: whose word on a client's address is believed.
//!
//! Owns its form: networks, and `unix` for whatever connects to a Unix socket. Does not handle what is believed (see
//! `gateway::client_address` and `server::proxy_protocol`). What cannot be read is reported with its place.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::address_rules;
use crate::config::document::Node;

/// What stands for the other ends of Unix sockets.
const UNIX: &str = "unix";

/// Proxies that are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// Whether those are that have no address.
    unix: bool,
}

impl TrustedProxies {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether the other end of a connection is one; without an address, that of a Unix socket.
    pub fn have(&self, address: Option<IpAddr>) -> bool {
        match address {
            Some(ip) => self.networks.iter().any(|network| network.contains(&ip)),
            None => self.unix,
        }
    }
}

/// Reads the list.
pub(super) fn read(node: &Node<'_>) -> TrustedProxies {
    let mut proxies = TrustedProxies::default();
    for entry in node.list().unwrap_or_default() {
        match entry.text() {
            Some(text) if text == UNIX => proxies.unix = true,
            Some(_) => proxies.networks.extend(address_rules::read_network(&entry)),
            None => {}
        }
    }
    proxies
}
