//! The `server.limits` section: how much clients may ask of us at a time, and how slow they may be.
//!
//! Owns its keys, defaults and bounds, and which addresses count as one. Does not handle how any of
//! them is enforced (see `server::accept`, `gateway` and `runtime`). A value out of bounds is reported
//! with its place.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::document::{Node, Section, write_size};

/// No count may be set higher.
const MAX_COUNT: u64 = 1_000_000;
/// Pingora reads no more headers of one request.
const MAX_FIELDS: usize = 256;
/// The bounds on the bytes of one header.
const HEADER_BYTES: RangeInclusive<usize> = 4 << 10..=1 << 20;
/// The bounds on the bytes of all headers.
const MEMORY_BYTES: RangeInclusive<usize> = 1 << 20..=64 << 30;
/// No time may be set longer.
const MAX_TIME: Duration = Duration::from_secs(3600);
/// No rate may be set higher.
const MAX_RATE: usize = 1 << 30;

/// The `server.limits` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of clients at a time.
    pub connections: usize,
    /// Connections of one address at a time; trusted proxies have no such bound.
    pub connections_per_address: usize,
    /// How many leading bits of an IPv6 address stand for one client.
    pub ipv6_prefix: u32,
    /// Requests that are served at a time.
    pub requests: usize,
    /// Bytes of one request's header over HTTP/1.
    pub header: usize,
    /// Bytes of one request's header list over HTTP/2, as RFC 9113 counts them.
    pub http2_header: usize,
    /// How many headers one request may have.
    pub header_fields: usize,
    /// Bytes of all headers at a time, beyond 4 KiB of each.
    pub header_memory: usize,
    /// How long a request's header may take to come; a body has as long before `body_rate` counts.
    pub header_timeout: Duration,
    /// Bytes a second that a body has to bring on average; 0 for no bound.
    pub body_rate: usize,
    /// How long a client may read nothing of an answer.
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 4096,
            ipv6_prefix: 64,
            requests: 8192,
            header: 64 << 10,
            http2_header: 16 << 10,
            header_fields: MAX_FIELDS,
            header_memory: 64 << 20,
            header_timeout: Duration::from_secs(10),
            body_rate: 1 << 10,
            write_timeout: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// The address that a client counts as, where something is counted for each address. One client
    /// mostly has a whole IPv6 network, and could count as a new one with each connection.
    pub fn counted_as(&self, address: IpAddr) -> IpAddr {
        let IpAddr::V6(address) = address else {
            return address;
        };
        let rest = Ipv6Addr::BITS.saturating_sub(self.ipv6_prefix);
        let network = u128::MAX.checked_shl(rest).unwrap_or(0);
        Ipv6Addr::from_bits(address.to_bits() & network).into()
    }
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = node.section() else {
        return limits;
    };
    for (name, count) in [
        ("connections", &mut limits.connections),
        (
            "connections_per_address",
            &mut limits.connections_per_address,
        ),
        ("requests", &mut limits.requests),
    ] {
        if let Some(value) = section.take(name).and_then(|n| n.integer(1, MAX_COUNT)) {
            *count = usize::try_from(value).unwrap_or(usize::MAX);
        }
    }
    if let Some(prefix) = section.take("ipv6_prefix").and_then(|n| n.count(1, 128)) {
        limits.ipv6_prefix = prefix;
    }
    for (name, time) in [
        ("header_timeout", &mut limits.header_timeout),
        ("write_timeout", &mut limits.write_timeout),
    ] {
        if let Some(value) = read_time(&mut section, name) {
            *time = value;
        }
    }
    for (name, size, within) in [
        ("header", &mut limits.header, HEADER_BYTES),
        ("http2_header", &mut limits.http2_header, HEADER_BYTES),
        ("header_memory", &mut limits.header_memory, MEMORY_BYTES),
    ] {
        if let Some(value) = read_size(&mut section, name, within) {
            *size = value;
        }
    }
    let fields = section.take("header_fields");
    if let Some(value) = fields.and_then(|n| n.integer(8, MAX_FIELDS as u64)) {
        limits.header_fields = usize::try_from(value).unwrap_or(MAX_FIELDS);
    }
    if let Some(rate) = section.take("body_rate").and_then(|n| read_rate(&n)) {
        limits.body_rate = rate;
    }
    section.finish();
    limits
}

fn read_time(section: &mut Section<'_>, name: &'static str) -> Option<Duration> {
    let node = section.take(name)?;
    let time = node.duration()?;
    if time > MAX_TIME {
        node.report("must be at most 1h", None);
        return None;
    }
    Some(time)
}

fn read_size(
    section: &mut Section<'_>,
    name: &'static str,
    within: RangeInclusive<usize>,
) -> Option<usize> {
    let node = section.take(name)?;
    let size = node.bytes()?;
    if within.contains(&size) {
        return Some(size);
    }
    let written = |bytes: &usize| write_size(*bytes as u64);
    let (least, most) = (written(within.start()), written(within.end()));
    node.report(format!("must be from {least} to {most}"), None);
    None
}

fn read_rate(node: &Node<'_>) -> Option<usize> {
    if matches!(node.text()?.trim(), "0" | "off" | "false") {
        return Some(0);
    }
    let rate = node.bytes()?;
    if rate > MAX_RATE {
        node.report("must be at most 1GiB, or 0 for no bound", None);
        return None;
    }
    Some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_address_and_an_ipv4_address_as_itself() {
        for (prefix, address, expected) in [
            (64, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            (64, "2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
            (64, "2001:db8:1:3::1", "2001:db8:1:3::"),
            (48, "2001:db8:1:2::1", "2001:db8:1::"),
            (128, "2001:db8::1", "2001:db8::1"),
            (1, "ffff::1", "8000::"),
            (64, "::1", "::"),
            (64, "192.0.2.1", "192.0.2.1"),
        ] {
            let limits = Limits {
                ipv6_prefix: prefix,
                ..Limits::default()
            };
            let counted = limits.counted_as(address.parse().unwrap());
            assert_eq!(counted.to_string(), expected, "{address}/{prefix}");
        }
    }
}
