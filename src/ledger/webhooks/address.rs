//! Which addresses a webhook connects to.
//!
//! Owns the check of each address that a name has, after it was looked up and before it is connected to: ureq
//! connects to the addresses that this resolver gives, so a name that changes its address in between (DNS
//! rebinding) gains nothing. Does not handle which URLs may be written (see `config::webhook`). Fails if none of
//! the addresses is allowed.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::config::{is_local, stays_local};

/// No address of a name is allowed.
#[derive(Debug)]
pub struct NotAllowed;

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its host has only addresses that are not allowed: private ones need allow_private: true")
    }
}

impl StdError for NotAllowed {}

/// Looks names up, and leaves out the addresses that are not allowed.
#[derive(Debug, Default)]
pub struct CheckedResolver {
    /// Whether private addresses are allowed.
    pub allow_private: bool,
    lookup: DefaultResolver,
}

impl CheckedResolver {
    /// A resolver that allows private addresses, or none.
    pub fn new(allow_private: bool) -> Self {
        Self {
            allow_private,
            lookup: DefaultResolver::default(),
        }
    }

    /// Leaves out what is not allowed.
    fn check(
        &self,
        host: &str,
        found: impl Iterator<Item = SocketAddr>,
        mut allowed: ResolvedSocketAddrs,
    ) -> Result<ResolvedSocketAddrs, Error> {
        for address in found.filter(|address| may_connect(host, address.ip(), self.allow_private)) {
            allowed.push(address);
        }
        match allowed.is_empty() {
            true => Err(Error::Other(Box::new(NotAllowed))),
            false => Ok(allowed),
        }
    }
}

impl Resolver for CheckedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.lookup.resolve(uri, config, timeout)?;
        let host = uri.host().unwrap_or_default();
        self.check(host, found.iter().copied(), self.empty())
    }
}

/// Whether an address of this host may be connected to.
///
/// A host that is written as this machine (`localhost`, `127.0.0.1`, `[::1]`) leads nowhere else, and no other
/// name leads to this machine. With `allow_private`, private networks, link-local addresses and those that carriers
/// share are allowed; what stands for no machine never is.
fn may_connect(host: &str, ip: IpAddr, allow_private: bool) -> bool {
    let ip = ip.to_canonical();
    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_this_machine = host.eq_ignore_ascii_case("localhost")
        || literal.is_ok_and(|ip| ip.to_canonical().is_loopback());
    if is_this_machine || ip.is_loopback() {
        return is_this_machine && ip.is_loopback();
    }
    !stays_local(ip) || allow_private && is_local(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: [&str; 9] = [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
    ];
    const LOOPBACK: [&str; 4] = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"];
    const NO_MACHINE: [&str; 10] = [
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::ffff:0.0.0.0",
        "ff02::1",
        "64:ff9b::127.0.0.1",
        "2002:7f00:0001::1",
    ];
    const PUBLIC: [&str; 4] = ["1.1.1.1", "203.0.113.7", "2606:4700::1", "::ffff:1.1.1.1"];

    #[track_caller]
    fn assert_each(host: &str, addresses: &[&str], allow_private: bool, expected: bool) {
        for address in addresses {
            let found = may_connect(host, address.parse().unwrap(), allow_private);
            assert_eq!(found, expected, "{host} at {address}");
        }
    }

    #[test]
    fn a_name_leads_to_public_addresses_alone() {
        let host = "billing.example";
        assert_each(host, &PUBLIC, false, true);
        for addresses in [&PRIVATE[..], &LOOPBACK, &NO_MACHINE] {
            assert_each(host, addresses, false, false);
        }
    }

    #[test]
    fn private_networks_are_allowed_if_that_is_written_and_this_machine_still_is_not() {
        let host = "billing.internal";
        assert_each(host, &PUBLIC, true, true);
        assert_each(host, &PRIVATE, true, true);
        assert_each(host, &LOOPBACK, true, false);
        assert_each(host, &NO_MACHINE, true, false);
    }

    #[test]
    fn a_host_written_as_this_machine_leads_nowhere_else() {
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert_each(host, &LOOPBACK, false, true);
            for addresses in [&PUBLIC[..], &PRIVATE, &NO_MACHINE] {
                assert_each(host, addresses, true, false);
            }
        }
    }

    #[test]
    fn only_the_allowed_ones_of_several_addresses_are_connected_to() {
        let resolver = CheckedResolver::new(false);
        let found = ["10.0.0.1:443", "1.1.1.1:443", "[::1]:443"].map(|a| a.parse().unwrap());
        let allowed = resolver.check("billing.example", found.into_iter(), resolver.empty());
        assert_eq!(&*allowed.unwrap(), ["1.1.1.1:443".parse().unwrap()]);
        let refused = resolver.check(
            "billing.example",
            found.into_iter().take(1),
            resolver.empty(),
        );
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("not allowed"), "{error}");
    }
}
