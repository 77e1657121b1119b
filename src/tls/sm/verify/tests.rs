//! SM2's own test values, and signatures in forms that must not pass.

use rustls::crypto::KeyProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{Signer, SigningKey};

use super::*;
use crate::tls::sm::sign::Keys;
use crate::tls::sm::tests::sm2_key;

fn verify(id: &'static str, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    Sm2WithSm3 { id }
        .verify_signature(key, message, signature)
        .is_ok()
}

#[test]
fn the_signature_of_gmt_0003_5_is_verified() {
    // GM/T 0003.5-2012, A.2.
    let key = hex::decode(
        "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020\
         ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13",
    )
    .unwrap();
    let (r, s) = (
        "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3",
        "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa",
    );
    let signature = hex::decode(format!("3046022100{r}022100{s}")).unwrap();
    assert!(verify(CERTIFICATE_ID, &key, b"message digest", &signature));
    assert!(!verify(CERTIFICATE_ID, &key, b"message digesu", &signature));
    assert!(!verify(HANDSHAKE_ID, &key, b"message digest", &signature));
    let swapped = hex::decode(format!("3046022100{s}022100{r}")).unwrap();
    assert!(!verify(CERTIFICATE_ID, &key, b"message digest", &swapped));
}

/// A private key, and its public one as a point.
fn pair() -> (std::sync::Arc<dyn SigningKey>, Vec<u8>) {
    let key = Keys.load_private_key(sm2_key()).unwrap();
    let public = key.public_key().unwrap().as_ref().to_vec();
    let point = public[public.len() - 65..].to_vec();
    (key, point)
}

fn signer(key: &std::sync::Arc<dyn SigningKey>) -> Box<dyn Signer> {
    key.choose_scheme(&[SignatureScheme::ED25519, SCHEME])
        .unwrap()
}

#[test]
fn what_is_signed_in_a_handshake_is_verified_for_a_handshake_alone() {
    let (key, point) = pair();
    let signer = signer(&key);
    assert_eq!(signer.scheme(), SCHEME);
    // Every length of an integer in DER comes up in so many.
    for number in 0..400_u16 {
        let message = number.to_be_bytes();
        let signature = signer.sign(&message).unwrap();
        assert!(
            verify(HANDSHAKE_ID, &point, &message, &signature),
            "{number}"
        );
        assert_eq!(signer.sign(&message).unwrap(), signature, "RFC 6979");
        if number < 4 {
            assert!(!verify(CERTIFICATE_ID, &point, &message, &signature));
            assert!(!verify(HANDSHAKE_ID, &point, b"another", &signature));
        }
    }
}

#[test]
fn a_key_signs_only_by_the_scheme_of_sm2_and_shows_nothing() {
    let (key, point) = pair();
    assert!(key.choose_scheme(&[]).is_none());
    let others = [
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::RSA_PSS_SHA256,
    ];
    assert!(key.choose_scheme(&others).is_none());
    assert_eq!(format!("{key:?}"), "a private key of SM2");
    let private = hex::encode(sm2_key().secret_der());
    let shown = format!("{:?}{:?}", key, signer(&key));
    assert!(!private.is_empty() && !shown.contains(&hex::encode(&point)));
}

/// An integer in DER.
fn integer(content: &[u8]) -> Vec<u8> {
    [&[2, u8::try_from(content.len()).unwrap()][..], content].concat()
}

fn sequence(content: &[u8]) -> Vec<u8> {
    [&[0x30, u8::try_from(content.len()).unwrap()][..], content].concat()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_signature_in_another_form_is_refused() {
    let (key, point) = pair();
    let (message, signer) = (b"message", signer(&key));
    let good = signer.sign(message).unwrap();
    assert!(verify(HANDSHAKE_ID, &point, message, &good));
    let order =
        hex::decode("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123").unwrap();
    let order = integer(&[&[0][..], &order].concat());
    let r_end = 4 + usize::from(good[3]);
    let (r, s) = (&good[2..r_end], &good[r_end..]);
    let longer = |integer: &[u8]| {
        let mut longer = integer.to_vec();
        longer[1] += 1;
        longer.insert(2, 0);
        longer
    };
    let (zero, one, minus) = (integer(&[0]), integer(&[1]), integer(&[0xff]));
    let pairs: Vec<(&str, Vec<u8>)> = vec![
        ("r is zero", [&zero[..], s].concat()),
        ("s is zero", [r, &zero[..]].concat()),
        ("both are zero", [&zero[..], &zero].concat()),
        ("both are one", [&one[..], &one].concat()),
        ("r is negative", [&minus[..], s].concat()),
        ("s is negative", [r, &minus[..]].concat()),
        ("r is the order", [&order[..], s].concat()),
        ("s is the order", [r, &order[..]].concat()),
        ("r has a zero too many", [&longer(r)[..], s].concat()),
        ("s has a zero too many", [r, &longer(s)[..]].concat()),
        ("r has no bytes", [&integer(&[])[..], s].concat()),
        ("r alone", r.to_vec()),
        ("three integers", [r, s, &one[..]].concat()),
        ("none", Vec::new()),
        ("33 bytes", [&integer(&[0x7f; 33])[..], s].concat()),
        ("60 bytes", [&integer(&[0x7f; 60])[..], s].concat()),
        ("text", [&[4, 1, 1][..], s].concat()),
    ];
    for (what, content) in pairs {
        let signature = sequence(&content);
        assert!(!verify(HANDSHAKE_ID, &point, message, &signature), "{what}");
    }
    let length = good[1];
    let rest = &good[2..];
    let wholes: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("a byte too many", [&good[..], &[0]].concat()),
        ("a byte too few", good[..good.len() - 1].to_vec()),
        (
            "the length in two bytes",
            [&[0x30, 0x81, length][..], rest].concat(),
        ),
        (
            "the length in three bytes",
            [&[0x30, 0x82, 0, length][..], rest].concat(),
        ),
        (
            "a length that ends with a mark",
            [&[0x30, 0x80][..], rest, &[0, 0]].concat(),
        ),
        (
            "a length of 4 GiB",
            [&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..], rest].concat(),
        ),
        ("a set", [&[0x31, length][..], rest].concat()),
        ("no DER, but both numbers", vec![7; 64]),
        ("64 KiB", vec![0x30; 65_536]),
    ];
    for (what, signature) in wholes {
        assert!(!verify(HANDSHAKE_ID, &point, message, &signature), "{what}");
    }
}

#[test]
fn a_public_key_that_is_no_point_verifies_nothing() {
    let (key, point) = pair();
    let signature = signer(&key).sign(b"message").unwrap();
    let mut off = point.clone();
    off[1] ^= 1;
    let keys = [
        vec![],
        vec![0],
        vec![0; 65],
        off,
        point[..64].to_vec(),
        vec![4; 1_000],
    ];
    for key in keys {
        assert!(
            !verify(HANDSHAKE_ID, &key, b"message", &signature),
            "{key:?}"
        );
    }
}

#[test]
fn a_key_of_another_kind_is_refused() {
    for der in [vec![], vec![0x30, 0], vec![0x30; 5_000]] {
        for key in [
            PrivateKeyDer::Pkcs8(der.clone().into()),
            PrivateKeyDer::Sec1(der.clone().into()),
            PrivateKeyDer::Pkcs1(der.clone().into()),
        ] {
            let why = Keys.load_private_key(key).unwrap_err().to_string();
            assert!(why.contains("not one of SM2"), "{why}");
        }
    }
}
