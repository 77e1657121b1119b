//! SM3 as the hash of a suite.
//!
//! Owns the adapter from the crate `sm3` to rustls. Does not handle HMAC (see `hmac`). It cannot fail.

use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use sm3::{Digest, Sm3};

/// SM3's number in the registry of TLS hashes (RFC 8998 gives the first byte of `sm2sig_sm3`).
const SM3: u8 = 7;
/// Bytes of a hash.
pub(super) const LEN: usize = 32;

pub(super) struct Sm3Hash;

struct Running(Sm3);

impl Hash for Sm3Hash {
    fn start(&self) -> Box<dyn Context> {
        Box::new(Running(Sm3::new()))
    }

    fn hash(&self, data: &[u8]) -> Output {
        Output::new(&Sm3::digest(data))
    }

    fn output_len(&self) -> usize {
        LEN
    }

    fn algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::from(SM3)
    }
}

impl Context for Running {
    fn fork_finish(&self) -> Output {
        Output::new(&self.0.clone().finalize())
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self(self.0.clone()))
    }

    fn finish(self: Box<Self>) -> Output {
        Output::new(&self.0.finalize())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sm3_has_the_hashes_of_its_standard() {
        // GM/T 0004-2012, A.1 and A.2.
        let abc = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0";
        let long = "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732";
        assert_eq!(hex::encode(Sm3Hash.hash(b"abc").as_ref()), abc);
        assert_eq!(
            hex::encode(Sm3Hash.hash(&b"abcd".repeat(16)).as_ref()),
            long
        );
        assert_eq!(Sm3Hash.output_len(), hex::decode(abc).unwrap().len());
        assert_eq!(Sm3Hash.algorithm(), HashAlgorithm::from(7));
    }

    #[test]
    fn a_hash_goes_on_after_its_value_so_far_was_taken() {
        let mut running = Sm3Hash.start();
        running.update(b"a");
        let mut other = running.fork();
        other.update(b"xy");
        running.update(b"bc");
        assert_eq!(
            running.fork_finish().as_ref(),
            Sm3Hash.hash(b"abc").as_ref()
        );
        running.update(b"d");
        assert_eq!(running.finish().as_ref(), Sm3Hash.hash(b"abcd").as_ref());
        assert_eq!(other.finish().as_ref(), Sm3Hash.hash(b"axy").as_ref());
    }
}
