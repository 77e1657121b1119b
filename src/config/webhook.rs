//! Webhooks: where usage and quotas are told of.
//!
//! Owns the keys of a `webhook`, and what its address may be. Does not handle how events are sent, nor the
//! addresses of a name, which are checked when it connects (see `ledger::webhooks`). What cannot be read is
//! reported with its place; a secret is never part of a message.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::addresses::{is_local, stays_local};
use super::document::{Located, Node};
use crate::secret::Secret;

/// How a secret begins that stands in base64, as Standard Webhooks say.
const ENCODED: &str = "whsec_";
/// A shorter secret could be guessed.
const LEAST_SECRET_BYTES: usize = 16;

/// An address that events are posted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// The address: `https`, or `http` to a loopback address.
    pub url: Located<String>,
    /// The key of its signatures, as it was written; `None` for no signature. What stands behind `whsec_` is
    /// base64 of it.
    pub secret: Option<Secret>,
    /// Which events are sent.
    pub events: Events,
    /// Whether the address may lie in a private network.
    pub allow_private: bool,
}

/// Which events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// What each request has used, in batches.
    pub usage: bool,
    /// A share of a quota has been used.
    pub threshold: bool,
    /// A quota is used up.
    pub exhausted: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            usage: true,
            threshold: true,
            exhausted: true,
        }
    }
}

/// Reads a webhook: a mapping, or its URL alone.
pub fn read(node: &Node<'_>) -> Option<Webhook> {
    if !node.is_mapping() {
        return Some(Webhook {
            url: read_url(node, false)?,
            secret: None,
            events: Events::default(),
            allow_private: false,
        });
    }
    let mut section = node.section()?;
    let allow_private = section.take("allow_private").and_then(|n| n.boolean());
    let allow_private = allow_private.unwrap_or(false);
    let url = section.require("url");
    let url = url.and_then(|n| read_url(&n, allow_private));
    let secret = section.take("secret").and_then(|n| read_secret(&n));
    let events = section.take("events").map(|n| read_events(&n));
    section.finish();
    Some(Webhook {
        url: url?,
        secret,
        events: events.unwrap_or_default(),
        allow_private,
    })
}

fn read_url(node: &Node<'_>, allow_private: bool) -> Option<Located<String>> {
    let text = node.name()?;
    let text = text.trim();
    match fault(text, allow_private) {
        None => Some(node.locate(text.to_owned())),
        Some((message, hint)) => {
            node.report(message, Some(hint));
            None
        }
    }
}

/// What is wrong with a URL, and what to do about it. The URL may have a token in it, so it is no part of
/// either.
fn fault(text: &str, allow_private: bool) -> Option<(&'static str, &'static str)> {
    const EXAMPLE: &str = "as in https://billing.example/hook";
    let Ok(url) = text.parse::<http::Uri>() else {
        return Some(("is not a URL", EXAMPLE));
    };
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Some(("is not a URL with https:// and a host", EXAMPLE));
    };
    if authority.as_str().contains('@') {
        return Some((
            "must not have a user or password",
            "the receiver checks the signature that `secret` makes",
        ));
    }
    let host = authority.host().trim_matches(['[', ']']);
    let literal = host.parse::<IpAddr>().ok();
    let is_loopback = host.eq_ignore_ascii_case("localhost")
        || literal.is_some_and(|ip| ip.to_canonical().is_loopback());
    match scheme {
        _ if host.is_empty() => return Some(("has no host", EXAMPLE)),
        "http" | "https" => {}
        _ => return Some(("must begin with https://", EXAMPLE)),
    }
    // What no name may lead to either.
    if literal.is_some_and(|ip| stays_local(ip) && !is_local(ip)) {
        return Some((
            "the address is that of no single machine, or hides one in a private network",
            "write the receiver's own address",
        ));
    }
    let is_private = !is_loopback && !allow_private && literal.is_some_and(stays_local);
    match (scheme, is_private) {
        ("http", _) if is_loopback => None,
        ("http", true) => Some((
            "the address lies in a private network, and events are sent over https only, except to this \
             machine",
            "write https://, and allow_private: true beside the URL if that is meant",
        )),
        ("http", false) => Some((
            "events are sent over https only, except to this machine",
            "write https://",
        )),
        (_, true) => Some((
            "the address lies in a private network",
            "write allow_private: true beside the URL if that is meant",
        )),
        (_, false) => None,
    }
}

fn read_secret(node: &Node<'_>) -> Option<Secret> {
    let text = node.name()?;
    let bytes = match text.strip_prefix(ENCODED) {
        None => text.len(),
        Some(encoded) => match STANDARD.decode(encoded) {
            Ok(bytes) => bytes.len(),
            Err(_) => {
                let hint = "echo whsec_$(openssl rand -base64 32)";
                node.report("no base64 stands behind whsec_", Some(hint));
                return None;
            }
        },
    };
    if bytes < LEAST_SECRET_BYTES {
        let message = format!("the secret is shorter than {LEAST_SECRET_BYTES} bytes");
        node.report(message, Some("echo whsec_$(openssl rand -base64 32)"));
        return None;
    }
    Some(Secret::new(text))
}

