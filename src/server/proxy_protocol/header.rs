//! The header of the PROXY protocol, versions 1 and 2, as HAProxy defines it.
//!
//! Owns its form and its bounds, without I/O. Does not handle who may send one, nor how it is read (see `mod`). What
//! comes behind the addresses in version 2 (TLVs) is skipped and not checked. Fails at the first byte that shows that
//! what comes is no header, or a malformed one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What version 1 begins with.
const TEXT_START: &[u8] = b"PROXY ";
/// The most bytes of version 1, with the end of its line.
const MOST_TEXT_BYTES: usize = 107;
/// What version 2 begins with.
const BINARY_START: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The bytes of version 2 before the addresses.
const BINARY_FIXED: usize = 16;
/// The most bytes of version 2 from the addresses on. Addresses have 216 at most, the rest is for TLVs.
const MOST_BINARY_BYTES: usize = 4096;

/// The client, as the header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The proxy speaks for itself, or does not know the client: the connection's own address counts.
    Unnamed,
    /// It has this address, an IPv4 one where IPv6 only wraps it.
    Address(SocketAddr),
    /// It came to the proxy by a Unix socket, and has no address.
    Unix,
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes.
    pub length: usize,
    /// The client that it names.
    pub client: Client,
}

/// Why something is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It begins like none.
    Missing,
    /// It begins like one, and is malformed.
    Malformed(&'static str),
}

/// Reads the header at the start of `bytes`. `None`: it goes on.
///
/// # Errors
/// What comes is no header, or a malformed one.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    if bytes.starts_with(TEXT_START) {
        return parse_text(bytes);
    }
    if let Some(rest) = bytes.strip_prefix(BINARY_START) {
        return parse_binary(rest);
    }
    match TEXT_START.starts_with(bytes) || BINARY_START.starts_with(bytes) {
        true => Ok(None),
        false => Err(Fault::Missing),
    }
}

fn parse_text(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let bytes = bytes.get(..MOST_TEXT_BYTES).unwrap_or(bytes);
    let Some(end) = bytes.iter().position(|byte| b"\r\n".contains(byte)) else {
        return match bytes.len() < MOST_TEXT_BYTES {
            true => Ok(None),
            false => Err(Fault::Malformed("it is longer than 107 bytes")),
        };
    };
    let line = bytes.get(..end).unwrap_or_default();
    match bytes.get(end..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Ok(Some(Header {
            length: line.len() + 2,
            client: read_line(line)?,
        })),
        [b'\r'] if bytes.len() < MOST_TEXT_BYTES => Ok(None),
        _ => Err(Fault::Malformed("its line does not end with CR LF")),
    }
}

fn read_line(line: &[u8]) -> Result<Client, Fault> {
    let line = str::from_utf8(line).map_err(|_| Fault::Malformed("it is not ASCII"))?;
    let mut fields = line.split(' ').skip(1);
    let is_v4 = match fields.next() {
        Some("TCP4") => true,
        Some("TCP6") => false,
        // What follows is not to be read.
        Some("UNKNOWN") => return Ok(Client::Unnamed),
        _ => return Err(Fault::Malformed("it names no protocol that there is")),
    };
    let mut address = || {
        let text = fields.next().unwrap_or_default();
        let ip = match is_v4 {
            true => text.parse().map(IpAddr::V4),
            false => text.parse().map(IpAddr::V6),
        };
        ip.map_err(|_| Fault::Malformed("an address is not one of its protocol"))
    };
    let (client, _) = (address()?, address()?);
    let mut port = || {
        let port = fields.next().and_then(read_port);
        port.ok_or(Fault::Malformed("a port is not a number up to 65535"))
    };
    let (client_port, _) = (port()?, port()?);
    match fields.next() {
        None => Ok(address_of(client, client_port)),
        Some(_) => Err(Fault::Malformed("there is more behind the ports")),
    }
}

/// Digits alone, without zeros before them.
fn read_port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_shortest = text == "0" || !text.starts_with('0');
    (is_plain && is_shortest).then(|| text.parse().ok())?
}

/// Reads what stands behind the signature of version 2.
fn parse_binary(rest: &[u8]) -> Result<Option<Header>, Fault> {
    let Some(&version_and_command) = rest.first() else {
        return Ok(None);
    };
    if version_and_command >> 4 != 2 {
        return Err(Fault::Malformed("its version is not 2"));
    }
    let is_local = match version_and_command & 0x0f {
        0 => true,
        1 => false,
        _ => return Err(Fault::Malformed("its command is neither LOCAL nor PROXY")),
    };
    let Some((&[_, family, high, low], rest)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MOST_BINARY_BYTES {
        return Err(Fault::Malformed("it is longer than 4112 bytes"));
    }
    // Of what LOCAL says, nothing counts but the length.
    let family = if is_local {
        Family::Unnamed
    } else {
        Family::of(family)?
    };
    if length < family.least_bytes() {
        return Err(Fault::Malformed("it is too short for its addresses"));
    }
    let Some(addresses) = rest.get(..length) else {
        return Ok(None);
    };
    Ok(Some(Header {
        length: BINARY_FIXED + length,
        client: family.client(addresses),
    }))
}

/// The kinds of addresses of version 2.
#[derive(Clone, Copy)]
enum Family {
    Unnamed,
    V4,
    V6,
    Unix,
}

impl Family {
    /// The one of this byte. The client may speak TCP or UDP with the proxy.
    fn of(byte: u8) -> Result<Self, Fault> {
        match byte {
            0x00 => Ok(Self::Unnamed),
            0x11 | 0x12 => Ok(Self::V4),
            0x21 | 0x22 => Ok(Self::V6),
            0x31 | 0x32 => Ok(Self::Unix),
            _ => Err(Fault::Malformed("it names no protocol that there is")),
        }
    }

    /// What both addresses and ports take.
    fn least_bytes(self) -> usize {
        match self {
            Self::Unnamed => 0,
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Unix => 216,
        }
    }

    /// Reads the addresses: the client's, the proxy's, then the ports in the same order.
    fn client(self, addresses: &[u8]) -> Client {
        let named = match self {
            Self::Unnamed => None,
            Self::Unix => return Client::Unix,
            Self::V4 => addresses
                .first_chunk::<10>()
                .map(|&[a, b, c, d, .., high, low]| {
                    let ip = Ipv4Addr::new(a, b, c, d);
                    address_of(ip.into(), u16::from_be_bytes([high, low]))
                }),
            Self::V6 => addresses
                .first_chunk::<16>()
                .zip(
                    addresses
                        .get(32..)
                        .and_then(|ports| ports.first_chunk::<2>()),
                )
                .map(|(ip, port)| {
                    let ip = Ipv6Addr::from(*ip);
                    address_of(ip.into(), u16::from_be_bytes(*port))
                }),
        };
        named.unwrap_or(Client::Unnamed)
    }
}

fn address_of(ip: IpAddr, port: u16) -> Client {
    Client::Address(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests;
