//! Masking of what logs must not hold.
//!
//! Owns how much of an address or of a client's text is shown. Does not handle keys in chats (see
//! `chatlog::copy`). Cannot fail.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address without the part that names one machine: the last byte of IPv4, all but the first
/// 48 bits of IPv6.
pub fn address(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

/// Text from a client as one log field: bounded, and nothing that could start a new field or line.
pub struct Field<'a>(pub &'a str);

/// Longer fields are cut.
const MAX_FIELD_CHARS: usize = 200;

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        for (count, c) in self.0.chars().enumerate() {
            if count == MAX_FIELD_CHARS {
                return f.write_str("…");
            }
            let plain = !c.is_control() && !c.is_whitespace() && !"\"=\\".contains(c);
            match plain {
                true => write!(f, "{c}")?,
                false => f.write_str("?")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_what_names_one_machine() {
        assert_eq!(
            address("203.0.113.77".parse().unwrap()).to_string(),
            "203.0.113.0"
        );
        assert_eq!(
            address("2001:db8:1:2:3:4:5:6".parse().unwrap()).to_string(),
            "2001:db8:1::"
        );
    }

    #[test]
    fn a_clients_words_cannot_forge_a_line() {
        assert_eq!(Field("a b\nc=\"d").to_string(), "a?b?c??d");
        assert_eq!(Field("").to_string(), "-");
        assert_eq!(Field(&"x".repeat(1000)).to_string().chars().count(), 201);
    }
}
