//! Why a request has no caller, whichever method was used.
//!
//! Owns what is the same for all methods: the method, the name in metrics, the tenant, and whether the operator is
//! told. Does not handle what a client is told (see `gateway::failure`). Nothing of a credential is in it.

use std::fmt;
use std::sync::Arc;

use super::jwt::Remote;
use super::{certificates, jwt, keys, signatures};
use crate::config::{Lapse, Method};

/// Why a request has no caller: for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It shows nothing.
    Missing,
    /// Its key is not accepted.
    Key(keys::Refused),
    /// Its key is none of the configuration's, and those that were made at run time are not known yet.
    KeysNotLoaded,
    /// Its token is not accepted.
    Token(jwt::Refused),
    /// Its signature is not accepted.
    Signature(signatures::Refused),
    /// Its certificate is not accepted.
    Certificate(certificates::Refused),
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
            Self::Key(_) | Self::KeysNotLoaded => Some(Method::Key),
            Self::Token(_) => Some(Method::Jwt),
            Self::Signature(_) => Some(Method::Hmac),
            Self::Certificate(_) => Some(Method::Mtls),
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
            Self::KeysNotLoaded => "not_loaded",
            Self::Token(refused) => refused.reason(),
            Self::Signature(refused) => refused.reason(),
            Self::Certificate(refused) => refused.reason(),
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
            Self::Signature(refused) => matches!(refused, signatures::Refused::Lapsed(..)),
            Self::Missing
            | Self::KeysNotLoaded
            | Self::Token(_)
            | Self::Certificate(_)
            | Self::MethodOfListener(_) => false,
        }
    }

    /// Whether it is a key that nothing knows.
    pub fn is_unknown_key(&self) -> bool {
        use keys::Refused::{Impossible, Unknown};
        matches!(self, Self::Key(Impossible | Unknown(_)))
    }

    /// The tenant that the credential belongs to, or would belong to.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Key(refused) => refused.tenant(),
            Self::Tenant(_, id, _) | Self::MethodOfTenant(_, id) | Self::Address(_, id) => Some(id),
            Self::Missing
            | Self::KeysNotLoaded
            | Self::Token(_)
            | Self::Signature(_)
            | Self::Certificate(_)
            | Self::MethodOfListener(_) => None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no credential"),
            Self::Key(refused) => refused.fmt(f),
            Self::KeysNotLoaded => f.write_str(
                "a key that may have been made at run time, and those are not known yet",
            ),
            Self::Token(refused) => refused.fmt(f),
            Self::Signature(refused) => refused.fmt(f),
            Self::Certificate(refused) => refused.fmt(f),
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
