//! The key `server.listen`: where clients connect.
//!
//! Owns the form of an address and of a listener. Does not handle TLS (see `tls`), nor how a listener is opened (see `server::listeners`). What cannot be read is
//! reported with its place.

use std::net::SocketAddr;

use super::edge::{self, Hsts, RedirectTo};
use super::tls::{self, Tls};
use crate::config::address_rules;
use crate::config::auth::{self, Methods};
use crate::config::document::{Located, Node};
use crate::networks::AddressRules;

/// One address to listen on.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The address and port.
    pub address: Located<SocketAddr>,
    /// Certificate and key; `None` for cleartext.
    pub tls: Option<Tls>,
    /// The methods by which callers are found here; `None` for every one.
    pub auth: Option<Methods>,
    /// Who may connect.
    pub addresses: Option<AddressRules>,
    /// What browsers are told of using TLS alone.
    pub hsts: Option<Hsts>,
    /// Where clients are sent instead of being served.
    pub redirect: Option<RedirectTo>,
}

impl Listener {
    /// Whether a socket of one can serve the other: both speak TLS, or neither.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        self.tls.is_some() == other.tls.is_some()
    }
}

/// Reads the list; `None` where there is nothing to use.
pub(super) fn read(node: &Node<'_>) -> Option<Vec<Listener>> {
    let listeners = node.list().unwrap_or_default();
    if !node.is_list() {
        return None;
    }
    if listeners.is_empty() {
        node.report(
            "at least one address is needed",
            Some("- address: 127.0.0.1:8080"),
        );
        return None;
    }
    Some(listeners.iter().filter_map(read_listener).collect())
}

fn read_listener(node: &Node<'_>) -> Option<Listener> {
    if !node.is_mapping() {
        return Some(Listener {
            address: node.locate(read_address(node)?),
            tls: None,
            auth: None,
            addresses: None,
            hsts: None,
            redirect: None,
        });
    }
    let mut section = node.section()?;
    let address = section
        .require("address")
        .and_then(|n| Some(n.locate(read_address(&n)?)));
    let tls = section.take("tls").map(|n| tls::read(&n));
    let addresses = section
        .take("addresses")
        .and_then(|n| address_rules::read(&n));
    let auth = section.take("auth").and_then(|n| auth::read_methods(&n));
    let (hsts, redirect) = (section.take("hsts"), section.take("redirect"));
    section.finish();
    if let (Some(node), None) = (&hsts, &tls) {
        let hint = "write `tls`, or remove `hsts`";
        node.report("browsers take no notice of it without TLS", Some(hint));
    }
    if let (Some(node), Some(_)) = (&redirect, &tls) {
        let hint = "write it at a listener without `tls`";
        node.report(
            "a listener with TLS has nothing to redirect from",
            Some(hint),
        );
    }
    Some(Listener {
        hsts: hsts.and_then(|n| edge::read_hsts(&n)),
        redirect: redirect.and_then(|n| edge::read_redirect(&n)),
        auth,
        addresses,
        address: address?,
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
    })
}

/// Reads an IP address with a port.
pub(super) fn read_address(node: &Node<'_>) -> Option<SocketAddr> {
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
