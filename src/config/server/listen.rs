//! The key `server.listen`: where clients connect.
//!
//! Owns the form of a listener. Does not handle that of its address (see `listen_address`), TLS (see `tls`), nor how a
//! listener is opened (see `server::listeners`). What cannot be read is reported with its place.

use super::edge::{self, Hsts, RedirectTo};
use super::listen_address::{self, ListenAddress};
use super::tls::{self, Tls};
use crate::config::address_rules;
use crate::config::auth::{self, Methods};
use crate::config::document::{Located, Node};
use crate::networks::AddressRules;

/// One address to listen on.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its address and port, or the path of its socket.
    pub address: Located<ListenAddress>,
    /// The permissions of its socket's file, where they are written.
    pub mode: Option<u32>,
    /// Whether each connection begins with the header of a trusted proxy, which names its client.
    pub proxy_protocol: Located<bool>,
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
    /// One without further keys.
    pub fn plain(address: Located<ListenAddress>) -> Self {
        Self {
            address,
            mode: None,
            proxy_protocol: Located::default(),
            tls: None,
            auth: None,
            addresses: None,
            hsts: None,
            redirect: None,
        }
    }

    /// Whether a socket of one can serve the other: both speak TLS, or neither, and the file has the same permissions.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        self.tls.is_some() == other.tls.is_some() && self.mode == other.mode
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
        return Some(Listener::plain(node.locate(listen_address::read(node)?)));
    }
    let mut section = node.section()?;
    let address = section
        .require("address")
        .and_then(|n| Some(n.locate(listen_address::read(&n)?)));
    let mode = section.take("mode");
    let proxy_protocol = section
        .take("proxy_protocol")
        .and_then(|n| Some(n.locate(n.boolean()?)));
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
    if let (Some(node), Some(address)) = (&mode, &address)
        && address.value.ip().is_some()
    {
        node.report("only a Unix socket has a mode", Some("remove it"));
    }
    Some(Listener {
        mode: mode.and_then(|n| listen_address::read_mode(&n)),
        hsts: hsts.and_then(|n| edge::read_hsts(&n)),
        redirect: redirect.and_then(|n| edge::read_redirect(&n)),
        auth,
        addresses,
        address: address?,
        proxy_protocol: proxy_protocol.unwrap_or_default(),
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
    })
}
