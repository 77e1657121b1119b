//! Key exchange on `curveSM2`.
//!
//! Owns the adapter from the crate `sm2` to rustls: elliptic-curve Diffie-Hellman as TLS 1.3 has it for a curve of NIST
//! (RFC 8446, 4.2.8.2 and 7.4.2), on the curve of SM2 (RFC 8998, 3.2.1). The private key is made for one handshake and
//! wiped with it. Does not handle the protocol for key agreement of SM2's own standard, which TLS 1.3 does not use. A
//! public key that is no point of the curve ends the handshake.

use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};
use sm2::elliptic_curve::Generate;
use sm2::elliptic_curve::point::AffineCoordinates;
use sm2::elliptic_curve::sec1::ToSec1Point;
use sm2::elliptic_curve::zeroize::Zeroizing;
use sm2::{PublicKey, SecretKey};

use super::GROUP;

/// How an uncompressed point begins, the only form that TLS 1.3 has.
const UNCOMPRESSED: u8 = 4;
/// Bytes of an uncompressed point: that one, and two coordinates.
const POINT_BYTES: usize = 65;

#[derive(Debug)]
pub(super) struct CurveSm2;

struct Exchange {
    private: SecretKey,
    public: Vec<u8>,
}

impl SupportedKxGroup for CurveSm2 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let private = SecretKey::try_generate().map_err(|_| Error::FailedToGetRandomBytes)?;
        let public = private.public_key().to_sec1_point(false);
        Ok(Box::new(Exchange {
            public: public.as_bytes().to_vec(),
            private,
        }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        GROUP
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let invalid = || Error::from(PeerMisbehaved::InvalidKeyShare);
        if peer.len() != POINT_BYTES || peer.first() != Some(&UNCOMPRESSED) {
            return Err(invalid());
        }
        // It is on the curve and not the point at infinity, or this fails. The curve's order is prime, so no other
        // point leads into a small group.
        let peer = PublicKey::from_sec1_bytes(peer).map_err(|_| invalid())?;
        let scalar = Zeroizing::new(self.private.to_nonzero_scalar());
        let shared = (peer.to_projective() * **scalar).to_affine();
        let x = Zeroizing::new(shared.x());
        Ok(SharedSecret::from(x.as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        GROUP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_come_to_one_secret_and_no_two_exchanges_to_the_same() {
        let mut seen = Vec::new();
        for _ in 0..3 {
            let (one, other) = (CurveSm2.start().unwrap(), CurveSm2.start().unwrap());
            assert_eq!(one.pub_key().len(), POINT_BYTES);
            assert_eq!((one.group(), CurveSm2.name()), (GROUP, GROUP));
            let (ours, theirs) = (one.pub_key().to_vec(), other.pub_key().to_vec());
            let secret = one.complete(&theirs).unwrap();
            let same = other.complete(&ours).unwrap();
            assert_eq!(secret.secret_bytes(), same.secret_bytes());
            assert_eq!(secret.secret_bytes().len(), 32);
            assert!(!seen.contains(&secret.secret_bytes().to_vec()));
            seen.push(secret.secret_bytes().to_vec());
        }
    }

    #[test]
    fn the_secret_is_the_coordinate_x() {
        // A private key of 1 leaves the other side's point as it is: here the curve's generator (GM/T 0003.5-2012).
        let x = "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7";
        let y = "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0";
        let exchange = Exchange {
            private: SecretKey::from_slice(&[&[0; 31][..], &[1]].concat()).unwrap(),
            public: Vec::new(),
        };
        let generator = hex::decode(format!("04{x}{y}")).unwrap();
        let secret = Box::new(exchange).complete(&generator).unwrap();
        assert_eq!(secret.secret_bytes(), hex::decode(x).unwrap());
    }

    #[test]
    fn what_is_no_point_of_the_curve_ends_the_exchange() {
        let valid = CurveSm2.start().unwrap().pub_key().to_vec();
        let off = {
            let mut off = valid.clone();
            off[64] ^= 1;
            off
        };
        let compressed = [&[2 + (valid[64] & 1)][..], &valid[1..33]].concat();
        let hybrid = [&[6 + (valid[64] & 1)][..], &valid[1..]].concat();
        let shares = [
            ("nothing", vec![]),
            ("the point at infinity", vec![0]),
            ("the point at infinity in 65 bytes", vec![0; 65]),
            ("zeros as coordinates", [&[4][..], &[0; 64]].concat()),
            (
                "coordinates above the prime",
                [&[4][..], &[0xff; 64]].concat(),
            ),
            ("a point off the curve", off),
            ("a compressed point", compressed),
            ("a hybrid point", hybrid),
            ("a byte too few", valid[..64].to_vec()),
            ("a byte too many", [&valid[..], &[0]].concat()),
            ("64 KiB", vec![4; 65_535]),
        ];
        for (what, share) in shares {
            let error = CurveSm2.start().unwrap().complete(&share).err();
            let expected = Error::from(PeerMisbehaved::InvalidKeyShare);
            assert_eq!(error, Some(expected), "{what}");
        }
    }

    #[test]
    fn it_is_for_tls_1_3_alone() {
        assert!(CurveSm2.usable_for_version(ProtocolVersion::TLSv1_3));
        assert!(!CurveSm2.usable_for_version(ProtocolVersion::TLSv1_2));
        assert!(CurveSm2.ffdhe_group().is_none());
    }
}
