//! Headers as proxies send them, and what is none.

use super::*;

/// A header of version 2: command, family, and what follows the length.
fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    [&BINARY_START[..], &[command, family], &length, addresses].concat()
}

/// 192.0.2.7:51324 to 10.0.0.1:443.
const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xc8, 0x7c, 0x01, 0xbb];

/// A client of IPv6 and port 51324, to ::1.
fn v6(client: &str) -> Vec<u8> {
    let client = client.parse::<Ipv6Addr>().unwrap().octets();
    let ports = [0xc8, 0x7c, 0x01, 0xbb];
    [&client[..], &Ipv6Addr::LOCALHOST.octets(), &ports].concat()
}

fn address(text: &str) -> Client {
    Client::Address(text.parse().unwrap())
}

fn good() -> Vec<(Vec<u8>, Client)> {
    let text = |line: &str| format!("{line}\r\n").into_bytes();
    let longest = format!("PROXY UNKNOWN {}", "f".repeat(91));
    assert_eq!(text(&longest).len(), MOST_TEXT_BYTES);
    let tlvs = [&V4[..], &[0x03, 0, 4, 1, 2, 3, 4, 0x05, 0, 1, b'i']].concat();
    let many_tlvs = [&V4[..], &vec![0x04; MOST_BINARY_BYTES - V4.len()]].concat();
    vec![
        (
            text("PROXY TCP4 192.0.2.7 10.0.0.1 51324 443"),
            address("192.0.2.7:51324"),
        ),
        (
            text("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535"),
            address("255.255.255.255:65535"),
        ),
        (
            text("PROXY TCP4 192.0.2.7 10.0.0.1 0 443"),
            address("192.0.2.7:0"),
        ),
        (
            text("PROXY TCP6 2001:db8::7 2001:db8::1 51324 443"),
            address("[2001:db8::7]:51324"),
        ),
        (
            text(&format!(
                "PROXY TCP6 {0} {0} 65535 65535",
                ["ffff"; 8].join(":")
            )),
            address("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        (
            text("PROXY TCP6 ::ffff:192.0.2.7 ::1 51324 443"),
            address("192.0.2.7:51324"),
        ),
        (text("PROXY UNKNOWN"), Client::Unnamed),
        (
            text("PROXY UNKNOWN 192.0.2.7 10.0.0.1 1 2"),
            Client::Unnamed,
        ),
        (text(&longest), Client::Unnamed),
        (binary(0x21, 0x11, &V4), address("192.0.2.7:51324")),
        (binary(0x21, 0x12, &V4), address("192.0.2.7:51324")),
        (
            binary(0x21, 0x21, &v6("2001:db8::7")),
            address("[2001:db8::7]:51324"),
        ),
        (
            binary(0x21, 0x22, &v6("::ffff:192.0.2.7")),
            address("192.0.2.7:51324"),
        ),
        (binary(0x21, 0x31, &[b'/'; 216]), Client::Unix),
        (binary(0x21, 0x00, &[]), Client::Unnamed),
        (binary(0x21, 0x00, &V4), Client::Unnamed),
        (binary(0x20, 0x00, &[]), Client::Unnamed),
        // The rest of LOCAL does not count.
        (binary(0x20, 0x11, &V4), Client::Unnamed),
        (binary(0x20, 0xff, &[1]), Client::Unnamed),
        (binary(0x21, 0x11, &tlvs), address("192.0.2.7:51324")),
        (binary(0x21, 0x11, &many_tlvs), address("192.0.2.7:51324")),
    ]
}

#[test]
fn each_good_header_names_its_client() {
    for (bytes, client) in good() {
        let length = bytes.len();
        let whole = Ok(Some(Header { length, client }));
        assert_eq!(parse(&bytes), whole, "{}", bytes.escape_ascii());
        // A request in the same packet is not part of it.
        for request in [&b"GET / HTTP/1.1\r\n\r\n"[..], &bytes, b"\0"] {
            let both = [&bytes[..], request].concat();
            assert_eq!(parse(&both), whole, "{}", both.escape_ascii());
        }
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    for (bytes, _) in good() {
        for end in 0..bytes.len() {
            let part = &bytes[..end];
            assert_eq!(parse(part), Ok(None), "{}", part.escape_ascii());
        }
    }
}

#[test]
fn what_is_no_header_is_seen_at_once() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x00\xc8",
        b"G",
        b"PROXX",
        b"proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
        b" PROXY UNKNOWN\r\n",
        b"PROXY\tUNKNOWN\r\n",
        b"PROXY\r\n",
        b"\r\n\r\n\r",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\0",
    ] {
        assert_eq!(
            parse(bytes),
            Err(Fault::Missing),
            "{}",
            bytes.escape_ascii()
        );
    }
}

