//! TLS 1.3 with the Chinese national algorithms (RFC 8998), as a provider of rustls.
//!
//! Owns the provider: the suite `TLS_SM4_GCM_SM3`, the group `curveSM2` and the scheme `sm2sig_sm3`, and nothing else.
//! So no configuration made with it can negotiate another suite or group, or a version below 1.3. A provider that had
//! the suites of `ring` too could negotiate SM4 with X25519, which is why one listener for both kinds of clients has a
//! configuration for each. `hello` says which of them a client gets. The primitives are RustCrypto's `sm2`, `sm3`,
//! `sm4` and `aes-gcm`, which are unaudited; the other files put them into the traits of rustls. Random numbers of the
//! handshake are `ring`'s. Does not read files, nor make the configuration of a listener (see `tls::server`). Fails as
//! rustls does: the handshake ends with an alert.

mod aead;
mod hash;
mod hello;
mod hmac;
mod kx;
mod sign;
mod verify;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, ring};
use rustls::{
    CipherSuite, NamedGroup, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
    Tls13CipherSuite, version,
};

pub use hello::offers;
pub use sign::is_key as is_sm2_key;

/// `TLS_SM4_GCM_SM3`.
pub const SUITE: CipherSuite = CipherSuite::Unknown(0x00c6);
/// `curveSM2`.
pub const GROUP: NamedGroup = NamedGroup::Unknown(0x0029);
/// `sm2sig_sm3`.
pub const SCHEME: SignatureScheme = SignatureScheme::Unknown(0x0708);

/// The versions of TLS that have the suite.
pub const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// The signer's identifier in a signature of the handshake (RFC 8998, 3.2.1).
const HANDSHAKE_ID: &str = "TLSv1.3+GM+Cipher+Suite";
/// The signer's identifier in a certificate, where the two sides have agreed on none (GM/T 0009-2012, 10).
const CERTIFICATE_ID: &str = "1234567812345678";

static TLS_SM4_GCM_SM3: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: SUITE,
        hash_provider: &hash::Sm3Hash,
        // The bound of AES-GCM: it comes from the block of 128 bits and from GHASH, which are the same here. rustls
        // changes the key at it.
        confidentiality_limit: 1 << 24,
    },
    hkdf_provider: &HkdfUsingHmac(&hmac::HmacSm3),
    aead_alg: &aead::Sm4Gcm,
    quic: None,
};

/// The provider. Configurations are made with it and [`VERSIONS`].
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![SupportedCipherSuite::Tls13(&TLS_SM4_GCM_SM3)],
        kx_groups: vec![&kx::CurveSm2],
        signature_verification_algorithms: verify::ALGORITHMS,
        secure_random: ring::default_provider().secure_random,
        key_provider: &sign::Keys,
    })
}
