//! A table of signatures, each with what becomes of it.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, Method};
use sha2::Sha256;

use super::*;
use crate::observe::callers::REASONS;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_800_000_000;
const DIGEST: &str = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
const COVERED: &str = "\"@method\" \"@path\" \"@query\" \"content-digest\"";

/// A request as its client has signed it, and what has become of it on its way.
struct Request {
    covered: &'static str,
    params: String,
    secret: &'static str,
    /// What is signed instead of what is sent.
    signed: (&'static str, &'static str, &'static str),
    sent: (&'static str, &'static str, &'static str),
    /// Headers of the signature instead of those that belong there.
    headers: Vec<(&'static str, String)>,
}

impl Request {
    fn new() -> Self {
        let as_sent = ("POST", "/v1/embeddings", "?");
        Self {
            covered: COVERED,
            params: params(NOW, "n1", "k1"),
            secret: SECRET,
            signed: as_sent,
            sent: as_sent,
            headers: Vec::new(),
        }
    }

    fn params(params: impl Into<String>) -> Self {
        Self {
            params: params.into(),
            ..Self::new()
        }
    }

    fn covering(covered: &'static str) -> Self {
        Self {
            covered,
            ..Self::new()
        }
    }

    fn header(name: &'static str, value: impl Into<String>) -> Self {
        Self {
            headers: vec![(name, value.into())],
            ..Self::new()
        }
    }

    /// The headers of the signature, made by itself and not by what is tested.
    fn made(&self) -> HeaderMap {
        let (method, path, query) = self.signed;
        let mut base = String::new();
        for name in self.covered.split(' ').filter(|name| !name.is_empty()) {
            let value = match name.trim_matches('"') {
                "@method" => method,
                "@path" => path,
                "@query" => query,
                "content-digest" => DIGEST,
                _ => "x",
            };
            base.push_str(&format!("{name}: {value}\n"));
        }
        let input = format!("({}){}", self.covered, self.params);
        base.push_str(&format!("\"@signature-params\": {input}"));
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(base.as_bytes());
        let tag = BASE64.encode(mac.finalize().into_bytes());
        let mut headers = HeaderMap::new();
        let made = [
            ("signature-input", format!("sig={input}")),
            ("signature", format!("sig=:{tag}:")),
            ("content-digest", DIGEST.to_owned()),
        ];
        for (name, value) in made.iter().chain(&self.headers) {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn becomes(&self, signatures: &Signatures) -> Result<Signature, Refused> {
        let headers = self.made();
        let (method, path, query) = self.sent;
        let message = Message {
            method: &method.parse::<Method>().unwrap(),
            path,
            query: Some(query.trim_start_matches('?')).filter(|query| !query.is_empty()),
            headers: &headers,
        };
        let now = Timestamp::from_second(NOW).unwrap();
        let accepted = signatures.accept(&message, now);
        accepted.map(|(_, signature)| signature)
    }
}

fn params(created_s: i64, nonce: &str, key: &str) -> String {
    format!(";created={created_s};nonce=\"{nonce}\";keyid=\"{key}\";alg=\"hmac-sha256\"")
}

fn key(id: &str, validity: Validity) -> SignatureKey {
    SignatureKey {
        id: id.into(),
        logged_id: id.into(),
        key: SigningKey::new(SECRET.as_bytes()).unwrap(),
        tenant: 0,
        validity,
    }
}

fn signatures() -> Signatures {
    let disabled = Validity {
        is_enabled: false,
        expires: None,
    };
    let expired = Validity {
        is_enabled: true,
        expires: Timestamp::from_second(NOW).ok(),
    };
    let keys = vec![
        key("k1", Validity::default()),
        key("off", disabled),
        key("old", expired),
    ];
    let terms = SignatureTerms {
        window: Duration::from_secs(300),
        nonces: 3,
    };
    Signatures::new(keys, terms, &Nonces::default())
}

#[test]
fn a_signature_that_is_as_it_has_to_be_is_accepted() {
    let all = "\"content-digest\" \"@query\" \"@path\" \"@method\" \"x-team\"";
    let extra = |name| Request {
        covered: all,
        ..Request::header(name, "x")
    };
    let query = ("GET", "/v1/files", "?limit=2&a=%20");
    let goods = [
        Request::new(),
        Request::params(params(NOW - 300, "n1", "k1")),
        Request::params(params(NOW + 300, "n1", "k1")),
        Request::params(";keyid=\"k1\";created=1800000000;nonce=\"n\""),
        Request::params(params(NOW, "n1", "k1") + ";expires=1800000001;tag=\"app\""),
        Request::covering("\"@method\" \"@path\" \"@query\""),
        extra("x-team"),
        Request {
            signed: query,
            sent: query,
            ..Request::new()
        },
    ];
    for (number, good) in goods.iter().enumerate() {
        assert!(good.becomes(&signatures()).is_ok(), "number {number}");
    }
}

/// What is refused, and by which reason.
#[expect(clippy::too_many_lines, reason = "a table")]
fn bad() -> Vec<(&'static str, Request, &'static str)> {
    let now = || params(NOW, "n1", "k1");
    let sent = |sent| Request {
        sent,
        ..Request::new()
    };
    let of = |params: &str| Request::params(params);
    vec![
        (
            "late",
            Request::params(params(NOW - 301, "n1", "k1")),
            "late",
        ),
        (
            "early",
            Request::params(params(NOW + 301, "n1", "k1")),
            "early",
        ),
        (
            "expired",
            Request::params(now() + ";expires=1800000000"),
            "late",
        ),
        (
            "far past",
            Request::params(params(-999_999_999_999_999, "n", "k1")),
            "late",
        ),
        (
            "far future",
            Request::params(params(999_999_999_999_999, "n", "k1")),
            "early",
        ),
        (
            "another method",
            sent(("PUT", "/v1/embeddings", "?")),
            "signature",
        ),
        (
            "another path",
            sent(("POST", "/v1/embeddings/", "?")),
            "signature",
        ),
        (
            "another query",
            sent(("POST", "/v1/embeddings", "?a=b")),
            "signature",
        ),
        (
            "another digest",
            Request::header(
                "content-digest",
                "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=:",
            ),
            "signature",
        ),
        (
            "another digest, well-formed",
            Request::header(
                "content-digest",
                "sha-256=:57DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
            ),
            "signature",
        ),
        (
            "another key's secret",
            Request {
                secret: "another",
                ..Request::new()
            },
            "signature",
        ),
        (
            "an empty secret",
            Request {
                secret: "",
                ..Request::new()
            },
            "signature",
        ),
        (
            "unknown key",
            Request::params(params(NOW, "n1", "k2")),
            "unknown",
        ),
        (
            "disabled key",
            Request::params(params(NOW, "n1", "off")),
            "disabled",
        ),
        (
            "expired key",
            Request::params(params(NOW, "n1", "old")),
            "expired",
        ),
        (
            "no method",
            Request::covering("\"@path\" \"@query\""),
            "component",
        ),
        (
            "no path",
            Request::covering("\"@method\" \"@query\""),
            "component",
        ),
        (
            "no query",
            Request::covering("\"@method\" \"@path\""),
            "component",
        ),
        ("nothing", Request::covering(""), "component"),
        (
            "twice",
            Request::covering("\"@method\" \"@method\" \"@path\" \"@query\""),
            "component",
        ),
        (
            "not supported",
            Request::covering("\"@method\" \"@path\" \"@query\" \"@authority\""),
            "component",
        ),
        (
            "not there",
            Request::covering("\"@method\" \"@path\" \"@query\" \"x-none\""),
            "component",
        ),
        (
            "upper case",
            Request::covering("\"@method\" \"@path\" \"@query\" \"Content-Digest\""),
            "component",
        ),
        (
            "with a parameter",
            Request::covering("\"@method\" \"@path\" \"@query\";req"),
            "component",
        ),
        (
            "a token",
            Request::covering("method \"@path\" \"@query\""),
            "component",
        ),
        ("no created", of(";nonce=\"n\";keyid=\"k1\""), "malformed"),
        (
            "created as text",
            of(";created=\"1800000000\";nonce=\"n\";keyid=\"k1\""),
            "malformed",
        ),
        (
            "created with a fraction",
            of(";created=1800000000.5;nonce=\"n\";keyid=\"k1\""),
            "malformed",
        ),
        (
            "created as a date",
            of(";created=@1800000000;nonce=\"n\";keyid=\"k1\""),
            "malformed",
        ),
        (
            "no nonce",
            of(";created=1800000000;keyid=\"k1\""),
            "malformed",
        ),
        (
            "an empty nonce",
            of(";created=1800000000;nonce=\"\";keyid=\"k1\""),
            "malformed",
        ),
        (
            "a long nonce",
            Request::params(params(NOW, &"n".repeat(129), "k1")),
            "malformed",
        ),
        ("no key", of(";created=1800000000;nonce=\"n\""), "malformed"),
        (
            "another algorithm",
            of(";created=1800000000;nonce=\"n\";keyid=\"k1\";alg=\"rsa-pss-sha512\""),
            "algorithm",
        ),
        (
            "an algorithm that is no text",
            of(";created=1800000000;nonce=\"n\";keyid=\"k1\";alg=hmac-sha256"),
            "algorithm",
        ),
        (
            "another label",
            Request::header("signature", "other=:AAAA:"),
            "malformed",
        ),
        (
            "no bytes",
            Request::header("signature", "sig=\"AAAA\""),
            "malformed",
        ),
        (
            "cut",
            Request::header("signature", "sig=:AAAA:"),
            "signature",
        ),
        ("empty", Request::header("signature", "sig=::"), "signature"),
        (
            "two signatures",
            Request::header("signature", "sig=:AAAA:, b=:AAAA:"),
            "malformed",
        ),
        (
            "two inputs",
            Request::header("signature-input", "sig=(), b=()"),
            "malformed",
        ),
        (
            "no list",
            Request::header("signature-input", "sig=1"),
            "malformed",
        ),
        (
            "nonsense",
            Request::header("signature-input", "(((((((("),
            "malformed",
        ),
        (
            "long",
            Request::header("signature-input", "a".repeat(5_000)),
            "malformed",
        ),
        (
            "17 components",
            Request::header(
                "signature-input",
                format!("sig=({}){}", "\"x-a\" ".repeat(17), params(NOW, "n", "k1")),
            ),
            "component",
        ),
        (
            "no digest that is known",
            Request::header("content-digest", "md5=:AAAA:"),
            "malformed",
        ),
    ]
}

#[test]
fn every_other_signature_is_refused_with_its_reason() {
    let (_, known) = REASONS
        .iter()
        .find(|(method, _)| *method == "hmac")
        .unwrap();
    for (name, request, reason) in bad() {
        let refused = request.becomes(&signatures()).expect_err(name);
        assert_eq!(refused.reason(), reason, "{name}: {refused}");
        assert!(known.contains(&reason), "{name}");
        let said = refused.to_string();
        assert!(!said.contains("n1") && !said.contains("k2"), "{said}");
    }
}

#[test]
fn a_header_that_stands_twice_is_refused() {
    for name in ["signature-input", "signature", "content-digest"] {
        let request = Request::new();
        let mut headers = request.made();
        let value = headers.get(name).unwrap().clone();
        headers.append(name, value);
        let message = Message {
            method: &Method::POST,
            path: "/v1/embeddings",
            query: None,
            headers: &headers,
        };
        let signatures = signatures();
        let refused = signatures.accept(&message, Timestamp::from_second(NOW).unwrap());
        // What is covered twice has been signed once.
        assert!(refused.is_err(), "{name}");
    }
}

#[test]
fn a_signature_counts_once_and_each_key_has_room_for_so_many() {
    let signatures = signatures();
    let signed = |nonce| {
        Request::params(params(NOW, nonce, "k1"))
            .becomes(&signatures)
            .unwrap()
    };
    let first = signed("n1");
    assert_eq!(first.take(NOW), Ok(()));
    assert_eq!(signed("n1").take(NOW), Err(NotOnce::Replayed));
    assert!(first.is(&signed("n1")) && !first.is(&signed("n2")));
    assert_eq!(signed("n2").take(NOW), Ok(()));
    assert_eq!(signed("n3").take(NOW), Ok(()));
    assert_eq!(signed("n4").take(NOW), Err(NotOnce::Full));
    for why in [NotOnce::Replayed, NotOnce::Full] {
        let (_, known) = REASONS
            .iter()
            .find(|(method, _)| *method == "hmac")
            .unwrap();
        assert!(known.contains(&Refused::NotOnce(why).reason()));
    }
}
