//! How callers are found: by which methods, at a listener and for a tenant.
//!
//! `methods` reads lists of them. Does not handle what a method amounts to (see `auth`).

mod methods;

pub(super) use methods::read;
pub use methods::{Method, Methods};
