//! Which `Host` the operator's listener answers to.
//!
//! Owns keeping web pages out: a page whose name is made to lead to this machine (DNS rebinding) could
//! read what is served here, as its browser takes it for its own. The browser sends that name. An IP
//! address cannot be made to lead elsewhere, so every one is answered to, and `localhost`; other names
//! are those of `server.admin_hosts`. Cannot fail.

use std::net::IpAddr;

use http::{HeaderMap, Uri, header::HOST};

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// It does not say which host it means.
    Missing,
    /// It means another host.
    Other(String),
}

/// Looks at the host that a request means; one of HTTP/1.0 may leave it out.
pub fn check(
    uri: &Uri,
    headers: &HeaderMap,
    may_lack: bool,
    names: &[String],
) -> Result<(), Refused> {
    let mut said = headers.get_all(HOST).into_iter();
    let host = said
        .next()
        .map(|host| String::from_utf8_lossy(host.as_bytes()));
    let Some(host) = host else {
        return match may_lack {
            true => Ok(()),
            false => Err(Refused::Missing),
        };
    };
    let in_target = uri.authority().is_none_or(|a| a.as_str() == host);
    match said.next().is_none() && in_target && is_ours(&host, names) {
        true => Ok(()),
        false => Err(Refused::Other(host.chars().take(MAX_TOLD_CHARS).collect())),
    }
}

/// As much of a wrong host is repeated.
const MAX_TOLD_CHARS: usize = 100;

fn is_ours(host: &str, names: &[String]) -> bool {
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

    fn of(hosts: &[&str], may_lack: bool) -> Result<(), Refused> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().unwrap());
        }
        let names = ["tollgate.internal".to_owned()];
        check(&Uri::from_static("/status"), &headers, may_lack, &names)
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_answered_to() {
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
            let refused = Err(Refused::Other(host.to_owned()));
            assert_eq!(of(&[host], false), refused, "{host}");
        }
        assert!(of(&["localhost", "evil.example"], false).is_err());
    }

    #[test]
    fn a_host_may_be_missing_in_http_1_0_alone() {
        assert_eq!(of(&[], true), Ok(()));
        assert_eq!(of(&[], false), Err(Refused::Missing));
    }

    #[test]
    fn a_long_host_is_not_repeated_whole() {
        let Err(Refused::Other(told)) = of(&[&"x".repeat(1000)], false) else {
            unreachable!("it is refused");
        };
        assert_eq!(told.len(), MAX_TOLD_CHARS);
    }
}
