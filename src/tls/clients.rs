//! The certificates that clients show.
//!
//! Owns who vouches for them at a listener ([`Trust`]), whether one still holds while its connection is open, and what
//! of one can name a tenant. Does not handle which tenant that is (see `auth`), nor reading files (see
//! `config::certificate`). Fails with [`NotHeld`].

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::listeners::TlsAccept;
use pingora::protocols::tls::TlsRef;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::names::{self, Name};

/// Verifies the certificates of clients.
#[derive(Debug)]
pub struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
    /// The last second of the list of revoked certificates that ends first.
    lists_end_s: Option<i64>,
}

impl Verifier {
    /// One for the certificates of these authorities. With lists of revoked ones, each authority of a chain needs a
    /// list that is up to date; the first of them ends after this second. Clients without a certificate are refused
    /// where one is required.
    ///
    /// # Errors
    /// There is no authority, or a list cannot be read.
    pub fn new(
        authorities: RootCertStore,
        (revoked, lists_end_s): (Vec<CertificateRevocationListDer<'static>>, Option<i64>),
        is_required: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
        let mut builder = match revoked.is_empty() {
            true => builder,
            false => builder.with_crls(revoked).enforce_revocation_expiration(),
        };
        if !is_required {
            builder = builder.allow_unauthenticated();
        }
        Ok(Self {
            inner: builder.build()?,
            lists_end_s,
        })
    }
}

/// What pingora and what this crate read of a certificate is read in the handshake, so that one that cannot be read
/// is refused there.
impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(certificate, chain, now)?;
        match names::read(certificate) {
            Some(_) => Ok(verified),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Who vouches for the clients of a listener at the time. Its connections share it.
#[derive(Debug, Default)]
pub struct Trust(ArcSwapOption<Verifier>);

impl Trust {
    /// Has another verifier vouch from now on, or none.
    pub fn replace(&self, verifier: Option<Arc<Verifier>>) {
        self.0.store(verifier);
    }
}

/// Why a certificate that was accepted holds no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHeld {
    /// It has expired.
    Expired,
    /// Its authority is not trusted any more, or has revoked it.
    NotTrusted,
}

/// A certificate that a client has shown.
pub struct ClientCertificate {
    /// What of it can name a tenant.
    pub names: Vec<Name>,
    chain: Vec<CertificateDer<'static>>,
    /// The last second at which it is valid.
    end_s: i64,
    trust: Arc<Trust>,
    /// The verifier that looked at it last, and whether that accepted it.
    verified: Mutex<Option<(Arc<Verifier>, bool)>>,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate")
            .field(&self.names)
            .finish()
    }
}

impl ClientCertificate {
    fn new(chain: &[CertificateDer<'static>], trust: &Arc<Trust>) -> Option<Self> {
        let read = names::read(chain.first()?)?;
        Some(Self {
            names: read.names,
            end_s: read.end_s,
            chain: chain.to_vec(),
            trust: Arc::clone(trust),
            verified: Mutex::default(),
        })
    }

    /// Whether it holds at this second since the epoch: a connection outlives lists of revoked certificates.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, now_s: i64) -> Result<(), NotHeld> {
        if now_s > self.end_s {
            return Err(NotHeld::Expired);
        }
        let verifier = self.trust.0.load_full().ok_or(NotHeld::NotTrusted)?;
        let mut verified = self.verified.lock();
        // Whether a list that has ended matters for this one, only looking again can tell.
        let is_lasting = verifier.lists_end_s.is_none_or(|end_s| now_s <= end_s);
        let is_accepted = match &*verified {
            Some((by, is_accepted))
                if Arc::ptr_eq(by, &verifier) && (is_lasting || !is_accepted) =>
            {
                *is_accepted
            }
            _ => {
                let is_accepted = self.is_accepted(&verifier, now_s);
                *verified = Some((verifier, is_accepted));
                is_accepted
            }
        };
        match is_accepted {
            true => Ok(()),
            false => Err(NotHeld::NotTrusted),
        }
    }

    fn is_accepted(&self, verifier: &Verifier, now_s: i64) -> bool {
        let now_s = u64::try_from(now_s).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s));
        let verified = self
            .chain
            .split_first()
            .map(|(certificate, chain)| verifier.verify_client_cert(certificate, chain, now));
        matches!(verified, Some(Ok(_)))
    }
}

/// Keeps the certificate of a client with its connection.
pub struct Presented(Arc<Trust>);

impl Presented {
    /// For the connections of a listener.
    pub fn new(trust: &Arc<Trust>) -> Self {
        Self(Arc::clone(trust))
    }
}

#[async_trait]
impl TlsAccept for Presented {
    async fn handshake_complete_callback(
        &self,
        tls: &TlsRef,
    ) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
        let certificate = ClientCertificate::new(tls.peer_cert_chain_der()?, &self.0)?;
        // As an `Arc` in the other, so that a request can keep it.
        Some(Arc::new(Arc::new(certificate)))
    }
}
