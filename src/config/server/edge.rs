//! The keys `hsts` and `redirect` of a listener: how its clients are kept to TLS.
//!
//! Owns their forms. Does not handle what is answered (see `gateway`). What cannot be read is reported with its place.

use std::time::Duration;

use http::Uri;

use crate::config::document::Node;

/// What browsers are told of using HTTPS alone (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// For how long.
    pub max_age: Duration,
    /// Whether for every name below the host, too.
    pub include_subdomains: bool,
    /// Whether browsers may ship with it.
    pub preload: bool,
}

impl Hsts {
    /// The value of its header.
    pub fn value(&self) -> String {
        let mut value = format!("max-age={}", self.max_age.as_secs());
        if self.include_subdomains {
            value += "; includeSubDomains";
        }
        if self.preload {
            value += "; preload";
        }
        value
    }
}

/// Where a listener sends its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectTo {
    /// To the host that each names, by HTTPS at its usual port.
    SameHost,
    /// To this URL of a server.
    Fixed(String),
}

/// Reads a duration, or a mapping.
pub(super) fn read_hsts(node: &Node<'_>) -> Option<Hsts> {
    if !node.is_mapping() {
        return Some(Hsts {
            max_age: node.duration()?,
            include_subdomains: false,
            preload: false,
        });
    }
    let mut section = node.section()?;
    let max_age = section.require("max_age").and_then(|n| n.duration());
    let mut flag = |name| section.take(name).and_then(|n| n.boolean()) == Some(true);
    let (include_subdomains, preload) = (flag("include_subdomains"), flag("preload"));
    section.finish();
    Some(Hsts {
        max_age: max_age?,
        include_subdomains,
        preload,
    })
}

/// Reads `https`, or a URL without a path.
pub(super) fn read_redirect(node: &Node<'_>) -> Option<RedirectTo> {
    let text = node.name()?;
    if text == "https" {
        return Some(RedirectTo::SameHost);
    }
    let base = text.strip_suffix('/').unwrap_or(&text);
    let host = base.strip_prefix("https://");
    let uri = base.parse::<Uri>().ok();
    let authority = uri.as_ref().and_then(Uri::authority).map(|a| a.as_str());
    if host.is_none() || host != authority || base.contains('@') {
        node.report(
            format!("`{text}` is no place to send clients to"),
            Some("`https` for the host that they name, or a URL as in https://api.example"),
        );
        return None;
    }
    Some(RedirectTo::Fixed(base.to_owned()))
}
