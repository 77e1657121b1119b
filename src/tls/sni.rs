//! Which certificate a client gets that names a host (SNI).
//!
//! Owns the choice: a certificate with the name itself, else one with a `*` for its first part, else the first of all.
//! Of several, the client gets the first that is signed in a way that it knows. Does not handle whether the
//! certificates are valid. Cannot fail.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::names::{self, Name};

/// Certificates by the names that are in them.
#[derive(Debug)]
pub struct ByName {
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    first: Arc<CertifiedKey>,
}

impl ByName {
    /// Takes the certificates in the order in which they are preferred; `None` where there is none.
    pub fn new(certificates: Vec<CertifiedKey>) -> Option<Self> {
        let certificates: Vec<Arc<CertifiedKey>> = certificates.into_iter().map(Arc::new).collect();
        let mut by_name: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for certificate in &certificates {
            for name in hosts(certificate) {
                by_name
                    .entry(name)
                    .or_default()
                    .push(Arc::clone(certificate));
            }
        }
        Some(Self {
            first: certificates.into_iter().next()?,
            by_name,
        })
    }

    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> &Arc<CertifiedKey> {
        let Some(name) = name.map(str::to_ascii_lowercase) else {
            return &self.first;
        };
        let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let fitting = self.by_name.get(&name);
        let fitting = fitting.or_else(|| self.by_name.get(&wildcard?));
        let Some(fitting) = fitting else {
            return &self.first;
        };
        let mut known = fitting
            .iter()
            .filter(|certificate| certificate.key.choose_scheme(schemes).is_some());
        known.next().or(fitting.first()).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = client_hello.signature_schemes();
        Some(Arc::clone(self.find(client_hello.server_name(), schemes)))
    }
}

/// The hosts that a certificate is for.
fn hosts(certificate: &CertifiedKey) -> Vec<String> {
    let read = certificate.cert.first().and_then(|own| names::read(own));
    let names = read.map(|read| read.names).unwrap_or_default();
    let hosts = names.into_iter().filter_map(|name| match name {
        Name::Dns(host) => Some(host),
        _ => None,
    });
    hosts.collect()
}
