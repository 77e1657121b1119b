//! Who is calling: from what a request shows to the tenant that it belongs to.
//!
//! Owns which [`Method`] counts for a request, and what holds for every method: the listener and the tenant take
//! it, the tenant is valid, and its callers come from there. What is shown first in the order of [`Callers::find`] decides: a credential that is
//! not accepted is refused, and no other is looked at. `keys` has the method of client keys, `jwt` that of
//! tokens. Does not handle
//! what a tenant may do (see `tenants`), nor what a client is told of a refusal (see `gateway::failure`). Fails with
//! [`Refused`], for the log and for metrics; nothing of a credential is in it.

mod jwt;
mod keys;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method as HttpMethod, Uri};
use jiff::Timestamp;

use crate::config::{Issuer, Lapse, Method, Methods, Validity};
use crate::jwt as wire;
use crate::networks::AddressRules;

pub use jwt::{Refused as TokenRefused, Remote, Remotes};
pub use keys::{Key, Keys, key_of, lacks_bearer};

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
}

/// Why a request has no caller: for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It shows nothing.
    Missing,
    /// Its key is not accepted.
    Key(keys::Refused),
    /// Its token is not accepted.
    Token(jwt::Refused),
    /// The tenant does not hold.
    Tenant(Method, Arc<str>, Lapse),
    /// The tenant is not found by this method.
    MethodOfTenant(Method, Arc<str>),
    /// The listener does not take this method.
    MethodOfListener(Method),
    /// The tenant's callers do not come from this address.
    Address(Method, Arc<str>),
}

impl Refused {
    /// The method that was used; `None` where nothing was shown.
    pub fn method(&self) -> Option<Method> {
        match self {
            Self::Missing => None,
            Self::Key(_) => Some(Method::Key),
            Self::Token(_) => Some(Method::Jwt),
            Self::Tenant(method, ..)
            | Self::MethodOfTenant(method, _)
            | Self::Address(method, _)
            | Self::MethodOfListener(method) => Some(*method),
        }
    }

    /// The published keys that may have to be asked for anew before the caller is known.
    pub fn remote(&self) -> Option<&Remote> {
        match self {
            Self::Token(jwt::Refused::NoKeys(remote) | jwt::Refused::UnknownKey(Some(remote))) => {
                Some(remote)
            }
            _ => None,
        }
    }

    /// Its name in metrics: one of `observe::callers::REASONS`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Key(refused) => refused.reason(),
            Self::Token(refused) => refused.reason(),
            Self::Tenant(_, _, lapse) => lapse.name(),
            Self::MethodOfTenant(..) | Self::MethodOfListener(_) => "method",
            Self::Address(..) => "address",
        }
    }

    /// Whether the credential is one that is configured, so that the operator is told why it does not work.
    pub fn is_known(&self) -> bool {
        match self {
            Self::Key(refused) => refused.is_known(),
            Self::Tenant(..) | Self::MethodOfTenant(..) | Self::Address(..) => true,
            Self::Missing | Self::Token(_) | Self::MethodOfListener(_) => false,
        }
    }

    /// The tenant that the credential belongs to, or would belong to.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Key(refused) => refused.tenant(),
            Self::Tenant(_, id, _) | Self::MethodOfTenant(_, id) | Self::Address(_, id) => Some(id),
            Self::Missing | Self::Token(_) | Self::MethodOfListener(_) => None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no credential"),
            Self::Key(refused) => refused.fmt(f),
            Self::Token(refused) => refused.fmt(f),
            Self::Tenant(_, tenant, lapse) => write!(f, "the tenant {tenant} is {}", lapse.name()),
            Self::MethodOfTenant(method, tenant) => {
                write!(f, "the tenant {tenant} does not take {method}")
            }
            Self::MethodOfListener(method) => write!(f, "the listener does not take {method}"),
            Self::Address(_, tenant) => {
                write!(f, "the tenant {tenant} does not come from this address")
            }
        }
    }
}

/// Every caller of one snapshot.
#[derive(Debug)]
pub struct Callers {
    owners: Vec<Owner>,
    /// The methods that each listener takes; `None` for every one.
    listeners: Vec<Option<Methods>>,
    keys: Keys,
    tokens: jwt::Tokens,
    masks_names: bool,
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
    /// Whether the log may not show the names of credentials.
    pub masks_names: bool,
}

impl Callers {
    /// Takes what is configured, and the keys that issuers publish.
    pub fn new(configured: Configured<'_>, remotes: &Remotes) -> Self {
        let Configured {
            owners,
            listeners,
            keys,
            issuers,
            masks_names,
        } = configured;
        let ids = owners.iter().map(|owner| Arc::clone(&owner.id));
        Self {
            keys: Keys::new(&owners, keys),
            tokens: jwt::Tokens::new(issuers, ids, remotes),
            masks_names,
            listeners,
            owners,
        }
    }

    /// The caller of a request, now.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, shown: &Shown<'_>, now: Timestamp) -> Result<Found, Refused> {
        let found = match shown.key {
            Some(token) if !self.tokens.is_empty() && wire::is_token(token) => {
                self.check_listener(shown.listener, Method::Jwt)?;
                self.by_token(token, now)?
            }
            Some(key) => {
                self.check_listener(shown.listener, Method::Key)?;
                self.by_key(key, now)?
            }
            None => return Err(Refused::Missing),
        };
        self.check_tenant(&found, shown.address, now)?;
        Ok(found)
    }

    fn by_key(&self, key: &[u8], now: Timestamp) -> Result<Found, Refused> {
        let found = self.keys.find(key, now).map_err(Refused::Key)?;
        Ok(Found {
            tenant: found.key.tenant,
            credential: Credential {
                method: Method::Key,
                name: Arc::clone(&found.key.name),
                logged_name: Arc::clone(&found.key.logged_name),
                key: Some(found.position),
            },
            models: None,
        })
    }

    fn by_token(&self, token: &[u8], now: Timestamp) -> Result<Found, Refused> {
        let accepted = self.tokens.accept(token, now).map_err(Refused::Token)?;
        let logged_name = match self.masks_names {
            true => &accepted.masked,
            false => &accepted.subject,
        };
        Ok(Found {
            tenant: accepted.tenant,
            credential: Credential {
                method: Method::Jwt,
                name: Arc::clone(&accepted.subject),
                logged_name: Arc::clone(logged_name),
                key: None,
            },
            models: accepted.models.clone(),
        })
    }

    fn check_listener(&self, listener: usize, method: Method) -> Result<(), Refused> {
        match self.listeners.get(listener) {
            Some(Some(methods)) if !methods.have(method) => Err(Refused::MethodOfListener(method)),
            _ => Ok(()),
        }
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
