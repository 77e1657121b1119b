//! How callers are found: the `auth` section, and the methods of a listener and of a tenant.
//!
//! `methods` reads lists of methods, `jwt` the issuers of tokens. Does not handle what a method amounts to (see
//! `auth`). What cannot be read is reported with its place.

mod jwt;
mod methods;

use super::document::Node;

pub use jwt::{Issuer, IssuerKeys, JwksUrl, TenantOf};
pub(super) use methods::read as read_methods;
pub use methods::{Method, Methods};

/// The `auth` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auth {
    /// The issuers whose tokens are accepted.
    pub jwt: Vec<Issuer>,
}

/// Reads the section.
pub(super) fn read(node: &Node<'_>) -> Auth {
    let Some(mut section) = node.section() else {
        return Auth::default();
    };
    let jwt = section.take("jwt");
    section.finish();
    Auth {
        jwt: jwt.map_or_else(Vec::new, |n| jwt::read(&n)),
    }
}
