//! An upstream's error that is compressed.
//!
//! Owns decompressing it within a bound, since an error must be read to mask the key in it; the client gets
//! it uncompressed. An error that cannot be decompressed is replaced by one of ours. Does not read the
//! error (see `upstream_error`). Never fails.

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::response::Parts;
use pingora::protocols::http::compression::Algorithm;

use crate::gateway::{failure, headers};

/// As much is unpacked at a time. No format makes more than a thousand times of it.
const STEP_BYTES: usize = 256;

/// The body of an error as it is meant, and a header that says so; no more than `limit` bytes of it are
/// unpacked.
pub fn plain(header: &mut Parts, body: Bytes, limit: usize) -> Bytes {
    if headers::is_plain(&header.headers) {
        return body;
    }
    let encoding = header.headers.remove(CONTENT_ENCODING);
    let encoding = encoding.as_ref().and_then(|value| value.to_str().ok());
    let unpacked = encoding.and_then(|encoding| unpack(encoding.trim(), &body, limit));
    unpacked.unwrap_or_else(|| {
        let json = HeaderValue::from_static("application/json");
        header.headers.insert(CONTENT_TYPE, json);
        Bytes::from(failure::unspoken(header.status).body())
    })
}

fn unpack(encoding: &str, body: &[u8], limit: usize) -> Option<Bytes> {
    if body.is_empty() {
        return None;
    }
    let mut decompressor = Algorithm::from(encoding).decompressor(true)?;
    let mut unpacked = BytesMut::new();
    for piece in body.chunks(STEP_BYTES) {
        unpacked.extend_from_slice(&decompressor.encode(piece, false).ok()?);
        if unpacked.len() > limit {
            return None;
        }
    }
    unpacked.extend_from_slice(&decompressor.encode(b"", true).ok()?);
    (unpacked.len() <= limit).then(|| unpacked.freeze())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    const LIMIT: usize = 64 << 10;

    fn packed(encoding: &str, body: &[u8]) -> Bytes {
        let mut compressor = Algorithm::from(encoding).compressor(5).unwrap();
        compressor.encode(body, true).unwrap()
    }

    /// The body of an answer with this encoding, and the type that its header has then.
    fn read(encoding: &'static str, body: Bytes) -> (String, String) {
        let mut header = headers::ours(StatusCode::NOT_FOUND, "text/plain");
        let encoding = HeaderValue::from_static(encoding);
        header.headers.insert(CONTENT_ENCODING, encoding);
        let body = plain(&mut header, body, LIMIT);
        assert!(headers::is_plain(&header.headers));
        let media = header.headers[CONTENT_TYPE].to_str().unwrap().to_owned();
        (String::from_utf8(body.to_vec()).unwrap(), media)
    }

    #[test]
    fn an_error_is_unpacked() {
        let text = "no such file ".repeat(100);
        for encoding in ["gzip", "GZIP", "br"] {
            let body = packed(encoding, text.as_bytes());
            let expected = (text.clone(), "text/plain".to_owned());
            assert_eq!(read(encoding, body), expected, "{encoding}");
        }
        let plain = read("identity", Bytes::from_static(b"x"));
        assert_eq!(plain, ("x".to_owned(), "text/plain".to_owned()));
    }

    #[test]
    fn what_cannot_be_unpacked_is_said_in_our_words() {
        let bomb = vec![b' '; 8 << 20];
        for (encoding, body) in [
            ("deflate", Bytes::from_static(b"x")),
            ("gzip, br", packed("gzip", b"x")),
            ("gzip", Bytes::new()),
            (
                "gzip",
                Bytes::from_static(b"no gzip at all, not even its head"),
            ),
            ("br", Bytes::from_static(b"\xff\xff\xff\xff")),
            ("gzip", packed("gzip", &bomb)),
            ("br", packed("br", &bomb)),
            ("zstd", packed("zstd", b"x")),
        ] {
            let (body, media) = read(encoding, body);
            assert!(
                body.contains("\"upstream_error\""),
                "{encoding}: {body:.200}"
            );
            assert_eq!(media, "application/json");
        }
        let edge = packed("gzip", &vec![b' '; LIMIT]);
        assert_eq!(read("gzip", edge).0.len(), LIMIT);
    }
}
