//! The TLS configuration of a listener.
//!
//! Owns which versions, suites and protocols a server offers, and which of its certificates a client gets. Does not
//! handle reading the files (see `config::certificate`), nor the certificates of clients (see `clients`). Fails with
//! what rustls says of a certificate or a key that it cannot use.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};

use super::clients::Verifier;
use super::sni::ByName;
use super::{Suites, sm};

/// By ALPN, the most wanted first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl Suites {
    fn provider(self) -> Arc<CryptoProvider> {
        match self {
            Self::Usual => Arc::new(ring::default_provider()),
            Self::Sm => sm::provider(),
        }
    }
}

/// What clients and a server agree upon, where they have a choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Whether TLS 1.2 is refused.
    pub is_tls13_only: bool,
    /// The suites that are offered, by their names; all where it is empty.
    pub suites: Vec<&'static str>,
}

impl Choice {
    /// The suites that there are, with the names that IANA gives them, the most wanted first.
    pub fn all() -> impl Iterator<Item = (&'static str, SupportedCipherSuite)> {
        let suites = ring::ALL_CIPHER_SUITES.iter();
        suites.filter_map(|suite| Some((name(suite)?, *suite)))
    }

    /// Whether a suite is one of TLS 1.3.
    pub fn is_of_tls13(name: &str) -> bool {
        Self::all().any(|(known, suite)| known == name && suite.tls13().is_some())
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let offers = |of_tls13: bool| {
            self.suites.is_empty()
                || self
                    .suites
                    .iter()
                    .any(|name| Self::is_of_tls13(name) == of_tls13)
        };
        match (self.is_tls13_only || !offers(false), offers(true)) {
            (true, _) => vec![&version::TLS13],
            (false, true) => vec![&version::TLS12, &version::TLS13],
            (false, false) => vec![&version::TLS12],
        }
    }

    fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = ring::default_provider();
        if !self.suites.is_empty() {
            let chosen = Self::all().filter(|(name, _)| self.suites.contains(name));
            provider.cipher_suites = chosen.map(|(_, suite)| suite).collect();
        }
        Arc::new(provider)
    }
}

/// The name that IANA gives to a suite, which for TLS 1.3 is not that of rustls.
fn name(suite: &SupportedCipherSuite) -> Option<&'static str> {
    Some(match suite.suite().as_str()? {
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        name => name,
    })
}

/// A chain of certificates, the server's own first, with its private key and, where there is one, what the authority
/// says of its state (OCSP).
///
/// # Errors
/// rustls cannot use them, or they do not belong together.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    ocsp: Option<Vec<u8>>,
    suites: Suites,
) -> Result<CertifiedKey, Error> {
    let mut certified = CertifiedKey::from_der(chain, key, &suites.provider())?;
    certified.ocsp = ocsp;
    Ok(certified)
}

/// A configuration for the usual suites. Clients that ask for none of the certificates by name get the first.
///
/// # Errors
/// No certificate is there, or the choice leaves nothing to agree upon.
pub fn usual(
    certificates: Vec<CertifiedKey>,
    choice: &Choice,
    clients: Option<Arc<Verifier>>,
) -> Result<ServerConfig, Error> {
    let resolver = ByName::new(certificates)
        .ok_or_else(|| Error::General("there is no certificate".to_owned()))?;
    let builder = ServerConfig::builder_with_provider(choice.provider());
    let builder = builder.with_protocol_versions(&choice.versions())?;
    let verifier: Arc<dyn ClientCertVerifier> = match clients {
        Some(verifier) => verifier,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let builder = builder.with_client_cert_verifier(verifier);
    Ok(with_protocols(
        builder.with_cert_resolver(Arc::new(resolver)),
    ))
}

/// A configuration for the suite of RFC 8998.
///
/// # Errors
/// rustls cannot use the certificate, or the key is another's.
pub fn sm(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Suites::Sm.provider());
    let builder = builder.with_protocol_versions(sm::VERSIONS)?;
    let config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    Ok(with_protocols(config))
}

fn with_protocols(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config
}
