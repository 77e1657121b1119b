//! The check of `Host` on the operator's listener.
//!
//! Owns the defence against DNS rebinding: a web page whose name resolves to this machine could read
//! what is served here, because the browser takes it for the page's own server. The browser sends that
//! name in `Host`. So IP addresses, which no name server controls, and `localhost` are accepted, and
//! the names in `server.admin_hosts`; no other name is. Does not handle the answer (see `admin`).
//! Cannot fail.

use std::net::IpAddr;

use http::{HeaderMap, Uri, header::HOST};

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum HostError {
    /// It has no `Host`.
    Missing,
    /// Its `Host` is not accepted.
    Other(String),
}

/// Checks the host of a request. With `may_lack`, as for HTTP/1.0, it may be missing.
///
/// # Errors
/// The host is missing or not accepted.
pub fn check(
    uri: &Uri,
    headers: &HeaderMap,
    may_lack: bool,
    names: &[String],
) -> Result<(), HostError> {
    let mut hosts = headers.get_all(HOST).into_iter();
    let host = hosts
        .next()
        .map(|host| String::from_utf8_lossy(host.as_bytes()));
    let Some(host) = host else {
        return match may_lack {
            true => Ok(()),
            false => Err(HostError::Missing),
        };
    };
    let in_target = uri.authority().is_none_or(|a| a.as_str() == host);
    match hosts.next().is_none() && in_target && is_accepted(&host, names) {
        true => Ok(()),
        false => Err(HostError::Other(
            host.chars().take(MAX_SHOWN_CHARS).collect(),
        )),
    }
}

/// A refused host is repeated in the answer up to this length.
const MAX_SHOWN_CHARS: usize = 100;

fn is_accepted(host: &str, names: &[String]) -> bool {
    let name = without_port(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    address.unwrap_or(name).parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hosts: &[&str], may_lack: bool) -> Result<(), HostError> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().unwrap());
        }
        let names = ["tollgate.internal".to_owned()];
        check(&Uri::from_static("/status"), &headers, may_lack, &names)
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_accepted() {
        for host in [
            "localhost",
            "LocalHost:9464",
            "localhost.",
            "127.0.0.1:9464",
            "10.0.0.7",
            "[::1]:9464",
            "[fe80::1]",
            "tollgate.internal:9464",
            "Tollgate.Internal",
        ] {
            assert_eq!(of(&[host], false), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9464",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "tollgate.internal.evil.example",
            "x@localhost",
            "",
        ] {
            let refused = Err(HostError::Other(host.to_owned()));
            assert_eq!(of(&[host], false), refused, "{host}");
        }
        assert!(of(&["localhost", "evil.example"], false).is_err());
    }

    #[test]
    fn only_http_1_0_may_lack_a_host() {
        assert_eq!(of(&[], true), Ok(()));
        assert_eq!(of(&[], false), Err(HostError::Missing));
    }

    #[test]
    fn a_long_host_is_not_repeated_whole() {
        let Err(HostError::Other(shown)) = of(&[&"x".repeat(1000)], false) else {
            unreachable!("it is refused");
        };
        assert_eq!(shown.len(), MAX_SHOWN_CHARS);
    }
}
