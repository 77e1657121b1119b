//! Tokens, right and wrong, with the reason of each refusal.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm as Named, DecodingKey, EncodingKey, crypto};
use serde_json::{Value, json};

use super::*;
use crate::config::{JwksUrl, Located};
use crate::jwt::{Algorithm, Family, KeyFault};

const NOW_S: i64 = 1_800_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/fixtures/keys/", $name, ".pem"))
    };
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW_S).unwrap()
}

/// A key that signs, by its name.
fn private(name: &str) -> EncodingKey {
    match name {
        "rsa" => EncodingKey::from_rsa_pem(pem!("rsa")).unwrap(),
        "small" => EncodingKey::from_rsa_pem(pem!("small")).unwrap(),
        "p256" => EncodingKey::from_ec_pem(pem!("p256")).unwrap(),
        "p384" => EncodingKey::from_ec_pem(pem!("p384")).unwrap(),
        "ed25519" => EncodingKey::from_ed_pem(pem!("ed25519")).unwrap(),
        secret => EncodingKey::from_secret(secret.as_bytes()).unwrap(),
    }
}

fn public(name: &str) -> DecodingKey {
    match name {
        "rsa" => DecodingKey::from_rsa_pem(pem!("rsa.pub")).unwrap(),
        "small" => DecodingKey::from_rsa_pem(pem!("small.pub")).unwrap(),
        "p256" => DecodingKey::from_ec_pem(pem!("p256.pub")).unwrap(),
        "p384" => DecodingKey::from_ec_pem(pem!("p384.pub")).unwrap(),
        _ => DecodingKey::from_ed_pem(pem!("ed25519.pub")).unwrap(),
    }
}

/// A key of a set, with its name.
fn jwk(name: &str) -> Value {
    let mut jwk =
        serde_json::to_value(Jwk::from_decoding_key(&public(name), None).unwrap()).unwrap();
    jwk["kid"] = json!(name);
    jwk
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn everything() -> KeySet {
    set(&["rsa", "p256", "p384", "ed25519"].map(jwk))
}

fn encode(value: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(value)
}

/// A token of any header and claims, signed as told.
fn sign(header: &str, claims: &str, key: &str, algorithm: Named) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = crypto::sign(message.as_bytes(), &private(key), algorithm).unwrap();
    format!("{message}.{signature}")
}

fn claims() -> Value {
    json!({
        "iss": "https://idp.example", "aud": "tollgate", "sub": "ci", "tenant": "team-a",
        "exp": NOW_S + 600, "nbf": NOW_S - 5, "iat": NOW_S - 5,
    })
}

fn located<T>(value: T) -> Located<T> {
    Located {
        value,
        place: crate::config::Place::default(),
    }
}

fn issuer(name: &str, algorithms: &[Algorithm], keys: KeySet) -> Issuer {
    Issuer {
        issuer: located(name.to_owned()),
        audiences: vec!["tollgate".to_owned(), "other-gateway".to_owned()],
        algorithms: algorithms.to_vec(),
        keys: IssuerKeys::Here(keys),
        leeway: Duration::from_secs(60),
        tenant: TenantOf::Claim("tenant".to_owned()),
        models_claim: Some("models".to_owned()),
        limits_claim: Some("limits".to_owned()),
    }
}

fn tokens(issuers: &[Issuer]) -> Tokens {
    let tenants = ["team-a", "team-b"].map(Arc::from);
    Tokens::new(issuers, tenants.into_iter(), &Remotes::default())
}

/// An issuer that signs with public keys, and one with a secret.
fn both() -> Tokens {
    let public = Algorithm::ALL.into_iter();
    let public: Vec<_> = public.filter(|a| a.family() != Family::Secret).collect();
    let secret = KeySet::from_secret(SECRET.as_bytes()).unwrap();
    tokens(&[
        issuer("https://idp.example", &public, everything()),
        issuer("https://secret.example", &[Algorithm::Hs256], secret),
    ])
}

