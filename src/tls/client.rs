//! The TLS configuration of connections to another server.
//!
//! Owns who vouches for the server, the certificate that it is shown, and which versions, suites and protocols it is
//! offered. The certificate of a server is always verified. Does not handle reading files (see
//! `config::upstreams::tls`), nor the handshake (see `upstreams::dial`). Fails with what rustls says of certificates or
//! a key that it cannot use. Where the system's certificates cannot be read, that is logged, and no server is trusted.

use std::fmt;
use std::sync::{Arc, LazyLock};

use pingora::tls::load_native_certs;
use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, Error, RootCertStore, version};
use sha2::{Digest, Sha256};

use super::{Suites, sm};

/// The certificates that vouch for servers on this system, as they were when they were needed first.
static SYSTEM_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let found = load_native_certs().unwrap_or_else(|e| {
        log::error!("the system's certificates cannot be read, so no server is trusted: {e}");
        Vec::new()
    });
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found);
    Arc::new(roots)
});

/// The one for servers of which nothing is written. All of them share the sessions that can be resumed.
#[expect(
    clippy::expect_used,
    reason = "it fails only where a provider has no suite of a version, and `ring` has some of both"
)]
static USUAL: LazyLock<Client> = LazyLock::new(|| {
    let builder = builder(Arc::clone(&SYSTEM_ROOTS), Suites::Usual);
    let config = builder.expect("the versions of ring").with_no_client_auth();
    Client::of(config, Fingerprint::default())
});

/// The SHA-256 of all that makes one differ from another.
type Fingerprint = [u8; 32];

/// What is not usual about a client.
#[derive(Default)]
pub struct Terms {
    /// Who vouches for servers, in place of the system's certificates.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    /// What shows servers who we are.
    pub identity: Option<Identity>,
    /// Which suites are spoken.
    pub suites: Suites,
}

/// A certificate with its chain, and its private key.
pub struct Identity {
    /// The certificate, then its chain.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
}

/// What cannot be used of the terms.
#[derive(Debug)]
pub enum Fault {
    /// An authority.
    Authority(Error),
    /// The certificate or its key, or they do not belong together.
    Identity(Error),
}

/// The protocols that are offered (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, and HTTP/1.1 where the server does not speak it.
    Http2,
}

/// One way to speak TLS with servers. Two are equal where nothing differs in it.
#[derive(Clone)]
pub struct Client {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    fingerprint: Fingerprint,
}

impl Client {
    /// The one with the system's certificates and nothing else.
    pub fn usual() -> Self {
        USUAL.clone()
    }

    /// One with these terms.
    ///
    /// # Errors
    /// Which of the terms cannot be used.
    pub fn new(terms: Terms) -> Result<Self, Fault> {
        let fingerprint = terms.fingerprint();
        let roots = match terms.authorities {
            None => Arc::clone(&SYSTEM_ROOTS),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority).map_err(Fault::Authority)?;
                }
                Arc::new(roots)
            }
        };
        let builder = builder(roots, terms.suites).map_err(Fault::Identity)?;
        let config = match terms.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { chain, key }) => builder
                .with_client_auth_cert(chain, key)
                .map_err(Fault::Identity)?,
        };
        Ok(Self::of(config, fingerprint))
    }

    fn of(mut http1: ClientConfig, fingerprint: Fingerprint) -> Self {
        let mut http2 = http1.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        http2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            http1: Arc::new(http1),
            http2: Arc::new(http2),
            fingerprint,
        }
    }

    /// The configuration that offers these protocols.
    pub fn offering(&self, protocols: Protocols) -> Arc<ClientConfig> {
        Arc::clone(match protocols {
            Protocols::Http1 => &self.http1,
            Protocols::Http2 => &self.http2,
        })
    }

    /// What makes it differ from another, as a hash.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Terms {
    fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        };
        add(match self.suites {
            Suites::Usual => b"usual",
            Suites::Sm => b"sm",
        });
        match &self.authorities {
            None => add(b"system"),
            Some(authorities) => authorities.iter().for_each(|der| add(der)),
        }
        if let Some(Identity { chain, key }) = &self.identity {
            add(b"identity");
            chain.iter().for_each(|der| add(der));
            add(key.secret_der());
        }
        hash.finalize().into()
    }
}

fn builder(
    roots: Arc<RootCertStore>,
    suites: Suites,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let (provider, versions) = match suites {
        Suites::Usual => (
            Arc::new(ring::default_provider()),
            &[&version::TLS12, &version::TLS13][..],
        ),
        Suites::Sm => (sm::provider(), sm::VERSIONS),
    };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions)?;
    Ok(builder.with_root_certificates(roots))
}
