//! Which addresses are reached from where.
//!
//! Owns the ranges. Does not handle names, which are looked up where something connects. Cannot fail.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};

/// The addresses that carriers share among their customers, and overlay networks give out.
const SHARED: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);
/// Networks for protocols, among which clouds have addresses of their own, and for benchmarks.
const RESERVED_V4: [Ipv4Net; 2] = [
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
];
/// Teredo, the site-local networks of old, and translated IPv4 addresses.
const RESERVED_V6: [Ipv6Net; 3] = [
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96),
];

/// The address by which this machine reaches a listener, which may listen on all addresses.
pub fn from_here(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// Whether only this machine or a private network reaches the address.
pub fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || SHARED.contains(&ip)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether a connection to the address stays in this machine or a private network: `is_local`, and what
/// stands for no machine of the internet.
pub fn stays_local(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let is_no_machine = match ip {
        // 0.0.0.0/8 is this machine; 240.0.0.0/4 is reserved, with the broadcast address in it.
        IpAddr::V4(ip) => matches!(ip.octets(), [0 | 240..=255, ..]),
        IpAddr::V6(_) => ip.is_unspecified(),
    };
    let is_reserved = match ip {
        IpAddr::V4(ip) => RESERVED_V4.iter().any(|net| net.contains(&ip)),
        IpAddr::V6(ip) => RESERVED_V6.iter().any(|net| net.contains(&ip)),
    };
    is_local(ip)
        || is_no_machine
        || is_reserved
        || ip.is_multicast()
        || embedded(ip).is_some_and(stays_local)
}

/// The IPv4 address that one of NAT64 (64:ff9b::/96) or of 6to4 (2002::/16) leads to.
fn embedded(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let (high, low) = match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    let bits = u32::from(high) << 16 | u32::from(low);
    Some(Ipv4Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_into_a_private_network_is_known_in_every_form() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:0a00:0001::1",
            "192.0.0.192",
            "198.18.0.1",
            "2001:0:1::1",
            "fec0::1",
            "::ffff:0:10.0.0.1",
        ] {
            assert!(stays_local(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "203.0.113.7",
            "2001:db8::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:0101:0101::1",
        ] {
            assert!(!stays_local(address.parse().unwrap()), "{address}");
        }
    }
}