fn malformed(bytes: &[u8], why: &str) {
    match parse(bytes) {
        Err(Fault::Malformed(said)) => {
            assert!(said.contains(why), "{}: {said}", bytes.escape_ascii());
        }
        other => unreachable!("{}: {other:?}", bytes.escape_ascii()),
    }
}

#[test]
fn a_malformed_line_is_refused() {
    let address = "an address is not one";
    let port = "a port is not";
    for (line, why) in [
        ("PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n", port),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n", port),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 01 443\r\n", port),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 00 443\r\n", port),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 +1 443\r\n", port),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 -1 443\r\n", port),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n", port),
        ("PROXY TCP4 192.0.2.7 10.0.0.1  1 443\r\n", port),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1 443 \r\n", "more behind"),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1 443 5\r\n", "more behind"),
        ("PROXY TCP4 192.0.2.007 10.0.0.1 1 443\r\n", address),
        ("PROXY TCP4 192.0.2 10.0.0.1 1 443\r\n", address),
        ("PROXY TCP4 192.0.2.256 10.0.0.1 1 443\r\n", address),
        ("PROXY TCP4 2001:db8::7 ::1 1 443\r\n", address),
        ("PROXY TCP6 192.0.2.7 10.0.0.1 1 443\r\n", address),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n", address),
        ("PROXY TCP6 [2001:db8::7] ::1 1 443\r\n", address),
        ("PROXY TCP4\r\n", address),
        ("PROXY  TCP4 192.0.2.7 10.0.0.1 1 443\r\n", "no protocol"),
        ("PROXY TCP5 192.0.2.7 10.0.0.1 1 443\r\n", "no protocol"),
        ("PROXY UDP4 192.0.2.7 10.0.0.1 1 443\r\n", "no protocol"),
        ("PROXY unknown\r\n", "no protocol"),
        ("PROXY \r\n", "no protocol"),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1 443\n", "CR LF"),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1 443\rG", "CR LF"),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1 443\r\r\n", "CR LF"),
        ("PROXY UNKNOWN\n", "CR LF"),
    ] {
        malformed(line.as_bytes(), why);
    }
    malformed(b"PROXY TCP4 192.0.2.7\xff 10.0.0.1 1 2\r\n", "ASCII");
    // A line that does not end within its bound.
    let endless = format!("PROXY UNKNOWN {}", "f".repeat(93));
    malformed(endless.as_bytes(), "107 bytes");
    malformed(format!("{endless}\r\n").as_bytes(), "107 bytes");
    let late = format!("PROXY UNKNOWN {}\r\n", "f".repeat(92));
    malformed(late.as_bytes(), "CR LF");
}

#[test]
fn a_malformed_header_of_version_2_is_refused() {
    for (bytes, why) in [
        (binary(0x31, 0x11, &V4), "version"),
        (binary(0x11, 0x11, &V4), "version"),
        (binary(0x01, 0x11, &V4), "version"),
        (binary(0x22, 0x11, &V4), "command"),
        (binary(0x2f, 0x11, &V4), "command"),
        (binary(0x21, 0x01, &V4), "protocol"),
        (binary(0x21, 0x10, &V4), "protocol"),
        (binary(0x21, 0x13, &V4), "protocol"),
        (binary(0x21, 0x41, &V4), "protocol"),
        (binary(0x21, 0x11, &V4[..11]), "too short"),
        (binary(0x21, 0x11, &[]), "too short"),
        (binary(0x21, 0x21, &v6("::2")[..35]), "too short"),
        (binary(0x21, 0x21, &V4), "too short"),
        (binary(0x21, 0x31, &[b'/'; 215]), "too short"),
        (
            binary(0x21, 0x11, &[0; MOST_BINARY_BYTES + 1]),
            "4112 bytes",
        ),
        (
            binary(0x20, 0x00, &[0; MOST_BINARY_BYTES + 1]),
            "4112 bytes",
        ),
    ] {
        malformed(&bytes, why);
        // What is wrong is seen without what follows.
        let start = &bytes[..BINARY_FIXED];
        malformed(start, why);
    }
}

#[test]
fn any_bytes_give_the_same_however_they_are_cut() {
    let mut state = 7_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[2]
    };
    let good = good();
    for round in 0..20_000 {
        let (mut bytes, _) = good[round % good.len()].clone();
        let at = usize::from(random()) % bytes.len();
        bytes[at] = random();
        let whole = parse(&bytes);
        let mut ends = (0..bytes.len()).map(|end| parse(&bytes[..end]));
        // The first answer that is not "it goes on" is the answer.
        let first = ends.find(|parsed| *parsed != Ok(None)).unwrap_or(whole);
        assert_eq!(first, whole, "{}", bytes.escape_ascii());
    }
}
