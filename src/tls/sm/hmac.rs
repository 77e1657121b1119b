//! HMAC with SM3, from which rustls derives the keys of a connection.
//!
//! Owns the adapter from the crate `hmac` to rustls. A key is wiped when it is dropped. Does not handle HKDF, which is
//! rustls's own. It cannot fail: a key may have any length.

use hmac::{Hmac as Keyed, KeyInit, Mac};
use rustls::crypto::hmac::{Hmac, Key, Tag};
use sm2::elliptic_curve::zeroize::Zeroizing;
use sm3::{Digest, Sm3};

use super::hash;

/// Bytes of a block of SM3.
const BLOCK: usize = 64;

pub(super) struct HmacSm3;

struct Sm3Key(Keyed<Sm3>);

impl Hmac for HmacSm3 {
    fn with_key(&self, key: &[u8]) -> Box<dyn Key> {
        // A key of exactly one block is the form that the crate takes without a possible failure. RFC 2104 makes it: a
        // longer key is hashed, and a shorter one is filled up with zeros.
        let mut block = Zeroizing::new([0; BLOCK]);
        let mut fill = |from: &[u8]| {
            for (to, from) in block.iter_mut().zip(from) {
                *to = *from;
            }
        };
        match key.len() <= BLOCK {
            true => fill(key),
            false => fill(&Sm3::digest(key)),
        }
        Box::new(Sm3Key(Keyed::new((&*block).into())))
    }

    fn hash_output_len(&self) -> usize {
        hash::LEN
    }
}

impl Key for Sm3Key {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> Tag {
        let mut running = self.0.clone();
        running.update(first);
        for part in middle {
            running.update(part);
        }
        running.update(last);
        Tag::new(&running.finalize().into_bytes())
    }

    fn tag_len(&self) -> usize {
        hash::LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_with_sm3_has_the_values_of_its_test_vectors() {
        // The inputs of RFC 4231, 4.2, 4.3 and 4.7, with the values of OpenSSL 3.0 for SM3.
        let cases: [(&[u8], &[u8], &str); 3] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "51b00d1fb49832bfb01c3ce27848e59f871d9ba938dc563b338ca964755cce70",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "2e87f1d16862e6d964b50a5200bf2b10b764faa9680a296a2405f24bec39f882",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "b4fd844e13342002f0b2e0690ea7741f1497d993a70494cea601e657bedf67a0",
            ),
        ];
        for (key, text, expected) in cases {
            let key = HmacSm3.with_key(key);
            assert_eq!(hex::encode(key.sign(&[text]).as_ref()), expected);
            let (start, rest) = text.split_at(3);
            let (middle, end) = rest.split_at(2);
            let parts = key.sign_concat(start, &[middle], end);
            assert_eq!(parts.as_ref(), hex::decode(expected).unwrap());
            assert_eq!(key.tag_len(), HmacSm3.hash_output_len());
        }
    }
}
