//! Who is calling: from what a request shows to the tenant that it belongs to.
//!
//! Owns which [`Method`] counts for a request, and what holds for every method: the listener and the tenant take it,
//! the tenant is valid, and its callers come from there. What is shown first in the order of [`Callers::find`] decides:
//! a credential that is not accepted is refused, and no other is looked at. `keys` has the method of client keys, `jwt`
//! that of tokens, `signatures` that of signed requests, `certificates` that of client certificates, `state` what
//! outlives a snapshot. Does not handle what a tenant may do (see `tenants`), nor what a client is told of a refusal
//! (see `gateway::failure`). Fails with [`Refused`], for the log and for metrics; nothing of a credential is in it.

mod certificates;
mod jwt;
mod keys;
mod refused;
mod signatures;
mod state;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method as HttpMethod, Uri};
use jiff::Timestamp;

use crate::config::{Issuer, Method, Methods, SignatureTerms, Validity};
use crate::jwt as wire;
use crate::networks::AddressRules;
use crate::signature::{Message, SIGNATURE_INPUT};
use crate::tls::clients::ClientCertificate;

use certificates::Certificates;
pub use certificates::{CertificateName, Refused as CertificateRefused};
pub use jwt::{OwnLimits, Refused as TokenRefused, Remote, Remotes};
pub use keys::{Key, Keys, key_of, lacks_bearer};
pub use refused::Refused;
use signatures::Signatures;
pub use signatures::{NotOnce, Refused as SignatureRefused, Signature, SignatureKey};
pub use state::CallerState;

/// A tenant, as far as it matters for finding it.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Its id.
    pub id: Arc<str>,
    /// What each of its keys begins with.
    pub prefix: Option<String>,
    /// Whether and until when it holds.
    pub validity: Validity,
    /// The methods by which it is found; `None` for every one.
    pub methods: Option<Methods>,
    /// Where its callers may come from.
    pub addresses: Option<AddressRules>,
}

/// What a request shows of its caller.
#[derive(Clone, Copy)]
pub struct Shown<'r> {
    /// Its method.
    pub method: &'r HttpMethod,
    /// Its target, as it was sent.
    pub uri: &'r Uri,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// The key in its headers, or in the subprotocol of a WebSocket.
    pub key: Option<&'r [u8]>,
    /// The certificate of its connection.
    pub certificate: Option<&'r ClientCertificate>,
    /// Whether a certificate may count: not where a web page asks that may not call with one.
    pub certificate_counts: bool,
    /// The position of the listener that it came by.
    pub listener: usize,
    /// Where it came from; `None` for this machine.
    pub address: Option<IpAddr>,
}

/// A credential that has been accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// By which method.
    pub method: Method,
    /// Its name in reports.
    pub name: Arc<str>,
    /// Its name in the log, which may not show the other.
    pub logged_name: Arc<str>,
    /// Its position among all client keys, where it is one.
    pub key: Option<usize>,
}

/// A caller that has been found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The position of its tenant.
    pub tenant: usize,
    /// What it has shown.
    pub credential: Credential,
    /// The models that it may ask for, where its credential has fewer than its tenant.
    pub models: Option<Arc<Vec<String>>>,
    /// The limits that it brings.
    pub limits: Option<Arc<OwnLimits>>,
    /// Its signature, which does not count yet.
    pub signature: Option<Signature>,
}

/// Every caller of one snapshot.
#[derive(Debug)]
pub struct Callers {
    owners: Vec<Owner>,
    /// The methods that each listener takes; `None` for every one.
    listeners: Vec<Option<Methods>>,
    keys: Keys,
    tokens: jwt::Tokens,
    signatures: Signatures,
    certificates: Certificates,
    masks_names: bool,
}

impl Found {
    /// One whose credential brings nothing but itself.
    fn by(method: Method, tenant: usize, name: &Arc<str>, logged_name: &Arc<str>) -> Self {
        Self {
            tenant,
            credential: Credential {
                method,
                name: Arc::clone(name),
                logged_name: Arc::clone(logged_name),
                key: None,
            },
            models: None,
            limits: None,
            signature: None,
        }
    }
}

/// What callers are found by, as it is configured.
pub struct Configured<'c> {
    /// The tenants, in the order of the configuration.
    pub owners: Vec<Owner>,
    /// The methods of each listener, in the order of the configuration.
    pub listeners: Vec<Option<Methods>>,
    /// The keys of all tenants.
    pub keys: Vec<Key>,
    /// The issuers of tokens.
    pub issuers: &'c [Issuer],
    /// The keys of all tenants that requests are signed with.
    pub signature_keys: Vec<SignatureKey>,
    /// What holds for their signatures.
    pub signature_terms: SignatureTerms,
    /// The names of all tenants in certificates.
    pub certificate_names: Vec<CertificateName>,
    /// Whether the log may not show the names of credentials.
    pub masks_names: bool,
}