fn reason(tokens: &Tokens, token: &str) -> &'static str {
    match tokens.accept(token.as_bytes(), now()) {
        Ok(_) => "accepted",
        Err(refused) => {
            assert!(!token.contains(&refused.to_string()));
            refused.reason()
        }
    }
}

#[test]
fn a_token_of_each_algorithm_leads_to_its_tenant() {
    let tokens = both();
    for (algorithm, named, key) in [
        ("RS256", Named::RS256, "rsa"),
        ("RS384", Named::RS384, "rsa"),
        ("RS512", Named::RS512, "rsa"),
        ("PS256", Named::PS256, "rsa"),
        ("PS384", Named::PS384, "rsa"),
        ("PS512", Named::PS512, "rsa"),
        ("ES256", Named::ES256, "p256"),
        ("ES384", Named::ES384, "p384"),
        ("EdDSA", Named::EdDSA, "ed25519"),
    ] {
        for header in [
            json!({ "alg": algorithm, "kid": key, "typ": "JWT" }),
            json!({ "alg": algorithm }),
        ] {
            let token = sign(&header.to_string(), &claims().to_string(), key, named);
            let accepted = tokens.accept(token.as_bytes(), now()).unwrap();
            assert_eq!(
                (accepted.tenant, &*accepted.subject),
                (0, "ci"),
                "{algorithm}"
            );
        }
    }
    let mut claims = claims();
    claims["iss"] = json!("https://secret.example");
    claims["tenant"] = json!("team-b");
    let token = sign(
        r#"{"alg":"HS256"}"#,
        &claims.to_string(),
        SECRET,
        Named::HS256,
    );
    assert_eq!(tokens.accept(token.as_bytes(), now()).unwrap().tenant, 1);
}

/// The usual token with these claims in place of its own; null takes one out.
fn with(changes: Value) -> String {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    sign(
        r#"{"alg":"RS256","kid":"rsa"}"#,
        &claims.to_string(),
        "rsa",
        Named::RS256,
    )
}

#[test]
fn claims_that_are_not_as_they_have_to_be_are_refused() {
    let tokens = both();
    for (changes, expected) in [
        (json!({}), "accepted"),
        (json!({ "aud": ["x", "other-gateway"] }), "accepted"),
        (json!({ "exp": NOW_S - 59 }), "accepted"),
        (json!({ "exp": NOW_S - 60 }), "expired"),
        (json!({ "exp": NOW_S - 86_400 }), "expired"),
        (json!({ "exp": -1 }), "expired"),
        (json!({ "exp": 1.9 }), "expired"),
        (json!({ "exp": (NOW_S + 600).to_string() }), "claim"),
        (json!({ "exp": 1e300 }), "claim"),
        (json!({ "exp": true }), "claim"),
        (json!({ "exp": null }), "claim"),
        (json!({ "nbf": NOW_S + 60 }), "accepted"),
        (json!({ "nbf": NOW_S + 61 }), "early"),
        (json!({ "nbf": "soon" }), "claim"),
        (json!({ "nbf": null, "iat": null }), "accepted"),
        (json!({ "iat": NOW_S + 3_600 }), "early"),
        (json!({ "aud": "another" }), "audience"),
        (json!({ "aud": [] }), "audience"),
        (json!({ "aud": "tollgate other" }), "audience"),
        (json!({ "aud": ["tollgate", 1] }), "claim"),
        (json!({ "aud": { "tollgate": true } }), "claim"),
        (json!({ "aud": null }), "claim"),
        (json!({ "iss": "https://idp.example/" }), "issuer"),
        (json!({ "iss": "https://IDP.example" }), "issuer"),
        (json!({ "iss": ["https://idp.example"] }), "issuer"),
        (json!({ "iss": null }), "issuer"),
        // The other issuer does not sign with this algorithm.
        (json!({ "iss": "https://secret.example" }), "algorithm"),
        (json!({ "tenant": "team-c" }), "tenant"),
        (json!({ "tenant": "" }), "tenant"),
        (json!({ "tenant": "team-a " }), "tenant"),
        (json!({ "tenant": "team-a\u{0}" }), "tenant"),
        (json!({ "tenant": ["team-a"] }), "claim"),
        (json!({ "tenant": null }), "claim"),
        (json!({ "models": "gpt-4o gpt-4o-mini" }), "accepted"),
        (json!({ "models": { "gpt-4o": true } }), "claim"),
        (json!({ "models": vec!["m"; MAX_MODELS + 1] }), "claim"),
        (json!({ "sub": 7 }), "claim"),
        (json!({ "sub": null }), "accepted"),
    ] {
        assert_eq!(
            reason(&tokens, &with(changes.clone())),
            expected,
            "{changes}"
        );
    }
}

