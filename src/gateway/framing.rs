//! Whether a request can be read in one way only.
//!
//! Owns the checks on the header of a request before anything is decided by it: two servers that read its end, its host
//! or its type differently would see two different requests. Does not handle the lines of a header (see
//! `connection/head.rs`) and the bytes of a body (see `connection/chunked.rs`). Fails with [`Failure::Framing`].

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, Version};
use memchr::memchr_iter;

use super::failure::Failure;
use super::session::ClientSession;
use crate::config::Limits;

/// How many headers `Connection` may name.
const MAX_NOMINATED: usize = 10;

/// Headers that decide what a request is, and may stand once.
static SINGLE: [HeaderName; 7] = [
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    TRANSFER_ENCODING,
];

/// Headers that frame a body. Some servers take another character for the hyphen in their names.
const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];

/// What each header takes besides its name and value, as RFC 9113 counts it.
const FIELD_BYTES: usize = 32;

/// Refuses a request that could be read in two ways. Tells how many bytes its headers take.
pub fn check(session: &ClientSession, limits: &Limits) -> Result<usize, Failure> {
    let header = session.request();
    if header.headers.len() > limits.header_fields {
        let limit = limits.header_fields;
        return Err(Failure::TooManyHeaders { limit });
    }
    if let Some(raw) = session.raw_header() {
        if !session.is_read_as_it_came() {
            return Err(Failure::Framing(
                "its target has a character that must be percent-encoded",
            ));
        }
        if header.version == Version::HTTP_11 && !header.headers.contains_key(HOST) {
            return Err(Failure::Framing("the Host header is missing"));
        }
        // Pingora drops the length when both are there; the raw header still has it.
        if header.headers.contains_key(TRANSFER_ENCODING) && has_content_length(raw) {
            return Err(Failure::Framing(
                "both Content-Length and Transfer-Encoding are present",
            ));
        }
        if !session.follow_body() {
            return Err(Failure::Framing("the chunked body is malformed"));
        }
    }
    let bytes = check_fields(&header.headers)?;
    if session.is_http2() && bytes > limits.http2_header {
        let limit = limits.http2_header;
        return Err(Failure::HeaderTooLarge { limit });
    }
    Ok(bytes)
}

fn check_fields(headers: &HeaderMap) -> Result<usize, Failure> {
    let mut seen = [false; SINGLE.len()];
    let mut bytes = 0;
    for (name, value) in headers {
        bytes += name.as_str().len() + value.len() + FIELD_BYTES;
        if let Some(position) = SINGLE.iter().position(|single| single == name) {
            let before = seen
                .get_mut(position)
                .map(|seen| std::mem::replace(seen, true));
            if before == Some(true) {
                return Err(Failure::Framing(
                    "a header that may stand once stands twice: Authorization, Content-Encoding, \
                     Content-Length, Content-Type, Expect, Host or Transfer-Encoding",
                ));
            }
            if *name == CONTENT_LENGTH && !is_number(value.as_bytes()) {
                return Err(Failure::Framing("Content-Length is not one number"));
            }
            if *name == TRANSFER_ENCODING && !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(Failure::Framing("Transfer-Encoding is not `chunked` alone"));
            }
        } else if is_look_alike(name.as_str()) {
            return Err(Failure::Framing(
                "a header's name looks like Content-Length or Transfer-Encoding",
            ));
        }
    }
    let nominated = headers.get_all(CONNECTION).iter();
    let count: usize = nominated
        .map(|value| memchr_iter(b',', value.as_bytes()).count() + 1)
        .sum();
    match count <= MAX_NOMINATED {
        true => Ok(bytes),
        false => Err(Failure::Framing("Connection names more than 10 headers")),
    }
}

fn is_number(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit)
}

/// Whether a name, which is none of those that frame a body, would be one to a server that takes other
/// characters for a hyphen.
fn is_look_alike(name: &str) -> bool {
    let may_be = |first: &u8| matches!(first, b'c' | b't') || !first.is_ascii_alphanumeric();
    if name.len() < FRAMING[0].len() || !name.as_bytes().first().is_some_and(may_be) {
        return false;
    }
    let letters = |name: &str| {
        let bytes = name.bytes().filter(u8::is_ascii_alphanumeric);
        bytes.collect::<Vec<u8>>()
    };
    FRAMING
        .iter()
        .any(|framing| letters(framing) == letters(name))
}

fn has_content_length(raw: &[u8]) -> bool {
    let name = CONTENT_LENGTH.as_str().as_bytes();
    raw.split(|byte| *byte == b'\n').any(|line| {
        line.split_at_checked(name.len())
            .is_some_and(|(head, rest)| {
                head.eq_ignore_ascii_case(name) && rest.trim_ascii_start().starts_with(b":")
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(fields: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        check_fields(&headers).is_err()
    }

    #[test]
    fn a_length_is_one_number_and_a_coding_is_chunked() {
        for good in [
            ("content-length", "0"),
            ("content-length", "18446744073709551615"),
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "Chunked"),
        ] {
            assert!(!is_refused(&[good]), "{good:?}");
        }
        for bad in [
            ("content-length", "5,5"),
            ("content-length", "+5"),
            ("content-length", "5 5"),
            ("content-length", ""),
            ("content-length", "0x5"),
            ("transfer-encoding", "gzip, chunked"),
            ("transfer-encoding", "chunked, chunked"),
            ("transfer-encoding", ",chunked"),
            ("transfer-encoding", "identity"),
            ("transfer-encoding", "xchunked"),
        ] {
            assert!(is_refused(&[bad]), "{bad:?}");
        }
    }

    #[test]
    fn what_decides_stands_once() {
        for name in ["content-type", "host", "authorization", "content-length"] {
            assert!(is_refused(&[(name, "5"), (name, "5")]), "{name}");
        }
        assert!(!is_refused(&[("accept", "a"), ("accept", "b")]));
    }

    #[test]
    fn names_that_look_like_framing_are_known() {
        for name in [
            "transfer_encoding",
            "content_length",
            "transfer---encoding",
            "_content-length",
            "content.length",
        ] {
            assert!(is_look_alike(name), "{name}");
        }
        for name in ["content-language", "x-content-length", "te", "content-md5"] {
            assert!(!is_look_alike(name), "{name}");
        }
    }

    #[test]
    fn connection_names_ten_headers_at_most() {
        let names = |count: usize| vec!["x"; count].join(",");
        assert!(!is_refused(&[("connection", &names(10))]));
        assert!(is_refused(&[("connection", &names(11))]));
        assert!(is_refused(&[
            ("connection", &names(6)),
            ("connection", &names(6))
        ]));
    }

    #[test]
    fn a_content_length_is_found_in_any_case_and_nowhere_else() {
        assert!(has_content_length(
            b"POST / HTTP/1.1\r\ncOntent-Length : 5\r\n\r\n"
        ));
        assert!(!has_content_length(
            b"POST / HTTP/1.1\r\nx-content-length: 5\r\n\r\n"
        ));
    }
}