impl Callers {
    /// Takes what is configured, and what has been learnt of callers.
    pub fn new(configured: Configured<'_>, state: &CallerState) -> Self {
        let Configured {
            owners,
            listeners,
            keys,
            issuers,
            signature_keys,
            signature_terms,
            certificate_names,
            masks_names,
        } = configured;
        let ids = owners.iter().map(|owner| Arc::clone(&owner.id));
        Self {
            keys: Keys::new(&owners, keys),
            tokens: jwt::Tokens::new(issuers, ids, &state.remotes),
            certificates: Certificates::new(certificate_names),
            signatures: Signatures::new(signature_keys, signature_terms, &state.nonces),
            masks_names,
            listeners,
            owners,
        }
    }

    /// The caller of a request, now. What it shows is looked at in this order: a signature, a token or a key, a
    /// certificate. The first whose method the listener takes decides.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, shown: &Shown<'_>, now: Timestamp) -> Result<Found, Refused> {
        let methods = self.methods(shown.listener);
        let is_taken = |method: &Method| methods.is_none_or(|methods| methods.have(*method));
        let shows = self.methods_of(shown);
        let Some(method) = shows.iter().flatten().find(|method| is_taken(method)) else {
            let first = shows.into_iter().flatten().next();
            return Err(first.map_or(Refused::Missing, Refused::MethodOfListener));
        };
        let key = shown.key.unwrap_or_default();
        let found = match method {
            Method::Hmac => self.by_signature(shown, now)?,
            Method::Jwt => self.by_token(key, now)?,
            Method::Key => self.by_key(key, now)?,
            Method::Mtls => self.by_certificate(shown, now)?,
        };
        self.check_tenant(&found, shown.address, now)?;
        Ok(found)
    }

    /// The methods that the listener at a position takes; `None` for every one.
    pub fn methods(&self, listener: usize) -> Option<Methods> {
        self.listeners.get(listener).copied().flatten()
    }

    /// The methods of what a request shows, in the order in which they are looked at.
    fn methods_of(&self, shown: &Shown<'_>) -> [Option<Method>; 3] {
        let is_signed = !self.signatures.is_empty() && shown.headers.contains_key(SIGNATURE_INPUT);
        let by_bearer = shown
            .key
            .map(|key| match !self.tokens.is_empty() && wire::is_token(key) {
                true => Method::Jwt,
                false => Method::Key,
            });
        let has_certificate = !self.certificates.is_empty() && shown.certificate.is_some();
        [
            is_signed.then_some(Method::Hmac),
            by_bearer,
            has_certificate.then_some(Method::Mtls),
        ]
    }

    fn by_key(&self, key: &[u8], now: Timestamp) -> Result<Found, Refused> {
        let keys::Found { key, position } = self.keys.find(key, now).map_err(Refused::Key)?;
        let mut found = Found::by(Method::Key, key.tenant, &key.name, &key.logged_name);
        found.credential.key = Some(position);
        found.models.clone_from(&key.models);
        Ok(found)
    }

    fn by_token(&self, token: &[u8], now: Timestamp) -> Result<Found, Refused> {
        let accepted = self.tokens.accept(token, now).map_err(Refused::Token)?;
        let logged_name = match self.masks_names {
            true => &accepted.masked,
            false => &accepted.subject,
        };
        Ok(Found {
            models: accepted.models.clone(),
            limits: accepted.limits.clone(),
            ..Found::by(Method::Jwt, accepted.tenant, &accepted.subject, logged_name)
        })
    }

    fn by_signature(&self, shown: &Shown<'_>, now: Timestamp) -> Result<Found, Refused> {
        let message = Message {
            method: shown.method,
            path: shown.uri.path(),
            query: shown.uri.query(),
            headers: shown.headers,
        };
        let accepted = self.signatures.accept(&message, now);
        let (key, signature) = accepted.map_err(Refused::Signature)?;
        Ok(Found {
            signature: Some(signature),
            ..Found::by(Method::Hmac, key.tenant, &key.id, &key.logged_id)
        })
    }

    fn by_certificate(&self, shown: &Shown<'_>, now: Timestamp) -> Result<Found, Refused> {
        let certificate = shown.certificate.ok_or(Refused::Missing)?;
        if !shown.certificate_counts {
            return Err(Refused::Certificate(certificates::Refused::Origin));
        }
        let name = self.certificates.find(certificate, now);
        let name = name.map_err(Refused::Certificate)?;
        Ok(Found::by(
            Method::Mtls,
            name.tenant,
            &name.shown,
            &name.logged,
        ))
    }

    /// What holds for a tenant, by whatever method it was found.
    fn check_tenant(
        &self,
        found: &Found,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let method = found.credential.method;
        // The position is one of this snapshot's.
        let owner = self.owners.get(found.tenant).ok_or(Refused::Missing)?;
        if owner.methods.is_some_and(|methods| !methods.have(method)) {
            return Err(Refused::MethodOfTenant(method, Arc::clone(&owner.id)));
        }
        if owner
            .addresses
            .as_ref()
            .is_some_and(|rules| !rules.permit(address))
        {
            return Err(Refused::Address(method, Arc::clone(&owner.id)));
        }
        match owner.validity.lapse(now) {
            Some(lapse) => Err(Refused::Tenant(method, Arc::clone(&owner.id), lapse)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
