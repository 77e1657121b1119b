//! The keys `passthrough` and `allow_…` of the `server` section and of a tenant: what passes unread.
//!
//! Owns their forms, and which of the two sections wins. Does not handle what passes (see
//! `openai::privileges` and `gateway::tunnel`). What cannot be read is reported with its place.

use crate::config::document::{Located, Node, Section};
use crate::openai::privileges::Grants;

/// Where requests below `/v1` go that are not read: files, batches, endpoints that are not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Passthrough {
    /// Nowhere: 404.
    #[default]
    Off,
    /// To this upstream.
    To(Located<String>),
}

/// What a tenant may ask of its home beyond its own objects; `None` where the section has no such key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allowances {
    /// Short-lived keys, and calls; with both, clients bypass the gateway.
    pub ephemeral_keys: Option<bool>,
    /// Administration of the provider's account.
    pub administration: Option<bool>,
    /// Reports of what the whole account has used.
    pub usage_reports: Option<bool>,
}

impl Allowances {
    /// What is granted: what the tenant says, else what `server` says, else nothing.
    pub fn within(self, server: Self) -> Grants {
        let granted = |own: Option<bool>, server| own.or(server).unwrap_or(false);
        Grants {
            ephemeral_keys: granted(self.ephemeral_keys, server.ephemeral_keys),
            administration: granted(self.administration, server.administration),
            usage_reports: granted(self.usage_reports, server.usage_reports),
        }
    }
}

/// Reads the `allow_…` keys of the `server` section or of a tenant.
pub fn read_allowances(section: &mut Section<'_>) -> Allowances {
    let mut read = |name| section.take(name).and_then(|n| n.boolean());
    Allowances {
        ephemeral_keys: read("allow_ephemeral_keys"),
        administration: read("allow_administration"),
        usage_reports: read("allow_usage_reports"),
    }
}

/// Reads `passthrough: UPSTREAM` or `passthrough: off`.
pub fn read_passthrough(node: &Node<'_>) -> Option<Passthrough> {
    let name = node.name()?;
    Some(match name.as_str() {
        "off" | "false" => Passthrough::Off,
        _ => Passthrough::To(node.locate(name)),
    })
}
