//! The addresses of names.
//!
//! Owns looking a name up, and which of its addresses are used. Does not handle when (see `pool`). Fails with what the
//! resolver says.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A name lookup that takes longer than this has failed.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How many addresses of one name are used.
const MAX_ADDRESSES_PER_NAME: usize = 16;

/// The addresses of a host, which may be an address: those of the family that the system prefers.
///
/// # Errors
/// What the resolver says, and that a name has no address.
pub async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let lookup = tokio::net::lookup_host((host, port));
    let found: Vec<SocketAddr> = match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(addresses)) => addresses.take(MAX_ADDRESSES_PER_NAME).collect(),
        Ok(Err(e)) => return Err(e.to_string()),
        Err(_) => return Err(format!("no answer within {LOOKUP_TIMEOUT:?}")),
    };
    match found.first() {
        Some(first) => {
            let preferred = first.is_ipv4();
            let of_family = found.iter().filter(|a| a.is_ipv4() == preferred);
            Ok(of_family.copied().collect())
        }
        None => Err("the name has no address".to_owned()),
    }
}
