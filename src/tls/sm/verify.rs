//! Verification of signatures by SM2 with SM3.
//!
//! Owns the two algorithms that rustls verifies a peer with: of the signatures in a chain of certificates, and of the
//! handshake. They differ in the identifier of the signer that is hashed with the message. Does not handle chains,
//! names and times, which rustls does. A signature in another form than DER's only one, or of another message, key or
//! identifier is refused.

use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use sm2::dsa::signature::Verifier as _;
use sm2::dsa::{Signature, VerifyingKey};

use super::{CERTIFICATE_ID, HANDSHAKE_ID, SCHEME};

/// What rustls verifies a peer with.
pub(super) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[CERTIFICATES],
    mapping: HANDSHAKES,
};

const CERTIFICATES: &dyn SignatureVerificationAlgorithm = &Sm2WithSm3 { id: CERTIFICATE_ID };
const HANDSHAKES: &[(SignatureScheme, &[&dyn SignatureVerificationAlgorithm])] =
    &[(SCHEME, &[&Sm2WithSm3 { id: HANDSHAKE_ID }])];

/// `id-ecPublicKey`, on the curve 1.2.156.10197.1.301.
const PUBLIC_KEY: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // 1.2.840.10045.2.1
    0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d,
];
/// SM2 with SM3, 1.2.156.10197.1.501, without parameters (GM/T 0015-2012).
const SIGNATURE: &[u8] = &[0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x83, 0x75];

#[derive(Debug)]
struct Sm2WithSm3 {
    /// The signer's identifier.
    id: &'static str,
}

impl SignatureVerificationAlgorithm for Sm2WithSm3 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(self.id, public_key);
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        key.and_then(|key| key.verify(message, &signature))
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        AlgorithmIdentifier::from_slice(PUBLIC_KEY)
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        AlgorithmIdentifier::from_slice(SIGNATURE)
    }
}

#[cfg(test)]
mod tests;
