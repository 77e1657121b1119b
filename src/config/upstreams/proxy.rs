//! The key `proxy` of an upstream: the forward proxy that leads to its servers.
//!
//! Owns its form. Does not handle how a proxy is asked (see `upstreams::forward_proxy`). What cannot be read is
//! reported with its place, and without the URL, which may hold a password.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::Server;
use crate::config::document::Node;
use crate::secret::Secret;

/// A forward proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`, where it asks for one.
    pub authorization: Option<Secret>,
}

impl fmt::Display for Proxy {
    /// Its host and port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

const AS_IN: &str = "as in http://proxy.internal:3128, or http://user:password@proxy.internal:3128";

/// Reads the URL. It must have an effect on one of the servers.
pub(super) fn read(node: &Node<'_>, servers: &[Server]) -> Option<Proxy> {
    let text = node.name()?;
    if !servers.iter().any(|server| server.url.socket.is_none()) {
        node.report(
            "`proxy` has no effect: no server is reached over a network",
            Some("remove it"),
        );
    }
    match parse(text.trim()) {
        Ok(proxy) => Some(proxy),
        Err(what) => {
            node.report(format!("the URL of the proxy {what}"), Some(AS_IN));
            None
        }
    }
}

fn parse(text: &str) -> Result<Proxy, &'static str> {
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        _ => {
            return Err(
                "must begin with http://: it is asked in cleartext, and TLS goes through it",
            );
        }
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, rest),
    };
    let authority: http::uri::Authority = host.parse().map_err(|_| "has no host and port")?;
    let port = authority.port_u16().filter(|port| *port != 0);
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    if host.is_empty() {
        return Err("has no host");
    }
    Ok(Proxy {
        host,
        port: port.ok_or("has no port")?,
        authorization: user.map(basic).transpose()?,
    })
}

/// The header's value for `user:password`, in which characters may be percent-encoded.
fn basic(written: &str) -> Result<Secret, &'static str> {
    let (user, password) = written.split_once(':').unwrap_or((written, ""));
    let mut plain: Vec<u8> = percent_decode_str(user).collect();
    if plain.contains(&b':') {
        return Err("has a user with a colon, which no proxy can tell from the password");
    }
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    if plain.iter().any(u8::is_ascii_control) {
        return Err("has a user or password with a control character");
    }
    Ok(Secret::new(format!("Basic {}", STANDARD.encode(plain))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization(text: &str) -> Option<String> {
        let proxy = parse(text).unwrap();
        proxy.authorization.map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn a_proxy_is_taken_apart() {
        let proxy = parse("http://proxy.internal:3128").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.internal", 3128));
        assert!(proxy.authorization.is_none());
        let proxy = parse("HTTP://[::1]:80/").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("::1", 80));
    }

    #[test]
    fn credentials_end_at_the_last_at_sign_and_are_decoded() {
        let basic = |plain: &str| Some(format!("Basic {}", STANDARD.encode(plain)));
        assert_eq!(authorization("http://a:b@h:1"), basic("a:b"));
        assert_eq!(authorization("http://a:p@ss@h:1"), basic("a:p@ss"));
        assert_eq!(authorization("http://a:p%40%2Fs@h:1"), basic("a:p@/s"));
        assert_eq!(authorization("http://a:b:c@h:1"), basic("a:b:c"));
        assert_eq!(authorization("http://a@h:1"), basic("a:"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [
            "proxy:3128",
            "https://proxy:3128",
            "socks5://proxy:1080",
            "http://proxy",
            "http://proxy:0",
            "http://:3128",
            "http://proxy:3128/path",
            "http://a%3Ab:c@proxy:3128",
            "http://a:b%0d%0ac@proxy:3128",
            "http://",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