#[test]
fn headers_that_are_not_as_they_have_to_be_are_refused() {
    let tokens = both();
    let long = "k".repeat(300);
    for (header, expected) in [
        (json!({ "alg": "RS256" }), "accepted"),
        (json!({ "alg": "RS256", "typ": "at+jwt" }), "accepted"),
        (
            json!({ "alg": "RS256", "typ": "application/JWT" }),
            "accepted",
        ),
        (json!({ "alg": "RS256", "typ": "JWS" }), "malformed"),
        (json!({ "alg": "RS256", "typ": 1 }), "malformed"),
        (json!({ "alg": "none" }), "malformed"),
        (json!({ "alg": "None" }), "malformed"),
        (json!({ "alg": "nOnE" }), "malformed"),
        (json!({ "alg": "rs256" }), "malformed"),
        (json!({ "alg": "RS1" }), "malformed"),
        (json!({ "alg": ["RS256"] }), "malformed"),
        (json!({ "kid": "rsa" }), "malformed"),
        (json!({ "alg": "RS256", "crit": ["exp"] }), "malformed"),
        (json!({ "alg": "RS256", "crit": [] }), "malformed"),
        (
            json!({ "alg": "RS256", "crit": ["b64"], "b64": false }),
            "malformed",
        ),
        (json!({ "alg": "RS256", "zip": "DEF" }), "malformed"),
        (json!({ "alg": "RS256", "enc": "A256GCM" }), "malformed"),
        // What a header brings along or points to is not looked at.
        (
            json!({ "alg": "RS256", "jku": "https://evil.example" }),
            "accepted",
        ),
        (json!({ "alg": "RS256", "jwk": jwk("small") }), "accepted"),
        (json!({ "alg": "RS256", "kid": "other" }), "unknown_key"),
        (
            json!({ "alg": "RS256", "kid": "../../etc/passwd" }),
            "unknown_key",
        ),
        (
            json!({ "alg": "RS256", "kid": "' OR 1=1 --" }),
            "unknown_key",
        ),
        (json!({ "alg": "RS256", "kid": "p256" }), "unknown_key"),
        (json!({ "alg": "RS256", "kid": long }), "malformed"),
        (json!({ "alg": "RS256", "kid": 1 }), "malformed"),
        // It says another algorithm than it is signed with.
        (json!({ "alg": "RS384", "kid": "rsa" }), "signature"),
        (json!({ "alg": "PS256", "kid": "rsa" }), "signature"),
        (json!({ "alg": "ES256", "kid": "p256" }), "signature"),
        (json!({ "alg": "HS256", "kid": "rsa" }), "algorithm"),
    ] {
        let token = sign(
            &header.to_string(),
            &claims().to_string(),
            "rsa",
            Named::RS256,
        );
        assert_eq!(reason(&tokens, &token), expected, "{header}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn signatures_of_others_are_refused() {
    let tokens = both();
    let (header, body) = (r#"{"alg":"RS256"}"#, claims().to_string());
    let good = sign(header, &body, "rsa", Named::RS256);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, _) = message.split_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let other = sign(r#"{"alg":"HS256"}"#, &body, SECRET, Named::HS256);
    let mut admin = claims();
    admin["tenant"] = json!("team-b");
    let mut own_secret = claims();
    own_secret["iss"] = json!("https://secret.example");
    // The public key as the secret: it is verified with a key of that kind alone.
    let confused = {
        let text = String::from_utf8(pem!("rsa.pub").to_vec()).unwrap();
        sign(
            r#"{"alg":"HS256"}"#,
            &own_secret.to_string(),
            &text,
            Named::HS256,
        )
    };
    let twice = r#"{"iss":"https://idp.example","aud":"tollgate","tenant":"team-a","tenant":"team-b","exp":1900000000}"#;
    for (token, expected) in [
        (good.clone(), "accepted"),
        (format!("{message}."), "signature"),
        (message.to_owned(), "malformed"),
        (format!("{good}."), "malformed"),
        (format!("{good}.x.y"), "malformed"),
        (format!("{good}="), "malformed"),
        (format!("{message}.{}", encode(&raw[1..])), "signature"),
        (
            format!("{message}.{}", encode([&raw[..], &[0]].concat())),
            "signature",
        ),
        (
            format!("{head}.{}.{signature}", encode(admin.to_string())),
            "signature",
        ),
        (
            format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&body)),
            "malformed",
        ),
        (other, "algorithm"),
        (confused, "signature"),
        (sign(header, &body, "small", Named::RS256), "signature"),
        (
            sign(r#"{"alg":"RS256","jwk":{}}"#, &body, "small", Named::RS256),
            "signature",
        ),
        (sign(header, twice, "rsa", Named::RS256), "malformed"),
        (
            sign(
                r#"{"alg":"RS256","alg":"none"}"#,
                &body,
                "rsa",
                Named::RS256,
            ),
            "malformed",
        ),
        (sign(header, "[]", "rsa", Named::RS256), "malformed"),
        (sign(header, &good, "rsa", Named::RS256), "malformed"),
        (format!(" {good}"), "malformed"),
        (good.replacen('.', ".\u{0}", 1), "malformed"),
        (format!("{good}{}", "A".repeat(1 << 20)), "malformed"),
    ] {
        assert_eq!(
            reason(&tokens, &token),
            expected,
            "{}",
            &token[..token.len().min(80)]
        );
    }
    // ECDSA in DER, which another library would send.
    let es = sign(r#"{"alg":"ES256"}"#, &body, "p256", Named::ES256);
    let (message, raw) = es.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(raw).unwrap();
    let der = [&[0x30, 68, 2, 32][..], &raw[..32], &[2, 32], &raw[32..]].concat();
    assert_eq!(
        reason(&tokens, &format!("{message}.{}", encode(der))),
        "signature"
    );
    let invalid = [b"eyJ".as_slice(), &[0xff, 0xfe], b".e30.x"].concat();
    assert_eq!(
        tokens.accept(&invalid, now()).unwrap_err(),
        Refused::Malformed(Malformed::Form)
    );
}

#[test]
fn a_remembered_token_is_refused_once_it_has_expired_or_its_keys_have_changed() {
    let at = JwksUrl {
        url: "http://127.0.0.1:1/".to_owned(),
        refresh: Duration::from_secs(900),
        ca: None,
    };
    let remotes = Remotes::default();
    let remote = remotes.of("https://idp.example", &at);
    let mut issuer = issuer("https://idp.example", &[Algorithm::Rs256], everything());
    issuer.keys = IssuerKeys::At(at);
    let tokens = Tokens::new(&[issuer], ["team-a".into()].into_iter(), &remotes);
    let token = with(json!({}));
    assert_eq!(reason(&tokens, &token), "no_keys");
    remote.note_for_test(Ok(everything()));
    assert_eq!(reason(&tokens, &token), "accepted");
    assert_eq!(reason(&tokens, &token), "accepted");
    // The same keys, and none that can be had, change nothing.
    remote.note_for_test(Ok(everything()));
    remote.note_for_test(Err("refused".to_owned()));
    assert_eq!(reason(&tokens, &token), "accepted");
    let later = Timestamp::from_second(NOW_S + 660).unwrap();
    assert_eq!(
        tokens.accept(token.as_bytes(), later).unwrap_err(),
        Refused::Expired
    );
    remote.note_for_test(Ok(set(&[jwk("p256")])));
    assert_eq!(reason(&tokens, &token), "unknown_key");
}

#[test]
fn a_set_gives_the_keys_that_verify_signatures_and_no_secret() {
    let fault = |set: Value| KeySet::from_jwks(set.to_string().as_bytes()).unwrap_err();
    assert_eq!(fault(json!([])), KeyFault::NoSet);
    assert_eq!(fault(json!({ "keys": {} })), KeyFault::NoSet);
    assert_eq!(fault(json!({ "keys": [] })), KeyFault::NoneUsable);
    assert_eq!(
        fault(json!({ "keys": vec![json!({}); 101] })),
        KeyFault::TooLarge
    );
    let huge = "x".repeat(1 << 20);
    assert_eq!(fault(json!({ "keys": [], "x": huge })), KeyFault::TooLarge);
    let with = |key: &str, name: &str, value: Value| {
        let mut jwk = jwk(key);
        jwk[name] = value;
        jwk
    };
    let secret = json!({ "kty": "oct", "k": encode(SECRET), "alg": "HS256" });
    for left_out in [
        secret,
        jwk("small"),
        with("rsa", "use", json!("enc")),
        with("rsa", "key_ops", json!(["encrypt"])),
        with("rsa", "alg", json!("RSA-OAEP")),
        with("rsa", "alg", json!("ES256")),
        with("p256", "crv", json!("P-521")),
        with("p256", "x", json!("AA")),
        json!({ "kty": "quantum" }),
        json!("rsa"),
    ] {
        let keys = json!({ "keys": [left_out] });
        assert!(
            KeySet::from_jwks(keys.to_string().as_bytes()).is_err(),
            "{keys}"
        );
        // Others in the set can be used all the same.
        let keys = json!({ "keys": [left_out, jwk("p256")] });
        assert!(KeySet::from_jwks(keys.to_string().as_bytes()).is_ok());
    }
    let pem = |text: &[u8], family| KeySet::from_pem(text, &[family]).err();
    assert_eq!(pem(pem!("rsa.pub"), Family::Rsa), None);
    assert_eq!(pem(pem!("p256.pub"), Family::P256), None);
    assert_eq!(pem(pem!("p384.pub"), Family::P384), None);
    assert_eq!(pem(pem!("ed25519.pub"), Family::Ed25519), None);
    assert_eq!(pem(pem!("small.pub"), Family::Rsa), Some(KeyFault::RsaBits));
    for (text, family) in [
        (&pem!("p256.pub")[..], Family::P384),
        (pem!("p256.pub"), Family::Rsa),
        (pem!("rsa.pub"), Family::Ed25519),
        (pem!("rsa"), Family::P256),
        (
            b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----",
            Family::Rsa,
        ),
        (b"", Family::Rsa),
    ] {
        assert_eq!(pem(text, family), Some(KeyFault::NoPem));
    }
}

#[test]
fn many_tokens_are_remembered_up_to_the_bound_and_no_further() {
    let secret = KeySet::from_secret(SECRET.as_bytes()).unwrap();
    let tokens = tokens(&[issuer(
        "https://secret.example",
        &[Algorithm::Hs256],
        secret,
    )]);
    let mut claims = claims();
    claims["iss"] = json!("https://secret.example");
    for number in 0..REMEMBERED + 1_000 {
        claims["jti"] = json!(number);
        let token = sign(
            r#"{"alg":"HS256"}"#,
            &claims.to_string(),
            SECRET,
            Named::HS256,
        );
        tokens.accept(token.as_bytes(), now()).unwrap();
    }
    assert!(tokens.remembered.len() <= REMEMBERED);
}
