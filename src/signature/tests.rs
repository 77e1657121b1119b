//! What a signature covers, and bodies.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use sha2::{Digest, Sha256, Sha512};

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
    let headers = of.iter();
    headers
        .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

fn read(headers: &HeaderMap) -> Result<Signed, Fault> {
    Signed::read(&Message {
        method: &Method::POST,
        path: "/v1/chat/completions",
        query: Some("a=b"),
        headers,
    })
}

/// The signature of these bytes, as a header has it.
fn tag(base: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
    mac.update(base.as_bytes());
    format!("s=:{}:", BASE64.encode(mac.finalize().into_bytes()))
}

#[test]
fn what_is_signed_is_written_as_the_standard_has_it_however_the_client_writes_it() {
    let base = "\"@query\": ?a=b\n\
                \"x-one\": 1, 2\n\
                \"@method\": POST\n\
                \"@path\": /v1/chat/completions\n\
                \"@signature-params\": (\"@query\" \"x-one\" \"@method\" \"@path\");created=17;\
                nonce=\"n\\\"\";keyid=\"k1\";tag=\"t\"";
    let input = "s=(  \"@query\"  \"x-one\" \"@method\" \"@path\" ); created=17;  nonce=\"n\\\"\"; \
                 keyid=\"k1\";tag=\"t\"";
    let tag = tag(base);
    let mut headers = headers(&[
        (SIGNATURE_INPUT, input),
        (SIGNATURE, &tag),
        ("x-one", " 1 "),
    ]);
    headers.append("x-one", "2\t".parse().unwrap());
    let signed = read(&headers).unwrap();
    assert_eq!((signed.created_s, signed.expires_s), (17, None));
    assert_eq!((&*signed.nonce, &*signed.key_id), ("n\"", "k1"));
    assert_eq!(signed.body, BodyDigest::Empty);
    assert!(signed.is_by(&SigningKey::new(SECRET).unwrap()));
    assert!(!signed.is_by(&SigningKey::new(&SECRET[1..]).unwrap()));
}

#[test]
fn a_request_without_a_query_has_an_empty_one() {
    let headers = headers(&[
        (
            SIGNATURE_INPUT,
            "s=(\"@method\" \"@path\" \"@query\");created=1;nonce=\"n\";keyid=\"k\"",
        ),
        (
            SIGNATURE,
            &tag(
                "\"@method\": GET\n\"@path\": /v1/models\n\"@query\": ?\n\"@signature-params\": \
                  (\"@method\" \"@path\" \"@query\");created=1;nonce=\"n\";keyid=\"k\"",
            ),
        ),
    ]);
    let message = Message {
        method: &Method::GET,
        path: "/v1/models",
        query: None,
        headers: &headers,
    };
    let signed = Signed::read(&message).unwrap();
    assert!(signed.is_by(&SigningKey::new(SECRET).unwrap()));
}

/// Whether a body fits what a header says of it, in pieces of this many bytes.
fn fits(header: &str, body: &[u8], piece: usize) -> bool {
    let mut check = BodyCheck::new(digest::read(header.as_bytes()).unwrap());
    body.chunks(piece).for_each(|bytes| check.push(bytes));
    check.fits()
}

#[test]
fn a_body_has_to_have_every_digest_that_is_known() {
    let body = b"{\"model\":\"m\"}";
    let of = |bytes: &[u8]| {
        (
            BASE64.encode(Sha256::digest(bytes)),
            BASE64.encode(Sha512::digest(bytes)),
        )
    };
    let ((short, long), (other, _)) = (of(body), of(b"other"));
    for good in [
        format!("sha-256=:{short}:"),
        format!("sha-512=:{long}:"),
        format!("sha-512=:{long}:, sha-256=:{short}:"),
        format!("md5=:AAAA:, sha-256=:{short}:, unknown=1"),
    ] {
        for piece in [1, 5, 100] {
            assert!(fits(&good, body, piece), "{good}");
            assert!(!fits(&good, b"{\"model\":\"n\"}", piece), "{good}");
            assert!(!fits(&good, b"", piece), "{good}");
        }
    }
    assert!(!fits(
        &format!("sha-512=:{long}:, sha-256=:{other}:"),
        body,
        3
    ));
    let (empty, _) = of(b"");
    assert!(fits(&format!("sha-256=:{empty}:"), b"", 1));
    let mut nothing = BodyCheck::new(BodyDigest::Empty);
    nothing.push(b"");
    assert!(nothing.fits());
    nothing.push(b"x");
    assert!(!nothing.fits());
}

#[test]
fn a_header_that_has_no_digest_that_is_known_is_refused() {
    let short = BASE64.encode([0; 31]);
    for bad in [
        "",
        "md5=:AAAA:",
        "sha-256",
        "sha-256=1",
        "sha-256=\"AAAA\"",
        "sha-256=(:AAAA:)",
        "sha-256=:AAAA",
        "SHA-256=:AAAA:",
        &format!("sha-256=:{short}:"),
    ] {
        let read = digest::read(bad.as_bytes());
        assert_eq!(read, Err(Fault::Header(CONTENT_DIGEST)), "{bad}");
    }
}

#[test]
fn nothing_of_a_secret_is_printed() {
    let key = SigningKey::new(SECRET).unwrap();
    assert_eq!(format!("{key:?}"), "SigningKey([REDACTED])");
}
