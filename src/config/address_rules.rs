//! The key `addresses` of a listener and of a tenant, and networks wherever they are written.
//!
//! Owns their forms and how many there may be. Does not handle what follows of an address (see `networks`). What
//! cannot be read is reported with its place.

use std::net::IpAddr;

use ipnet::IpNet;

use super::document::Node;
use crate::networks::{AddressRules, Networks};

/// A list has no more networks.
const MOST_NETWORKS: usize = 10_000;

/// Reads the mapping of both lists. `None` where there is nothing to use.
pub fn read(node: &Node<'_>) -> Option<AddressRules> {
    let mut section = node.section()?;
    let (allow, deny) = (section.take("allow"), section.take("deny"));
    let is_empty = allow.is_none() && deny.is_none();
    if section.finish() && is_empty {
        node.report(
            "neither `allow` nor `deny` is written",
            Some("as in addresses: { allow: [10.0.0.0/8] }"),
        );
        return None;
    }
    let allow = match allow {
        Some(node) => Some(read_set(&node)?),
        None => None,
    };
    Some(AddressRules {
        allow,
        deny: deny.map_or(Some(Networks::default()), |n| read_set(&n))?,
    })
}

fn read_set(node: &Node<'_>) -> Option<Networks> {
    let items = node.list()?;
    if items.is_empty() {
        node.report(
            "the list is empty",
            Some("write a network, as in 10.0.0.0/8, or leave the list out"),
        );
        return None;
    }
    if items.len() > MOST_NETWORKS {
        let message = format!("more than {MOST_NETWORKS} networks");
        node.report(message, Some("write larger networks"));
        return None;
    }
    let networks: Vec<Option<IpNet>> = items.iter().map(read_network).collect();
    networks.into_iter().collect()
}

/// Reads a network, or an address alone.
pub fn read_network(node: &Node<'_>) -> Option<IpNet> {
    let text = node.name()?;
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    if network.is_err() {
        node.report(
            format!("`{text}` is not a network"),
            Some("as in 10.0.0.0/8, 127.0.0.1/32 or ::1"),
        );
    }
    network.ok()
}
