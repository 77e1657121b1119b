//! The address of a client behind trusted proxies.
//!
//! Owns how `X-Forwarded-For` is read: from the right, as far as trusted proxies have written it, and no further back
//! than [`MAX_HOPS`]. Nothing that a stranger has written is believed. Does not handle what follows of the address.
//! Cannot fail: what cannot be read ends the way back.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

/// No more proxies stand between a client and us.
const MAX_HOPS: usize = 32;

/// The socket's address, unless it is a trusted proxy's: then the right-most hop of `X-Forwarded-For` that is not. A
/// Unix socket has none.
pub fn client_address(
    socket: Option<IpAddr>,
    headers: &HeaderMap,
    is_trusted: impl Fn(Option<IpAddr>) -> bool,
) -> Option<IpAddr> {
    let mut client = socket.map(|ip| ip.to_canonical());
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    // From the last line's end.
    let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for _ in 0..MAX_HOPS {
        if !is_trusted(client) {
            return client;
        }
        // What cannot be read cannot be trusted to have been written by a proxy of ours.
        let Some(ip) = hops.next().and_then(read_hop) else {
            return client;
        };
        client = Some(ip);
    }
    client
}

/// An address as proxies write it: alone, or with a port, an IPv6 one perhaps in brackets.
fn read_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(hop).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let read = bare.unwrap_or(text).parse::<IpAddr>();
    let ip = read.or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    Some(ip.ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use ipnet::IpNet;

    use super::*;

    fn seen(socket: &str, forwarded: &[&[u8]]) -> String {
        seen_by(socket.parse().ok(), forwarded).unwrap().to_string()
    }

    fn seen_by(socket: Option<IpAddr>, forwarded: &[&[u8]]) -> Option<IpAddr> {
        let trusted =
            ["127.0.0.1/32", "10.0.0.0/8", "2001:db8:1::/48"].map(|net| net.parse().unwrap());
        let mut headers = HeaderMap::new();
        headers.append("forwarded", HeaderValue::from_static("for=6.6.6.6"));
        headers.append("x-real-ip", HeaderValue::from_static("6.6.6.6"));
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(value).unwrap());
        }
        // Those of Unix sockets are.
        let is_trusted = |address: Option<IpAddr>| {
            address.is_none_or(|ip| trusted.iter().any(|network: &IpNet| network.contains(&ip)))
        };
        client_address(socket, &headers, is_trusted)
    }

    #[test]
    fn behind_a_unix_socket_that_is_trusted_a_hop_is_the_client() {
        let client = seen_by(None, &[b"6.6.6.6, 198.51.100.1, 10.0.0.7"]);
        assert_eq!(client, "198.51.100.1".parse().ok());
        assert_eq!(seen_by(None, &[b"junk"]), None);
        assert_eq!(seen_by(None, &[]), None);
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let long = [&b"6.6.6.6,"[..], &b"10.0.0.7,".repeat(300), b"10.0.0.9"].concat();
        for (socket, forwarded, expected) in [
            // A stranger says what it likes.
            ("203.0.113.9", &[&b"198.51.100.1"[..]][..], "203.0.113.9"),
            ("203.0.113.9", &[b"10.0.0.7"], "203.0.113.9"),
            // A trusted proxy is believed, once.
            ("127.0.0.1", &[b"198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &[b"1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            (
                "127.0.0.1",
                &[b"1.1.1.1, 198.51.100.1, 10.0.0.7"],
                "198.51.100.1",
            ),
            (
                "127.0.0.1",
                &[b"1.1.1.1,198.51.100.1,10.0.0.7"],
                "198.51.100.1",
            ),
            ("127.0.0.1", &[b"198.51.100.1", b"10.0.0.7"], "198.51.100.1"),
            ("127.0.0.1", &[b"10.0.0.7", b"198.51.100.1"], "198.51.100.1"),
            (
                "127.0.0.1",
                &[b"198.51.100.1 \t, \t10.0.0.7 "],
                "198.51.100.1",
            ),
            // All of them are proxies of ours.
            ("127.0.0.1", &[b"10.1.1.1, 10.0.0.7"], "10.1.1.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            // The ways of writing an address.
            ("127.0.0.1", &[b"198.51.100.1:5678"], "198.51.100.1"),
            ("127.0.0.1", &[b"2001:db8::1"], "2001:db8::1"),
            ("127.0.0.1", &[b"[2001:db8::1]"], "2001:db8::1"),
            ("127.0.0.1", &[b"[2001:db8::1]:443"], "2001:db8::1"),
            ("127.0.0.1", &[b"2001:DB8::A"], "2001:db8::a"),
            ("127.0.0.1", &[b"::ffff:198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &[b"6.6.6.6, ::ffff:10.0.0.7"], "6.6.6.6"),
            ("::ffff:127.0.0.1", &[b"198.51.100.1"], "198.51.100.1"),
            ("2001:db8:1::5", &[b"198.51.100.1"], "198.51.100.1"),
            // What cannot be read ends the way back, at the last proxy that is known.
            ("127.0.0.1", &[b"198.51.100.1, junk, 10.0.0.7"], "10.0.0.7"),
            ("127.0.0.1", &[b"198.51.100.1, unknown"], "127.0.0.1"),
            ("127.0.0.1", &[b"198.51.100.1, _hidden"], "127.0.0.1"),
            ("127.0.0.1", &[b"198.51.100.1,"], "127.0.0.1"),
            ("127.0.0.1", &[b",198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &[b""], "127.0.0.1"),
            ("127.0.0.1", &[b"\"198.51.100.1\""], "127.0.0.1"),
            ("127.0.0.1", &[b"198.51.100.1\xff"], "127.0.0.1"),
            ("127.0.0.1", &[b"fe80::1%eth0"], "127.0.0.1"),
            ("127.0.0.1", &[b"198.51.100.01"], "127.0.0.1"),
            ("127.0.0.1", &[b"198.51.100"], "127.0.0.1"),
            ("127.0.0.1", &[b"198.51.100.1:99999"], "127.0.0.1"),
            ("127.0.0.1", &[b"0x7f000001"], "127.0.0.1"),
            ("127.0.0.1", &[b"198.51.100.1 10.0.0.7"], "127.0.0.1"),
            // No way back is longer than there are proxies.
            ("127.0.0.1", &[&long], "10.0.0.7"),
        ] {
            assert_eq!(seen(socket, forwarded), expected, "{socket} {forwarded:?}");
        }
    }
}