fn read_events(node: &Node<'_>) -> Events {
    let mut events = Events {
        usage: false,
        threshold: false,
        exhausted: false,
    };
    let items = node.list().unwrap_or_default();
    if node.is_list() && items.is_empty() {
        let hint = "leave `events` out for all of them";
        node.report("at least one event is needed", Some(hint));
    }
    for item in items {
        match item.text().as_deref() {
            Some("usage") => events.usage = true,
            Some("threshold") => events.threshold = true,
            Some("exhausted") => events.exhausted = true,
            Some(_) => item.report("expected usage, threshold or exhausted", None),
            None => {}
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Variables};

    fn parse(webhook: &str) -> Result<Webhook, Vec<String>> {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n\
             webhook: {webhook}\n"
        );
        match Config::parse("t.yaml", &text, &Variables::default()) {
            Ok(config) => Ok(config.webhook.unwrap()),
            Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn an_address_alone_gets_every_event() {
        for url in [
            "https://billing.example/hook?token=1",
            "https://203.0.113.7",
            "https://127.0.0.1:1/x",
            "http://localhost:8000",
            "'http://[::1]:8000/hook'",
        ] {
            let webhook = parse(url).unwrap();
            assert_eq!(webhook.url.value, url.trim_matches('\''));
            assert_eq!(webhook.events, Events::default());
            assert!(webhook.secret.is_none() && !webhook.allow_private);
        }
    }

    #[test]
    fn everything_can_be_said() {
        let webhook = parse(
            "{ url: https://10.0.0.1, secret: whsec_MDEyMzQ1Njc4OWFiY2RlZg==,
               events: [exhausted, usage], allow_private: true }",
        )
        .unwrap();
        let events = Events {
            usage: true,
            threshold: false,
            exhausted: true,
        };
        assert_eq!(webhook.events, events);
        assert!(webhook.allow_private);
        let secret = webhook.secret.unwrap();
        assert_eq!(secret.expose(), "whsec_MDEyMzQ1Njc4OWFiY2RlZg==");
    }

    /// Each has one mistake, which begins like this and has nothing of a secret.
    #[track_caller]
    fn assert_refused(cases: &[(&str, &str)]) {
        for (webhook, expected) in cases {
            let found = parse(webhook).unwrap_err();
            let expected = format!("t.yaml:3: webhook{expected}");
            assert!(
                found.len() == 1 && found[0].starts_with(&expected),
                "{webhook}: {found:?}"
            );
            assert!(!found[0].contains("s3cret"), "{found:?}");
        }
    }

    #[test]
    fn an_address_that_no_receiver_may_have_is_refused() {
        assert_refused(&[
            (
                "https://10.0.0.1/s3cret",
                ": the address lies in a private network (write allow_private: true beside the URL if",
            ),
            ("https://169.254.169.254", ": the address lies in"),
            ("'https://[fd00::1]'", ": the address lies in"),
            ("'https://[::ffff:10.0.0.1]'", ": the address lies in"),
            ("https://0.0.0.0", ": the address is that of no single"),
            (
                "http://10.0.0.1",
                ": the address lies in a private network, and events are sent over https only, except to \
                 this machine (write https://, and allow_private: true",
            ),
            (
                "{ url: https://224.0.0.1/, allow_private: true }",
                ".url: the address is that of no single machine",
            ),
            (
                "{ url: 'https://[::]', allow_private: true }",
                ".url: the address is that of no single machine",
            ),
            (
                "{ url: https://255.255.255.255, allow_private: true }",
                ".url: the address is that of no single machine",
            ),
            (
                "{ url: 'https://[64:ff9b::10.0.0.1]', allow_private: true }",
                ".url: the address is that of no single machine",
            ),
            (
                "http://224.0.0.1",
                ": the address is that of no single machine",
            ),
            (
                "{ url: http://10.0.0.1, allow_private: true }",
                ".url: events are sent over https only",
            ),
        ]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert_refused(&[
            ("true", ": is not a URL with https:// and a host"),
            ("'a b'", ": is not a URL (as in"),
            ("/hook", ": is not a URL with https://"),
            ("ftp://a", ": must begin with https://"),
            (
                "http://billing.example/?s3cret",
                ": events are sent over https only, except to this machine (write https://)",
            ),
            ("https://u:s3cret@a", ": must not have a user or password"),
            ("{ secret: s3cret-0123456789 }", ": `url` is missing"),
            (
                "{ url: https://a, secret: s3cret }",
                ".secret: the secret is shorter than 16 bytes (echo whsec_$(openssl rand -base64 32))",
            ),
            (
                "{ url: https://a, secret: whsec_s3cret! }",
                ".secret: no base64 stands behind whsec_",
            ),
            (
                "{ url: https://a, secret: whsec_czNjcmV0 }",
                ".secret: the secret is shorter than 16 bytes",
            ),
            (
                "{ url: https://a, events: [] }",
                ".events: at least one event",
            ),
            (
                "{ url: https://a, events: [use] }",
                ".events[0]: expected usage, threshold or exhausted",
            ),
            (
                "{ url: https://a, event: [usage] }",
                ".event: unknown key (did you mean `events`?)",
            ),
        ]);
    }
}
