//! Masking of what logs must not hold.
//!
//! Owns how much of an address or of a client's text is shown. Does not handle keys in chats (see
//! `chatlog::copy`). Cannot fail.

use std::borrow::Cow;
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

/// Longer fields are cut.
const MAX_FIELD_CHARS: usize = 200;

/// Adds text from a client as one field of a log line: bounded, and nothing that could start a new field
/// or line. `-` where there is none.
pub fn push_field(line: &mut String, text: &str) {
    if text.is_empty() {
        line.push('-');
    } else if text.len() <= MAX_FIELD_CHARS && all_of(text, is_plain) {
        line.push_str(text);
    } else {
        push_masked(line, text);
    }
}

/// As much of a client's text as one field shows, for a form that keeps its characters apart.
pub fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_FIELD_CHARS) {
        _ if text.len() <= MAX_FIELD_CHARS => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

fn push_masked(line: &mut String, text: &str) {
    let is_plain = |c: char| match u8::try_from(c) {
        Ok(byte) if byte.is_ascii() => is_plain(byte),
        _ => !c.is_control() && !c.is_whitespace(),
    };
    for (count, c) in text.chars().enumerate() {
        if count == MAX_FIELD_CHARS {
            line.push('…');
            return;
        }
        line.push(if is_plain(c) { c } else { '?' });
    }
}

/// Whether each byte is so. It looks at all of them, which the compiler turns into a few instructions for many bytes:
/// each field of each line is looked at.
pub(super) fn all_of(text: &str, is_so: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & is_so(byte))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\')
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
        let field = |text: &str| {
            let mut line = String::new();
            push_field(&mut line, text);
            line
        };
        assert_eq!(field("a b\nc=\"d\\e"), "a?b?c??d?e");
        assert_eq!(field("gpt-4o:v1/é"), "gpt-4o:v1/é");
        assert_eq!(field("a\u{a0}b\u{85}c"), "a?b?c");
        assert_eq!(field(""), "-");
        assert_eq!(field(&"x".repeat(200)), "x".repeat(200));
        assert_eq!(field(&"x".repeat(1000)).chars().count(), 201);
        assert_eq!(cut(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(cut(&"é".repeat(201)), "é".repeat(200) + "…");
    }
}
