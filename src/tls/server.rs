//! The TLS configuration of a listener.
//!
//! Owns which versions, suites and protocols a server offers with a certificate. Does not handle reading the files (see
//! `config::certificate`). Fails with what rustls says of a certificate or a key that it cannot use.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, ServerConfig, version};

use super::{Suites, sm};

/// By ALPN, the most wanted first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A configuration with a chain of certificates, the server's own first, and its private key.
///
/// # Errors
/// rustls cannot use them, or they do not belong together.
pub fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    suites: Suites,
) -> Result<ServerConfig, Error> {
    let (provider, versions) = match suites {
        Suites::Usual => (
            Arc::new(ring::default_provider()),
            &[&version::TLS12, &version::TLS13][..],
        ),
        Suites::Sm => (sm::provider(), sm::VERSIONS),
    };
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}
