//! The first step: where a request comes from, and how long its client may take.
//!
//! Owns the client's address behind trusted proxies, the flood guard's count, and the timeouts of the
//! client's connection. Does not refuse anything (see `admit`). Cannot fail.

use std::net::IpAddr;

use http::{HeaderMap, Version};
use ipnet::IpNet;
use pingora::http::RequestHeader;

use super::client_body;
use super::context::Context;
use super::session::ClientSession;
use crate::runtime::Shared;

/// An idle connection of a client is kept this long.
const KEEPALIVE_SECONDS: u64 = 75;

/// Opens a request.
pub fn open(session: &mut ClientSession, context: &mut Context, shared: &Shared) {
    let keeps = !shared.is_draining() && wants_keepalive(session.request());
    session.keep(keeps.then_some(KEEPALIVE_SECONDS));
    let settings = &context.runtime.settings;
    session.set_read_timeout(Some(client_body::READ_TIMEOUT));
    session.set_write_timeout(settings.limits.write_timeout);
    context.request.client = session
        .address()
        .map(|ip| client_address(ip, &session.request().headers, &settings.trusted_proxies));
    if let (Some(limit), Some(ip)) = (settings.flood_guard, context.request.client) {
        context.request.floods = shared.floods(settings.limits.counted_as(ip), limit);
    }
}

/// HTTP/1.0 closes unless the client says otherwise; for later versions Pingora reads the header.
fn wants_keepalive(request: &RequestHeader) -> bool {
    request.version > Version::HTTP_10
        || request
            .headers
            .get(http::header::CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"keep-alive"))
}

/// The socket's address, unless it is a trusted proxy's: then the right-most hop of
/// `X-Forwarded-For` that is not.
fn client_address(socket: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|network| network.contains(ip));
    if !is_trusted(&socket) {
        return socket;
    }
    let mut client = socket;
    let values = headers.get_all("x-forwarded-for");
    let hops = values.iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = hops.flat_map(|value| value.split(',')).collect();
    for hop in hops.into_iter().rev() {
        // What cannot be read cannot be trusted to have been written by a proxy of ours.
        let Ok(ip) = hop.trim().parse::<IpAddr>() else {
            return client;
        };
        client = ip.to_canonical();
        if !is_trusted(&client) {
            return client;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(socket: &str, forwarded: &[&str]) -> String {
        let trusted = [
            "127.0.0.1/32".parse().unwrap(),
            "10.0.0.0/8".parse().unwrap(),
        ];
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        client_address(socket.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(seen("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(seen("127.0.0.1", &["198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn the_right_most_untrusted_hop_counts() {
        let forged = ["1.1.1.1, 198.51.100.1, 10.0.0.7"];
        assert_eq!(seen("127.0.0.1", &forged), "198.51.100.1");
        assert_eq!(
            seen("127.0.0.1", &["198.51.100.1", "10.0.0.7"]),
            "198.51.100.1"
        );
        assert_eq!(seen("127.0.0.1", &["junk, 10.0.0.7"]), "10.0.0.7");
        assert_eq!(seen("127.0.0.1", &[]), "127.0.0.1");
    }
}
