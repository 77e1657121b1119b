//! `server.node`: what this gateway is called among others.
//!
//! Owns its default, which is the name of the machine. Does not handle what it stands for elsewhere: in a shared
//! database (see `ledger`), in a shared store (see `limits`) and in metrics. A name that cannot be used is reported
//! with its place.

use crate::config::document::{Node, is_plain_name, plain_name};

/// What a node is called whose machine has no name that can be used.
const UNNAMED: &str = "main";

/// The name of this machine.
pub(super) fn default_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_str().ok().and_then(plain_name);
    name.unwrap_or_else(|| UNNAMED.to_owned())
}

/// Reads a name.
pub(super) fn read(node: &Node<'_>) -> Option<String> {
    let name = node.name()?;
    if !is_plain_name(&name) {
        let message = "a node's name has up to 64 letters, digits, `-`, `_` and `.`";
        node.report(message, Some("as in node: gateway-1"));
        return None;
    }
    Some(name)
}
