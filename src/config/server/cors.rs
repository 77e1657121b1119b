//! The `server.cors` section: which web pages may call.
//!
//! Owns its keys, and whether an origin is one of those that are written. Does not handle what is answered (see
//! `gateway::cors`). What cannot be read is reported with its place.

use std::collections::HashSet;
use std::time::Duration;

use http::Uri;

use crate::config::document::Node;

/// As many origins may be written.
const MOST_ORIGINS: usize = 1_000;
/// A browser asks again after this.
const MAX_AGE: Duration = Duration::from_secs(600);
/// No browser remembers an answer for longer.
const LONGEST_AGE: Duration = Duration::from_secs(86_400);

/// The `server.cors` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cors {
    /// Whether every origin may call.
    pub is_open: bool,
    /// Those that may, as browsers write them.
    exact: HashSet<String>,
    /// What those of `*` begin and end with.
    below: Vec<(String, String)>,
    /// How long a browser may remember what it was told.
    pub max_age: Duration,
    /// Whether a page may call with the browser's client certificate.
    pub credentials: bool,
}

impl Cors {
    /// Whether a page of this origin may call.
    pub fn permits(&self, origin: &str) -> bool {
        let is_below = |(start, end): &(String, String)| {
            let rest = origin.strip_prefix(start.as_str());
            let name = rest.and_then(|rest| rest.strip_suffix(end.as_str()));
            // One name or several, and nothing that ends the host.
            name.is_some_and(|name| {
                !name.is_empty()
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
            })
        };
        self.is_open || self.exact.contains(origin) || self.below.iter().any(is_below)
    }
}

/// Reads the section. `None` where it permits nothing.
pub(super) fn read(node: &Node<'_>) -> Option<Cors> {
    let mut section = node.section()?;
    let origins = section.require("origins");
    let mut cors = Cors {
        max_age: MAX_AGE,
        ..Cors::default()
    };
    if let Some(node) = section.take("max_age") {
        cors.max_age = read_age(&node).unwrap_or(MAX_AGE);
    }
    let credentials = section.take("credentials");
    cors.credentials = credentials.as_ref().and_then(Node::boolean) == Some(true);
    section.finish();
    let origins = origins?;
    let items = origins.list()?;
    if items.is_empty() || items.len() > MOST_ORIGINS {
        let message = format!("expected 1 to {MOST_ORIGINS} origins");
        origins.report(message, Some("as in origins: [https://app.example]"));
        return None;
    }
    for item in &items {
        read_origin(item, &mut cors);
    }
    if let (true, true, Some(node)) = (cors.is_open, cors.credentials, credentials) {
        node.report(
            "any page could call with the certificate of a browser",
            Some("name the origins, or set `credentials` to false"),
        );
    }
    Some(cors)
}

fn read_age(node: &Node<'_>) -> Option<Duration> {
    let age = node.duration()?;
    if age > LONGEST_AGE {
        node.report("expected at most 24h", Some("max_age: 10m"));
        return None;
    }
    Some(age)
}

/// Reads `*`, or an origin, whose host may begin with `*.`.
fn read_origin(node: &Node<'_>, cors: &mut Cors) {
    let Some(text) = node.name() else { return };
    if text == "*" {
        cors.is_open = true;
        return;
    }
    let origin = text.to_ascii_lowercase();
    let (scheme, host) = origin.split_once("://").unwrap_or_default();
    let (is_below, bare) = match host.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, host),
    };
    let parsed = format!("{scheme}://{bare}").parse::<Uri>().ok();
    let authority = parsed.as_ref().and_then(Uri::authority).map(|a| a.as_str());
    if !matches!(scheme, "http" | "https") || authority != Some(bare) || bare.contains(['@', '*']) {
        node.report(
            format!("`{text}` is not an origin"),
            Some("a scheme, a host and perhaps a port, as in https://app.example or https://*.example:8443"),
        );
        return;
    }
    match is_below {
        true => cors
            .below
            .push((format!("{scheme}://"), format!(".{bare}"))),
        false => drop(cors.exact.insert(origin)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Variables};

    fn cors(section: &str) -> Result<Cors, String> {
        let text = format!(
            "server: {{ cors: {section} }}\nupstreams: {{ a: {{ base_url: http://a.example }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n"
        );
        let config = Config::parse("t.yaml", &text, &Variables::default());
        config
            .map(|config| config.server.cors.unwrap())
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn an_origin_is_permitted_as_it_is_written_and_no_other() {
        let cors =
            cors("{ origins: ['https://app.example', 'https://*.Shop.example:8443'] }").unwrap();
        for (origin, may) in [
            ("https://app.example", true),
            ("http://app.example", false),
            ("https://app.example:8443", false),
            ("https://app.example.evil", false),
            ("https://evilapp.example", false),
            ("https://eu.shop.example:8443", true),
            ("https://a.b.shop.example:8443", true),
            ("https://shop.example:8443", false),
            ("https://.shop.example:8443", false),
            ("https://evil.example/.shop.example:8443", false),
            ("https://evil@x.shop.example:8443", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(cors.permits(origin), may, "{origin}");
        }
        assert!(
            super::super::cors::Cors {
                is_open: true,
                ..Cors::default()
            }
            .permits("null")
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (section, expected) in [
            ("{ origins: [] }", "expected 1 to 1000 origins"),
            ("{ origins: [app.example] }", "is not an origin"),
            ("{ origins: ['https://app.example/'] }", "is not an origin"),
            (
                "{ origins: ['https://app.example/path'] }",
                "is not an origin",
            ),
            (
                "{ origins: ['https://user@app.example'] }",
                "is not an origin",
            ),
            ("{ origins: ['https://*'] }", "is not an origin"),
            ("{ origins: ['https://a.*.example'] }", "is not an origin"),
            ("{ origins: ['ftp://app.example'] }", "is not an origin"),
            (
                "{ origins: ['*'], credentials: true }",
                "any page could call",
            ),
            ("{ origins: ['*'], max_age: 48h }", "at most 24h"),
            ("{}", "`origins` is missing"),
        ] {
            let said = cors(section).unwrap_err();
            assert!(said.contains(expected), "{section}: {said}");
        }
    }
}
