//! How callers are found: the `auth` section, and the methods of a listener and of a tenant.
//!
//! `methods` reads lists of methods, `jwt` the issuers of tokens, `hmac` what signs requests, `mtls` the names in
//! certificates. Does not handle what a method amounts to (see `auth`). What cannot be read is reported with its place.

mod hmac;
mod jwt;
mod methods;
mod mtls;

use super::document::Node;

pub(super) use hmac::read_keys as read_signature_keys;
pub use hmac::{SignatureKey, SignatureTerms};
pub use jwt::{Issuer, IssuerKeys, JwksUrl, TenantOf};
pub(super) use methods::read as read_methods;
pub use methods::{Method, Methods};
pub(super) use mtls::read as read_certificate_names;

/// The `auth` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auth {
    /// The issuers whose tokens are accepted.
    pub jwt: Vec<Issuer>,
    /// What holds for signed requests.
    pub hmac: SignatureTerms,
}

/// Reads the section.
pub(super) fn read(node: &Node<'_>) -> Auth {
    let Some(mut section) = node.section() else {
        return Auth::default();
    };
    let (jwt, hmac) = (section.take("jwt"), section.take("hmac"));
    section.finish();
    Auth {
        hmac: hmac.map_or_else(SignatureTerms::default, |n| hmac::read(&n)),
        jwt: jwt.map_or_else(Vec::new, |n| jwt::read(&n)),
    }
}
